"""The calls of an X.509 service."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from engine.api.fields import (
    Country,
    Flag,
    Id,
    Instant,
    IsoCountry,
    KeyUsageName,
    LongName,
    ObjectIdentifier,
    Path,
    PathLength,
    ShortName,
    Strings,
    WebAddress,
)
from engine.api.schema.model import Model
from engine.directory import (
    CaSigned,
    CsrSource,
    HostedKey,
    IacaData,
    IacaPem,
    JwkKey,
    KeySource,
    SelfSigned,
    SubjectSource,
)
from engine.errors import MalformedRequest
from engine.profiles.orders import (
    AlternativeNames,
    DocumentSignerOrder,
    DocumentSignerRequestOrder,
    GenericOrder,
    GenericRequestOrder,
    IacaOrder,
    IssuerAlternativeNameOrder,
    SubjectName,
)


class HostedKeyMembers(Model):
    """A key of a KMS."""

    type: Literal["kms-hosted-key-descriptor"]
    key_id_path: Path

    def value(self) -> HostedKey:
        return HostedKey(self.key_id_path)


class JwkMembers(Model):
    """A key brought along as a JWK (RFC 7517); whether it needs or may have a private half depends on its use."""

    type: Literal["jwk-encoded-key-descriptor"]
    jwk: dict[str, object] = Field(repr=False)

    def value(self) -> JwkKey:
        return JwkKey(self.jwk)


def hosted_path(key: HostedKeyMembers | JwkMembers) -> str | None:
    """The path of a key of a KMS; None: it is another one."""
    return key.key_id_path if isinstance(key, HostedKeyMembers) else None


KeyDescriptorMembers = Annotated[HostedKeyMembers | JwkMembers, Field(discriminator="type")]


class SubjectNameMembers(Model):
    """The attributes of a generic subject."""

    common_name: ShortName
    country: Country | None = None
    organization_name: ShortName | None = None
    state_or_province_name: LongName | None = None
    locality_name: LongName | None = None
    organizational_unit_name: ShortName | None = None

    def value(self) -> SubjectName:
        return SubjectName(**dict(self))


class AlternativeNamesMembers(Model):
    """Subject alternative names."""

    dns_names: Strings | None = None
    uris: Strings | None = None
    emails: Strings | None = None
    ip_addresses: Strings | None = None

    def value(self) -> AlternativeNames:
        return AlternativeNames(
            dns_names=self.dns_names or (),
            uris=self.uris or (),
            emails=self.emails or (),
            ip_addresses=self.ip_addresses or (),
        )


def _alternative_names(members: AlternativeNamesMembers | None) -> AlternativeNames:
    return AlternativeNames() if members is None else members.value()


class GenericRequestMembers(Model):
    """Create a certification request: any subject."""

    type: Literal["generic"]
    subject_key_descriptor: KeyDescriptorMembers
    subject_name: SubjectNameMembers
    subject_alternative_names: AlternativeNamesMembers | None = None

    def value(self) -> GenericRequestOrder:
        return GenericRequestOrder(self.subject_name.value(), _alternative_names(self.subject_alternative_names))


class DocumentSignerSubjectMembers(Model):
    """The subject of an mdoc document signer."""

    country: IsoCountry
    common_name: ShortName
    state_or_province_name: LongName | None = None
    organization_name: ShortName | None = None
    locality_name: LongName | None = None


class DocumentSignerRequestMembers(Model):
    """Create a certification request: an mdoc document signer."""

    type: Literal["iso-document-signer"]
    subject_key_descriptor: KeyDescriptorMembers
    certificate_data: DocumentSignerSubjectMembers

    def value(self) -> DocumentSignerRequestOrder:
        return DocumentSignerRequestOrder(**dict(self.certificate_data))


CreateRequest = Annotated[GenericRequestMembers | DocumentSignerRequestMembers, Field(discriminator="type")]


class GenericDataMembers(Model):
    """What a generic certificate is to say."""

    subject_name: SubjectNameMembers
    key_usage: tuple[KeyUsageName, ...] | None = None
    extended_key_usage_oids: tuple[ObjectIdentifier, ...] | None = None
    subject_alternative_names: AlternativeNamesMembers | None = None
    not_before: Instant | None = None
    not_after: Instant | None = None
    is_certificate_authority: Flag | None = None
    path_length_constraint: PathLength | None = None
    crl_distribution_point_uri: WebAddress | None = None

    def value(self) -> GenericOrder:
        return GenericOrder(
            subject_name=self.subject_name.value(),
            key_usage=self.key_usage or (),
            extended_key_usage=self.extended_key_usage_oids or (),
            subject_alternative_names=_alternative_names(self.subject_alternative_names),
            not_before=self.not_before,
            not_after=self.not_after,
            is_certificate_authority=bool(self.is_certificate_authority),
            path_length_constraint=self.path_length_constraint,
            crl_distribution_point_uri=self.crl_distribution_point_uri,
        )


class CsrMembers(Model):
    """The subject's key comes in a certification request."""

    type: Literal["csr"]
    csr_pem: str = Field(alias="csrPEM")

    def value(self) -> CsrSource:
        return CsrSource(self.csr_pem)


class KeySourceMembers(Model):
    """The subject's key is described."""

    type: Literal["key-descriptor"]
    key_descriptor: KeyDescriptorMembers

    def value(self) -> KeySource:
        return KeySource(self.key_descriptor.value())


