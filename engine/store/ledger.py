"""The ledger of the issuing corridor: an intent before each signature, its outcome after.

Each method returns when its record survives a crash. An intent leaves the state `intended` once, in the same
transaction as what follows from it: a certificate and its entries appear together, or not at all.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from engine.errors import AlreadyExists, StoreError
from engine.store.certificates import ADD_CERTIFICATE, ADD_ENTRIES, explain_taken
from engine.store.database import Database
from engine.store.rows import DanglingIntent, NewEntry
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

_ADD_INTENT = insert(intents)
_SERIAL_TAKEN = select(intents.c.intent_id).where(
    intents.c.issuer == bindparam("issuer"), intents.c.serial_number == bindparam("serial_number")
)
# Names of their own, since an UPDATE claims its columns' names for the new values.
_OPEN = (intents.c.intent_id == bindparam("of_intent"), intents.c.state == INTENDED)
_CLOSE_CERTIFICATE = update(intents).where(
    *_OPEN,
    intents.c.kind == "certificate",
    intents.c.issuer == bindparam("of_issuer"),
    intents.c.serial_number == bindparam("of_serial_number"),
)
_CLOSE_REQUEST = update(intents).where(*_OPEN, intents.c.kind == "request")
_CLOSE_FAILED = update(intents).where(*_OPEN)
_FILL = update(entries).where(entries.c.intent_id == bindparam("of_intent"))
_RESERVED = entries.c.certificate_sha256.is_(None)
_RELEASE = delete(entries).where(entries.c.intent_id == bindparam("of_intent"), _RESERVED)
_DANGLING = (
    select(
        intents.c.intent_id,
        intents.c.kind,
        intents.c.profile,
        intents.c.issuer,
        intents.c.serial_number,
        intents.c.tbs_sha256,
        intents.c.signing_key,
        intents.c.caller,
        intents.c.request_id,
        intents.c.recorded_at,
    )
    .where(intents.c.state == INTENDED)
    .order_by(intents.c.recorded_at, intents.c.intent_id)
)
_RELEASE_DANGLING = delete(entries).where(
    entries.c.intent_id.in_(select(intents.c.intent_id).where(intents.c.state == INTENDED)), _RESERVED
)
_CLOSE_DANGLING = update(intents).where(intents.c.state == INTENDED)


class Ledger:
    """The part of the store that knows intents."""

    _database: Database
    _now: Callable[[], datetime]

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
    ) -> None:
        """Before the token is asked: what is about to be signed, and the places it will take.

        `kind` is `certificate` (with issuer, serial number and tbs), `request` or `proof`; `target` is the path that
        the request was sent to. Raises AlreadyExists when an entry
        is taken or reserved; StoreError, also when the issuer has used the serial number before.
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
            "request_id": request_id,
            "request_digest": request_digest,
            "state": INTENDED,
            "reason": None,
            "recorded_at": recorded_at,
            "closed_at": None,
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

        def work(connection: Connection) -> None:
            connection.execute(_ADD_INTENT, intent)
            if reservations:
                connection.execute(ADD_ENTRIES, reservations)

        def explain(connection: Connection) -> AlreadyExists | StoreError | None:
            taken = explain_taken(connection, [entry.path for entry in entries])
            if taken is not None:
                return taken
            if connection.execute(_SERIAL_TAKEN, intent).first() is not None:
                return StoreError("The issuer has used the serial number before; expected one never used.")
            return None

        self._database.write(work, explain)

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
    ) -> None:
        """After verification, before release: the certificate, at every place its intent reserved.

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
        }
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
            if connection.execute(_CLOSE_CERTIFICATE, close).rowcount != 1:
                raise StoreError(f"No open intent {intent_id} has the issuer and serial number of the certificate.")
            connection.execute(ADD_CERTIFICATE, row)
            connection.execute(_FILL, {"of_intent": intent_id, "certificate_sha256": sha256})

        self._database.write(work)

    def record_signed_request(self, *, intent_id: str) -> None:
        """After verification of a certification request, before release. Raises StoreError."""
        close = {"of_intent": intent_id, "state": SIGNED, "closed_at": self._now()}

        def work(connection: Connection) -> None:
            if connection.execute(_CLOSE_REQUEST, close).rowcount != 1:
                raise StoreError(f"No open intent {intent_id} is for a certification request.")

        self._database.write(work)

    def record_failure(self, *, intent_id: str, reason: str) -> None:
        """Nothing was released: the serial number stays used, the places are free again. Raises StoreError."""
        close = {"of_intent": intent_id, "state": FAILED, "reason": reason, "closed_at": self._now()}

        def work(connection: Connection) -> None:
            if connection.execute(_CLOSE_FAILED, close).rowcount != 1:
                raise StoreError(f"No intent {intent_id} is open.")
            connection.execute(_RELEASE, {"of_intent": intent_id})

        self._database.write(work)

    def close_dangling_intents(self) -> tuple[DanglingIntent, ...]:
        """At start, before anything is issued: close what an earlier process left open, oldest first.

        Their serial numbers stay used, the places they reserved are free again. Raises StoreError.
        """
        close = {"state": OUTCOME_UNKNOWN, "closed_at": self._now()}

        def work(connection: Connection) -> tuple[DanglingIntent, ...]:
            dangling = connection.execute(_DANGLING).all()
            connection.execute(_RELEASE_DANGLING)
            connection.execute(_CLOSE_DANGLING, close)
            return tuple(
                DanglingIntent(
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
                for row in dangling
            )

        return self._database.write(work)
