"""The ledger of the issuing corridor: an intent before each signature, its outcome after.

Each method returns when its record survives a crash. An intent leaves the state `intended` once, in the same
transaction as what follows from it: a certificate and its entries appear together, or not at all.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, literal_column, or_, select, update

from engine.errors import AlreadyExists, RequestUnderWay, StoreError, StoreUnavailable
from engine.store.certificates import ADD_CERTIFICATE, ADD_ENTRIES, digest_metadata, explain_taken
from engine.store.chain import FAILURE, PENDING, UNKNOWN, Event, sha256_hex
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.intents import ADD_INTENT, CLOSE, OF_OPEN, TOLD, close_intent, close_signed, end_event
from engine.store.left_open import LeftOpen
from engine.store.resources import check_places
from engine.store.rows import DanglingIntent, KeptAnswer, NewEntry, Repeat
from engine.store.schema import (
    FAILED,
    INTENDED,
    OUTCOME_UNKNOWN,
    SIGNED,
    encode_serial_number,
    entries,
    intents,
    parent_path,
)
from engine.store.statements import KnownStatements, keep_statement
from engine.store.sweeping import log_unknown
from engine.store.writer import writer_of

_SERIAL_TAKEN = select(intents.c.intent_id).where(
    intents.c.issuer == bindparam("issuer"), intents.c.serial_number == bindparam("serial_number")
)
_KEPT_ANSWER = select(intents.c.intent_id, intents.c.idempotency_digest, intents.c.answer).where(
    intents.c.idempotency_scope == bindparam("scope"), intents.c.idempotency_key == bindparam("key")
)
# With which an intent closes that nothing came of: the key may be used again.
_KEY_RELEASED = {"idempotency_scope": None, "idempotency_key": None}
# A literal, since the index of the open ones is of no use to a statement whose state is a parameter.
_IS_OPEN = intents.c.state == literal_column(f"'{INTENDED}'")
_CLOSE_CERTIFICATE = (
    update(intents)
    .where(
        *OF_OPEN,
        intents.c.kind == "certificate",
        intents.c.issuer == bindparam("of_issuer"),
        intents.c.serial_number == bindparam("of_serial_number"),
    )
    .returning(*TOLD)
)
_STATE = select(intents.c.state).where(intents.c.intent_id == bindparam("of_intent"))
_FILL = update(entries).where(entries.c.intent_id == bindparam("of_intent"))
_RESERVED = entries.c.certificate_sha256.is_(None)
_RELEASE = delete(entries).where(entries.c.intent_id == bindparam("of_intent"), _RESERVED)
_WRITERS = select(intents.c.writer).where(_IS_OPEN).distinct()
_CLOSE_THOSE = (
    update(intents).where(_IS_OPEN, intents.c.intent_id.in_(bindparam("those", expanding=True))).returning(*TOLD)
)
_CLOSE_DANGLING = (
    update(intents)
    .where(
        _IS_OPEN,
        or_(
            intents.c.writer.is_(None),
            intents.c.writer.in_(bindparam("dead", expanding=True))
            & intents.c.intent_id.not_in(bindparam("under_way", expanding=True)),
            intents.c.intent_id.in_(bindparam("those", expanding=True)),
        ),
    )
    .returning(*TOLD)
)


class Ledger(Trail):
    """The part of the store that knows intents."""

    _database: Database
    _now: Callable[[], datetime]
    _declared: Mapping[str, str] | None
    _left_open: LeftOpen
    _known_statements: KnownStatements

    def record_intent(
        self,
        *,
        intent_id: str,
        kind: str,
        profile: str,
        issuer: bytes | None,
        serial_number: int | None,
        tbs: bytes | None,
        tbs_sha256: str,
        signing_key: str,
        caller: str,
        target: str,
        request_id: str,
        request_digest: str,
        entries: Sequence[NewEntry],
        repeat: Repeat | None = None,
        source: str = "",
        grounds: str | None = None,
        issuing_key: str | None = None,
    ) -> None:
        """Before the token is asked: what is about to be signed, and the places it will take.

        `kind` is `certificate` (with issuer, serial number and tbs), `request` or `proof`; `target` is the path that
        the request was sent to, `source` the address it came from; `grounds` are those of a certificate, whose digest
        goes into the audit trail, and `issuing_key` the statement whose digest they name. Raises AlreadyExists when an
        entry is taken or reserved; RequestUnderWay when another intent has the key of `repeat`; NotFound if a store was
        deleted meanwhile; StoreError, also when the issuer has used the serial number before.
        """
        recorded_at = self._now()
        intent = {
            "intent_id": intent_id,
            "kind": kind,
            "profile": profile,
            "issuer": issuer,
            "serial_number": None if serial_number is None else encode_serial_number(serial_number),
            "tbs": tbs,
            "tbs_sha256": tbs_sha256,
            "signing_key": signing_key,
            "caller": caller,
            "target": target,
            "source": source,
            "request_id": request_id,
            "request_digest": request_digest,
            "state": INTENDED,
            "reason": None,
            "recorded_at": recorded_at,
            "closed_at": None,
            "idempotency_scope": None if repeat is None else repeat.scope,
            "idempotency_key": None if repeat is None else repeat.key,
            "idempotency_digest": None if repeat is None else repeat.digest,
            "grounds": grounds,
        }
        reservations = [
            {
                "path": entry.path,
                "store_path": parent_path(entry.path),
                "type": entry.type,
                "metadata": None if entry.metadata is None else dict(entry.metadata),
                "intent_id": intent_id,
                "certificate_sha256": None,
                "created_at": recorded_at,
            }
            for entry in entries
        ]

        intended = Event(
            "signature-intended",
            PENDING,
            caller,
            source,
            target,
            request_id,
            {
                "intentId": intent_id,
                "signatureKind": kind,
                "profile": profile or None,
                "signingKey": signing_key,
                "tbsSha256": tbs_sha256,
                "serialNumber": None if serial_number is None else encode_serial_number(serial_number),
                "issuerSha256": sha256_hex(issuer),
                "requestSha256": request_digest or None,
                "groundsSha256": None if grounds is None else sha256_hex(grounds.encode()),
                "entries": [_told_place(entry) for entry in entries] or None,
            },
        )

        keeps_key = self._known_statements.is_new(issuing_key)

        def work(connection: Connection) -> None:
            check_places(connection, (parent_path(entry.path) for entry in entries), self._declared)
            if issuing_key is not None and keeps_key:
                keep_statement(connection, issuing_key, recorded_at)
            connection.execute(ADD_INTENT, intent | {"writer": writer_of(connection)})
            if reservations:
                connection.execute(ADD_ENTRIES, reservations)
            self._tell(connection, intended)

        def explain(connection: Connection) -> AlreadyExists | RequestUnderWay | StoreError | None:
            # First, since who has the key has the entries too.
            if repeat is not None:
                parameters = {"scope": repeat.scope, "key": repeat.key}
                if connection.execute(_KEPT_ANSWER, parameters).first() is not None:
                    return RequestUnderWay("Another request with this Idempotency-Key came first.")
            taken = explain_taken(connection, [entry.path for entry in entries])
            if taken is not None:
                return taken
            if connection.execute(_SERIAL_TAKEN, intent).first() is not None:
                return StoreError("The issuer has used the serial number before; expected one never used.")
            return None

        with self._left_open.beginning(intent_id):
            self._database.write(work, explain)
        self._known_statements.remember(issuing_key)

    def record_certificate(
        self,
        *,
        intent_id: str,
        certificate: bytes,
        sha256: str,
        subject: bytes,
        issuer: bytes,
        serial_number: int,
        spki_sha256: str,
        is_ca: bool,
        not_before: datetime,
        not_after: datetime,
        answer: str | None = None,
    ) -> None:
        """After verification, before release: the certificate, at every place its intent reserved.

        `answer` is what a repeat of the request is to get, if its intent has a key for that.
        `certificate`, `subject` and `issuer` are DER; digests lower-case hex. Raises StoreError, also when no open
        intent has this issuer and serial number.
        """
        serial_digits = encode_serial_number(serial_number)
        close = {
            "of_intent": intent_id,
            "of_issuer": issuer,
            "of_serial_number": serial_digits,
            "state": SIGNED,
            "closed_at": self._now(),
            "answer": answer,
        }
        answer_sha256 = None if answer is None else sha256_hex(answer.encode())
        row = {
            "sha256": sha256,
            "intent_id": intent_id,
            "der": certificate,
            "subject": subject,
            "issuer": issuer,
            "serial_number": serial_digits,
            "spki_sha256": spki_sha256,
            "is_ca": is_ca,
            "not_before": not_before,
            "not_after": not_after,
        }

        def work(connection: Connection) -> None:
            closed = connection.execute(_CLOSE_CERTIFICATE, close).first()
            if closed is None:
                message = f"No open intent {intent_id} has the issuer and serial number of the certificate."
                raise _not_open(connection, intent_id, message)
            connection.execute(ADD_CERTIFICATE, row)
            connection.execute(_FILL, {"of_intent": intent_id, "certificate_sha256": sha256})
            self._tell(
                connection,
                end_event(
                    "certificate-signed",
                    closed,
                    {"certificateSha256": sha256, "spkiSha256": spki_sha256, "answerSha256": answer_sha256},
                ),
            )

        with self._left_open.ending(intent_id):
            self._database.write(work)

    def record_signed(self, *, intent_id: str) -> None:
        """After verification of a signature that is not a certificate's, before release. Raises StoreError."""
        close = {"of_intent": intent_id, "state": SIGNED, "closed_at": self._now()}

        def work(connection: Connection) -> None:
            told = close_signed(connection, close)
            if told is None:
                message = f"No open intent {intent_id} is for a certification request or a proof."
                raise _not_open(connection, intent_id, message)
            self._tell(connection, told)

        with self._left_open.ending(intent_id):
            self._database.write(work)

    def record_failure(self, *, intent_id: str, reason: str) -> None:
        """Nothing was signed: the serial number stays used, the places are free again. Raises StoreError."""
        close = {"state": FAILED, "reason": reason, "closed_at": self._now()}
        self._close_without_result(intent_id, close, "signature-failed", FAILURE, reason)

    def record_unknown(self, *, intent_id: str, reason: str) -> None:
        """Nothing was released, and something may have been signed: likewise, and the serial number is to be revoked.

        That goes into the log, too. Raises StoreError.
        """
        close = {"state": OUTCOME_UNKNOWN, "closed_at": self._now()}
        closed = self._close_without_result(intent_id, close, "signature-outcome-unknown", UNKNOWN, reason)
        log_unknown(_load_dangling(closed), f"since its request ended with {reason}")

    def _close_without_result(
        self, intent_id: str, close: Mapping[str, object], kind: str, outcome: str, reason: str
    ) -> Row[Any]:
        close = {"of_intent": intent_id, **close, **_KEY_RELEASED}

        def work(connection: Connection) -> Row[Any]:
            closed = close_intent(connection, CLOSE, close)
            connection.execute(_RELEASE, {"of_intent": intent_id})
            self._tell(connection, end_event(kind, closed, {"reason": reason}, outcome))
            return closed

        with self._left_open.ending(intent_id):
            return self._database.write(work)

    def find_kept_answer(self, scope: str, key: str) -> KeptAnswer | None:
        """What became of the request with this Idempotency-Key, or None when the key is free. Raises StoreError."""
        rows = self._database.read(_KEPT_ANSWER, {"scope": scope, "key": key})
        return KeptAnswer(digest=rows[0].idempotency_digest, answer=rows[0].answer) if rows else None

    def has_left_open(self) -> bool:
        """Whether requests have ended here whose end is not recorded yet."""
        return bool(self._left_open.listed())

    def close_dangling_intents(self) -> tuple[DanglingIntent, ...]:
        """Close what was open when its writer died, oldest first. At start, and again and again: others die too.

        Intents of living writers, here or in other processes, are left alone, but for those of requests that ended here
        without being able to say so; so are those of requests that are under way here, also when the connection that
        recorded them was lost. Serial numbers of closed ones stay used, the places they reserved are free again.
        Raises StoreError.
        """
        left_open = self._left_open.listed()
        if not self._database.read(_WRITERS):
            self._left_open.forget(left_open)
            return ()
        closing = {"closed_at": self._now(), **_KEY_RELEASED}
        never_asked = [intent_id for intent_id, was_asked in left_open.items() if not was_asked]

        def work(connection: Connection) -> tuple[DanglingIntent, ...]:
            writers = connection.execute(_WRITERS).scalars().all()
            dead = [writer for writer in writers if writer is not None and self._database.is_dead(connection, writer)]
            failed = closing | {"state": FAILED, "reason": StoreError.__name__, "those": never_asked}
            for row in connection.execute(_CLOSE_THOSE, failed).all() if never_asked else ():
                self._tell(connection, end_event("signature-failed", row, {"reason": StoreError.__name__}, FAILURE))
            unknown = closing | {"state": OUTCOME_UNKNOWN, "dead": dead, "those": list(left_open)}
            unknown["under_way"] = self._left_open.under_way()
            closed = connection.execute(_CLOSE_DANGLING, unknown).all()
            if closed or never_asked:
                ended = [*never_asked, *(row.intent_id for row in closed)]
                connection.execute(_RELEASE, [{"of_intent": intent_id} for intent_id in ended])
            for row in closed:
                self._tell(connection, end_event("signature-outcome-unknown", row, outcome=UNKNOWN))
            return tuple(
                _load_dangling(row) for row in sorted(closed, key=lambda row: (row.recorded_at, row.intent_id))
            )

        dangling = self._database.write(work)
        self._left_open.forget(left_open)
        return dangling


def _told_place(entry: NewEntry) -> dict[str, str]:
    """What the audit trail has of a place that a certificate will take."""
    told = {"path": entry.path, "type": entry.type}
    metadata_sha256 = digest_metadata(entry.metadata)
    return told if metadata_sha256 is None else {**told, "metadataSha256": metadata_sha256}


def _not_open(connection: Connection, intent_id: str, message: str) -> StoreError:
    """For work: why an intent cannot be closed."""
    if connection.execute(_STATE, {"of_intent": intent_id}).scalar_one_or_none() != OUTCOME_UNKNOWN:
        return StoreError(message)
    return StoreUnavailable(
        f"{message.removesuffix('.')}: another process has closed it, since the connection of its writer was lost."
    )


def _load_dangling(row: Row[Any]) -> DanglingIntent:
    return DanglingIntent(
        intent_id=row.intent_id,
        kind=row.kind,
        profile=row.profile,
        issuer=row.issuer,
        serial_number=None if row.serial_number is None else int(row.serial_number, 16),
        tbs_sha256=row.tbs_sha256,
        signing_key=row.signing_key,
        caller=row.caller,
        request_id=row.request_id,
        recorded_at=row.recorded_at,
    )