SubjectSourceMembers = Annotated[CsrMembers | KeySourceMembers, Field(discriminator="type")]


class CaSignedMembers(Model):
    """Signed by a CA key."""

    type: Literal["ca-signed"]
    issuer_key_descriptor: KeyDescriptorMembers
    issuer_certificate_pem: str | None = Field(default=None, alias="issuerCertificatePEM")
    issuer_certificate_id: Path | None = None

    def value(self) -> CaSigned:
        return CaSigned(self.issuer_key_descriptor.value(), self.issuer_certificate_pem, self.issuer_certificate_id)


class SelfSignedMembers(Model):
    """Signed by the subject key."""

    type: Literal["self-signed"]

    def value(self) -> SelfSigned:
        return SelfSigned()


class IssueCertificate(Model):
    """Issue a generic certificate."""

    stored_certificate_id: Id | None = None
    certificate_data: GenericDataMembers
    subject_public_key_source: SubjectSourceMembers
    issuer: Annotated[CaSignedMembers | SelfSignedMembers, Field(discriminator="type")]

    def signing_key(self) -> str | None:
        """The path of the key that is to sign, if it is one of a KMS."""
        if isinstance(self.issuer, CaSignedMembers):
            return hosted_path(self.issuer.issuer_key_descriptor)
        source = self.subject_public_key_source
        return hosted_path(source.key_descriptor) if isinstance(source, KeySourceMembers) else None


class IssuerAlternativeNameMembers(Model):
    """How to reach an IACA."""

    email: str | None = None
    uri: str | None = None


class IacaDataMembers(Model):
    """What an IACA root certificate is to say."""

    country: IsoCountry
    common_name: ShortName
    issuer_alternative_name_conf: IssuerAlternativeNameMembers
    state_or_province_name: LongName | None = None
    organization_name: ShortName | None = None
    not_before: Instant | None = None
    not_after: Instant | None = None
    crl_distribution_point_uri: WebAddress | None = None

    def value(self) -> IacaOrder:
        conf = self.issuer_alternative_name_conf
        return IacaOrder(
            country=self.country,
            common_name=self.common_name,
            issuer_alternative_name=IssuerAlternativeNameOrder(email=conf.email, uri=conf.uri),
            state_or_province_name=self.state_or_province_name,
            organization_name=self.organization_name,
            not_before=self.not_before,
            not_after=self.not_after,
            crl_distribution_point_uri=self.crl_distribution_point_uri,
        )


class DescribedIacaMembers(IacaDataMembers):
    """What the certificate of an existing IACA says: its validity is known, so it must be given."""

    not_before: Instant
    not_after: Instant


class VicalMetadataMembers(Model):
    """What a VICAL says about an IACA besides its certificate. Open: members not described here are kept."""

    model_config = ConfigDict(extra="allow")

    doc_type: Strings | None = None
    certificate_profile: Strings | None = None

    def value(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class IssueIaca(Model):
    """Issue an IACA root certificate."""

    stored_certificate_id: Id | None = None
    iaca_key_desc: KeyDescriptorMembers
    certificate_data: IacaDataMembers
    vical_entry_complementary_metadata: VicalMetadataMembers | None = None


class IacaByDataMembers(Model):
    """The IACA that signs, by its data."""

    type: Literal["iaca-cert-data-descriptor"]
    iaca_key_desc: KeyDescriptorMembers
    certificate_data: DescribedIacaMembers

    def value(self) -> IacaData:
        return IacaData(self.iaca_key_desc.value(), self.certificate_data.value())


class IacaByPemMembers(Model):
    """The IACA that signs, by its certificate."""

    type: Literal["iaca-pem-cert-descriptor"]
    iaca_key_desc: KeyDescriptorMembers
    iaca_pem_encoded_certificate: str

    def value(self) -> IacaPem:
        return IacaPem(self.iaca_key_desc.value(), self.iaca_pem_encoded_certificate)


class DocumentSignerDataMembers(DocumentSignerSubjectMembers):
    """What a document signer certificate is to say."""

    crl_distribution_point_uri: WebAddress
    not_before: Instant | None = None
    not_after: Instant | None = None

    def value(self) -> DocumentSignerOrder:
        return DocumentSignerOrder(**dict(self))


class IssueDocumentSigner(Model):
    """Issue an mdoc document signer certificate."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [member], "properties": {member: {"type": "object"}}}
                for member in ("dsPublicKeySource", "dsKeyDescriptor")
            ]
        }
    )

    stored_certificate_id: Id | None = None
    iaca_signer: Annotated[IacaByDataMembers | IacaByPemMembers, Field(discriminator="type")]
    certificate_data: DocumentSignerDataMembers
    ds_public_key_source: SubjectSourceMembers | None = None
    ds_key_descriptor: KeyDescriptorMembers | None = None
    """The older way to say `dsPublicKeySource` of type `key-descriptor`."""

    def source(self) -> SubjectSource:
        """Raises MalformedRequest unless exactly one of the two ways is used."""
        if self.ds_public_key_source is not None and self.ds_key_descriptor is None:
            return self.ds_public_key_source.value()
        if self.ds_key_descriptor is not None and self.ds_public_key_source is None:
            return KeySource(self.ds_key_descriptor.value())
        found = "neither" if self.ds_key_descriptor is None else "both"
        raise MalformedRequest(f"Expected exactly one of dsPublicKeySource and dsKeyDescriptor, found {found}.")
