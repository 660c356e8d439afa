"""The audit trail as it lies in the database, for who does not believe it: nothing is left out, mended or changed.

What is read is as of one moment, in pages, also while engines use the database.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Executable,
    Row,
    Select,
    String,
    bindparam,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import ConfigError
from engine.store.address import Secret
from engine.store.database import reading_beside
from engine.store.faults import store_error
from engine.store.raw_values import raw, read_whatever_is_there
from engine.store.schema import checkpoints, events
from engine.store.wanted_events import WantedEvents

_PAGE = 2000
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    events.c.writer,
    events.c.sequence,
    # As the database has it, whatever that is.
    type_coerce(events.c.recorded_at, String).label("recorded_at"),
    events.c.kind,
    events.c.actor,
    events.c.source,
    events.c.target,
    events.c.outcome,
    events.c.request_id,
    events.c.details,
    events.c.signing_key,
    events.c.serial_number,
    events.c.previous_hash,
    events.c.hash,
    events.c.checkpoint,
)


def _bound(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger)


_EVENTS: Select[Any] = (
    select(*_COLUMNS)
    # As a row: from two comparisons, PostgreSQL would not see where in the index to begin.
    .where(tuple_(events.c.writer, events.c.sequence) > tuple_(_bound("writer"), _bound("sequence")))
    .order_by(events.c.writer, events.c.sequence)
    .limit(bindparam("page"))
)
_LATEST: Select[Any] = select(*_COLUMNS).order_by(
    events.c.recorded_at.desc(), events.c.writer.desc(), events.c.sequence.desc()
)
_CHECKPOINTS: Select[Any] = (
    select(
        checkpoints.c.number,
        raw(checkpoints.c.recorded_at).label("recorded_at"),
        checkpoints.c.statement,
        raw(checkpoints.c.signature).label("signature"),
        raw(checkpoints.c.spki).label("spki"),
        raw(checkpoints.c.signed_at).label("signed_at"),
    )
    .where(checkpoints.c.number > bindparam("number"))
    .order_by(checkpoints.c.number)
    .limit(bindparam("page"))
)
_BEFORE_ALL = -(1 << 63)


class StoredTrail:
    """Rows in order. Raises StoreError naming the row before one that cannot be read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def checkpoints(self) -> Iterator[Row[Any]]:
        """number, recorded_at, statement, signature, spki, signed_at; by number; times may be text."""
        number = -(1 << 31)
        while rows := self._page(_CHECKPOINTS, {"number": number}, f"the checkpoint after {max(number, 0)}"):
            yield from rows
            number = rows[-1].number

    def events(self, wanted: WantedEvents | None = None) -> Iterator[Row[Any]]:
        """The columns of an event, by writer and sequence; recorded_at may be text. Only those that are wanted, if any
        are. Raises ConfigError for what cannot be wanted."""
        statement = _EVENTS if wanted is None else _EVENTS.where(*wanted.conditions(self._connection))
        place = {"writer": _BEFORE_ALL, "sequence": _BEFORE_ALL}
        told = "the first event"
        while rows := self._page(statement, place, told):
            yield from rows
            place = {"writer": rows[-1].writer, "sequence": rows[-1].sequence}
            told = f"the event after event {place['sequence']} of writer {place['writer']}"

    def latest_events(self, wanted: WantedEvents, limit: int) -> Sequence[Row[Any]]:
        """The last events of those that are wanted, in the order of time. Raises as `events`."""
        statement = _LATEST.where(*wanted.conditions(self._connection)).limit(limit)
        try:
            return list(reversed(self._connection.execute(statement).all()))
        except SQLAlchemyError as error:
            raise store_error(error, "The audit trail cannot be read.") from error

    def _page(self, statement: Executable, after: dict[str, int], told: str) -> list[Row[Any]]:
        try:
            return list(self._connection.execute(statement, {**after, "page": _PAGE}))
        except SQLAlchemyError as error:
            first_error = error
        try:
            return list(self._connection.execute(statement, {**after, "page": 1}))
        except SQLAlchemyError:
            raise store_error(first_error, f"In the audit trail, {told} cannot be read.") from first_error


@contextmanager
def reading_trail(url: str, password: Secret | None = None) -> Iterator[StoredTrail]:
    """The trail in the database at `url`. Raises ConfigError if there is none, StoreError."""
    with reading_beside(url, password, events) as connection:
        if connection is None:
            raise ConfigError("The database has no audit trail.")
        read_whatever_is_there(connection)
        yield StoredTrail(connection)
