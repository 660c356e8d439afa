"""The calls of a certificate store."""

from typing import Annotated, Literal

from pydantic import Field

from engine.api.fields import Path
from engine.api.schema.model import Answer, Model
from engine.api.schema.x509_service import VicalMetadataMembers
from engine.directory import EntryOrder


class BaseEntryMembers(Model):
    """Keep a certificate."""

    type: Literal["base"]
    certificate_pem: str

    def value(self) -> EntryOrder:
        return EntryOrder(self.type, self.certificate_pem)


class VicalEntryMembers(Model):
    """Keep a certificate with what a VICAL says about it."""

    type: Literal["vical-entry"]
    certificate_pem: str
    complementary_metadata: VicalMetadataMembers

    def value(self) -> EntryOrder:
        return EntryOrder(self.type, self.certificate_pem, self.complementary_metadata.value())


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Base64 = Annotated[str, Field(pattern="^[A-Za-z0-9+/]+={0,2}$")]

KeepCertificate = Annotated[BaseEntryMembers | VicalEntryMembers, Field(discriminator="type")]


class EntryData(Answer):
    """What is kept."""

    type: Literal["base", "vical-entry"]
    pem: str
    complementary_metadata: dict[str, object] | None = None
    """Of a `vical-entry`, as it was given."""


class StoreEntry(Answer):
    """An entry of a certificate store."""

    id: Path = Field(alias="_id")
    """The full path."""
    data: EntryData


class EvidenceEvent(Answer):
    """An event of the audit trail."""

    actor: str
    """The credential, or who it was without one."""
    details: dict[str, object]
    """What the kind of event has to say; among it are digests of the other members."""
    kind: str
    outcome: str
    previous: Sha256
    """The hash of the event before it, in the chain of its writer."""
    recorded_at: str
    """ISO 8601, UTC, microseconds."""
    request_id: str
    sequence: int = Field(ge=1)
    source: str
    """The address that the request came from."""
    target: str
    writer: str = Field(pattern="^[0-9]+$")


class EvidenceInclusion(Answer):
    """A proof that an event is in a checkpoint (RFC 6962 section 2.1.1)."""

    checkpoint: int = Field(ge=1)
    index: int = Field(ge=0)
    """Of the event among those of the checkpoint."""
    size: int = Field(ge=1)
    path: list[Sha256]
    """Lowest node first."""


class EvidenceOfEvent(Answer):
    """An event, its hash, and where it is in a checkpoint."""

    event: EvidenceEvent
    hash: Sha256
    inclusion: EvidenceInclusion


class EvidenceCheckpoint(Answer):
    """A signed statement about events."""

    checkpoint: str
    """Canonical JSON, as it is signed."""
    signature: Base64
    key: Base64
    """The SubjectPublicKeyInfo (DER) of the audit key."""


class Evidence(Answer):
    """What was recorded of how a certificate came about, and proofs that it was: the stand-alone verifier takes this as
    a file."""

    format: Literal["signing-engine-evidence/1"]
    certificate: Base64
    """DER."""
    tbs_certificate: Base64
    """What was to be signed, as it was recorded before it was."""
    grounds: str
    """On which grounds it was signed: canonical JSON."""
    issuing_key: str
    """Which key has signed, on which token: canonical JSON."""
    custody_record: str | None = None
    """How the issuing key was held: canonical JSON. Absent for a private JWK that the caller brought."""
    events: list[EvidenceOfEvent]
    """That of the custody record, that the signature was intended, and that the certificate was signed."""
    checkpoints: list[EvidenceCheckpoint]


class DeletedEntry(Answer):
    """An entry that is there no longer."""

    id: Path = Field(alias="_id")
    """The full path it had."""
