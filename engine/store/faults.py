"""What an error of the database library means for who asked."""

import sqlite3
from enum import Enum, auto

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.errors import StoreError, StoreUnavailable


class Fault(Enum):
    """The kinds that are treated differently."""

    REFUSED = auto()
    """One record contradicts a constraint or holds a value that the database cannot keep."""
    CONFLICT = auto()
    """The database gave way to another transaction, and has undone this one: it may be repeated."""
    UNAVAILABLE = auto()
    """Not reachable, read-only, full or locked now."""
    BROKEN = auto()
    """Anything else."""


_LOCKED = "another process keeps it locked"
_READ_ONLY = "it is read-only"
_FULL = "its disk is full"
_LOST = "the connection to its server was lost"
# https://www.sqlite.org/rescode.html: BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
_SQLITE_UNAVAILABLE = {
    5: _LOCKED,
    6: _LOCKED,
    7: "there is not enough memory",
    8: _READ_ONLY,
    9: "it was interrupted",
    10: "its files cannot be read or written",
    13: _FULL,
    14: "its file cannot be opened",
    15: _LOCKED,
}
"""The primary codes, and what they mean."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
LOCK_TIMEOUT = "55P03"
READ_ONLY = "25006"
_POSTGRESQL_CONFLICT = frozenset({"40001", "40P01", LOCK_TIMEOUT})
_POSTGRESQL_UNAVAILABLE = {
    LOCK_TIMEOUT: _LOCKED,
    READ_ONLY: _READ_ONLY,
    "53100": _FULL,
    "53200": "its server has not enough memory",
    "53300": "its server takes no more connections",
    "57P01": _LOST,
    "57P02": _LOST,
    "57P03": "its server is starting or stopping",
}
_PROGRAM_LIMIT_EXCEEDED = "54"
"""Of a value that is too long for an index."""


def fault_of(error: SQLAlchemyError) -> Fault:
    """Which kind it is."""
    if isinstance(error, PoolTimeout):
        return Fault.UNAVAILABLE
    if not isinstance(error, DBAPIError):
        # A StatementError that is no DBAPIError: a type did not take the value, and nothing was sent.
        return Fault.REFUSED if isinstance(error, StatementError) else Fault.BROKEN
    if error.connection_invalidated:
        return Fault.UNAVAILABLE
    if isinstance(error, IntegrityError | DataError):
        return Fault.REFUSED
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_fault(error, error.orig)
    return _postgresql_fault(error)


def sqlstate_of(error: SQLAlchemyError) -> str | None:
    """PostgreSQL's code, if the error has one."""
    code = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return code if isinstance(code, str) else None


def store_error(error: SQLAlchemyError, message: str) -> StoreError:
    """The error to raise for `error`, with `message`: StoreUnavailable where trying later may help, and why it may."""
    raised = StoreError(message)
    if fault_of(error) in (Fault.UNAVAILABLE, Fault.CONFLICT):
        reason = _reason(error)
        raised = StoreUnavailable(f"{message.removesuffix('.')}: {reason}." if reason else message)
    raised.__cause__ = error
    return raised


def _reason(error: SQLAlchemyError) -> str | None:
    """In words of our own, why the database is not available; None: no more is known."""
    if isinstance(error, PoolTimeout):
        return "all connections to it are in use"
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        return _SQLITE_UNAVAILABLE.get(_sqlite_code(error.orig))
    code = sqlstate_of(error)
    if code in _POSTGRESQL_UNAVAILABLE:
        return _POSTGRESQL_UNAVAILABLE[code]
    if error.connection_invalidated:
        return _LOST
    # libpq has no code for what happens before a server has answered.
    return "no connection to its server can be made" if code is None and isinstance(error, OperationalError) else None


def _sqlite_fault(error: DBAPIError, original: sqlite3.Error) -> Fault:
    if isinstance(error, InterfaceError | ProgrammingError):
        return Fault.REFUSED  # a value of a type that the driver does not know
    return Fault.UNAVAILABLE if _sqlite_code(original) in _SQLITE_UNAVAILABLE else Fault.BROKEN


def _sqlite_code(original: sqlite3.Error) -> int:
    """The primary result code."""
    return int(getattr(original, "sqlite_errorcode", 0)) & 0xFF


def _postgresql_fault(error: DBAPIError) -> Fault:
    code = sqlstate_of(error)
    if code in _POSTGRESQL_CONFLICT:
        return Fault.CONFLICT
    if code is not None and code.startswith(_PROGRAM_LIMIT_EXCEEDED):
        return Fault.REFUSED
    if code is None and isinstance(error, ProgrammingError):
        return Fault.REFUSED  # as for SQLite
    if code == READ_ONLY or isinstance(error, OperationalError | InterfaceError):
        return Fault.UNAVAILABLE
    return Fault.BROKEN
