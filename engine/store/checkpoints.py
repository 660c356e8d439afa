"""Checkpoints: which events wait for one, the statement that is to be signed, and the signature.

What a statement says is not known here. It is committed before the token is asked, and one process at a time decides
what the next one is about; what the token has signed is committed together with the mark on every event it covers. A
statement that a crash has left without its signature is signed as it is, never replaced. So each event is in one
checkpoint, and each number stands for one statement.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    Row,
    Select,
    String,
    bindparam,
    func,
    insert,
    select,
    type_coerce,
    update,
)

from engine.errors import NotFound, StoreError
from engine.store.database import Database
from engine.store.raw_values import load_time
from engine.store.rows import CheckpointRow, Leaf, WaitingEvents
from engine.store.schema import checkpoints, events

_WAITS = events.c.checkpoint.is_(None)
_LEAF: tuple[Column[Any], ...] = (events.c.writer, events.c.sequence, events.c.previous_hash, events.c.hash)
_chains = (
    select(events.c.writer, func.min(events.c.sequence).label("first"), func.count().label("waiting"))
    .where(_WAITS)
    .group_by(events.c.writer)
    .subquery()
)
_WAITING_COLUMNS: tuple[ColumnElement[Any], ...] = (
    func.sum(_chains.c.waiting).label("many"),
    # As the database has it, whatever that is.
    type_coerce(func.min(events.c.recorded_at), String).label("oldest"),
)
# The oldest event of a chain is its first; those of a few chains are all that is looked up.
_WAITING: Select[Any] = select(*_WAITING_COLUMNS).join_from(
    _chains, events, (events.c.writer == _chains.c.writer) & (events.c.sequence == _chains.c.first)
)
_NEXT = select(*_LEAF).where(_WAITS).order_by(events.c.writer, events.c.sequence).limit(bindparam("most"))
_NEXT_OF_CHAIN = (
    select(*_LEAF)
    .where(_WAITS, events.c.writer == bindparam("writer"), events.c.sequence <= bindparam("last"))
    .order_by(events.c.sequence)
)
_KEYS = select(checkpoints.c.spki).distinct()
_LAST = select(checkpoints).order_by(checkpoints.c.number.desc()).limit(1)
_FIND = select(checkpoints).where(checkpoints.c.number == bindparam("number"))
_ADD = insert(checkpoints)
_SIGN = update(checkpoints).where(
    checkpoints.c.number == bindparam("of_number"),
    checkpoints.c.statement == bindparam("of_statement"),
    checkpoints.c.signature.is_(None),
)
_COVER = update(events).where(_WAITS, events.c.writer == bindparam("of_writer"), events.c.sequence <= bindparam("last"))
_HASH = select(events.c.hash).where(events.c.writer == bindparam("writer"), events.c.sequence == bindparam("sequence"))
_EVENT = select(events.c.hash, events.c.checkpoint).where(
    events.c.writer == bindparam("writer"), events.c.sequence == bindparam("sequence")
)
# There are at most as many of one chain as there are in all.
_COVERED_OF_CHAIN = (
    select(*_LEAF)
    .where(
        events.c.writer == bindparam("writer"),
        events.c.sequence <= bindparam("last"),
        events.c.sequence > bindparam("last") - bindparam("size"),
        events.c.checkpoint == bindparam("number"),
    )
    .order_by(events.c.sequence)
)

Build = Callable[[CheckpointRow | None, Sequence[Leaf], datetime], str]
"""The statement of the checkpoint after the first argument over these events, by writer and sequence, at that time."""

Read = Callable[[Executable, Mapping[str, object]], Sequence[Row[Any]]]
"""All rows of one SELECT. Raises StoreError."""


class Checkpoints:
    """The part of the store that knows checkpoints."""

    _database: Database
    _now: Callable[[], datetime]

    def find_waiting_events(self) -> WaitingEvents:
        """How many events no checkpoint covers, and when the oldest was recorded. Raises StoreError."""
        return _load_waiting(self._database.read(_WAITING)[0])

    def begin_checkpoint(
        self, build: Build, spki: bytes, *, at_least: int, recorded_by: datetime, most: int
    ) -> CheckpointRow | None:
        """The checkpoint that is to be signed now, its statement durable; None if there is none.

        That is the one that has a statement and no signature, or else a new one, of at most `most` events, if at least
        `at_least` wait or one has been since `recorded_by`. `spki` is the public half of the key that will sign. None
        also while another process decides. Raises StoreError, also what `build` raises.
        """
        now = self._now()

        def work(connection: Connection) -> CheckpointRow | None:
            if not self._database.try_exclusive(connection):
                return None
            found = connection.execute(_LAST).first()
            last = None if found is None else _load_checkpoint(found)
            if last is not None and last.signature is None:
                return last
            waiting = _load_waiting(connection.execute(_WAITING).one())
            if waiting.oldest is None or (waiting.count < at_least and waiting.oldest > recorded_by):
                return None
            leaves = [_load_leaf(row) for row in connection.execute(_NEXT, {"most": most})]
            new = CheckpointRow(
                number=1 if last is None else last.number + 1,
                recorded_at=now,
                statement=build(last, leaves, now),
                signature=None,
                spki=spki,
            )
            row = {"number": new.number, "recorded_at": now, "statement": new.statement, "spki": spki}
            connection.execute(_ADD, row)
            return new

        return self._database.write(work)

    def list_waiting_events(self, heads: Mapping[int, int]) -> list[Leaf]:
        """Events that no checkpoint covers, of these writers up to these sequences. Raises StoreError."""
        return [
            _load_leaf(row)
            for writer, last in sorted(heads.items())
            for row in self._database.read(_NEXT_OF_CHAIN, {"writer": writer, "last": last})
        ]

    def complete_checkpoint(
        self, number: int, statement: str, signature: bytes, heads: Mapping[int, int], size: int
    ) -> bool:
        """Keep the signature of this statement, and mark as covered the `size` events of these writers up to these
        sequences.

        False if another process has done so before. Raises StoreError, also when there are not as many events.
        """
        now = self._now()
        signed = {"of_number": number, "of_statement": statement, "signature": signature}

        def work(connection: Connection) -> bool:
            found = connection.execute(_FIND, {"number": number}).first()
            # Not before the statement, whatever the clocks do.
            signed_at = now if found is None else max(now, found.recorded_at)
            if connection.execute(_SIGN, {**signed, "signed_at": signed_at}).rowcount != 1:
                return False
            covered = sum(
                connection.execute(_COVER, {"of_writer": writer, "last": last, "checkpoint": number}).rowcount
                for writer, last in sorted(heads.items())
            )
            if covered != size:
                raise StoreError(f"Checkpoint {number} is about {size} events, and {covered} are there.")
            return True

        return self._database.write(work)

    def find_event_hash(self, writer: int, sequence: int) -> str | None:
        """The hash of an event; None if there is none. Raises StoreError."""
        rows = self._database.read(_HASH, {"writer": writer, "sequence": sequence})
        return rows[0].hash if rows else None

    def list_checkpoint_keys(self) -> frozenset[str]:
        """SHA-256 of the SubjectPublicKeyInfo, hex, of every key that checkpoints are signed by. Raises StoreError."""
        return frozenset(hashlib.sha256(row.spki).hexdigest() for row in self._database.read(_KEYS))

    def find_checkpoint(self, number: int) -> CheckpointRow:
        """As `CoveredEvents` has it."""
        return CoveredEvents(self._database.read).find_checkpoint(number)

    def find_covering(self, writer: int, sequence: int) -> int | None:
        """As `CoveredEvents` has it."""
        return CoveredEvents(self._database.read).find_covering(writer, sequence)

    def list_covered_events(self, number: int, heads: Mapping[int, int], size: int) -> list[Leaf]:
        """As `CoveredEvents` has it."""
        return CoveredEvents(self._database.read).list_covered_events(number, heads, size)


class CoveredEvents:
    """What checkpoints cover, for who only reads."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def find_checkpoint(self, number: int) -> CheckpointRow:
        """The checkpoint with this number. Raises NotFound, StoreError."""
        rows = self._read(_FIND, {"number": number})
        if not rows:
            raise NotFound(f"There is no checkpoint {number}.")
        return _load_checkpoint(rows[0])

    def find_covering(self, writer: int, sequence: int) -> int | None:
        """The number of the checkpoint that covers an event; None: none does yet. Raises NotFound, StoreError."""
        rows = self._read(_EVENT, {"writer": writer, "sequence": sequence})
        if not rows:
            raise NotFound(f"Writer {writer} has no event {sequence}.")
        number: int | None = rows[0].checkpoint
        return number

    def list_covered_events(self, number: int, heads: Mapping[int, int], size: int) -> list[Leaf]:
        """The events that a checkpoint covers, of these writers up to these sequences, in order. Raises StoreError.

        `size` is how many they are.
        """
        return [
            _load_leaf(row)
            for writer, last in sorted(heads.items())
            for row in self._read(_COVERED_OF_CHAIN, {"writer": writer, "last": last, "size": size, "number": number})
        ]


def _load_waiting(row: Row[Any]) -> WaitingEvents:
    oldest = load_time(row.oldest)
    if oldest is None and row.oldest is not None:
        raise StoreError("The audit trail was changed: when the oldest event was recorded that waits cannot be read.")
    return WaitingEvents(count=int(row.many or 0), oldest=oldest)


def _load_leaf(row: Row[Any]) -> Leaf:
    return Leaf(writer=row.writer, sequence=row.sequence, previous=row.previous_hash, hash=row.hash)


def _load_checkpoint(row: Row[Any]) -> CheckpointRow:
    return CheckpointRow(
        number=row.number,
        recorded_at=row.recorded_at,
        statement=row.statement,
        signature=row.signature,
        spki=row.spki,
    )
