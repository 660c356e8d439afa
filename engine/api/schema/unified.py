"""The one call of newer clients that issues whatever is to be issued."""

from typing import Literal

from pydantic import Field

from engine.api.fields import Flag, Instant, KeyUsageName, ObjectIdentifier, Path, Strings
from engine.api.schema.issued import GenericData
from engine.api.schema.model import Answer, Model

IACA_PROFILE = "iso-iaca-root"
DOCUMENT_SIGNER_PROFILE = "iso-document-signer"


class GeneralNameMembers(Model):
    """An alternative name."""

    type: Literal["dnsName", "email", "uri", "ipAddress"]
    name: str


class UnifiedMetadata(Model):
    """What is kept beside the certificate."""

    vical_doc_type: Strings | None = None
    """The document types that a VICAL names for an IACA."""


class IssueUnified(Model):
    """Issue a certificate: generic if no profile is named."""

    store_ref: Path | None = None
    """The attached store that is to keep it; every attached one if it is not given."""
    certificate_profile: Literal["iso-iaca-root", "iso-document-signer"] | None = None
    self_signed: Flag | None = None
    issuer_key_ref: Path | None = None
    """The full path of the key that signs."""
    issuer_certificate_ref: Path | None = None
    """The full path of the CA's certificate in an attached store."""
    issuer_certificate_pem: str | None = None
    subject_key_ref: Path | None = None
    """The full path of the subject's key, unless it comes in a certification request."""
    csr_pem: str | None = None
    subject_dn: str | None = None
    """RFC 4514, such as `C=US,CN=Example`; the profile decides the order of the attributes."""
    valid_from: Instant | None = None
    valid_to: Instant | None = None
    key_usage: tuple[KeyUsageName, ...] | None = None
    extended_key_usage_oids: tuple[ObjectIdentifier, ...] | None = None
    basic_constraints_ca: Flag | None = None
    crl_distribution_point_uri: str | None = None
    issuer_alternative_names: tuple[GeneralNameMembers, ...] | None = None
    subject_alternative_names: tuple[GeneralNameMembers, ...] | None = None
    metadata: UnifiedMetadata | None = None


class UnifiedCertificate(Answer):
    """A certificate of any profile."""

    id: Path | None = Field(default=None, alias="_id")
    """The first of `storedCertificateIds`."""
    certificate_pem: str
    certificate_data: GenericData
    stored_certificate_ids: list[Path] | None = None
    """The full path in each store that keeps it."""


class IssuedUnified(Answer):
    """What was issued."""

    certificate: UnifiedCertificate
