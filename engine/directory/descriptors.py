"""What a request says about keys, subjects and issuers, before anything is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.profiles.orders import IacaOrder


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


IacaSigner = IacaData | IacaPem
