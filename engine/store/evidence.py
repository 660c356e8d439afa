"""What was recorded of one certificate, for the evidence of how it came about; also for who reads beside engines."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Executable, Row, Select, String, bindparam, select, text, type_coerce
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import ConfigError, NotFound, StoreError
from engine.store.address import Secret
from engine.store.certificate_names import load_certificate_name
from engine.store.checkpoints import CoveredEvents
from engine.store.database import reading_beside
from engine.store.faults import store_error
from engine.store.rows import IssuedRow
from engine.store.schema import TELLS_CUSTODY, certificates, entries, events, intents, statements
from engine.store.statements import FIND_STATEMENT

_ISSUED: Select[Any] = select(
    certificates.c.sha256,
    certificates.c.der,
    certificates.c.serial_number,
    intents.c.intent_id,
    intents.c.signing_key,
    intents.c.tbs,
    intents.c.grounds,
).join_from(certificates, intents, certificates.c.intent_id == intents.c.intent_id)
_BY_SHA256 = _ISSUED.where(certificates.c.sha256 == bindparam("sha256"))
_IS_KNOWN = select(certificates.c.sha256).where(certificates.c.sha256 == bindparam("sha256"))
# An entry that somebody has put there has no intent, also if the certificate was issued here, for whomever.
_AT = _ISSUED.join(entries, entries.c.certificate_sha256 == certificates.c.sha256).where(
    entries.c.path == bindparam("path"), entries.c.intent_id == certificates.c.intent_id
)
_IS_AT = select(entries.c.path).where(entries.c.path == bindparam("path"), entries.c.certificate_sha256.is_not(None))
_EVENT: Select[Any] = select(
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
)
_OF_SERIAL_NUMBER = _EVENT.where(
    events.c.serial_number == bindparam("serial_number"),
    events.c.kind.in_(("signature-intended", "certificate-signed")),
)
# Literal, as the index of these events has it.
_OF_CUSTODY = _EVENT.where(events.c.signing_key == bindparam("signing_key"), text(TELLS_CUSTODY)).order_by(
    events.c.recorded_at, events.c.writer, events.c.sequence
)


class EvidenceRecords(CoveredEvents):
    """Every method raises StoreError."""

    def find_issued_at(self, path: str) -> IssuedRow:
        """The certificate that was issued into a certificate store at `path`, and is there. Raises NotFound."""
        rows = self._read(_AT, {"path": path})
        if rows:
            return _load_issued(rows[0])
        if self._read(_IS_AT, {"path": path}):
            raise NotFound(f"There is no evidence of the certificate at {path}: it was put there, not issued there.")
        raise NotFound(f"No certificate is at {path}.")

    def find_issued(self, text: str) -> IssuedRow:
        """The certificate with this serial number or SHA-256, in hex.

        Raises NotFound, ConfigError for what is neither, or is the serial number of several: its details name them.
        """
        serial_number, sha256 = load_certificate_name(text)
        if serial_number is None:
            return self._find_by_sha256(sha256 or "")
        wanted = serial_number.lstrip("0") or "0"
        told = [_details(row) for row in self._of_serial_number(serial_number) if row.kind == "certificate-signed"]
        found = sorted({str(details.get("certificateSha256")) for details in told})
        if len(found) > 1:
            raise ConfigError(
                f"{len(found)} certificates have the serial number {wanted}; name one of them by its SHA-256.",
                details=found,
            )
        if not found:
            raise NotFound(f"The audit trail tells of no certificate with the serial number {wanted}, in hex.")
        return self._find_by_sha256(found[0])

    def list_signature_events(self, issued: IssuedRow) -> list[Row[Any]]:
        """What the audit trail tells of the signature: that it was intended, and that the certificate was signed."""
        rows = self._of_serial_number(issued.serial_number)
        return sorted(
            (row for row in rows if _details(row).get("intentId") == issued.intent_id),
            key=lambda row: row.kind == "certificate-signed",
        )

    def list_custody_events(self, signing_key: str) -> list[Row[Any]]:
        """What it tells of how the key at a path is held, in the order of time."""
        return list(self._read(_OF_CUSTODY, {"signing_key": signing_key}))

    def find_statement(self, sha256: str) -> str | None:
        """What was kept with this digest, canonical JSON: about an issuing key, or its custody record."""
        rows = self._read(FIND_STATEMENT, {"sha256": sha256})
        return rows[0].statement if rows else None

    def _find_by_sha256(self, sha256: str) -> IssuedRow:
        rows = self._read(_BY_SHA256, {"sha256": sha256})
        if rows:
            return _load_issued(rows[0])
        if self._read(_IS_KNOWN, {"sha256": sha256}):
            raise NotFound(f"There is no evidence of the certificate {sha256}: it was not issued here.")
        raise NotFound(f"There is no certificate with the SHA-256 {sha256}.")

    def _of_serial_number(self, digits: str) -> Sequence[Row[Any]]:
        return self._read(_OF_SERIAL_NUMBER, {"serial_number": digits})


@contextmanager
def reading_evidence(url: str, password: Secret | None = None) -> Iterator[EvidenceRecords]:
    """The records in the database at `url`, as of one moment, also while engines use it.

    Raises ConfigError if there are none, StoreError.
    """
    with reading_beside(url, password, statements) as connection:
        if connection is None:
            raise ConfigError("The database has no audit trail.")

        def read(statement: Executable, parameters: Mapping[str, object]) -> Sequence[Row[Any]]:
            try:
                return connection.execute(statement, parameters).all()
            except SQLAlchemyError as error:
                raise store_error(error, "The records of the certificate cannot be read.") from error
            except (ValueError, TypeError, OverflowError) as error:
                raise StoreError("The records of the certificate cannot be read: they were changed.") from error

        yield EvidenceRecords(read)


def _details(row: Row[Any]) -> Mapping[str, Any]:
    try:
        details = json.loads(row.details)
    except (ValueError, TypeError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {}


def _load_issued(row: Row[Any]) -> IssuedRow:
    return IssuedRow(
        sha256=row.sha256,
        der=row.der,
        serial_number=row.serial_number,
        intent_id=row.intent_id,
        signing_key=row.signing_key,
        tbs=row.tbs,
        grounds=row.grounds,
    )
