"""The extensions that are written: criticality, minimal encodings, and values that are refused."""

import pytest

from engine.errors import MalformedRequest
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CopiedExtension,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    IssuerAlternativeName,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
    build_extension,
    build_extensions,
    load_general_name,
)
from tests.unit.x509.forging import extension, oid, sequence, tlv

CRITICAL = b"\x01\x01\xff"
NAME = load_general_name("dNSName", "example.com")
URI = "http://crl.example.com/a.crl"
ENCODED: dict[str, tuple[Extension, bytes]] = {
    "subjectKeyIdentifier": (SubjectKeyIdentifier(b"k" * 20), extension("2.5.29.14", tlv(4, b"k" * 20))),
    "authorityKeyIdentifier": (
        AuthorityKeyIdentifier(b"k" * 20),
        extension("2.5.29.35", sequence(tlv(0x80, b"k" * 20))),
    ),
    "basicConstraints of a leaf": (BasicConstraints(False), extension("2.5.29.19", sequence(), CRITICAL)),
    "basicConstraints of a CA": (BasicConstraints(True), extension("2.5.29.19", sequence(CRITICAL), CRITICAL)),
    "basicConstraints with a length": (
        BasicConstraints(True, 0),
        extension("2.5.29.19", sequence(CRITICAL, tlv(2, b"\x00")), CRITICAL),
    ),
    "keyUsage digitalSignature": (
        KeyUsage(frozenset({"digitalSignature"})),
        extension("2.5.29.15", tlv(3, b"\x07\x80"), CRITICAL),
    ),
    "keyUsage keyCertSign cRLSign": (
        KeyUsage(frozenset({"keyCertSign", "cRLSign"})),
        extension("2.5.29.15", tlv(3, b"\x01\x06"), CRITICAL),
    ),
    "keyUsage decipherOnly": (
        KeyUsage(frozenset({"decipherOnly", "keyAgreement"})),
        extension("2.5.29.15", tlv(3, b"\x07\x08\x80"), CRITICAL),
    ),
    "extKeyUsage": (
        ExtendedKeyUsage(("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2")),
        extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2"))),
    ),
    "extKeyUsage critical": (
        ExtendedKeyUsage(("1.0.18013.5.1.2",), critical=True),
        extension("2.5.29.37", sequence(oid("1.0.18013.5.1.2")), CRITICAL),
    ),
    "subjectAltName": (SubjectAlternativeName((NAME,)), extension("2.5.29.17", sequence(tlv(0x82, b"example.com")))),
    "subjectAltName critical": (
        SubjectAlternativeName((NAME,), critical=True),
        extension("2.5.29.17", sequence(tlv(0x82, b"example.com")), CRITICAL),
    ),
    "issuerAltName": (
        IssuerAlternativeName((load_general_name("rfc822Name", "a@example.com"),)),
        extension("2.5.29.18", sequence(tlv(0x81, b"a@example.com"))),
    ),
    "cRLDistributionPoints": (
        CRLDistributionPoints(URI),
        extension("2.5.29.31", sequence(sequence(tlv(0xA0, tlv(0xA0, tlv(0x86, URI.encode())))))),
    ),
    "copied": (CopiedExtension("1.2.3", True, b"\x05\x00"), extension("1.2.3", b"\x05\x00", CRITICAL)),
}


@pytest.mark.parametrize(("value", "octets"), ENCODED.values(), ids=ENCODED)
def test_octets_of_each_extension(value: Extension, octets: bytes) -> None:
    assert build_extension(value) == octets


REFUSED: dict[str, tuple[Extension, str]] = {
    "no uses": (KeyUsage(frozenset()), "found none"),
    "an unknown use": (KeyUsage(frozenset({"DigitalSignature"})), "found DigitalSignature"),
    "encipherOnly alone": (KeyUsage(frozenset({"encipherOnly"})), "must come with keyAgreement"),
    "no purposes": (ExtendedKeyUsage(()), "at least one purpose"),
    "a purpose twice": (ExtendedKeyUsage(("1.2.3", "1.2.3")), "each once"),
    "a purpose that is a word": (ExtendedKeyUsage(("serverAuth",)), "dotted decimal, found 'serverAuth'"),
    "no names": (SubjectAlternativeName(()), "at least one name"),
    "a length without a CA": (BasicConstraints(False, 0), "found 0 with cA FALSE"),
    "a negative length": (BasicConstraints(True, -1), "found -1 with cA TRUE"),
    "an empty key identifier": (SubjectKeyIdentifier(b""), "1 to 64 octets, found 0"),
    "an empty authority key identifier": (AuthorityKeyIdentifier(b""), "1 to 64 octets, found 0"),
    "a relative distribution point": (CRLDistributionPoints("crl.der"), "must be absolute"),
    "a copied value that is not DER": (CopiedExtension("1.2.3", False, b"\x05"), "must be DER"),
}


@pytest.mark.parametrize(("value", "fault"), REFUSED.values(), ids=REFUSED)
def test_refused_values(value: Extension, fault: str) -> None:
    with pytest.raises(MalformedRequest) as refusal:
        build_extension(value)
    assert fault in refusal.value.message


def test_an_extension_that_is_there_twice_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="each kind once"):
        build_extensions((BasicConstraints(False), CopiedExtension("2.5.29.19", True, sequence())))


def test_criticality_that_rfc_5280_fixes_cannot_be_overridden() -> None:
    with pytest.raises(TypeError):
        SubjectKeyIdentifier(b"k", critical=True)  # type: ignore[call-arg]
