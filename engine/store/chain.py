"""The audit trail: what happened, in the very transaction that makes it so.

Each write connection is a writer with a chain of its own. An event is written as a statement, canonical JSON (members
sorted, no white space, UTF-8) of exactly

    actor details kind outcome previous recordedAt requestId sequence source target writer

all of them strings but `sequence`, an integer, and `details`, an object of strings, integers, booleans and lists of
strings; what is absent is empty. `writer` is in decimal, `recordedAt` ISO 8601 in UTC with microseconds. The hash of an
event is SHA-256 of one zero octet and the statement, which is also its leaf hash in a Merkle tree (RFC 6962 section
2.1), and `previous` is the hash of the event before, or 64 zeros. Of the details, `signingKey` and `serialNumber` have
columns of their own to be looked up by.

Where a chain is at is known by its connection alone and never read back: a connection that is made anew is another
writer. What is undone in the database is undone in the chain. No event holds a secret.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert

from engine.store.schema import ENGINE_STARTED, events

KINDS: Mapping[str, str] = {
    "signature-intended": "A key is about to sign: the token is asked after this is durable.",
    "certificate-signed": "A certificate was signed, verified and recorded.",
    "request-signed": "A certification request was signed and verified.",
    "proof-signed": "A key has proven itself by a signature that verifies.",
    "rate-measured": "A key has signed one message again and again, to measure how fast it does; none was kept.",
    "signature-repeated": "The token is asked again for an intended signature: whether it was made is not known.",
    "signature-failed": "Nothing came of an intended signature; the reason is the class of the error.",
    "signature-outcome-unknown": "Whether an intended signature was made is not known, or it was made and lost; the "
    "reason is as for a failure, or absent if nobody was left to record the end.",
    "key-generated": "A key was generated on its token and registered.",
    "key-imported": "A private JWK was made a key of a token and registered.",
    "key-adopted": "A key that was on its token already was registered.",
    "key-examined": "A key was examined on its token, and its custody record replaced.",
    "key-unbound": "A path does not stand for its key any more.",
    "key-destroyed": "A key was destroyed on its token, or was to be and was not.",
    "key-leftovers-destroyed": "What a call that was cut off had left on a token was destroyed.",
    "entry-added": "A certificate from elsewhere was put into a certificate store.",
    "entry-replaced": "A place in a certificate store was given another certificate or other metadata.",
    "entry-deleted": "A certificate was taken out of a certificate store.",
    "tenant-created": "A tenant was created.",
    "tenant-deleted": "A tenant was deleted.",
    "service-created": "A service was created.",
    "service-deleted": "A service was deleted.",
    "dependency-attached": "A KMS or certificate store was attached to an X.509 service.",
    "dependency-detached": "A KMS or certificate store was detached from an X.509 service.",
    "credential-created": "An API key was created.",
    "credential-revoked": "An API key was revoked.",
    "credential-refused": "No credential, or none that is valid, was presented; so many times since the last event.",
    "account-created": "An account was created.",
    "account-password-set": "An account was given another password, which ended its sessions and its lock.",
    "account-disabled": "An account was disabled, which ended its sessions.",
    "account-enabled": "An account was enabled, which ended its lock.",
    "account-locked": "An account was locked for a while: log-ins in a row failed, the one under way included.",
    "log-in": "A session was opened.",
    "log-in-refused": "A log-in was refused; so many times since the last event.",
    "request-refused": "A request was refused; where that was no fault of its own, so many times since the last event.",
    ENGINE_STARTED: "A process of the engine has opened its database and is about to open its tokens.",
    "engine-stopped": "A process of the engine has closed its tokens, or ends with one that does not answer.",
    "policy-changed": "The policy is not the one of the start before; these members of the configuration differ.",
    "configuration-changed": "The configuration file is not the one of the start before, and its policy is.",
    "token-login-refused": "A token has refused the login, or one more try might have locked it.",
    "token-lost": "A token does not answer, or not as it did; nothing is signed on it.",
    "token-back": "A token is about to be used again.",
}
"""Every kind of event, and what it says."""

PENDING, SUCCESS, FAILURE, REFUSED, UNKNOWN = "pending", "success", "failure", "refused", "unknown"
OUTCOMES = frozenset({PENDING, SUCCESS, FAILURE, REFUSED, UNKNOWN})
RETURN, EXAMINATION, MEASUREMENT = "return", "examination", "measurement"
"""What `signatureKind` is of signatures that no request has asked for."""
NO_HASH = "0" * 64
"""What the first event of a chain has before it."""

Detail = str | int | bool | Sequence[str] | Sequence[Mapping[str, str]]

_ADD = insert(events)
_quoted = json.encoder.encode_basestring
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Mark(NamedTuple):
    """Where a chain was."""

    sequence: int
    hash: str
    waiting: int


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be told; the chain adds the rest."""

    kind: str
    """One of KINDS."""
    outcome: str = SUCCESS
    actor: str = ""
    """The id of a credential, or who it was without one."""
    source: str = ""
    """The address that the request came from; for commands and starts, the machine and user."""
    target: str = ""
    request_id: str = ""
    details: Mapping[str, Detail | None] = field(default_factory=dict)
    """What is None is left out."""


