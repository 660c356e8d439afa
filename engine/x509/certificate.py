"""Certificates (RFC 5280 section 4.1): building the octets to be signed, joining, checking and loading."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_der_x509_certificate

from engine.errors import IssuanceDefect, MalformedRequest, UnsupportedRequest
from engine.x509 import der as asn1
from engine.x509.algorithms import SignatureAlgorithm, check_signature, load_signature_algorithm
from engine.x509.extensions import BasicConstraints, Extension, build_extensions
from engine.x509.names import Name, build_name, load_checked_name
from engine.x509.received_extensions import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    SUBJECT_KEY_IDENTIFIER,
    Extensions,
    load_authority_key_identifier,
    load_basic_constraints,
    load_extensions,
    load_key_usage,
    load_subject_key_identifier,
)
from engine.x509.spki import PublicKey, load_checked_spki

_WHAT = "The certificate"
_VERSION_3 = b"\xa0\x03\x02\x01\x02"
_EXTENSIONS = 0xA3
_SERIAL_NUMBER_OCTETS = 20
_NO_OFFSET = timedelta(0)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CertificateDraft:
    """Everything a tbsCertificate says. `issuer` is a DER Name that is copied; times are UTC in whole seconds."""

    serial_number: int
    algorithm: SignatureAlgorithm
    issuer: bytes
    not_before: datetime
    not_after: datetime
    subject: Name
    public_key: PublicKey
    extensions: tuple[Extension, ...]

    @property
    def is_ca(self) -> bool:
        """Whether the BasicConstraints, if any, say so."""
        for extension in self.extensions:
            if isinstance(extension, BasicConstraints):
                return extension.ca
        return False


def new_serial_number(random_bytes: Callable[[int], bytes]) -> int:
    """Return a serial number of exactly 20 octets from 20 random ones: top bit clear, next bit set.

    It is positive, as long as RFC 5280 section 4.1.2.2 allows, always of the same length, and has 158 random bits.
    """
    number = int.from_bytes(random_bytes(_SERIAL_NUMBER_OCTETS), "big")
    top = 1 << (8 * _SERIAL_NUMBER_OCTETS - 2)
    return number & (top - 1) | top


def encode_serial(serial_number: int) -> bytes:
    """Return a CertificateSerialNumber; IssuanceDefect unless it is positive and of at most 20 octets."""
    if not 0 < serial_number < 1 << (8 * _SERIAL_NUMBER_OCTETS - 1):
        raise IssuanceDefect(
            f"A serial number must be positive and have at most {_SERIAL_NUMBER_OCTETS} octets, found another."
        )
    return asn1.encode_integer(serial_number)


def build_tbs_certificate(draft: CertificateDraft) -> bytes:
    """Return the DER TBSCertificate, version 3, without unique identifiers; the same draft gives the same octets.

    MalformedRequest for a name, time or extension that RFC 5280 does not allow, IssuanceDefect for a serial number.
    """
    if draft.not_before >= draft.not_after:
        raise MalformedRequest(
            f"notBefore must be before notAfter, found {draft.not_before.isoformat()} "
            f"and {draft.not_after.isoformat()}."
        )
    return asn1.encode_tlv(
        asn1.SEQUENCE,
        _VERSION_3,
        encode_serial(draft.serial_number),
        draft.algorithm.identifier,
        draft.issuer,
        asn1.encode_tlv(asn1.SEQUENCE, _encode_time(draft.not_before), _encode_time(draft.not_after)),
        build_name(draft.subject),
        draft.public_key.spki,
        asn1.encode_tlv(_EXTENSIONS, build_extensions(draft.extensions)),
    )


def _encode_time(time: datetime) -> bytes:
    """Encode a Time: UTCTime up to 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5)."""
    # Not among what is remembered: the same moment with another offset is equal.
    if time.utcoffset() != _NO_OFFSET or time.microsecond:
        raise MalformedRequest(f"A time must be UTC in whole seconds, found {time.isoformat()}.")
    return _encode_utc(time)


@lru_cache(maxsize=256)
def _encode_utc(time: datetime) -> bytes:
    year = time.year
    rest = f"{time.month:02}{time.day:02}{time.hour:02}{time.minute:02}{time.second:02}Z"
    if 1950 <= year < 2050:
        return b"\x17\x0d" + f"{year % 100:02}{rest}".encode()
    if year < 1950:
        raise MalformedRequest(f"A time must be in 1950 or later, found {time.isoformat()}.")
    return b"\x18\x0f" + f"{year:04}{rest}".encode()


def assemble_certificate(tbs_certificate: bytes, algorithm: SignatureAlgorithm, signature: bytes) -> bytes:
    """Return the DER Certificate; `signature` is as `encode_signature` returns it."""
    bits = asn1.encode_tlv(asn1.BIT_STRING, b"\x00", signature)
    return asn1.encode_tlv(asn1.SEQUENCE, tbs_certificate, algorithm.identifier, bits)


def check_certificate(der: bytes, tbs_certificate: bytes, issuer_key: PublicKey, algorithm: SignatureAlgorithm) -> None:
    """Raise IssuanceDefect unless `der` is exactly these octets signed by this key with this algorithm.

    The octets are read back by pyca/cryptography, which shares no code with what wrote them.
    """
    try:
        certificate = load_der_x509_certificate(der)
        signature = certificate.signature
        found = certificate.tbs_certificate_bytes
    except ValueError:
        raise IssuanceDefect("The certificate that came out must be readable, found octets that are not.") from None
    if found != tbs_certificate:
        raise IssuanceDefect("The certificate that came out must hold what was to be signed, found other octets.")
    if der != assemble_certificate(tbs_certificate, algorithm, signature):
        raise IssuanceDefect(
            f"The certificate that came out must be DER and name {algorithm.name}, found other octets."
        )
    try:
        check_signature(issuer_key, algorithm, signature, tbs_certificate)
    except (InvalidSignature, UnsupportedRequest):
        raise IssuanceDefect(
            "The signature of the certificate that came out must verify under the issuer's key, "
            "found one that does not."
        ) from None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that has been read; two are equal when their octets are.

    `subject` and `issuer` are DER Names as they came. `key_usage` is empty when the extension is absent.
    `extensions` maps dotted object identifiers to criticality and the content of extnValue. That the signature
    verifies is not said.
    """

    der: bytes = field(repr=False)
    subject: bytes = field(compare=False)
    issuer: bytes = field(compare=False)
    serial_number: int = field(compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    public_key: PublicKey = field(compare=False)
    is_ca: bool = field(compare=False)
    path_length: int | None = field(compare=False)
    key_usage: frozenset[str] = field(compare=False)
    subject_key_identifier: bytes | None = field(compare=False)
    authority_key_identifier: bytes | None = field(compare=False)
    extensions: Extensions = field(compare=False, repr=False)

    @property
    def sha256(self) -> str:
        """The fingerprint: hexadecimal SHA-256 of the whole certificate."""
        return hashlib.sha256(self.der).hexdigest()


def check_signed_by(der: bytes, issuer_key: PublicKey) -> None:
    """Raise cryptography's InvalidSignature unless the key has signed this certificate, which was loaded before.

    MalformedRequest or UnsupportedRequest if the signature algorithm is not accepted.
    """
    tbs_certificate, algorithm, signature = asn1.read_children(asn1.read_element(der).content)
    accepted = load_signature_algorithm(algorithm.encoding)
    check_signature(issuer_key, accepted, signature.content[1:], tbs_certificate.encoding)


def load_certificate(der: bytes) -> Certificate:
    """Return the certificate in `der`, version 3.

    MalformedRequest for octets that are not DER or no certificate; UnsupportedRequest for another version, unique
    identifiers, or a public key that `load_spki` does not support.
    """
    asn1.check_der(der, _WHAT)
    outer = asn1.read_element(der)
    members = asn1.read_children(outer.content) if outer.tag == asn1.SEQUENCE else []
    if [member.tag for member in members] != [asn1.SEQUENCE, asn1.SEQUENCE, asn1.BIT_STRING]:
        raise MalformedRequest(f"{_WHAT} must be a SEQUENCE of two SEQUENCEs and a BIT STRING, found another shape.")
    if members[2].content[0]:
        raise MalformedRequest(
            f"The signature of the certificate must be whole octets, found {members[2].content[0]} unused bits."
        )
    fields = asn1.read_children(members[0].content)
    if not fields or fields[0].encoding != _VERSION_3:
        raise UnsupportedRequest(f"{_WHAT} must have version 3, found another.")
    tags = [each.tag for each in fields[1:]]
    if 0x81 in tags or 0x82 in tags:
        raise UnsupportedRequest(f"{_WHAT} must have no unique identifiers, found one.")
    shape = [asn1.INTEGER, *[asn1.SEQUENCE] * 5]
    if tags not in (shape, [*shape, _EXTENSIONS]):
        raise MalformedRequest(f"{_WHAT} must hold a TBSCertificate of RFC 5280, found another shape.")
    _, serial_number, algorithm, issuer, validity, subject, spki, *rest = fields
    if algorithm.encoding != members[1].encoding:
        raise MalformedRequest(f"{_WHAT} must name one signature algorithm, found two that differ.")
    load_checked_name(issuer, "The issuer")
    load_checked_name(subject, "The subject")
    not_before, not_after = _load_validity(validity)
    extensions = _load_extensions(rest[0]) if rest else {}
    is_ca, path_length = _value(extensions, BASIC_CONSTRAINTS, load_basic_constraints) or (False, None)
    return Certificate(
        der=der,
        subject=subject.encoding,
        issuer=issuer.encoding,
        serial_number=_load_serial_number(serial_number.content),
        not_before=not_before,
        not_after=not_after,
        public_key=load_checked_spki(spki),
        is_ca=is_ca,
        path_length=path_length,
        key_usage=_value(extensions, KEY_USAGE, load_key_usage) or frozenset(),
        subject_key_identifier=_value(extensions, SUBJECT_KEY_IDENTIFIER, load_subject_key_identifier),
        authority_key_identifier=_value(extensions, AUTHORITY_KEY_IDENTIFIER, load_authority_key_identifier),
        extensions=extensions,
    )


def _value(extensions: Extensions, oid: str, load: Callable[[bytes], _T]) -> _T | None:
    extension = extensions.get(oid)
    return None if extension is None else load(extension[1])


def _load_extensions(explicit: asn1.Element) -> Extensions:
    """Read extensions [3] EXPLICIT."""
    members = asn1.read_children(explicit.content)
    if len(members) != 1:
        raise MalformedRequest(f"{_WHAT} must hold one SEQUENCE of extensions, found {len(members)} elements.")
    return load_extensions(members[0], _WHAT)


def _load_serial_number(content: bytes) -> int:
    serial_number = int.from_bytes(content, "big", signed=True)
    if serial_number <= 0 or len(content) > _SERIAL_NUMBER_OCTETS:
        raise MalformedRequest(
            f"The serial number of a certificate must be positive and have at most {_SERIAL_NUMBER_OCTETS} octets, "
            f"found {'zero or a negative number' if serial_number <= 0 else f'{len(content)} octets'}."
        )
    return serial_number


def _load_validity(validity: asn1.Element) -> tuple[datetime, datetime]:
    members = asn1.read_children(validity.content)
    if len(members) != 2:
        raise MalformedRequest(f"A validity must be a SEQUENCE of two times, found {len(members)} elements.")
    not_before, not_after = map(_load_time, members)
    return not_before, not_after


def _load_time(element: asn1.Element) -> datetime:
    """Read a Time in whole seconds; section 4.1.2.5 asks readers to take either type for any year."""
    text = element.content.decode("ascii", "replace")
    if element.tag == asn1.UTC_TIME:
        # 50 to 99 are of the twentieth century.
        year_first = ("19" if text >= "50" else "20") + text
    elif element.tag == asn1.GENERALIZED_TIME:
        year_first = text
    else:
        year_first = ""
    try:
        return datetime.strptime(year_first, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise MalformedRequest(
            f"A time must be a UTCTime or GeneralizedTime in whole seconds, found {text[:24]!r}."
        ) from None
