"""A PostgreSQL database (14 or later), which several engines may share.

Each write connection draws a number and holds the advisory lock of that number for as long as it lives, so that the
server itself says which writers are alive. The engine must therefore reach the server directly or through a pooler that
keeps sessions apart; a pooler that hands out a connection per transaction would lend the lock to somebody else.

Settings of the server or the role that would lose records or hang are overridden on each connection.
"""

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from secrets import randbelow
from typing import Any, TypeVar

import psycopg
from psycopg.types.datetime import TimestamptzLoader
from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    NullPool,
    TextClause,
    bindparam,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from engine.errors import ConfigError
from engine.store.address import Address, Secret
from engine.store.writer import WARNINGS, WRITER

_Result = TypeVar("_Result")

_READERS = 16
_POOL_SECONDS = 10.0
ANSWER_SECONDS = 40.0
"""More than what the server grants itself."""
_CANCEL_SECONDS = 2.0
_BITS = 62
_MIGRATION_LOCK = 1 << _BITS
_EXCLUSIVE_LOCK = _MIGRATION_LOCK + 1
"""No writer draws these."""
_TRY_LOCK = select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInteger)))
_WAIT_FOR_LOCK = select(func.pg_advisory_xact_lock(bindparam("number", type_=BigInteger)))
# https://www.postgresql.org/docs/current/view-pg-locks.html says where the halves of the number are.
_LOCK_HELD = text(
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = CAST(:high AS bigint) AND objid = CAST(:low AS bigint)"
)

# Of libpq; the URL may say otherwise. A server that is gone without a word is noticed within half a minute.
_PARAMETERS = {
    "application_name": "signing-engine",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
# The same at the server's end, so that it lets go of the locks of a machine that is gone.
_KEPT_ALIVE = {
    "timezone": "'UTC'",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}
_READING = _KEPT_ALIVE | {
    "default_transaction_read_only": "on",
    "statement_timeout": "'30s'",
    "lock_timeout": "'5s'",
}
_WRITING = _KEPT_ALIVE | {
    "default_transaction_isolation": "'read committed'",
    "statement_timeout": "'30s'",
    "lock_timeout": "'5s'",
    "idle_in_transaction_session_timeout": "'30s'",
}
# Only remote_apply is stronger.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply'"
)
_MIGRATING = _WRITING | {"statement_timeout": "0", "lock_timeout": "'60s'", "idle_in_transaction_session_timeout": "0"}


