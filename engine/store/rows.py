"""What goes into and comes out of the store: frozen values, times aware and in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypedDict


class Actor(Protocol):
    """Who does something, for the audit trail: any value with these three members. Never a secret."""

    @property
    def credential_id(self) -> str:
        """The id of the credential that was presented, or who it was without one."""

    @property
    def source(self) -> str:
        """The address that the request came from, or the machine and user of a command; empty if from nowhere."""

    @property
    def request_id(self) -> str:
        """Which request it was; empty if it was none."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An actor who is not known by a credential."""

    credential_id: str
    source: str = ""
    request_id: str = ""


ENGINE = Operator("engine")
"""The engine itself, on nobody's behalf."""


class NewEntry(Protocol):
    """A place in a certificate store that a certificate will take: any value with these three members."""

    @property
    def path(self) -> str:
        """Full path, ids joined by dots; everything before the last dot is the store's path."""

    @property
    def type(self) -> str:
        """`base` or `vical-entry`."""

    @property
    def metadata(self) -> Mapping[str, object] | None:
        """Complementary metadata, JSON values only."""


class Repeat(Protocol):
    """The Idempotency-Key of a request, and what it stands for: any value with these three members."""

    @property
    def scope(self) -> str:
        """The credential that the key belongs to."""

    @property
    def key(self) -> str:
        """The key as it was sent."""

    @property
    def digest(self) -> str:
        """SHA-256 of the whole request, lower-case hex."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A request with an Idempotency-Key that was not in vain so far."""

    digest: str
    """SHA-256 of the whole request, lower-case hex."""
    answer: str | None
    """The JSON that was answered; None while the request is under way."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key on a token and the path it is known by."""

    path: str
    token: str
    label: str
    key_id: bytes
    """CKA_ID."""
    key_type: str
    spki: bytes
    """DER SubjectPublicKeyInfo, as pinned when the key was generated, imported or adopted."""
    spki_sha256: str
    """Lower-case hex."""
    origin: str
    custody: Mapping[str, object]
    """The custody record: the token's own statement about the key, and what it did when it was tried."""
    checked_at: datetime
    """When the custody record was made."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """A path that stands for nothing any more."""

    row: KeyRow
    """What it stood for."""
    is_last: bool
    """Whether no other path stands for the same token key."""


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """The CA certificate that speaks against removing a key."""

    certificate_sha256: str
    """Lower-case hex."""
    not_after: datetime


@dataclass(frozen=True, slots=True)
class KeyMaking:
    """That the engine has made a token key, or tried to."""

    path: str
    """For which path."""
    is_open: bool
    """Whether it may still be at it."""


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A known credential. The secret is not here: only its SHA-256 is kept, and only to be looked up by."""

    credential_id: str
    scope: str
    roles: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account of a person."""

    email: str
    scope: str
    roles: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    """Log-ins in a row that failed."""
    locked_until: datetime | None
    """Until when no password is tried; may lie in the past."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A log-in that was counted and whose password may now be tried."""

    account_id: str
    email: str
    password_hash: str = field(repr=False)
    """argon2id, PHC string format."""
    failures: int
    """In a row, this one included."""
    locked_until: datetime | None
    """Until when no other password is tried."""


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """A tenant or service that was created over the API."""

    path: str
    type: str
    """`tenant`, `kms`, `x509-service` or `x509-store`."""
    name: str | None
    settings: Mapping[str, object]
    """Of a KMS: `token`, the name of its token."""
    dependencies: tuple[str, ...] = ()
    """What is attached to an X.509 service, where it was asked for."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What keeps a resource from being deleted; nothing of either: it was deleted."""

    below: tuple[str, ...]
    """Paths of the first few things below it."""
    services: tuple[str, ...]
    """X.509 services that it is attached to."""


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate at its place in a certificate store."""

    path: str
    type: str
    der: bytes
    metadata: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class IssuedRow:
    """A certificate that was issued here, and its intent."""

    sha256: str
    der: bytes
    serial_number: str
    """40 hex digits."""
    intent_id: str
    signing_key: str
    tbs: bytes
    grounds: str | None
    """Canonical JSON; None for a certificate that was issued before grounds were kept."""


class CertificateFacts(TypedDict):
    """A certificate that a caller brings, and what it says; `certificate`, `subject` and `issuer` are DER, digests
    lower-case hex."""

    certificate: bytes
    sha256: str
    subject: bytes
    issuer: bytes
    serial_number: int
    spki_sha256: str
    is_ca: bool
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """A CA certificate in a certificate store."""

    der: bytes
    trusted: bool
    """Whether it was issued into the store, or put there by somebody who may issue."""


@dataclass(frozen=True, slots=True)
class ProofIntent:
    """A signature that no request has asked for."""

    intent_id: str
    occasion: str
    """RETURN, EXAMINATION or MEASUREMENT of engine.store.chain."""
    signing_key: str
    """The full path of the key; its label, if none stands for it."""
    token: str
    key_id: bytes
    spki_sha256: str
    tbs_sha256: str
    """Lower-case hex, as the other."""

    def details(self) -> dict[str, str]:
        """What its events say of it, besides its id and what is to be signed."""
        return {
            "signatureKind": self.occasion,
            "signingKey": self.signing_key,
            "token": self.token,
            "keyId": self.key_id.hex(),
            "spkiSha256": self.spki_sha256,
        }


@dataclass(frozen=True, slots=True)
class DanglingIntent:
    """An intent that was open when the process ended: whether the token signed it is not known."""

    intent_id: str
    kind: str
    profile: str
    issuer: bytes | None
    """DER Name; None for a certification request."""
    serial_number: int | None
    tbs_sha256: str
    signing_key: str
    caller: str
    request_id: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class WaitingEvents:
    """Events that no checkpoint covers."""

    count: int
    oldest: datetime | None
    """When the oldest was recorded; None if there is none."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An event as a checkpoint sees it: its place in its writer's chain, and hashes in hex."""

    writer: int
    sequence: int
    previous: str
    """The hash of the event before."""
    hash: str


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A statement about events, and its signature once it has one."""

    number: int
    recorded_at: datetime
    statement: str
    """Canonical JSON."""
    signature: bytes | None
    """As X.509 writes it."""
    spki: bytes
    """DER SubjectPublicKeyInfo of the key that signs."""
