"""Trails and evidence that are made up by who has the audit key: whatever they say, all that is hashed, counted and
signed is right. What is wrong with them is what they say.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from engine.audit.merkle import audit_path, tree_hash

BEGIN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ISSUER_PATH = "test.tenant1.kms1.ca"
SERIAL = 0x1234


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def base64_of(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def hex_of(octets: bytes) -> str:
    return sha256(octets).hexdigest()


def spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def time_of(seconds: float) -> str:
    return f"{BEGIN + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"


@cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Event:
    """One that was told."""

    writer: int
    sequence: int
    statement: dict[str, Any]
    hash: str
    checkpoint: int | None = None


@dataclass
class Checkpoint:
    """One that was signed, and its events."""

    statement: str
    signature: bytes | None
    spki: bytes
    events: list[Event]

    @property
    def members(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.statement)
        return members

    def render(self) -> dict[str, object]:
        """As it is in an export."""
        signature = None if self.signature is None else base64_of(self.signature)
        return {"checkpoint": self.statement, "signature": signature, "key": base64_of(self.spki)}

    def render_witness(self) -> dict[str, object]:
        return {
            "statement": self.statement,
            "signature": base64_of(self.signature or b""),
            "key": base64_of(self.spki),
        }


@dataclass
class Trail:
    """Events and checkpoints."""

    events: list[Event] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def tell(self, writer: int = 1, /, **members: Any) -> Event:
        """The next event of a writer, a second after the event before; `members` instead of what they would be."""
        chain = [event for event in self.events if event.writer == writer]
        statement = {
            "actor": "somebody",
            "details": {},
            "kind": "log-in",
            "outcome": "success",
            "previous": chain[-1].hash if chain else "0" * 64,
            "recordedAt": time_of(len(self.events)),
            "requestId": "",
            "sequence": len(chain) + 1,
            "source": "",
            "target": "",
            "writer": str(writer),
        } | members
        event = Event(writer, len(chain) + 1, statement, hex_of(b"\x00" + canonical(statement).encode()))
        self.events.append(event)
        return event

    def cover(self, by: str = "audit", /, *, sign: bool = True, **members: Any) -> Checkpoint:
        """A checkpoint of all that is not covered yet; `members` instead of what they would be."""
        waiting = sorted((e for e in self.events if e.checkpoint is None), key=lambda e: (e.writer, e.sequence))
        before = self.checkpoints[-1] if self.checkpoints else None
        spki = spki_of(key_of(by))
        statement = canonical(
            {
                "chains": {str(event.writer): [event.sequence, event.hash] for event in waiting},
                "events": len(waiting),
                "key": hex_of(spki),
                "number": len(self.checkpoints) + 1,
                "previous": hex_of(before.statement.encode()) if before else "0" * 64,
                "recordedAt": time_of(len(self.events)),
                "root": tree_hash([bytes.fromhex(event.hash) for event in waiting]).hex(),
                "total": len(waiting) + (before.members["total"] if before else 0),
            }
            | members
        )
        signature = key_of(by).sign(statement.encode(), ec.ECDSA(SHA256())) if sign else None
        checkpoint = Checkpoint(statement, signature, spki, waiting)
        self.checkpoints.append(checkpoint)
        if sign:
            for event in waiting:
                event.checkpoint = len(self.checkpoints)
        return checkpoint

    def lines(self) -> list[dict[str, Any]]:
        """Of an export."""
        events = sorted(self.events, key=lambda event: (event.writer, event.sequence))
        rows = [{"event": event.statement, "hash": event.hash, "checkpoint": event.checkpoint} for event in events]
        return [*rows, *(checkpoint.render() for checkpoint in self.checkpoints)]

    def prove(self, event: Event) -> dict[str, Any]:
        """As evidence has it."""
        number = event.checkpoint or 0
        leaves = [bytes.fromhex(one.hash) for one in self.checkpoints[number - 1].events]
        index = self.checkpoints[number - 1].events.index(event)
        path = [node.hex() for node in audit_path(index, leaves)]
        inclusion = {"checkpoint": number, "index": index, "size": len(leaves), "path": path}
        return {"event": event.statement, "hash": event.hash, "inclusion": inclusion}


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def make_certificate(signer: str = "issuer", subject: str = "leaf", serial: int = SERIAL) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("issuer"))
    builder = builder.public_key(key_of(subject).public_key()).serial_number(serial)
    builder = builder.not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(days=1))
    return builder.sign(key_of(signer), SHA256())


def make_request(subject: str = "leaf") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key_of(subject), SHA256())
    return request.public_bytes(Encoding.DER)


@cache
def _usual_certificate() -> x509.Certificate:
    return make_certificate()


@cache
def _usual_request() -> bytes:
    return make_request()


class Facts:
    """What evidence is about, before anything has the digest of anything."""

    def __init__(self) -> None:
        self.certificate = _usual_certificate().public_bytes(Encoding.DER)
        self.tbs = _usual_certificate().tbs_certificate_bytes
        self.custody: str | None = '{"held":"on the token?"}'
        self.key: dict[str, Any] = {
            "path": ISSUER_PATH,
            "spki": base64_of(spki_of(key_of("issuer"))),
            "spkiSha256": hex_of(spki_of(key_of("issuer"))),
            "token": {"label": "trial?"},
        }
        self.proof: dict[str, Any] = {
            "method": "certification-request",
            "request": base64_of(_usual_request()),
            "requestSha256": hex_of(_usual_request()),
            "spkiSha256": hex_of(spki_of(key_of("leaf"))),
        }
        self.grounds: dict[str, Any] = {
            "engine": "1?",
            "lint": {"rules": 1, "rulesSha256": "a" * 64, "findings": []},
            "policySha256": "b" * 64,
            "profile": "generic",
            "requestSha256": "c" * 64,
        }
        self.spell: Callable[[dict[str, Any]], str] = canonical
        """How grounds are spelt."""


Told = dict[str, dict[str, Any]]
"""By custody, intended and signed: what the event has, in the order in which they are told."""


def _as_it_is(what: Any) -> None:
    """No lie."""


def make_evidence(
    facts: Callable[[Facts], None] = _as_it_is,
    told: Callable[[Told], object] = _as_it_is,
    proven: Callable[[Trail], object] = Trail.cover,
    evidence: Callable[[dict[str, Any]], object] = _as_it_is,
) -> dict[str, Any]:
    """Each argument changes what was made by then: `facts` what has its digests taken next, `told` what is recorded of
    that, `evidence` the file alone. `proven` makes the checkpoints."""
    base = Facts()
    facts(base)
    custody = None if base.custody is None else hex_of(base.custody.encode())
    key = canonical({"custodySha256": custody} | base.key)
    grounds = base.spell({"issuingKeySha256": hex_of(key.encode()), "proofOfPossession": base.proof} | base.grounds)
    named = {"signingKey": ISSUER_PATH, "serialNumber": f"{SERIAL:040x}", "tbsSha256": hex_of(base.tbs)}
    named["intentId"] = "intent-1"
    events: Told = {
        "custody": {
            "kind": "key-generated",
            "details": {
                "signingKey": ISSUER_PATH,
                "spkiSha256": hex_of(spki_of(key_of("issuer"))),
                "custodySha256": custody,
            },
        },
        "intended": {
            "kind": "signature-intended",
            "outcome": "pending",
            "details": named
            | {
                "groundsSha256": hex_of(grounds.encode()),
                "profile": "generic",
                "requestSha256": "c" * 64,
                "signatureKind": "certificate",
            },
        },
        "signed": {
            "kind": "certificate-signed",
            "details": named
            | {"certificateSha256": hex_of(base.certificate), "spkiSha256": hex_of(spki_of(key_of("leaf")))},
        },
    }
    if custody is None:
        del events["custody"]
    told(events)
    trail = Trail()
    recorded: Mapping[str, Event] = {
        what: trail.tell(members.pop("writer", 1), **members) for what, members in events.items()
    }
    proven(trail)
    made: dict[str, Any] = {
        "format": "signing-engine-evidence/1",
        "certificate": base64_of(base.certificate),
        "tbsCertificate": base64_of(base.tbs),
        "grounds": grounds,
        "issuingKey": key,
        "events": [trail.prove(recorded[what]) for what in ("custody", "intended", "signed") if what in recorded],
        "checkpoints": [checkpoint.render() for checkpoint in trail.checkpoints],
    }
    if base.custody is not None:
        made["custodyRecord"] = base.custody
    evidence(made)
    return made
