"""Certificates: what is built field by field, what is checked after the signature, and what is loaded."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import cryptography_vectors
import pytest
from asn1crypto import pem as asn1crypto_pem
from cryptography import x509

from engine.errors import IssuanceDefect, MalformedRequest, RequestError, UnsupportedRequest
from engine.x509.algorithms import signature_algorithm_for
from engine.x509.certificate import (
    CertificateDraft,
    assemble_certificate,
    build_tbs_certificate,
    check_certificate,
    encode_serial,
    load_certificate,
    new_serial_number,
)
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
    load_general_name,
)
from engine.x509.names import Name, build_name
from engine.x509.reference import build_tbs_certificate_reference
from engine.x509.spki import load_spki
from tests.unit.x509.forging import (
    COMMON_NAME,
    ECDSA_SHA256,
    ED25519,
    KEY_TYPES,
    NULL,
    emitted_digest,
    extension,
    private_key,
    sequence,
    sign,
    spki_of,
    tlv,
)

KEY = load_spki(spki_of(private_key("secp256r1")))
ISSUER = sequence(COMMON_NAME[2:], COMMON_NAME[2:])
NOT_BEFORE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SERIAL = new_serial_number(lambda count: b"\x5a" * count)
EXTENSIONS: tuple[Extension, ...] = (
    SubjectKeyIdentifier(KEY.key_identifier),
    AuthorityKeyIdentifier(b"k" * 20),
    BasicConstraints(False),
    KeyUsage(frozenset({"digitalSignature"})),
    ExtendedKeyUsage(("1.3.6.1.5.5.7.3.1",)),
    SubjectAlternativeName((load_general_name("dNSName", "leaf.example.com"),)),
    CRLDistributionPoints("http://crl.example.com/a.crl"),
)
DRAFT = CertificateDraft(
    serial_number=SERIAL,
    algorithm=signature_algorithm_for(KEY),
    issuer=ISSUER,
    not_before=NOT_BEFORE,
    not_after=NOT_BEFORE + timedelta(days=365),
    subject=Name((("country", "US"), ("common_name", "Example Leaf"))),
    public_key=KEY,
    extensions=EXTENSIONS,
)


def issued(draft: CertificateDraft, key_type: str = "secp256r1") -> bytes:
    tbs = build_tbs_certificate(draft)
    return assemble_certificate(tbs, draft.algorithm, sign(private_key(key_type), tbs, emitted_digest(key_type)))


def test_a_draft_is_encoded_as_the_reference_encodes_it_and_twice_the_same() -> None:
    assert build_tbs_certificate(DRAFT) == build_tbs_certificate_reference(DRAFT)
    assert build_tbs_certificate(DRAFT) == build_tbs_certificate(replace(DRAFT))


def test_the_issuer_is_copied_and_never_encoded_again() -> None:
    teletex = sequence(tlv(0x31, sequence(tlv(6, b"\x55\x04\x03"), tlv(0x14, b"CA \xe9"))))
    certificate = load_certificate(issued(replace(DRAFT, issuer=teletex)))
    assert certificate.issuer == teletex


@pytest.mark.parametrize("octet", [0x00, 0x3F, 0x40, 0x7F, 0x80, 0xFF])
def test_a_serial_number_has_20_octets_with_the_top_bit_clear_and_the_next_set(octet: int) -> None:
    encoded = encode_serial(new_serial_number(lambda count: bytes([octet]) * count))
    assert encoded[:2] == b"\x02\x14"
    assert encoded[2] & 0xC0 == 0x40
    assert encoded[3:] == bytes([octet]) * 19


@pytest.mark.parametrize("serial_number", [0, -1, 2**159, 2**160])
def test_a_serial_number_that_is_not_positive_or_has_21_octets_is_a_defect(serial_number: int) -> None:
    with pytest.raises(IssuanceDefect):
        build_tbs_certificate(replace(DRAFT, serial_number=serial_number))


@pytest.mark.parametrize(
    ("time", "octets"),
    [
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d991231235959Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), b"\x17\x0d260102030405Z"),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(9999, 12, 31, 23, 59, 58, tzinfo=UTC), b"\x18\x0f99991231235958Z"),
    ],
)
def test_utc_time_ends_with_2049(time: datetime, octets: bytes) -> None:
    draft = replace(DRAFT, not_before=time, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert octets + b"\x18\x0f99991231235959Z" in build_tbs_certificate(draft)
    assert load_certificate(issued(draft)).not_before == time


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(1949, 12, 31, tzinfo=UTC),
    ],
    ids=["a fraction", "an offset", "before 1950"],
)
def test_times_that_are_not_whole_seconds_of_utc_from_1950_are_refused(time: datetime) -> None:
    with pytest.raises(MalformedRequest, match="A time must be"):
        build_tbs_certificate(replace(DRAFT, not_before=time))


@pytest.mark.parametrize("seconds", [0, -1])
def test_not_before_must_be_before_not_after(seconds: int) -> None:
    with pytest.raises(MalformedRequest, match="notBefore must be before notAfter"):
        build_tbs_certificate(replace(DRAFT, not_after=NOT_BEFORE + timedelta(seconds=seconds)))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_an_assembled_certificate_passes_the_check_and_reads_back(key_type: str) -> None:
    key = load_spki(spki_of(private_key(key_type)))
    draft = replace(DRAFT, algorithm=signature_algorithm_for(key), public_key=key)
    der = issued(draft, key_type)
    check_certificate(der, build_tbs_certificate(draft), key, draft.algorithm)
    certificate = load_certificate(der)
    assert certificate.der == der
    assert certificate.serial_number == SERIAL
    assert (certificate.subject, certificate.issuer) == (build_name(draft.subject), ISSUER)
    assert (certificate.not_before, certificate.not_after) == (draft.not_before, draft.not_after)
    assert certificate.public_key == key
    assert certificate.sha256 == x509.load_der_x509_certificate(der).fingerprint(emitted_digest("RSA")).hex()


def test_loaded_extensions() -> None:
    names = IssuerAlternativeName((load_general_name("rfc822Name", "a@example.com"),))
    uses = frozenset({"keyCertSign", "keyAgreement", "decipherOnly"})
    draft = replace(DRAFT, extensions=(*EXTENSIONS[:2], BasicConstraints(True, 0), KeyUsage(uses), names))
    certificate = load_certificate(issued(draft))
    assert (certificate.is_ca, certificate.path_length, certificate.key_usage) == (True, 0, uses)
    assert certificate.subject_key_identifier == KEY.key_identifier
    assert certificate.authority_key_identifier == b"k" * 20
    assert list(certificate.extensions) == ["2.5.29.14", "2.5.29.35", "2.5.29.19", "2.5.29.15", "2.5.29.18"]
    assert certificate.extensions["2.5.29.18"] == (False, sequence(tlv(0x81, b"a@example.com")))
    copied = CopiedExtension("2.5.29.18", *certificate.extensions["2.5.29.18"])
    again = load_certificate(issued(replace(DRAFT, extensions=(copied,))))
    assert again.extensions["2.5.29.18"] == certificate.extensions["2.5.29.18"]
    assert (again.is_ca, again.path_length, again.key_usage) == (False, None, frozenset())
    assert (again.subject_key_identifier, again.authority_key_identifier) == (None, None)


def test_anything_but_the_octets_that_were_to_be_signed_is_a_defect() -> None:
    der, tbs = issued(DRAFT), build_tbs_certificate(DRAFT)
    signature = sign(private_key("secp256r1"), tbs)
    other = build_tbs_certificate(replace(DRAFT, serial_number=SERIAL + 1))
    with pytest.raises(IssuanceDefect, match="what was to be signed"):
        check_certificate(der, other, KEY, DRAFT.algorithm)
    with pytest.raises(IssuanceDefect, match="verify under the issuer's key"):
        check_certificate(assemble_certificate(other, DRAFT.algorithm, signature), other, KEY, DRAFT.algorithm)
    with pytest.raises(IssuanceDefect, match="verify under the issuer's key"):
        check_certificate(der, tbs, load_spki(spki_of(private_key("RSA"))), DRAFT.algorithm)
    with pytest.raises(IssuanceDefect, match="must be readable"):
        check_certificate(der[:-1], tbs, KEY, DRAFT.algorithm)
    with pytest.raises(IssuanceDefect, match="must be readable"):
        check_certificate(der + b"\x00", tbs, KEY, DRAFT.algorithm)
    with pytest.raises(IssuanceDefect, match="name ecdsa-with-SHA256"):
        check_certificate(sequence(tbs, ED25519, tlv(3, b"\x00", signature)), tbs, KEY, DRAFT.algorithm)


VALIDITY = sequence(b"\x17\x0d260102030405Z", b"\x17\x0d270102030405Z")
BASIC = extension("2.5.29.19", sequence())


def certificate_der(
    *,
    version: bytes = b"\xa0\x03\x02\x01\x02",
    serial: bytes = tlv(2, b"\x01"),
    algorithm: bytes = ECDSA_SHA256,
    validity: bytes = VALIDITY,
    issuer: bytes = COMMON_NAME,
    rest: bytes = tlv(0xA3, sequence(BASIC)),
    outer: bytes = ECDSA_SHA256,
    bits: bytes = tlv(3, b"\x00\x01"),
) -> bytes:
    tbs = sequence(version, serial, algorithm, issuer, validity, COMMON_NAME, KEY.spki, rest)
    return sequence(tbs, outer, bits)


REFUSED: dict[str, tuple[bytes, type[RequestError], str]] = {
    "not DER": (certificate_der() + b"\x00", MalformedRequest, "The certificate must be DER"),
    "no SEQUENCE": (NULL, MalformedRequest, "must be a SEQUENCE of two SEQUENCEs and a BIT STRING"),
    "unused bits": (certificate_der(bits=tlv(3, b"\x01\x00")), MalformedRequest, "found 1 unused bits"),
    "version 1": (certificate_der(version=b""), UnsupportedRequest, "must have version 3"),
    "version 2": (certificate_der(version=b"\xa0\x03\x02\x01\x01"), UnsupportedRequest, "must have version 3"),
    "a unique identifier": (
        certificate_der(rest=tlv(0x81, b"\x00\x01") + tlv(0xA3, sequence(BASIC))),
        UnsupportedRequest,
        "no unique identifiers",
    ),
    "a member after": (certificate_der(rest=NULL), MalformedRequest, "a TBSCertificate of RFC 5280"),
    "two algorithms": (certificate_der(outer=ED25519), MalformedRequest, "found two that differ"),
    "a negative serial": (certificate_der(serial=tlv(2, b"\x80")), MalformedRequest, "found zero or a negative number"),
    "a serial of zero": (certificate_der(serial=tlv(2, b"\x00")), MalformedRequest, "found zero or a negative number"),
    "a serial of 21 octets": (certificate_der(serial=tlv(2, b"\x01" * 21)), MalformedRequest, "found 21 octets"),
    "an issuer that is no name": (certificate_der(issuer=sequence(NULL)), MalformedRequest, "The issuer must be"),
    "one time": (certificate_der(validity=sequence(b"\x17\x0d260102030405Z")), MalformedRequest, "two times, found 1"),
    "the 31st of February": (
        certificate_der(validity=sequence(b"\x17\x0d260231030405Z", b"\x17\x0d270102030405Z")),
        MalformedRequest,
        "found '260231030405Z'",
    ),
    "a fraction": (
        certificate_der(validity=sequence(b"\x17\x0d260102030405Z", b"\x18\x1120500101000000.5Z")),
        MalformedRequest,
        "found '20500101000000.5Z'",
    ),
    "a time that is text": (certificate_der(validity=sequence(NULL, NULL)), MalformedRequest, "A time must be"),
    "two Extensions": (
        certificate_der(rest=tlv(0xA3, sequence(BASIC), sequence(BASIC))),
        MalformedRequest,
        "one SEQUENCE of extensions, found 2",
    ),
    "an extension twice": (
        certificate_der(rest=tlv(0xA3, sequence(BASIC, BASIC))),
        MalformedRequest,
        "each extension once, found 2.5.29.19 twice",
    ),
    "BER in a value": (
        certificate_der(rest=tlv(0xA3, sequence(extension("1.2.3", b"\x30\x80\x00\x00")))),
        MalformedRequest,
        "The value of the extension 1.2.3 must be DER",
    ),
    "a negative path length": (
        certificate_der(rest=tlv(0xA3, sequence(extension("2.5.29.19", sequence(b"\x01\x01\xff", tlv(2, b"\xff")))))),
        MalformedRequest,
        "A pathLenConstraint must be zero or more, found -1",
    ),
}


def test_the_certificate_that_the_refused_ones_are_made_from_is_accepted() -> None:
    assert load_certificate(certificate_der()).serial_number == 1
    assert load_certificate(certificate_der(rest=b"")).extensions == {}


@pytest.mark.parametrize(("der", "kind", "fault"), REFUSED.values(), ids=REFUSED)
def test_each_fault_has_its_own_sentence(der: bytes, kind: type[RequestError], fault: str) -> None:
    with pytest.raises(kind) as refusal:
        load_certificate(der)
    assert fault in refusal.value.message


PKITS = Path(str(cryptography_vectors.__file__)).parent / "x509" / "PKITS_data" / "certs"


def test_the_certificates_of_nist_pkits_are_loaded_as_pyca_reads_them() -> None:
    refused = {}
    for path in sorted(PKITS.glob("*.crt")):
        octets = path.read_bytes()
        der = asn1crypto_pem.unarmor(octets)[2] if asn1crypto_pem.detect(octets) else octets
        try:
            certificate = load_certificate(der)
        except RequestError as error:
            refused[path.stem] = error.message.rpartition("found ")[2]
            continue
        peer = x509.load_der_x509_certificate(der)
        assert certificate.serial_number == peer.serial_number
        assert certificate.not_before == peer.not_valid_before_utc
        assert certificate.not_after == peer.not_valid_after_utc
        assert certificate.subject == peer.subject.public_bytes()
        assert list(certificate.extensions) == [each.oid.dotted_string for each in peer.extensions]
    assert refused == {
        "BadSignedCACert": "1 unused bits.",
        "DSACACert": "DSA.",
        "DSAParametersInheritedCACert": "DSA.",
        "InvalidDSASignatureTest6EE": "1 unused bits.",
        "InvalidNegativeSerialNumberTest15EE": "zero or a negative number.",
        "UIDCACert": "one.",
        "ValidDSAParameterInheritanceTest5EE": "DSA.",
        "ValidDSASignaturesTest4EE": "DSA.",
        "ValidNameUIDsTest6EE": "one.",
    }
