"""The database file: opened by one process at a time, written through one connection, read through several.

SQLite in WAL mode with synchronous=FULL: a COMMIT returns when it is on the disk, and readers see what was committed
without waiting for the writer. A lock file beside the database keeps a second engine out, because each would take
its own view of which intents are left over from a crash.
"""

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, Executable, Row, create_engine, event, inspect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from engine.errors import ConfigError, StoreError
from engine.store.schema import metadata
from engine.store.writer import Answer, Explain, GroupWriter, Work

_BUSY_MILLISECONDS = 5000
_READERS = 16
_LOCK_SECONDS = 2.0
"""A process that was just killed holds its locks until the kernel has taken it down."""


class Database:
    """An open database: `read` and `write` from any thread until `close`."""

    def __init__(self, lock_file: int, write_engine: Engine, read_engine: Engine) -> None:
        self._lock_file = lock_file
        self._write_engine = write_engine
        self._read_engine = read_engine
        self._writer = GroupWriter(write_engine)
        self._closed = False

    @classmethod
    def open(cls, url: str) -> Self:
        """Take the lock, open the file (made if absent, mode 0600) and create the tables that are not there.

        Raises ConfigError for a URL, folder or file the engine cannot use, or one that another engine uses;
        StoreError when the database itself fails.
        """
        path = _load_path(url)
        address = URL.create("sqlite+pysqlite", database=str(path))
        lock_file = _lock(path)
        with ExitStack() as undo:
            undo.callback(os.close, lock_file)
            _create_file(path)
            write_engine = _write_engine(address)
            undo.callback(write_engine.dispose)
            try:
                with write_engine.begin() as connection:
                    metadata.create_all(connection)
                    _check_schema(connection, path)
            except SQLAlchemyError as error:
                raise StoreError(f"The database {path} cannot be opened.") from error
            database = cls(lock_file, write_engine, _read_engine(address))
            undo.pop_all()
            return database

    def read(self, statement: Executable, parameters: Mapping[str, object] | None = None) -> Sequence[Row[Any]]:
        """All rows of one SELECT, from what is committed now. Raises StoreError."""
        if self._closed:
            raise StoreError("The store is closed.")
        try:
            with self._read_engine.connect() as connection:
                return connection.execute(statement, parameters).all()
        except (SQLAlchemyError, ValueError, OverflowError) as error:
            raise StoreError("The database did not answer a query.") from error

    def write(self, work: Work[Answer], explain: Explain | None = None) -> Answer:
        """Do the work in the next group commit and return its answer once it is durable. See `GroupWriter.write`."""
        return self._writer.write(work, explain) if explain else self._writer.write(work)

    def close(self) -> None:
        """Commit what is waiting, close the file and let go of the lock. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._read_engine.dispose()
        self._write_engine.dispose()
        os.close(self._lock_file)


def read_beside(url: str, statement: Executable) -> Sequence[Row[Any]]:
    """All rows of one SELECT from a database that an engine may be using: takes no lock and makes nothing.

    No rows if there is no such file. Raises ConfigError, StoreError.
    """
    path = _load_path(url)
    if not path.exists():
        return ()
    engine = _read_engine(URL.create("sqlite+pysqlite", database=str(path)))
    try:
        with engine.connect() as connection:
            return connection.execute(statement).all()
    except SQLAlchemyError as error:
        raise StoreError(f"The database {path} did not answer a query.") from error
    finally:
        engine.dispose()


def _load_path(url: str) -> Path:
    """The file that the URL names. Messages never repeat the URL: it could hold a password."""
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise ConfigError("store.url: expected sqlite:////absolute/path, found no database URL.") from error
    if address.drivername != "sqlite":
        raise ConfigError(f"store.url: expected sqlite:////absolute/path, found a {address.drivername} URL.")
    if address.query or address.host or not address.database or not address.database.startswith("/"):
        raise ConfigError("store.url: expected sqlite:////absolute/path, with nothing before or after the path.")
    return Path(address.database)


def _lock(path: Path) -> int:
    """Take the lock file beside the database; the lock ends with the process. Returns its file descriptor."""
    lock_path = f"{path}.lock"
    try:
        lock_file = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"The lock file {lock_path} cannot be opened: {error.strerror}.") from error
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while not _try_lock(lock_file, last=time.monotonic() > deadline):
            time.sleep(0.05)
    except OSError as error:
        os.close(lock_file)
        if isinstance(error, BlockingIOError):
            raise ConfigError(f"Another engine uses the database {path}: it holds {lock_path}.") from error
        raise ConfigError(f"The lock file {lock_path} cannot be locked: {error.strerror}.") from error
    return lock_file


def _try_lock(lock_file: int, *, last: bool) -> bool:
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if last:
            raise
        return False
    return True


def _create_file(path: Path) -> None:
    """SQLite would create it with the umask's mode; its own side files take the mode of this one."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(f"The database {path} cannot be opened: {error.strerror}.") from error


def _check_schema(connection: Connection, path: Path) -> None:
    """A file written by an engine with other tables would fail later, row by row; refuse it now."""
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        found = {column["name"] for column in inspector.get_columns(table.name)}
        if found != set(table.columns.keys()):
            raise ConfigError(f"The database {path} was made by another version of the engine: see {table.name}.")


def _write_engine(address: URL) -> Engine:
    """One connection, whose transactions take the write lock at their beginning."""
    engine = create_engine(
        address, pool_size=1, max_overflow=0, hide_parameters=True, connect_args={"isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            _set(connection, pragma)
        _set(connection, f"busy_timeout={_BUSY_MILLISECONDS}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver would begin a transaction only before its first INSERT, and not before a SAVEPOINT.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _read_engine(address: URL) -> Engine:
    """Connections that cannot write and hold no transaction open between statements."""
    engine = create_engine(
        address, pool_size=_READERS, max_overflow=_READERS, hide_parameters=True, isolation_level="AUTOCOMMIT"
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        _set(connection, f"busy_timeout={_BUSY_MILLISECONDS}")
        _set(connection, "query_only=ON")

    return engine


def _set(connection: DBAPIConnection, pragma: str) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
