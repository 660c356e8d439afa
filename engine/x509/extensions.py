"""The extensions the engine writes (RFC 5280 section 4.2.1), as frozen values, and their encodings.

Values that many certificates share are encoded once and remembered, those made of flags and numbers by
asn1crypto; what differs from one certificate to the next (SubjectKeyIdentifier, SubjectAltName) is joined
from octets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from asn1crypto import x509

from engine.errors import MalformedRequest
from engine.x509 import der as asn1
from engine.x509.general_names import GeneralName, encode_general_name, encode_general_names, load_general_name

__all__ = [
    "CRITICAL",
    "AuthorityKeyIdentifier",
    "BasicConstraints",
    "CRLDistributionPoints",
    "CopiedExtension",
    "ExtendedKeyUsage",
    "Extension",
    "GeneralName",
    "IssuerAlternativeName",
    "KeyUsage",
    "SubjectAlternativeName",
    "SubjectKeyIdentifier",
    "build_extension",
    "build_extensions",
    "load_general_name",
]

# Whether each extension is critical. A profile may say otherwise only where the class has a field for it.
CRITICAL = {
    "subject_key_identifier": False,  # RFC 5280 section 4.2.1.2: must not be critical.
    "authority_key_identifier": False,  # Section 4.2.1.1: must not be critical.
    "basic_constraints": True,  # Section 4.2.1.9: must be critical in a CA; leaves follow the CA's custom.
    "key_usage": True,  # Section 4.2.1.3: should be critical; ISO 18013-5 Annex B: must be.
    "extended_key_usage": False,  # Section 4.2.1.12: either; the ISO 18013-5 profiles set the field.
    "subject_alternative_name": False,  # Section 4.2.1.6: should not be, unless the subject is empty.
    "issuer_alternative_name": False,  # Section 4.2.1.7: should not be critical.
    "crl_distribution_points": False,  # Section 4.2.1.13: should not be critical.
}

# KeyUsage bits by RFC 5280's names (section 4.2.1.3), and what asn1crypto calls them.
_USES = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "non_repudiation",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}


@dataclass(frozen=True, slots=True)
class SubjectKeyIdentifier:
    """The key identifier of the subject's key, as octets."""

    oid: ClassVar[str] = "2.5.29.14"
    critical: ClassVar[bool] = CRITICAL["subject_key_identifier"]
    key_identifier: bytes


@dataclass(frozen=True, slots=True)
class AuthorityKeyIdentifier:
    """The issuer's SubjectKeyIdentifier, as octets; issuer name and serial number are not written."""

    oid: ClassVar[str] = "2.5.29.35"
    critical: ClassVar[bool] = CRITICAL["authority_key_identifier"]
    key_identifier: bytes


@dataclass(frozen=True, slots=True)
class BasicConstraints:
    """Whether the subject is a CA, and if so how many CA certificates may follow it on a path."""

    oid: ClassVar[str] = "2.5.29.19"
    critical: ClassVar[bool] = CRITICAL["basic_constraints"]
    ca: bool
    path_length: int | None = None


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """RFC 5280's names of the uses, at least one."""

    oid: ClassVar[str] = "2.5.29.15"
    critical: ClassVar[bool] = CRITICAL["key_usage"]
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class ExtendedKeyUsage:
    """Dotted object identifiers of the purposes, at least one, in order."""

    oid: ClassVar[str] = "2.5.29.37"
    purposes: tuple[str, ...]
    critical: bool = CRITICAL["extended_key_usage"]


@dataclass(frozen=True, slots=True)
class SubjectAlternativeName:
    """Further names of the subject, at least one, in order."""

    oid: ClassVar[str] = "2.5.29.17"
    names: tuple[GeneralName, ...]
    critical: bool = CRITICAL["subject_alternative_name"]


@dataclass(frozen=True, slots=True)
class IssuerAlternativeName:
    """Further names of the issuer, at least one, in order."""

    oid: ClassVar[str] = "2.5.29.18"
    critical: ClassVar[bool] = CRITICAL["issuer_alternative_name"]
    names: tuple[GeneralName, ...]


@dataclass(frozen=True, slots=True)
class CRLDistributionPoints:
    """One distribution point with one URI, without reasons and CRL issuer."""

    oid: ClassVar[str] = "2.5.29.31"
    critical: ClassVar[bool] = CRITICAL["crl_distribution_points"]
    uri: str


@dataclass(frozen=True, slots=True)
class CopiedExtension:
    """An extension taken over from another certificate; `value` is the content of its extnValue, as it was."""

    oid: str
    critical: bool
    value: bytes


Extension = (
    SubjectKeyIdentifier
    | AuthorityKeyIdentifier
    | BasicConstraints
    | KeyUsage
    | ExtendedKeyUsage
    | SubjectAlternativeName
    | IssuerAlternativeName
    | CRLDistributionPoints
    | CopiedExtension
)

# RFC 5280 section 4.2.1.3 leaves their meaning undefined without keyAgreement, and some readers then read nothing.
_ONLY_WITH_KEY_AGREEMENT = {"encipherOnly", "decipherOnly"}

_CRITICAL_TRUE = b"\x01\x01\xff"


def build_extension(extension: Extension) -> bytes:
    """Return the DER Extension. MalformedRequest for a value that its section of RFC 5280 does not allow."""
    build: Callable[[Any], bytes] = _BUILDERS[type(extension)]
    return build(extension)


def build_extensions(extensions: tuple[Extension, ...]) -> bytes:
    """Return the DER Extensions in the order given. MalformedRequest for none, or two of one kind."""
    if not extensions or len({extension.oid for extension in extensions}) != len(extensions):
        raise MalformedRequest("Extensions must be at least one, each kind once, found none or a kind twice.")
    return asn1.encode_tlv(asn1.SEQUENCE, *map(build_extension, extensions))


