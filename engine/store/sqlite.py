"""A SQLite file, which several processes of one machine may have open.

WAL mode with synchronous=FULL: a COMMIT returns when it is on the disk, and readers see what was committed without
waiting for a writer. Writers wait for each other.

A lock file beside the database tells the living from the dead: each write connection has one byte of it, at an offset
that it drew and that nobody draws again, for as long as the database is open. The locks are those of open file
descriptions (fcntl(2), F_OFD_SETLK), which end with their holder however it ends, and which tell two holders in one
process from each other. The byte at offset 0 is held by who changes the tables.

Whoever has a file open can go on writing when it was moved away, replaced or removed, and nobody would find those
records. So a transaction counts only if the files are before and after it where they were when they were opened.
"""

import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import randbelow
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, TextClause, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from engine.errors import ConfigError, StoreError, StoreUnavailable
from engine.store.address import Address
from engine.store.writer import IN_PLACE, WRITER

_BUSY_MILLISECONDS = 5000
_READERS = 16
_MIGRATION_SECONDS = 60.0
_MIGRATION_BYTE = 0
_BITS = 62
_LOCK = ".lock"
"""Behind the name of the database: its lock file."""
# struct flock of fcntl(2): l_type, l_whence, l_start, l_len, l_pid, and what aligns the next one.
_FLOCK = struct.Struct("hhqqi0q")


class SqliteBackend:
    """The file, its lock file, and the bytes of it that stand for this opening."""

    risks: TextClause | None = None

    def __init__(self, address: Address, path: Path) -> None:
        """Make both files if they are absent, mode 0600. Raises ConfigError."""
        self.name = address.name
        self._url = address.url
        self._path = str(path)
        self._lock_path = f"{path}{_LOCK}"
        self._writers: set[int] = set()
        self._lock_file = _open(self._lock_path, "lock file")
        try:
            # SQLite would create it with the umask's mode; its own side files take the mode of this one. One that is
            # there is not opened: closing it would end the locks of whoever has it open in this process (fcntl(2)).
            if not path.exists():
                os.close(_open(str(path), "database"))
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the locks: from now on, what this opening left open is dangling."""
        os.close(self._lock_file)

    def write_engine(self) -> Engine:
        """One connection, whose transactions take the write lock at their beginning."""
        engine = create_engine(
            self._url, pool_size=1, max_overflow=0, hide_parameters=True, connect_args={"isolation_level": None}
        )
        _open_what_is_there(engine)
        _begin_immediately(engine)

        @event.listens_for(engine, "connect")
        def configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
            _set(connection, *_DURABLE, "foreign_keys=ON")
            entry.info[WRITER] = self._draw_writer()
            entry.info[IN_PLACE] = self._place(connection)

        return engine

    def read_engine(self) -> Engine:
        """Connections that cannot write and hold no transaction open between statements."""
        return sqlite_read_engine(self._url)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction that may change the tables, and that only one process has at a time."""
        engine = create_engine(
            self._url, poolclass=NullPool, hide_parameters=True, connect_args={"isolation_level": None}
        )
        _begin_immediately(engine)

        @event.listens_for(engine, "connect")
        def configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
            # A table is changed by making it anew, which must not touch what refers to it.
            _set(connection, *_DURABLE, "foreign_keys=OFF")

        deadline = time.monotonic() + _MIGRATION_SECONDS
        while not self._try_lock(_MIGRATION_BYTE):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"Another engine has been changing the tables of {self.name} for a minute.")
            time.sleep(0.05)
        try:
            with engine.begin() as connection:
                yield connection
                if connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
                    raise StoreError(f"The tables of {self.name} were not changed: rows refer to what is not there.")
        finally:
            self._lock(_MIGRATION_BYTE, fcntl.F_UNLCK)
            engine.dispose()

    def is_dead(self, connection: Connection, writer: int) -> bool:
        """Whether nobody holds the byte of `writer`."""
        return writer not in self._writers and not _is_locked(self._lock_file, writer)

    def try_exclusive(self, connection: Connection) -> bool:
        """Always: a transaction that writes is the only one."""
        return True

    def _place(self, connection: DBAPIConnection) -> Callable[[], None]:
        """What raises StoreUnavailable unless the files are those that are open now."""
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM sqlite_schema").fetchall()  # which opens the last of them
        cursor.close()
        paths = [self._path, f"{self._path}-wal", f"{self._path}-shm", self._lock_path]
        opened = [_identity(path) for path in paths]
        if None in opened:
            raise StoreUnavailable("The database file or one beside it was moved or removed while it was being opened.")

        def check() -> None:
            if [_identity(path) for path in paths] != opened:
                raise StoreUnavailable(
                    "The database file or one beside it was moved, replaced or removed while it was in use; nothing is "
                    "recorded until it is back, or the engine is started anew."
                )

        return check

    def _draw_writer(self) -> int:
        while True:
            number = 1 + randbelow((1 << _BITS) - 1)
            if number not in self._writers and self._try_lock(number):
                self._writers.add(number)
                return number

    def _try_lock(self, offset: int) -> bool:
        with suppress(BlockingIOError):
            self._lock(offset, fcntl.F_WRLCK)
            return True
        return False

    def _lock(self, offset: int, kind: int) -> None:
        try:
            fcntl.fcntl(self._lock_file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))
        except BlockingIOError:
            raise
        except OSError as error:
            raise ConfigError(f"The lock file {self._lock_path} cannot be locked: {error.strerror}.") from error


def sqlite_read_engine(url: URL) -> Engine:
    """Connections that cannot write and hold no transaction open between statements."""
    engine = create_engine(
        url, pool_size=_READERS, max_overflow=_READERS, hide_parameters=True, isolation_level="AUTOCOMMIT"
    )
    _open_what_is_there(engine)

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        _set(connection, _BUSY, "query_only=ON")

    return engine


def sqlite_writer_lives(url: URL, writer: int) -> bool:
    """Whether somebody holds the byte of `writer` in the lock file beside the database at `url`. Takes no lock."""
    try:
        lock_file = os.open(f"{url.database}{_LOCK}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"The lock file {url.database}{_LOCK} cannot be opened: {error.strerror}.") from error
    try:
        return _is_locked(lock_file, writer)
    finally:
        os.close(lock_file)


def _is_locked(lock_file: int, offset: int) -> bool:
    """By another opening of the file."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    answer = _FLOCK.unpack(fcntl.fcntl(lock_file, fcntl.F_OFD_GETLK, asked))
    return bool(answer[0] != fcntl.F_UNLCK)


_BUSY = f"busy_timeout={_BUSY_MILLISECONDS}"
# First, since the second may have to wait already.
_DURABLE = (_BUSY, "journal_mode=WAL", "synchronous=FULL")


def _open_what_is_there(engine: Engine) -> None:
    """SQLite would make a database where there is none, and an empty one says less clearly that it is not there."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: object, entry: object, arguments: list[Any], parameters: dict[str, Any]) -> object:
        return sqlite3.connect(f"file:{quote(arguments[0])}?mode=rw", uri=True, **parameters)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin_immediately(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver would begin a transaction only before its first INSERT, and not before a SAVEPOINT.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _open(path: str, what: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"The {what} {path} cannot be opened: {error.strerror}.") from error


def _set(connection: DBAPIConnection, *pragmas: str) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
