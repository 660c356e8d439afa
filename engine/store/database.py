"""An open database, SQLite or PostgreSQL: written through one connection, read through several.

What is above this file is the same for both. `sqlite` and `postgresql` know how to connect, which settings keep what
was committed, and how to tell whether a writer lives. Several processes may have the same database open.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, Self

from sqlalchemy import Connection, Engine, Executable, Row, Table, TextClause, inspect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from engine.errors import StoreError, StoreUnavailable
from engine.store.address import Address, Secret, load_address
from engine.store.faults import store_error
from engine.store.migrations import migrate
from engine.store.sqlite import SqliteBackend, sqlite_read_engine, sqlite_writer_lives
from engine.store.writer import Answer, Explain, GroupWriter, Work

_log = logging.getLogger(__name__)


class Backend(Protocol):
    """One of the two kinds of database."""

    name: str
    """What messages call it; holds no secret."""
    risks: TextClause | None
    """The SELECT of settings of the server by which it may lose what it has confirmed; None if there are none."""

    def write_engine(self) -> Engine:
        """One connection, which has its number as a writer in its `info`."""

    def read_engine(self) -> Engine:
        """Connections that cannot write."""

    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction that may change the tables, and that only one process has at a time."""

    def is_dead(self, connection: Connection, writer: int) -> bool:
        """Whether the writer of this number has ended. `connection` is in a transaction of a living one."""

    def try_exclusive(self, connection: Connection) -> bool:
        """Have this transaction be the only one, among those that ask for it, until it ends. False: another one is."""

    def close(self) -> None:
        """Let go of what stands for the writer."""


class Database:
    """An open database: `read` and `write` from any thread until `close`."""

    def __init__(self, backend: Backend, write_engine: Engine, read_engine: Engine) -> None:
        self._backend = backend
        self._write_engine = write_engine
        self._read_engine = read_engine
        self._writer = GroupWriter(write_engine)
        self._closed = False

    @classmethod
    def open(cls, url: str, password: Secret | None = None) -> Self:
        """Connect, and bring the tables up to date; a SQLite file is made if there is none, mode 0600.

        Raises ConfigError for a URL, folder or file the engine cannot use, or tables it does not know; StoreUnavailable
        for a database that is away; StoreError when it fails in another way.
        """
        address = load_address(url, has_password=password is not None)
        with ExitStack() as undo:
            try:
                backend: Backend = _backend(address, password)
                undo.callback(backend.close)
                read_engine = backend.read_engine()
                undo.callback(read_engine.dispose)
                migrate(read_engine, backend.migrating, backend.name)
                write_engine = backend.write_engine()
                undo.callback(write_engine.dispose)
                write_engine.connect().close()
            except SQLAlchemyError as error:
                raise _opening_error(error, address) from error
            database = cls(backend, write_engine, read_engine)
            undo.pop_all()
            return database

    def list_risks(self) -> list[str]:
        """Settings of the server by which it may lose what it has confirmed. Raises StoreError."""
        risks = self._backend.risks
        return [] if risks is None else [row.name for row in self.read(risks)]

    def read(self, statement: Executable, parameters: Mapping[str, object] | None = None) -> Sequence[Row[Any]]:
        """All rows of one SELECT, from what is committed now. Raises StoreError."""
        if self._closed:
            raise StoreError("The store is closed.")
        try:
            try:
                return self._fetch(statement, parameters)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The connection had been lost before; whether the database is there shows with a new one.
                return self._fetch(statement, parameters)
        except SQLAlchemyError as error:
            raise store_error(error, "The database did not answer a query.") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise StoreError("The database did not answer a query: it holds a value of another type.") from error
        except MemoryError as error:
            raise StoreUnavailable("The database did not answer a query: there is not enough memory.") from error

    def _fetch(self, statement: Executable, parameters: Mapping[str, object] | None) -> Sequence[Row[Any]]:
        with self._read_engine.connect() as connection:
            return connection.execute(statement, parameters).all()

    def write(self, work: Work[Answer], explain: Explain | None = None) -> Answer:
        """Do the work in the next group commit and return its answer once it is durable. See `GroupWriter.write`."""
        return self._writer.write(work, explain) if explain else self._writer.write(work)

    def is_dead(self, connection: Connection, writer: int) -> bool:
        """For work: whether the writer of this number has ended, here or in another process."""
        return self._backend.is_dead(connection, writer)

    def try_exclusive(self, connection: Connection) -> bool:
        """For work: whether no other process does meanwhile what asks for this."""
        return self._backend.try_exclusive(connection)

    @property
    def has_stopped(self) -> bool:
        """Whether nothing will be written any more in this process, for a reason that nobody has foreseen."""
        return self._writer.has_stopped

    def close(self) -> None:
        """Commit what is waiting and disconnect. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._read_engine.dispose()
        self._write_engine.dispose()
        self._backend.close()


def read_beside(url: str, password: Secret | None, table: Table, statement: Executable) -> Sequence[Row[Any]]:
    """All rows of one SELECT from a database that engines may be using: makes nothing and changes nothing.

    No rows if there is no such file or `table`. Raises ConfigError, StoreError.
    """
    with reading_beside(url, password, table) as connection:
        return () if connection is None else connection.execute(statement).all()


@contextmanager
def reading_beside(url: str, password: Secret | None, table: Table) -> Iterator[Connection | None]:
    """A database that engines may be using, as it is at the first SELECT and not changing until the block ends.

    Makes nothing and changes nothing. None if there is no such file or `table`. Raises ConfigError, StoreError.
    """
    address = load_address(url, has_password=password is not None)
    if address.path is None:
        from engine.store.postgresql import postgresql_read_engine

        engine = postgresql_read_engine(address, password)
    elif address.path.exists():
        engine = sqlite_read_engine(address.url)
    else:
        yield None
        return
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(table.name):
                yield None
            elif address.path is None:
                connection.rollback()
                yield connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                connection.exec_driver_sql("BEGIN")
                yield connection
    except SQLAlchemyError as error:
        raise _opening_error(error, address) from error
    finally:
        engine.dispose()


def look_again(connection: Connection) -> None:
    """Hold on no longer to what `reading_beside` has read: the next SELECT sees what is committed by then."""
    connection.rollback()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")


def writer_lives(connection: Connection, writer: int) -> bool:
    """Whether the writer of this number has not ended, for who reads beside the engines."""
    if connection.dialect.name == "sqlite":
        return sqlite_writer_lives(connection.engine.url, writer)
    from engine.store.postgresql import postgresql_writer_lives

    return postgresql_writer_lives(connection, writer)


def _backend(address: Address, password: Secret | None) -> Backend:
    if address.path is None:
        # Its driver takes a tenth of a second to import, which a SQLite file need not wait for.
        from engine.store.postgresql import PostgresqlBackend

        return PostgresqlBackend(address, password)
    return SqliteBackend(address, address.path)


def _opening_error(error: SQLAlchemyError, address: Address) -> StoreError:
    """Why is for the operator, who reads the log; libpq's sentences hold no password."""
    _log.error("%s: %s", address.name, error.orig if isinstance(error, DBAPIError) else error)
    return store_error(error, f"The database {address.name} cannot be opened.")
