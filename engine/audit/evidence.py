"""Evidence of one certificate: what was recorded of how it came about, with proofs that it was recorded then.

`engine.audit.verifier` says what is in it and verifies it, offline and with nothing of the engine.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.audit.checkpoint import CoveredEvents, Inclusion, find_inclusions
from engine.audit.stored import load_event
from engine.audit.verifier import EVIDENCE_FORMAT, canonical, load_json, verify_evidence
from engine.errors import NotFound, StoreError


class Issued(Protocol):
    """A certificate that was issued here, and its intent."""

    @property
    def sha256(self) -> str:
        """Of the certificate."""

    @property
    def der(self) -> bytes:
        """The certificate."""

    @property
    def tbs(self) -> bytes:
        """What was intended to be signed."""

    @property
    def grounds(self) -> str | None:
        """`engine.grounds` says of what."""


class Records(CoveredEvents, Protocol):
    """The part of the store that is asked here."""

    def list_signature_events(self, issued: Any, /) -> Sequence[Any]:
        """What the audit trail tells of the signature, in order: rows that `load_event` reads, and their hash."""

    def list_custody_events(self, signing_key: str, /) -> Sequence[Any]:
        """What it tells of how a key is held, in the order of time. Likewise."""

    def find_statement(self, sha256: str, /) -> str | None:
        """What was kept with this digest: about an issuing key, or its custody record."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded of a certificate that there can be evidence of."""

    records: Records = field(repr=False)
    issued: Issued = field(repr=False)
    events: Sequence[Any] = field(repr=False)
    """Rows, in the order of time."""
    issuing_key: str = field(repr=False)
    custody_record: str | None = field(repr=False)

    def is_covered(self) -> bool:
        """Whether signed checkpoints cover the events. Raises StoreError."""
        return all(self.records.find_covering(row.writer, row.sequence) is not None for row in self.events)

    def build_evidence(self) -> Mapping[str, object] | None:
        """The evidence, which verifies; None while no checkpoint covers one of the events. Raises StoreError."""
        proofs = find_inclusions(self.records, [(row.writer, row.sequence) for row in self.events])
        if proofs is None:
            return None
        evidence = {
            "format": EVIDENCE_FORMAT,
            "certificate": _base64(self.issued.der),
            "tbsCertificate": _base64(self.issued.tbs),
            "grounds": self.issued.grounds,
            "issuingKey": self.issuing_key,
            **({} if self.custody_record is None else {"custodyRecord": self.custody_record}),
            "events": [_render_event(row, proof) for row, proof in zip(self.events, proofs, strict=True)],
            "checkpoints": _render_checkpoints(proofs),
        }
        report = verify_evidence(evidence)
        if report.faults:
            raise StoreError(
                f"The evidence of the certificate {self.issued.sha256} does not verify: something of it was "
                f"changed. {report.faults[0]}."
            )
        return evidence


def find_recorded(records: Records, issued: Issued) -> Recorded:
    """Raises NotFound saying why there can be no evidence, StoreError."""
    if issued.grounds is None:
        raise NotFound(
            f"There is no evidence of the certificate {issued.sha256}: the engine that issued it did not keep on which "
            "grounds."
        )
    events = list(records.list_signature_events(issued))
    if not events:
        raise NotFound(f"There is no evidence of the certificate {issued.sha256}: no event tells of its signature.")
    changed = StoreError(f"The grounds of the certificate {issued.sha256} cannot be read: they were changed.")
    try:
        issuing_key = records.find_statement(load_json(issued.grounds)["issuingKeySha256"])
        key = load_json(issuing_key or "")
        digest, path = key["custodySha256"], key["path"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise changed from error
    if issuing_key is None:
        raise changed
    if digest is None:
        return Recorded(records, issued, events, issuing_key, None)
    events.insert(0, _find_custody_event(records, path, digest, events[0]))
    return Recorded(records, issued, events, issuing_key, records.find_statement(digest))


def render_evidence(evidence: Mapping[str, object]) -> str:
    """The file, a line."""
    return canonical(evidence) + "\n"


def _find_custody_event(records: Records, key: str, digest: str, intended: Any) -> Any:
    """The last event that tells of the record before the signature was intended."""
    telling = [
        row
        for row in records.list_custody_events(key)
        if f'"custodySha256":"{digest}"' in str(row.details) and _is_before(row, intended)
    ]
    if not telling:
        raise NotFound(
            f"There is no evidence of what the key {key} has signed so far: no event tells how the key is held. Have "
            "it examined, for evidence of what it signs from then on."
        )
    return telling[-1]


def _is_before(row: Any, other: Any) -> bool:
    """As the verifier has it: by sequence if one writer has told both, else by the writers' clocks."""
    if row.writer == other.writer and type(row.sequence) is type(other.sequence):
        return bool(row.sequence < other.sequence)
    return str(load_event(row)["recordedAt"]) <= str(load_event(other)["recordedAt"])


def _render_event(row: Any, proof: Inclusion) -> Mapping[str, object]:
    return {
        "event": load_event(row),
        "hash": row.hash,
        "inclusion": {
            "checkpoint": proof.checkpoint.number,
            "index": proof.index,
            "size": proof.size,
            "path": [node.hex() for node in proof.path],
        },
    }


def _render_checkpoints(proofs: Sequence[Inclusion]) -> list[Mapping[str, object]]:
    found = {proof.checkpoint.number: proof.checkpoint for proof in proofs}
    return [
        {
            "checkpoint": checkpoint.statement,
            "signature": _base64(checkpoint.signature or b""),
            "key": _base64(checkpoint.spki),
        }
        for _, checkpoint in sorted(found.items())
    ]


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()
