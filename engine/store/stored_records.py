"""What the engine has recorded of certificates, as it lies in the database, for who does not believe it.

Read in pages by key, each as of one moment and none longer than it takes to read it, so that engines write meanwhile
and the memory that is needed does not grow with what there is. What a column holds is passed on as it is, also where
that is not what belongs there.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Executable, Row, Select
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import ConfigError, StoreError
from engine.store import record_statements as statements
from engine.store.address import Secret
from engine.store.database import look_again, reading_beside, writer_lives
from engine.store.faults import store_error
from engine.store.raw_values import after, from_the_first, load_time, read_whatever_is_there
from engine.store.schema import accounts, certificates, credentials, entries, events, intents, keys
from engine.store.statements import FIND_STATEMENT

PAGE = 500
_BEFORE_ALL = -(1 << 63)


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event."""

    writer: int
    sequence: int
    recorded_at: datetime | None
    kind: str
    actor: str
    target: str
    outcome: str
    request_id: str
    details: Mapping[str, object]
    """Empty if they cannot be read."""
    is_readable: bool


@dataclass(frozen=True, slots=True)
class IssuedPage:
    """Certificates, and what else is recorded of those that were issued here."""

    rows: Sequence[Row[Any]]
    """Columns of the certificate and of its intent, `certificates_...` and `intents_...`."""
    events: Mapping[str, Sequence[ToldEvent]] = field(default_factory=dict)
    """Of signatures, by intent; of certificates that were taken out of a store, by their SHA-256."""
    places: Mapping[str, Sequence[Row[Any]]] = field(default_factory=dict)
    """Columns of entries, `entries_...`, by intent; the metadata is JSON."""


@dataclass(frozen=True, slots=True)
class StandingRecords:
    """What is believed of who asks and of what signs."""

    told: Sequence[ToldEvent]
    keys: Sequence[Row[Any]]
    """Columns `keys_...`, and so on; custody and roles are JSON."""
    credentials: Sequence[Row[Any]]
    accounts: Sequence[Row[Any]]


