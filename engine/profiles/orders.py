"""What a caller orders: plain frozen values, one dataclass per profile and kind.

An order says only what was asked for; nothing is checked here, and a member that was not given is None or empty.
Times are aware datetimes. KeyUsage names are spelt as in RFC 5280 section 4.2.1.3 (`digitalSignature`).
"""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SubjectName:
    """The attributes of a generic subject; the profile decides their order (C, ST, L, O, OU, CN)."""

    common_name: str
    country: str | None = None
    organization_name: str | None = None
    state_or_province_name: str | None = None
    locality_name: str | None = None
    organizational_unit_name: str | None = None


@dataclass(frozen=True, slots=True)
class AlternativeNames:
    """SubjectAltName values as text; they are put in this order: DNS names, URIs, e-mail and IP addresses."""

    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GenericOrder:
    """A generic certificate: an end entity or, with `is_certificate_authority`, a CA."""

    subject_name: SubjectName
    key_usage: tuple[str, ...] = ()
    extended_key_usage: tuple[str, ...] = ()
    """Dotted object identifiers."""
    subject_alternative_names: AlternativeNames = field(default_factory=AlternativeNames)
    not_before: datetime | None = None
    not_after: datetime | None = None
    is_certificate_authority: bool = False
    path_length_constraint: int | None = None
    crl_distribution_point_uri: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerAlternativeNameOrder:
    """How to reach the IACA: an e-mail address, a URI, or both (ISO/IEC 18013-5 Annex B asks for one at least)."""

    email: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class IacaOrder:
    """An IACA root certificate, or the description of one that signs a document signer certificate."""

    country: str
    common_name: str
    issuer_alternative_name: IssuerAlternativeNameOrder
    state_or_province_name: str | None = None
    organization_name: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    crl_distribution_point_uri: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentSignerOrder:
    """An mdoc document signer certificate under an IACA."""

    country: str
    common_name: str
    crl_distribution_point_uri: str
    state_or_province_name: str | None = None
    organization_name: str | None = None
    locality_name: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class GenericRequestOrder:
    """A certification request that asks for a subject and, if any are given, alternative names."""

    subject_name: SubjectName
    subject_alternative_names: AlternativeNames = field(default_factory=AlternativeNames)


@dataclass(frozen=True, slots=True)
class DocumentSignerRequestOrder:
    """A certification request for an mdoc document signer certificate."""

    country: str
    common_name: str
    state_or_province_name: str | None = None
    organization_name: str | None = None
    locality_name: str | None = None
