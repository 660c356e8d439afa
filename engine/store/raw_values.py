"""Values as they lie in the database, for who does not believe what is there: whatever somebody has put into a column,
it is read and told, and the rows beside it are read too.

SQLite keeps any octets as text, and PostgreSQL has times that no clock of Python's shows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, LargeBinary, Select, Text, cast, literal, tuple_, type_coerce
from sqlalchemy.types import NullType


class UndecodableText(bytes):
    """What is kept as text and is not UTF-8."""


def read_whatever_is_there(connection: Connection) -> None:
    """From now on, no value of a column of text or time is too odd for the connection's driver."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.text_factory = _load_text
        return
    from engine.store.postgresql import OddTimes

    driver.adapters.register_loader("timestamptz", OddTimes)


def _load_text(octets: bytes) -> str | UndecodableText:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return UndecodableText(octets)


def raw(column: Column[Any]) -> ColumnElement[Any]:
    """As the driver has it: what somebody has put there need not be of the column's type. Labelled with its table."""
    return type_coerce(column, NullType()).label(f"{column.table.name}_{column.name}")


def raw_columns(*columns: Column[Any]) -> list[ColumnElement[Any]]:
    """As `raw`, of several."""
    return [raw(column) for column in columns]


def from_the_first(statement: Select[Any], keys: Sequence[Column[Any]], connection: Connection) -> Select[Any]:
    """With a condition that all rows meet whose keys are not NULL, so that they are looked up in the index."""
    # What SQLite keeps in a column of octets may be a number or text as well, which come before all octets.
    least = float("-inf") if connection.dialect.name == "sqlite" else b""
    values = [literal(least if isinstance(key.type, LargeBinary) else "", NullType()) for key in keys]
    plain = [type_coerce(key, NullType()) for key in keys]
    return statement.where(tuple_(*plain) >= tuple_(*values) if len(plain) > 1 else plain[0] >= values[0])


def after(statement: Select[Any], keys: Sequence[ColumnElement[Any]], values: Sequence[object]) -> Select[Any]:
    """Only what comes after the row that has these values for keys, which may be as they were read."""
    keys = [type_coerce(key, NullType()) for key in keys]
    places = [_place(value) for value in values]
    # As a row: from several comparisons, PostgreSQL would not see where in the index to begin.
    return statement.where(tuple_(*keys) > tuple_(*places) if len(keys) > 1 else keys[0] > places[0])


def _place(value: object) -> ColumnElement[Any]:
    if isinstance(value, UndecodableText):
        # No driver sends such text, and octets are after all text.
        return cast(literal(bytes(value), LargeBinary), Text)
    return literal(value, NullType())


def load_octets(value: object) -> bytes | None:
    """What a column of octets holds; None if it holds something else."""
    if isinstance(value, UndecodableText):
        return None
    return bytes(value) if isinstance(value, bytes | memoryview) else None


def load_time(value: object) -> datetime | None:
    """What a column of times holds; None if it holds something else."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC) if isinstance(value, datetime) else None
    except (ValueError, OverflowError):
        return None