class StoredRecords:
    """Pages in the order of keys. Raises StoreError for what cannot be read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.trail_begins = load_time(self._fetch(statements.TRAIL_BEGINS)[0][0])
        """When the first event was recorded; None if there is none, or that is no time."""

    def is_before_trail(self, recorded_at: datetime) -> bool:
        """Whether no event can be expected of what was recorded then. Where there is no event at all, that is none."""
        return self.trail_begins is not None and recorded_at < self.trail_begins

    def count(self, what: str) -> int:
        """How many `certificates`, `intents` (of certificates), `entries` or `events` there are."""
        return int(self._fetch(statements.COUNTS[what])[0][0])

    def certificates(self) -> Iterator[IssuedPage]:
        """By SHA-256."""
        last: Row[Any] | None = None
        while True:
            before = "the beginning" if last is None else last.certificates_sha256
            with self._one_moment(f"the certificates after {before}"):
                rows = self._page(statements.CERTIFICATES, [certificates.c.sha256], last)
                issued = [row for row in rows if row.certificates_intent_id is not None]
                page = IssuedPage(rows, self._events_of(issued), self._places_of(issued))
            if not rows:
                return
            yield page
            last = rows[-1]

    def _page(self, statement: Select[Any], key: Sequence[Column[Any]], last: Row[Any] | None) -> Sequence[Row[Any]]:
        """The rows after the one that the page before has ended with."""
        if last is None:
            statement = from_the_first(statement, key, self._connection)
        else:
            values = [getattr(last, f"{column.table.name}_{column.name}") for column in key]
            statement = after(statement, key, values)
        return self._connection.execute(statement, {"page": PAGE}).all()

    def _pages(self, statement: Select[Any], *key: Column[Any]) -> Iterator[Sequence[Row[Any]]]:
        last: Row[Any] | None = None
        while True:
            with self._one_moment("what is recorded"):
                rows = self._page(statement, key, last)
            if not rows:
                return
            yield rows
            last = rows[-1]

    def _events_of(self, rows: Sequence[Row[Any]]) -> Mapping[str, Sequence[ToldEvent]]:
        serials = {
            getattr(row, f"{table}_serial_number", None) for row in rows for table in ("certificates", "intents")
        }
        wanted = sorted(serial for serial in serials if isinstance(serial, str))
        found: dict[str, list[ToldEvent]] = {}
        for row in self._connection.execute(statements.EVENTS_OF_SERIALS, {"serials": wanted}) if wanted else ():
            event = _load_event(row)
            of = event.details.get("intentId", event.details.get("certificateSha256"))
            found.setdefault(str(of), []).append(event)
        return found

    def _places_of(self, rows: Sequence[Row[Any]]) -> Mapping[str, Sequence[Row[Any]]]:
        wanted = [row.certificates_intent_id for row in rows]
        found: dict[str, list[Row[Any]]] = {}
        for row in self._connection.execute(statements.ENTRIES_OF_INTENTS, {"intents": wanted}) if rows else ():
            found.setdefault(row.entries_intent_id, []).append(row)
        return found

    def intents(self) -> Iterator[IssuedPage]:
        """Of certificates, by issuer and serial number; with the SHA-256 of the certificate, if there is one. Events
        of those that have none."""
        key = (intents.c.issuer, intents.c.serial_number, intents.c.intent_id)
        last: Row[Any] | None = None
        while True:
            with self._one_moment("the intents"):
                rows = self._page(statements.INTENTS, key, last)
                page = IssuedPage(rows, self._events_of([row for row in rows if row.certificates_sha256 is None]))
            if not rows:
                return
            yield page
            last = rows[-1]

    def open_intents(self) -> Iterator[Row[Any]]:
        """Of every kind, by id; those that are open now."""
        statement = statements.OPEN
        while rows := self._fetch(statement, {"page": PAGE}):
            yield from rows
            statement = after(statements.OPEN, [statements.OPEN_ID], [rows[-1].intents_intent_id])

    def is_left_open(self, intent_id: str, writer: object) -> bool:
        """Whether nobody who lives will close it."""
        if isinstance(writer, int) and writer_lives(self._connection, writer):
            return False
        look_again(self._connection)
        # It may have been closed before its writer ended.
        return bool(self._fetch(statements.IS_OPEN, {"intent_id": intent_id}))

    def entries(self) -> Iterator[Sequence[Row[Any]]]:
        """By path, with the certificate and the intent that each refers to, if they are there. Metadata is JSON."""
        yield from self._pages(statements.ENTRIES, entries.c.path)

    def entries_at(
        self, paths: Sequence[str], kinds: Collection[str], since: datetime
    ) -> tuple[Mapping[str, Row[Any]], Sequence[ToldEvent]]:
        """Entries at these paths, and what the trail has told of these kinds at them since then, as of one moment."""
        with self._one_moment("what is recorded of places in certificate stores"):
            rows = self._connection.execute(statements.ENTRIES_AT, {"paths": list(paths), "page": len(paths)}).all()
            wanted = {"paths": list(paths), "kinds": sorted(kinds), "since": since}
            told = [_load_event(row) for row in self._connection.execute(statements.LATE_EVENTS_AT, wanted)]
            return {row.entries_path: row for row in rows}, told

    def events(self) -> Iterator[Sequence[ToldEvent]]:
        """Of all kinds, by writer and sequence."""
        place = {"writer": _BEFORE_ALL, "sequence": _BEFORE_ALL}
        while rows := self._fetch(statements.EVENTS, {**place, "page": PAGE}):
            yield [_load_event(row) for row in rows]
            place = {"writer": rows[-1].writer, "sequence": rows[-1].sequence}

    def standing(self, kinds: Collection[str], since: datetime) -> StandingRecords:
        """The keys, credentials and accounts, and what the trail has told of these kinds since then, as of one moment.

        They are as many as there are organizations and people, not certificates.
        """
        with self._one_moment("keys, credentials and accounts"):
            wanted = {"kinds": sorted(kinds), "since": since}
            told = [_load_event(row) for row in self._connection.execute(statements.LATE_EVENTS, wanted)]
            return StandingRecords(
                told,
                self._all(statements.KEYS, keys.c.path),
                self._all(statements.CREDENTIALS, credentials.c.credential_id),
                self._all(statements.ACCOUNTS, accounts.c.email),
            )

    def _all(self, statement: Select[Any], key: Column[Any]) -> Sequence[Row[Any]]:
        found: list[Row[Any]] = []
        while rows := self._page(statement, [key], found[-1] if found else None):
            found += rows
        return found

    def told_of(self, serial_number: object, intent_id: object) -> Sequence[ToldEvent]:
        """Events of the signature that an intent is for."""
        wanted = {"serials": [serial_number]}
        told = [_load_event(row) for row in self._fetch(statements.EVENTS_OF_SERIALS, wanted)]
        return [event for event in told if event.details.get("intentId") == intent_id]

    def known_intents(self, intent_ids: Sequence[str]) -> frozenset[str]:
        """Those of them that are there."""
        return self._known(statements.KNOWN_INTENTS, intent_ids)

    def known_certificates(self, sha256s: Sequence[str]) -> frozenset[str]:
        """Those of them that are there."""
        return self._known(statements.KNOWN_CERTIFICATES, sha256s)

    def _known(self, statement: Executable, those: Sequence[str]) -> frozenset[str]:
        return frozenset(row[0] for row in self._fetch(statement, {"those": those})) if those else frozenset()

    def was_put(self, sha256: str, serial_number: str) -> bool:
        """Whether an event tells of this certificate that it was put into a store, or taken out of one.

        `sha256` is in lower-case hex.
        """
        wanted = {"serial_number": serial_number, "told": f'"certificateSha256":"{sha256}"'}
        return bool(self._fetch(statements.PUT_EVENT, wanted))

    def put_at(self, sha256: str) -> datetime | None:
        """When the certificate was put where it has been longest; None if it is nowhere, or that is no time."""
        return load_time(self._fetch(statements.PUT_AT, {"sha256": sha256})[0][0])

    def find_intent(self, issuer: bytes, serial_number: str) -> Row[Any] | None:
        """The intent with this issuer (DER Name) and serial number."""
        found = self._fetch(statements.INTENT_OF_SERIAL, {"issuer": issuer, "serial_number": serial_number})
        return found[0] if found else None

    def find_key(self, path: str) -> Row[Any] | None:
        """`keys_spki` and `keys_created_at` of the key that the path stands for now."""
        found = self._fetch(statements.KEY, {"path": path})
        return found[0] if found else None

    def find_statement(self, sha256: str) -> str | None:
        """What was kept with this digest: about an issuing key, or its custody record."""
        found = self._fetch(FIND_STATEMENT, {"sha256": sha256})
        return str(found[0].statement) if found else None

    def is_custody_told(self, path: str, sha256: str) -> bool:
        """Whether an event tells of this custody record of the key at a path."""
        told = {"path": path, "told": f'"custodySha256":"{sha256}"'}
        return bool(self._fetch(statements.CUSTODY_EVENT, told))

    def find_certificate_of(self, spki_sha256: str) -> object:
        """The DER of a certificate for this key; None if there is none."""
        found = self._fetch(statements.OF_KEY, {"spki_sha256": spki_sha256})
        return found[0].certificates_der if found else None

    def find_authorities(self, subject: bytes) -> Sequence[Row[Any]]:
        """`certificates_der` and `certificates_intent_id` of the CA certificates with this subject (DER Name), those
        that last longest first."""
        return self._fetch(statements.AUTHORITIES, {"subject": subject})

    def _fetch(self, statement: Executable, parameters: Mapping[str, object] | None = None) -> Sequence[Row[Any]]:
        with self._one_moment("what is recorded of certificates"):
            return self._connection.execute(statement, parameters).all()

    @contextmanager
    def _one_moment(self, what: str) -> Iterator[None]:
        """What the block reads is as of one moment."""
        try:
            yield
            look_again(self._connection)
        except SQLAlchemyError as error:
            raise store_error(error, f"In the database, {what} cannot be read.") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise StoreError(f"In the database, {what} cannot be read: a value is not of its column's type.") from error


def _load_event(row: Row[Any]) -> ToldEvent:
    details: object = None
    with suppress(ValueError, RecursionError):
        details = json.loads(row.details) if isinstance(row.details, str) else None
    return ToldEvent(
        row.writer,
        row.sequence,
        load_time(row.recorded_at),
        row.kind,
        row.actor,
        row.target,
        row.outcome,
        row.request_id,
        details if isinstance(details, dict) else {},
        isinstance(details, dict),
    )


@contextmanager
def reading_records(url: str, password: Secret | None = None) -> Iterator[StoredRecords]:
    """The records in the database at `url`, also while engines use it. Raises ConfigError if there are none,
    StoreError."""
    with reading_beside(url, password, events) as connection:
        if connection is None:
            raise ConfigError("The database has no audit trail, and no records of this version of the engine.")
        read_whatever_is_there(connection)
        yield StoredRecords(connection)
