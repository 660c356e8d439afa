"""What goes into and comes out of the store: frozen values, times aware and in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


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
class CredentialRow:
    """A known credential. The secret is not here: only its SHA-256 is kept, and only to be looked up by."""

    credential_id: str
    scope: str
    roles: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate at its place in a certificate store."""

    path: str
    type: str
    der: bytes
    metadata: Mapping[str, object] | None


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
