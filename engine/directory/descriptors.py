"""What a request says about keys, subjects and issuers, before anything is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.profiles.orders import IacaOrder, IssuerAlternativeNameOrder


@dataclass(frozen=True, slots=True)
class HostedKey:
    """A key of a KMS, by its full path `{organization}.{tenant}.{kms}.{keyId}`."""

    path: str


@dataclass(frozen=True, slots=True)
class JwkKey:
    """A JSON Web Key (RFC 7517) brought by the request; its members are never shown."""

    jwk: Mapping[str, object] = field(repr=False)


KeyDescriptor = HostedKey | JwkKey


@dataclass(frozen=True, slots=True)
class CsrSource:
    """The subject's key comes in a certification request, PEM."""

    pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySource:
    """The subject's key is a known key."""

    key: KeyDescriptor


SubjectSource = CsrSource | KeySource


@dataclass(frozen=True, slots=True)
class CaSigned:
    """Signed by a CA key; its certificate may be given, named by its stored path, or found in the stores."""

    key: KeyDescriptor
    certificate_pem: str | None = None
    certificate_id: str | None = None
    members: str = "issuer.issuerCertificatePEM or issuer.issuerCertificateId"
    """Where a request can name the certificate, for refusals."""


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """Signed by the subject's own key."""


IssuerChoice = CaSigned | SelfSigned


@dataclass(frozen=True, slots=True)
class IacaData:
    """An IACA described by the data of its certificate."""

    key: KeyDescriptor
    order: IacaOrder


@dataclass(frozen=True, slots=True)
class IacaPem:
    """An IACA given by its certificate, PEM."""

    key: KeyDescriptor
    pem: str


@dataclass(frozen=True, slots=True)
class IacaAsIssuer:
    """An IACA that is named, or found, as the issuer of a generic certificate is."""

    issuer: CaSigned
    alternative_name: IssuerAlternativeNameOrder | None = None
    """What its IssuerAltName must be; None: whatever it is."""

    @property
    def key(self) -> KeyDescriptor:
        """The key of the IACA."""
        return self.issuer.key


IacaSigner = IacaData | IacaPem | IacaAsIssuer


@dataclass(frozen=True, slots=True)
class EntryOrder:
    """A certificate that was not made here, PEM, to be kept in a store."""

    type: Literal["base", "vical-entry"]
    pem: str = field(repr=False)
    metadata: Mapping[str, object] | None = None
    """The complementary metadata of a `vical-entry`."""