class PostgresqlBackend:
    """How to connect. Holds nothing open itself."""

    risks: TextClause | None = text(
        "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name"
    )

    def __init__(self, address: Address, password: Secret | None) -> None:
        self.name = address.name
        self._address = address
        self._password = password
        try:
            _ = password and password.reveal().decode()
        except UnicodeDecodeError:
            raise ConfigError("store.password: expected UTF-8.") from None

    def close(self) -> None:
        """Nothing: a writer's lock ends with its connection."""

    def write_engine(self) -> Engine:
        """One connection that is a writer."""
        engine = self._engine(_WRITING, pool_size=1, max_overflow=0)

        @event.listens_for(engine, "connect")
        def become_writer(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
            _execute(connection, _DURABLE)
            entry.info[WRITER] = _draw_writer(connection)
            entry.info[WARNINGS] = _collect_warnings(connection)

        return engine

    def read_engine(self) -> Engine:
        """Connections that cannot write and hold no transaction open between statements."""
        return postgresql_read_engine(self._address, self._password)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction that may change the tables, and that only one process has at a time."""
        engine = self._engine(_MIGRATING, poolclass=NullPool)
        try:
            with engine.begin() as connection:
                connection.execute(_WAIT_FOR_LOCK, {"number": _MIGRATION_LOCK})
                yield connection
        finally:
            engine.dispose()

    def is_dead(self, connection: Connection, writer: int) -> bool:
        """Whether nobody holds the lock of `writer`; if so, this transaction does. Its own is no obstacle to itself."""
        if writer == connection.info[WRITER]:
            return False
        return bool(connection.execute(_TRY_LOCK, {"number": writer}).scalar_one())

    def try_exclusive(self, connection: Connection) -> bool:
        """Whether this transaction has the lock that goes by this name."""
        return bool(connection.execute(_TRY_LOCK, {"number": _EXCLUSIVE_LOCK}).scalar_one())

    def _engine(self, settings: Mapping[str, str], **options: Any) -> Engine:
        return _engine(self._address, self._password, settings, **options)


def postgresql_read_engine(address: Address, password: Secret | None) -> Engine:
    """Connections that cannot write and hold no transaction open between statements."""
    return _engine(
        address,
        password,
        _READING,
        pool_size=_READERS,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        isolation_level="AUTOCOMMIT",
    )


def postgresql_writer_lives(connection: Connection, writer: int) -> bool:
    """Whether somebody holds the lock of `writer`. Takes no lock."""
    return connection.execute(_LOCK_HELD, {"high": writer >> 32, "low": writer & 0xFFFFFFFF}).first() is not None


class OddTimes(TimestamptzLoader):
    """Times, and as text what is none to Python: before its first year, after its last, or never."""

    def load(self, data: Any) -> Any:
        """As the server spells it, if need be."""
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class _Connection(psycopg.Connection[Any]):
    """A connection that does not wait for ever.

    The server's own time limits are of no help when the server is what hangs, and a COMMIT that waits for a standby is
    not subject to them.
    """

    def wait(self, gen: Generator[Any, Any, _Result], *arguments: Any, **options: Any) -> _Result:
        """As psycopg has it, but give up and disconnect when nothing has come for too long."""
        return super().wait(self._limit(gen), *arguments, **options)

    def _limit(self, gen: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            waits_for = next(gen)
            while True:
                ready = yield waits_for
                if not ready and time.monotonic() > deadline:
                    break
                waits_for = gen.send(ready)
        except StopIteration as answer:
            result: _Result = answer.value
            return result
        gen.close()
        if psycopg.capabilities.has_cancel_safe():  # what was there before could itself wait for ever
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
        self.close()
        raise psycopg.OperationalError(f"the server has not answered for {ANSWER_SECONDS:g} seconds")


def _engine(address: Address, password: Secret | None, settings: Mapping[str, str], **options: Any) -> Engine:
    engine = create_engine(address.url, hide_parameters=True, use_native_hstore=False, **options)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: object, entry: object, arguments: list[Any], parameters: dict[str, Any]) -> object:
        # Here and not in the engine, whose URL and arguments can be printed.
        if password is not None:
            parameters["password"] = password.reveal().decode()
        for name, value in _PARAMETERS.items():
            parameters.setdefault(name, value)
        return _Connection.connect(*arguments, **parameters)

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        _execute(connection, ";".join(f"SET {name} TO {value}" for name, value in settings.items()))

    event.listen(engine, "handle_error", _conceal)
    return engine


def _draw_writer(connection: DBAPIConnection) -> int:
    while True:
        number = randbelow(1 << _BITS)
        if _execute(connection, f"SELECT pg_try_advisory_lock({number})") == (True,):
            return number


def _collect_warnings(connection: DBAPIConnection) -> list[str]:
    """The list that the server's warnings will be put into."""
    warnings: list[str] = []

    def keep(diagnostic: Any) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(diagnostic.message_primary)

    connection.add_notice_handler(keep)
    return warnings


def _execute(connection: DBAPIConnection, statement: str) -> object:
    """One row of the last result, if there is any. Outside a transaction, which could be rolled back."""
    was = connection.autocommit
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        row: object = cursor.fetchone() if cursor.description else None
        cursor.close()
        connection.autocommit = was
    except Exception:  # whatever it is, nobody else will close the connection
        connection.close()
        raise
    return row


def _conceal(context: ExceptionContext) -> None:
    """Take out of an error what the server adds to its first sentence: the row that it did not like."""
    diagnostic = getattr(context.original_exception, "diag", None)
    sentence = getattr(diagnostic, "message_primary", None)
    if sentence is None:
        return
    context.original_exception.args = (sentence,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(context.original_exception).__name__}) {sentence}",)