class EventChain:
    """The chain of one write connection. Belongs to the writer's thread."""

    def __init__(self, writer: int | None) -> None:
        """`writer` is the number of the connection; None: it is nobody's, and nothing can be told."""
        self._writer = writer
        self._sequence = 0
        self._hash = NO_HASH
        self._rows: list[dict[str, Any]] = []

    def append(self, event: Event, now: datetime) -> None:
        """The next event; it is written with the transaction. Raises ValueError for a kind that nobody knows."""
        if self._writer is None:
            raise TypeError("Expected the connection of a writer.")
        if event.kind not in KINDS or event.outcome not in OUTCOMES:
            raise ValueError(f"There is no event {event.kind!r} with the outcome {event.outcome!r}.")
        sequence = self._sequence + 1
        details = {name: value for name, value in event.details.items() if value is not None}
        told = canonical(details)
        # The members are in the order of their names, as in canonical JSON.
        statement = (
            f'{{"actor":{_quoted(event.actor)},"details":{told},"kind":{_quoted(event.kind)},'
            f'"outcome":{_quoted(event.outcome)},"previous":"{self._hash}",'
            f'"recordedAt":"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}","requestId":{_quoted(event.request_id)},'
            f'"sequence":{sequence},"source":{_quoted(event.source)},"target":{_quoted(event.target)},'
            f'"writer":"{self._writer}"}}'
        )
        own_hash = hash_of(statement)
        self._rows.append(
            {
                "writer": self._writer,
                "sequence": sequence,
                "recorded_at": now,
                "kind": event.kind,
                "actor": event.actor,
                "source": event.source,
                "target": event.target,
                "outcome": event.outcome,
                "request_id": event.request_id,
                "details": told,
                "signing_key": details.get("signingKey"),
                "serial_number": details.get("serialNumber"),
                "previous_hash": self._hash,
                "hash": own_hash,
            }
        )
        self._sequence, self._hash = sequence, own_hash

    def mark(self) -> Mark:
        """Where it is now."""
        return Mark(self._sequence, self._hash, len(self._rows))

    def restore(self, mark: Mark) -> None:
        """Forget what came after the mark, since the database has undone it."""
        self._sequence, self._hash = mark.sequence, mark.hash
        del self._rows[mark.waiting :]

    def write(self, connection: Connection) -> None:
        """Write what waits, all at once."""
        rows, self._rows = self._rows, []
        if rows:
            connection.execute(_ADD, rows)


def canonical(value: object) -> str:
    """JSON with one spelling: members sorted, no white space, no escapes but those that JSON demands."""
    return _CANONICAL.encode(value)


def hash_of(statement: str) -> str:
    """RFC 6962 section 2.1, of a leaf; lower-case hex."""
    return hashlib.sha256(b"\x00" + statement.encode()).hexdigest()


def sha256_hex(octets: bytes | None) -> str | None:
    """Lower-case hex, of what there is."""
    return None if octets is None else hashlib.sha256(octets).hexdigest()


def custody_sha256(custody: Mapping[str, object]) -> str:
    """SHA-256 of a custody record as canonical JSON, lower-case hex."""
    return hashlib.sha256(canonical(custody).encode()).hexdigest()
