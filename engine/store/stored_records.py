"""What the engine has recorded of certificates, as it lies in the database, for who does not believe it.

Read in pages by key, each as of one moment and none longer than it takes to read it, so that engines write meanwhile
and the memory that is needed does not grow with what there is. What a column holds is passed on as it is, also where
that is not what belongs there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, Row
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import ConfigError, StoreError
from engine.store import record_statements as statements
from engine.store.address import Secret
from engine.store.database import look_again, reading_beside, writer_lives
from engine.store.faults import store_error
from engine.store.schema import events
from engine.store.statements import FIND_STATEMENT

PAGE = 500
_BEFORE_ALL = -(1 << 63)


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event about a signature or a place. `details` is empty if they cannot be read."""

    writer: int
    sequence: int
    kind: str
    actor: str
    request_id: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class IssuedPage:
    """Certificates, and what else is recorded of those that were issued here."""

    rows: Sequence[Row[Any]]
    """Columns of the certificate and of its intent, `certificates_...` and `intents_...`."""
    events: Mapping[str, Sequence[ToldEvent]] = field(default_factory=dict)
    """Of signatures, by intent."""
    paths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of entries, by intent."""


class StoredRecords:
    """Pages in the order of keys. Raises StoreError for what cannot be read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.trail_begins: datetime | None = self._fetch(statements.TRAIL_BEGINS)[0][0]
        """When the first event was recorded; None if there is none."""

    def is_before_trail(self, recorded_at: datetime) -> bool:
        """Whether no event can be expected of what was recorded then. Where there is no event at all, that is none."""
        return self.trail_begins is not None and recorded_at < self.trail_begins

    def count(self, what: str) -> int:
        """How many `certificates`, `intents` (of certificates), `entries` or `events` there are."""
        return int(self._fetch(statements.COUNTS[what])[0][0])

    def certificates(self) -> Iterator[IssuedPage]:
        """By SHA-256."""
        after = ""
        while True:
            with self._one_moment(f"the certificates after {after or 'the beginning'}"):
                rows = self._connection.execute(statements.CERTIFICATES, {"after": after, "page": PAGE}).all()
                issued = [row for row in rows if row.certificates_intent_id is not None]
                page = IssuedPage(rows, self._events_of(issued), self._paths_of(issued))
            if not rows:
                return
            yield page
            after = rows[-1].certificates_sha256

    def _events_of(self, rows: Sequence[Row[Any]]) -> Mapping[str, Sequence[ToldEvent]]:
        serials = {
            getattr(row, f"{table}_serial_number", None) for row in rows for table in ("certificates", "intents")
        }
        wanted = sorted(serial for serial in serials if isinstance(serial, str))
        found: dict[str, list[ToldEvent]] = {}
        for row in self._connection.execute(statements.EVENTS_OF_SERIALS, {"serials": wanted}) if wanted else ():
            event = _load_event(row)
            found.setdefault(str(event.details.get("intentId")), []).append(event)
        return found

    def _paths_of(self, rows: Sequence[Row[Any]]) -> Mapping[str, Sequence[str]]:
        wanted = [row.certificates_intent_id for row in rows]
        found: dict[str, list[str]] = {}
        for row in self._connection.execute(statements.ENTRIES_OF_INTENTS, {"intents": wanted}) if rows else ():
            found.setdefault(row.intent_id, []).append(row.path)
        return found

    def intents(self) -> Iterator[IssuedPage]:
        """Of certificates, by issuer and serial number; with the SHA-256 of the certificate, if there is one. Events
        of those that have none."""
        place: Mapping[str, object] = {"issuer": b"", "serial_number": "", "intent_id": ""}
        while True:
            with self._one_moment("the intents"):
                rows = self._connection.execute(statements.INTENTS, {**place, "page": PAGE}).all()
                page = IssuedPage(rows, self._events_of([row for row in rows if row.certificates_sha256 is None]))
            if not rows:
                return
            yield page
            place = {name: getattr(rows[-1], f"intents_{name}") for name in place}

    def open_intents(self) -> Iterator[Row[Any]]:
        """Of every kind, by id; those that are open now."""
        after = ""
        while rows := self._fetch(statements.OPEN, {"after": after, "page": PAGE}):
            yield from rows
            after = rows[-1].intents_intent_id

    def is_left_open(self, intent_id: str, writer: object) -> bool:
        """Whether nobody who lives will close it."""
        if isinstance(writer, int) and writer_lives(self._connection, writer):
            return False
        look_again(self._connection)
        # It may have been closed before its writer ended.
        return bool(self._fetch(statements.IS_OPEN, {"intent_id": intent_id}))

    def entries(self) -> Iterator[Sequence[Row[Any]]]:
        """By path, with the certificate and the intent that each refers to, if they are there."""
        after = ""
        while rows := self._fetch(statements.ENTRIES, {"after": after, "page": PAGE}):
            yield rows
            after = rows[-1].entries_path

    def events(self) -> Iterator[Sequence[ToldEvent]]:
        """Of all kinds, by writer and sequence."""
        place = {"writer": _BEFORE_ALL, "sequence": _BEFORE_ALL}
        while rows := self._fetch(statements.EVENTS, {**place, "page": PAGE}):
            yield [_load_event(row) for row in rows]
            place = {"writer": rows[-1].writer, "sequence": rows[-1].sequence}

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
        """When the certificate was put where it has been longest; None if it is nowhere."""
        put_at: datetime | None = self._fetch(statements.PUT_AT, {"sha256": sha256})[0][0]
        return put_at

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
    try:
        details = json.loads(row.details)
    except (ValueError, TypeError, RecursionError):
        details = None
    return ToldEvent(
        row.writer, row.sequence, row.kind, row.actor, row.request_id, details if isinstance(details, dict) else {}
    )


@contextmanager
def reading_records(url: str, password: Secret | None = None) -> Iterator[StoredRecords]:
    """The records in the database at `url`, also while engines use it. Raises ConfigError if there are none,
    StoreError."""
    with reading_beside(url, password, events) as connection:
        if connection is None:
            raise ConfigError("The database has no audit trail, and no records of this version of the engine.")
        yield StoredRecords(connection)
