"""One intent in the database: how it is written, how it is closed, and what the event of its end says of it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, update
from sqlalchemy.sql import Update

from engine.errors import StoreError
from engine.store.chain import SUCCESS, Detail, Event, sha256_hex
from engine.store.schema import INTENDED, intents

ADD_INTENT = insert(intents)
# What the event of a closed intent says of it.
TOLD = (
    intents.c.intent_id,
    intents.c.kind,
    intents.c.profile,
    intents.c.issuer,
    intents.c.serial_number,
    intents.c.tbs_sha256,
    intents.c.signing_key,
    intents.c.caller,
    intents.c.source,
    intents.c.target,
    intents.c.request_id,
    intents.c.recorded_at,
)
# Names of their own, since an UPDATE claims its columns' names for the new values.
OF_OPEN = (intents.c.intent_id == bindparam("of_intent"), intents.c.state == INTENDED)
CLOSE_SIGNED = update(intents).where(*OF_OPEN, intents.c.kind != "certificate").returning(*TOLD)
CLOSE = update(intents).where(*OF_OPEN).returning(*TOLD)


def close_intent(connection: Connection, statement: Update, close: Mapping[str, object]) -> Row[Any]:
    """For work: an intent that is closed with this. Raises StoreError if it is not open."""
    row = connection.execute(statement, close).first()
    if row is None:
        raise StoreError(f"No intent {close['of_intent']} is open.")
    return row


def close_signed(connection: Connection, close: Mapping[str, object]) -> Event | None:
    """For work: close an intent that is not for a certificate; what is to be told of it. None if it is not open."""
    closed = connection.execute(CLOSE_SIGNED, close).first()
    return None if closed is None else end_event(f"{closed.kind}-signed", closed)


def end_event(
    kind: str, row: Row[Any], more: Mapping[str, Detail | None] | None = None, outcome: str = SUCCESS
) -> Event:
    """The event of an intent that closes; `row` has the columns of TOLD."""
    return Event(
        kind,
        outcome,
        row.caller,
        row.source or "",
        row.target or "",
        row.request_id,
        {
            "intentId": row.intent_id,
            "signingKey": row.signing_key,
            "tbsSha256": row.tbs_sha256,
            "serialNumber": row.serial_number,
            "issuerSha256": sha256_hex(row.issuer),
            **(more or {}),
        },
    )
