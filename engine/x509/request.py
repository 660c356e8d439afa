"""Certification requests (PKCS #10, RFC 2986; attributes of RFC 2985)."""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_der_x509_csr

from engine.errors import IssuanceDefect, MalformedRequest, ProofOfPossessionError, RequestError
from engine.x509 import der as asn1
from engine.x509.algorithms import (
    SignatureAlgorithm,
    check_algorithm_fits,
    check_signature,
    load_signature_algorithm,
)
from engine.x509.extensions import Extension, build_extensions
from engine.x509.names import load_checked_name
from engine.x509.pem import load_pem
from engine.x509.received_extensions import load_extensions
from engine.x509.spki import PublicKey, load_checked_spki

_WHAT = "The certification request"
_VERSION = b"\x02\x01\x00"
_ATTRIBUTES = 0xA0
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_MICROSOFT_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14"
_CHALLENGE = "1.2.840.113549.1.9.7"  # challengePassword, RFC 2985 section 5.4.1
_DIRECTORY_STRINGS = {
    asn1.UTF8_STRING,
    asn1.PRINTABLE_STRING,
    asn1.TELETEX_STRING,
    asn1.UNIVERSAL_STRING,
    asn1.BMP_STRING,
}
_ENCODED_EXTENSION_REQUEST = asn1.encode_object_identifier(_EXTENSION_REQUEST)


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A request whose own signature verified under its own key: only `load_request` makes one.

    `der` is the whole request (it may hold a challengePassword, so it is not in the repr), `subject` the DER
    Name as it came.
    """

    der: bytes = field(repr=False)
    subject: bytes
    public_key: PublicKey
    algorithm: SignatureAlgorithm
    has_challenge: bool
    """Whether a challengePassword (RFC 2985 section 5.4.1), which is a secret, is in `der`."""


def load_request(pem: str) -> CertificationRequest:
    """Return the proven request in `pem`, labelled CERTIFICATE REQUEST or NEW CERTIFICATE REQUEST.

    In this order: PEM of at most 64 KiB, DER, version 0, subject, public key, attributes (each once, with
    values, extensions each once and themselves DER), an algorithm that fits the key, proof of possession.
    MalformedRequest, UnsupportedRequest or ProofOfPossessionError, each fault with its own sentence, none with
    an attribute's value.
    """
    der = load_pem(pem, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
    asn1.check_der(der, _WHAT)
    information, identifier, signature = _read_request(der)
    members = asn1.read_children(information.content)
    if not members or members[0].tag != asn1.INTEGER:
        raise MalformedRequest(f"{_WHAT} must begin with its version, found another shape.")
    if members[0].encoding != _VERSION:
        raise MalformedRequest(f"{_WHAT} must have version 0, found {members[0].content.hex()[:16]} hexadecimal.")
    if len(members) != 4 or members[3].tag != _ATTRIBUTES:
        raise MalformedRequest(
            f"{_WHAT} must have a version, a subject, a public key and attributes, found another shape."
        )
    _, subject, spki, attributes = members
    load_checked_name(subject, "The subject")
    public_key = load_checked_spki(spki)
    has_challenge = _CHALLENGE in _check_attributes(attributes.content)
    algorithm = load_signature_algorithm(identifier.encoding)
    check_algorithm_fits(public_key, algorithm)
    try:
        check_signature(public_key, algorithm, signature, information.encoding)
    except InvalidSignature:
        raise ProofOfPossessionError(
            "The signature of the certification request must verify under its own public key, found one that does not."
        ) from None
    return CertificationRequest(der, subject.encoding, public_key, algorithm, has_challenge)


def _read_request(der: bytes) -> tuple[asn1.Element, asn1.Element, bytes]:
    """Return certificationRequestInfo, signatureAlgorithm and the octets of the signature."""
    outer = asn1.read_element(der)
    members = asn1.read_children(outer.content) if outer.tag == asn1.SEQUENCE else []
    if [member.tag for member in members] != [asn1.SEQUENCE, asn1.SEQUENCE, asn1.BIT_STRING]:
        raise MalformedRequest(f"{_WHAT} must be a SEQUENCE of two SEQUENCEs and a BIT STRING, found another shape.")
    information, identifier, bit_string = members
    if bit_string.content[0]:
        raise MalformedRequest(
            f"The signature of the request must be whole octets, found {bit_string.content[0]} unused bits."
        )
    return information, identifier, bit_string.content[1:]


def _check_attributes(content: bytes) -> set[str]:
    """Check the content of attributes [0] IMPLICIT SET OF Attribute (RFC 2986 section 4.1); the types, dotted."""
    seen: set[str] = set()
    previous = b""
    for attribute in asn1.read_children(content):
        parts = asn1.read_children(attribute.content) if attribute.tag == asn1.SEQUENCE else []
        if [part.tag for part in parts] != [asn1.OBJECT_IDENTIFIER, asn1.SET]:
            raise MalformedRequest(
                "An attribute must be a SEQUENCE of an OBJECT IDENTIFIER and a SET, found another shape."
            )
        oid = asn1.load_object_identifier(parts[0].content)
        values = asn1.read_children(parts[1].content)
        if not values:
            raise MalformedRequest(f"The attribute {oid} must have at least one value, found none.")
        if oid in seen:
            raise MalformedRequest(f"{_WHAT} must hold each attribute once, found {oid} twice.")
        if attribute.encoding < previous:
            raise MalformedRequest(f"{_WHAT} must be DER, but its attributes are not in ascending order.")
        seen.add(oid)
        previous = attribute.encoding
        _check_attribute_values(oid, values)
    return seen


def _check_attribute_values(oid: str, values: list[asn1.Element]) -> None:
    """Check the attributes whose syntax is known; a challengePassword is judged and never shown."""
    if oid in (_EXTENSION_REQUEST, _MICROSOFT_EXTENSION_REQUEST):
        if len(values) != 1:
            raise MalformedRequest(f"The attribute {oid} must have one value, found {len(values)}.")
        load_extensions(values[0], "The extensions that are asked for")
    elif oid == _CHALLENGE and (len(values) != 1 or values[0].tag not in _DIRECTORY_STRINGS):
        raise MalformedRequest("A challengePassword must be one DirectoryString, found another shape.")


def build_certification_request_info(subject: bytes, public_key: PublicKey, extensions: tuple[Extension, ...]) -> bytes:
    """Return the DER CertificationRequestInfo of version 0 for a DER Name.

    The attributes are always there: an empty set, or one extensionRequest (RFC 2985 section 5.4.2).
    """
    attribute = b""
    if extensions:
        values = asn1.encode_tlv(asn1.SET, build_extensions(extensions))
        attribute = asn1.encode_tlv(asn1.SEQUENCE, _ENCODED_EXTENSION_REQUEST, values)
    return asn1.encode_tlv(asn1.SEQUENCE, _VERSION, subject, public_key.spki, asn1.encode_tlv(_ATTRIBUTES, attribute))


def assemble_request(certification_request_info: bytes, algorithm: SignatureAlgorithm, signature: bytes) -> bytes:
    """Return the DER CertificationRequest; `signature` is as `encode_signature` returns it."""
    bits = asn1.encode_tlv(asn1.BIT_STRING, b"\x00", signature)
    return asn1.encode_tlv(asn1.SEQUENCE, certification_request_info, algorithm.identifier, bits)


def check_request(der: bytes, certification_request_info: bytes, public_key: PublicKey) -> None:
    """Raise IssuanceDefect unless `der` is a request over exactly these octets that verifies under this key.

    The octets are read back by pyca/cryptography, which shares no code with what wrote them.
    """
    try:
        request = load_der_x509_csr(der)
        _, identifier, signature = _read_request(der)
        algorithm = load_signature_algorithm(identifier.encoding)
        if request.tbs_certrequest_bytes != certification_request_info or request.signature != signature:
            raise IssuanceDefect("The request that came out must hold what was to be signed, found other octets.")
        check_signature(public_key, algorithm, signature, certification_request_info)
    except InvalidSignature:
        raise IssuanceDefect(
            "The signature of the request that came out must verify under its key, found one that does not."
        ) from None
    except (ValueError, RequestError):
        raise IssuanceDefect("The request that came out must be readable, found octets that are not.") from None
