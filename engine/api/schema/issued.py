"""What an X.509 service answers."""

from pydantic import ConfigDict, Field

from engine.api.fields import Instant, ObjectIdentifier, Path
from engine.api.schema.model import Answer
from engine.api.schema.public_jwk import PublicJwk

OneOrMore = str | list[str]
"""A list if the name has the attribute more than once, as a foreign issuer's may."""


class NameAnswer(Answer):
    """A name as it is encoded. An attribute that is not described here has its dotted object identifier as member."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OneOrMore] = Field(init=False)

    common_name: OneOrMore | None = None
    country: OneOrMore | None = None
    organization_name: OneOrMore | None = None
    state_or_province_name: OneOrMore | None = None
    locality_name: OneOrMore | None = None
    organizational_unit_name: OneOrMore | None = None
    serial_number: OneOrMore | None = None
    email_address: OneOrMore | None = None


class AlternativeNamesAnswer(Answer):
    """Subject alternative names, normalised; a kind of which there is none is left out."""

    dns_names: list[str] | None = None
    uris: list[str] | None = None
    emails: list[str] | None = None
    ip_addresses: list[str] | None = None


class RequestData(Answer):
    """What a certification request says."""

    subject_name: NameAnswer
    subject_alternative_names: AlternativeNamesAnswer | None = None
    public_key_jwk: PublicJwk


class CreatedRequest(Answer):
    """A certification request (RFC 2986)."""

    csr_pem: str = Field(alias="csrPEM")
    csr_data: RequestData


class _Issued(Answer):
    """What is said of every certificate."""

    not_before: Instant
    not_after: Instant
    serial_number: str = Field(pattern="^[0-9a-f]{40}$")
    """The octets of the serial number in hex."""
    issuer_name: NameAnswer


class GenericData(_Issued):
    """What a generic certificate says, defaults included."""

    subject_name: NameAnswer
    key_usage: list[str] | None = None
    extended_key_usage_oids: list[ObjectIdentifier] | None = None
    subject_alternative_names: AlternativeNamesAnswer | None = None
    is_certificate_authority: bool
    path_length_constraint: int | None = None
    crl_distribution_point_uri: str | None = None


class _IsoData(_Issued):
    """The subject of an ISO/IEC 18013-5 certificate, whose members are not in a `subjectName`."""

    common_name: str
    country: str
    organization_name: str | None = None
    state_or_province_name: str | None = None
    crl_distribution_point_uri: str | None = None


class IssuerAlternativeNameAnswer(Answer):
    """How to reach an IACA."""

    email: str | None = None
    uri: str | None = None


class IacaDataAnswer(_IsoData):
    """What an IACA root certificate says."""

    issuer_alternative_name_conf: IssuerAlternativeNameAnswer


class DocumentSignerDataAnswer(_IsoData):
    """What a document signer certificate says."""

    locality_name: str | None = None


class _Certificate(Answer):
    certificate_pem: str = Field(alias="certificatePEM")
    stored_certificate_ids: list[Path] | None = None
    """The full path in each attached store."""


class GenericCertificate(_Certificate):
    """A generic certificate."""

    certificate_data: GenericData


class IacaCertificate(_Certificate):
    """An IACA root certificate."""

    certificate_data: IacaDataAnswer


class DocumentSignerCertificate(_Certificate):
    """A document signer certificate."""

    certificate_data: DocumentSignerDataAnswer