def _encode_extension(oid: str, critical: bool, value: bytes) -> bytes:
    """Encode an Extension; `critical` is left out when it has its default, FALSE (X.690 section 11.5)."""
    return asn1.encode_tlv(
        asn1.SEQUENCE,
        asn1.encode_object_identifier(oid),
        _CRITICAL_TRUE if critical else b"",
        asn1.encode_tlv(asn1.OCTET_STRING, value),
    )


def _check_key_identifier(key_identifier: bytes) -> None:
    if not 1 <= len(key_identifier) <= 64:
        raise MalformedRequest(f"A key identifier must have 1 to 64 octets, found {len(key_identifier)}.")


def _encode_subject_key_identifier(key_identifier: bytes) -> bytes:
    value = asn1.encode_tlv(asn1.OCTET_STRING, key_identifier)
    return _encode_extension(SubjectKeyIdentifier.oid, SubjectKeyIdentifier.critical, value)


# What stands before the twenty octets of a SHA-1, which every profile uses: three headers and an object identifier.
_BEFORE_SHA1 = _encode_subject_key_identifier(bytes(20))[:-20]


def _build_subject_key_identifier(extension: SubjectKeyIdentifier) -> bytes:
    key_identifier = extension.key_identifier
    if len(key_identifier) == 20:
        return _BEFORE_SHA1 + key_identifier
    _check_key_identifier(key_identifier)
    return _encode_subject_key_identifier(key_identifier)


@lru_cache(maxsize=1024)
def _build_authority_key_identifier(extension: AuthorityKeyIdentifier) -> bytes:
    _check_key_identifier(extension.key_identifier)
    value = x509.AuthorityKeyIdentifier({"key_identifier": extension.key_identifier})
    return _encode_extension(extension.oid, extension.critical, value.dump())


@lru_cache(maxsize=64)
def _build_basic_constraints(extension: BasicConstraints) -> bytes:
    length = extension.path_length
    if length is not None and (length < 0 or not extension.ca):
        raise MalformedRequest(
            "A pathLenConstraint must be zero or more and belongs to a CA, "
            f"found {length} with cA {str(extension.ca).upper()}."
        )
    members: dict[str, object] = {"ca": extension.ca}
    if length is not None:
        members["path_len_constraint"] = length
    return _encode_extension(extension.oid, extension.critical, x509.BasicConstraints(members).dump())


@lru_cache(maxsize=512)
def _build_key_usage(extension: KeyUsage) -> bytes:
    unknown = sorted(extension.uses - _USES.keys())
    if unknown or not extension.uses:
        found = unknown[0][:40] if unknown else "none"
        raise MalformedRequest(f"A keyUsage must name at least one of {', '.join(_USES)}, found {found}.")
    if extension.uses & _ONLY_WITH_KEY_AGREEMENT and "keyAgreement" not in extension.uses:
        raise MalformedRequest(
            "The keyUsage encipherOnly or decipherOnly must come with keyAgreement, found it without."
        )
    value = x509.KeyUsage({_USES[use] for use in extension.uses})
    return _encode_extension(extension.oid, extension.critical, value.dump())


@lru_cache(maxsize=512)
def _build_extended_key_usage(extension: ExtendedKeyUsage) -> bytes:
    purposes = extension.purposes
    if not purposes or len(set(purposes)) != len(purposes):
        raise MalformedRequest("An extendedKeyUsage must name at least one purpose, each once, found otherwise.")
    # Validates each purpose with a sentence of its own, which asn1crypto does not.
    value = asn1.encode_tlv(asn1.SEQUENCE, *map(asn1.encode_object_identifier, purposes))
    return _encode_extension(extension.oid, extension.critical, value)


def _build_subject_alternative_name(extension: SubjectAlternativeName) -> bytes:
    return _encode_extension(extension.oid, extension.critical, encode_general_names(extension.names))


@lru_cache(maxsize=1024)
def _build_issuer_alternative_name(extension: IssuerAlternativeName) -> bytes:
    return _encode_extension(extension.oid, extension.critical, encode_general_names(extension.names))


@lru_cache(maxsize=1024)
def _build_crl_distribution_points(extension: CRLDistributionPoints) -> bytes:
    # distributionPoint [0] EXPLICIT, because DistributionPointName is a CHOICE, with fullName [0] IMPLICIT.
    uri = encode_general_name(load_general_name("uniformResourceIdentifier", extension.uri))
    point = asn1.encode_tlv(asn1.SEQUENCE, asn1.encode_tlv(0xA0, asn1.encode_tlv(0xA0, uri)))
    return _encode_extension(extension.oid, extension.critical, asn1.encode_tlv(asn1.SEQUENCE, point))


@lru_cache(maxsize=1024)
def _build_copied_extension(extension: CopiedExtension) -> bytes:
    asn1.check_der(extension.value, f"The value of the copied extension {extension.oid}")
    return _encode_extension(extension.oid, extension.critical, extension.value)


_BUILDERS: dict[type[Extension], Callable[[Any], bytes]] = {
    SubjectKeyIdentifier: _build_subject_key_identifier,
    AuthorityKeyIdentifier: _build_authority_key_identifier,
    BasicConstraints: _build_basic_constraints,
    KeyUsage: _build_key_usage,
    ExtendedKeyUsage: _build_extended_key_usage,
    SubjectAlternativeName: _build_subject_alternative_name,
    IssuerAlternativeName: _build_issuer_alternative_name,
    CRLDistributionPoints: _build_crl_distribution_points,
    CopiedExtension: _build_copied_extension,
}
