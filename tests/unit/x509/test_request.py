"""Received requests: only proven ones come back, and each refusal has its own sentence."""

from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from engine.errors import (
    IssuanceDefect,
    MalformedRequest,
    ProofOfPossessionError,
    RequestError,
    UnsupportedRequest,
)
from engine.x509.algorithms import encode_signature, load_signature_algorithm, signature_algorithm_for
from engine.x509.extensions import ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, load_general_name
from engine.x509.names import Name, build_name
from engine.x509.request import (
    assemble_request,
    build_certification_request_info,
    check_request,
    load_request,
)
from engine.x509.spki import load_spki
from tests.unit.x509.forging import (
    COMMON_NAME,
    ECDSA_SHA1,
    ED25519,
    EXTENSION_REQUEST,
    KEY_TYPES,
    NULL,
    RSA_SHA256,
    attribute,
    emitted_digest,
    extension,
    oid,
    pem,
    private_key,
    request_der,
    requested,
    rsa_spki,
    sequence,
    set_of,
    sign,
    spki,
    spki_of,
    tlv,
)

CHALLENGE = "1.2.840.113549.1.9.7"
SECRET = b"correct horse battery staple"
CRITICAL = b"\x01\x01\xff"


def attributes(*each: bytes) -> bytes:
    return tlv(0xA0, *sorted(each))


def extensions(*each: bytes) -> bytes:
    return attributes(requested(*each))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_request_with_a_good_signature_is_returned(key_type: str) -> None:
    key = private_key(key_type)
    algorithm = signature_algorithm_for(load_spki(spki_of(key)))
    der = request_der(key=key, algorithm=algorithm.identifier, digest=emitted_digest(key_type))
    request = load_request(pem(der))
    assert request.der == der
    assert request.subject == COMMON_NAME
    assert request.public_key.spki == spki_of(key)
    assert request.algorithm == algorithm


ACCEPTED = {
    "an empty subject": request_der(subject=sequence()),
    "a challengePassword": request_der(attributes=attributes(attribute(CHALLENGE, tlv(0x0C, SECRET)))),
    "an unknown attribute": request_der(attributes=attributes(attribute("1.2.3", NULL, tlv(2, b"\x01")))),
    "two attributes": request_der(
        attributes=attributes(attribute(CHALLENGE, tlv(0x0C, SECRET)), requested(extension("2.5.29.19", sequence())))
    ),
    "extensions of all kinds": request_der(
        attributes=extensions(
            extension("2.5.29.15", tlv(3, b"\x05\xa0"), CRITICAL),
            extension("2.5.29.19", sequence(CRITICAL, tlv(2, b"\x00")), CRITICAL),
            extension("2.5.29.17", sequence(tlv(0x82, b"a.example"), tlv(0x87, bytes(4)), tlv(0xA4, COMMON_NAME))),
            extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1"))),
            extension("1.2.3.4", tlv(2, b"\x07")),
        )
    ),
}


@pytest.mark.parametrize("der", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_requests(der: bytes) -> None:
    assert load_request(pem(der)).der == der
    assert load_request(pem(der, "NEW CERTIFICATE REQUEST")).der == der


Refusal = tuple[bytes, type[RequestError], str]
P256 = spki_of(private_key("secp256r1"))
GOOD = request_der()
INFORMATION = sequence(tlv(2, b"\x00"), COMMON_NAME, P256, tlv(0xA0))
EC_P256 = sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
DSA = sequence(oid("1.2.840.10040.4.1"), sequence(*(tlv(2, bytes([number])) for number in (23, 11, 4))))

STRUCTURE: dict[str, Refusal] = {
    "not DER": (b"\x30\x80" + GOOD[4:] + b"\x00\x00", MalformedRequest, "The certification request must be DER"),
    "octets after": (GOOD + b"\x00", MalformedRequest, "octets follow the element"),
    "no SEQUENCE": (NULL, MalformedRequest, "must be a SEQUENCE of two SEQUENCEs and a BIT STRING"),
    "another member": (GOOD[:-1] + NULL, MalformedRequest, "must be DER"),
    "unused bits in the signature": (
        sequence(sequence(), sequence(), tlv(3, b"\x01\x00")),
        MalformedRequest,
        "whole octets, found 1 unused bits",
    ),
    "version 1": (request_der(version=tlv(2, b"\x01")), MalformedRequest, "must have version 0, found 01 hexadecimal"),
    "version -1": (request_der(version=tlv(2, b"\xff")), MalformedRequest, "must have version 0, found ff"),
    "no version": (request_der(version=b""), MalformedRequest, "must begin with its version"),
    "no attributes": (request_der(attributes=b""), MalformedRequest, "a subject, a public key and attributes"),
    "attributes as a SET": (request_der(attributes=set_of()), MalformedRequest, "a public key and attributes"),
    "a member after": (request_der(attributes=tlv(0xA0) + NULL), MalformedRequest, "a public key and attributes"),
    "a subject that is no name": (request_der(subject=NULL), MalformedRequest, "The subject must be a SEQUENCE"),
    "a subject of strings": (request_der(subject=sequence(tlv(12, b"x"))), MalformedRequest, "The subject must be"),
}
KEYS: dict[str, Refusal] = {
    "explicit curve": (
        request_der(public_key=spki(sequence(oid("1.2.840.10045.2.1"), sequence()), P256[-65:])),
        UnsupportedRequest,
        "found explicit curve parameters",
    ),
    "infinity": (request_der(public_key=spki(EC_P256, b"\x00")), MalformedRequest, "the point at infinity"),
    "off the curve": (
        request_der(public_key=spki(EC_P256, P256[-65:-1] + bytes([P256[-1] ^ 1]))),
        MalformedRequest,
        "found one off the curve",
    ),
    "DSA": (request_der(public_key=spki(DSA, tlv(2, b"\x08"))), UnsupportedRequest, "found DSA"),
    "RSA with the exponent 1": (
        request_der(public_key=rsa_spki(2**2047 + 1, 1), algorithm=RSA_SHA256),
        UnsupportedRequest,
        "and the exponent 1.",
    ),
}
ATTRIBUTES: dict[str, Refusal] = {
    "no SEQUENCE": (request_der(attributes=attributes(NULL)), MalformedRequest, "An attribute must be a SEQUENCE"),
    "without values": (
        request_der(attributes=attributes(sequence(oid("1.2.3")))),
        MalformedRequest,
        "An attribute must be a SEQUENCE",
    ),
    "an empty set": (request_der(attributes=attributes(attribute("1.2.3"))), MalformedRequest, "at least one value"),
    "twice": (
        request_der(attributes=attributes(attribute("1.2.3", NULL), attribute("1.2.3", tlv(2, b"\x01")))),
        MalformedRequest,
        "must hold each attribute once, found 1.2.3 twice",
    ),
    "in descending order": (
        request_der(attributes=tlv(0xA0, attribute("1.2.4", NULL), attribute("1.2.3", NULL))),
        MalformedRequest,
        "its attributes are not in ascending order",
    ),
    "two challenges": (
        request_der(attributes=attributes(attribute(CHALLENGE, tlv(12, SECRET), tlv(19, SECRET)))),
        MalformedRequest,
        "A challengePassword must be one DirectoryString",
    ),
    "a challenge of octets": (
        request_der(attributes=attributes(attribute(CHALLENGE, tlv(4, SECRET)))),
        MalformedRequest,
        "A challengePassword must be one DirectoryString",
    ),
    "a challenge that is not UTF-8": (
        request_der(attributes=attributes(attribute(CHALLENGE, tlv(12, SECRET + b"\xff")))),
        MalformedRequest,
        "a UTF8String that is not UTF-8",
    ),
    "two extension requests in one": (
        request_der(attributes=attributes(attribute(EXTENSION_REQUEST, sequence(), sequence(NULL)))),
        MalformedRequest,
        "must have one value, found 2",
    ),
    "no extensions": (request_der(attributes=extensions()), MalformedRequest, "at least one extension"),
    "no extension": (request_der(attributes=extensions(NULL)), MalformedRequest, "must hold extensions of"),
    "an extension twice": (
        request_der(attributes=extensions(extension("1.2.3", NULL), extension("1.2.3", tlv(2, b"\x01")))),
        MalformedRequest,
        "must hold each extension once, found 1.2.3 twice",
    ),
    "critical FALSE": (
        request_der(attributes=extensions(extension("1.2.3", NULL, b"\x01\x01\x00"))),
        MalformedRequest,
        "critical is spelled out as FALSE in 1.2.3",
    ),
}


def value(dotted: str, octets: bytes) -> bytes:
    return request_der(attributes=extensions(extension(dotted, octets)))


VALUES: dict[str, Refusal] = {
    "BER": (value("1.2.3", b"\x30\x80\x00\x00"), MalformedRequest, "The value of the extension 1.2.3 must be DER"),
    "empty": (value("1.2.3", b""), MalformedRequest, "The value of the extension 1.2.3 must be DER"),
    "two elements": (value("1.2.3", NULL + NULL), MalformedRequest, "octets follow the element"),
    "keyUsage with trailing zeros": (value("2.5.29.15", tlv(3, b"\x00\x80")), MalformedRequest, "bits end with a zero"),
    "keyUsage with a needless octet": (
        value("2.5.29.15", tlv(3, b"\x07\x80\x00")),
        MalformedRequest,
        "bits end with a zero",
    ),
    "keyUsage of ten bits": (value("2.5.29.15", tlv(3, b"\x06\x80\x40")), MalformedRequest, "at most nine bits"),
    "keyUsage that is a SEQUENCE": (value("2.5.29.15", sequence()), MalformedRequest, "of its standard's syntax"),
    "cA FALSE": (value("2.5.29.19", sequence(b"\x01\x01\x00")), MalformedRequest, "a DEFAULT is spelled out"),
    "basicConstraints with more": (value("2.5.29.19", sequence(CRITICAL, NULL)), MalformedRequest, "standard's syntax"),
    "authorityKeyIdentifier with more": (value("2.5.29.35", sequence(tlv(0x83, b"x"))), MalformedRequest, "syntax"),
    "an issuer serial that is not minimal": (
        value("2.5.29.35", sequence(tlv(0x82, b"\x00\x01"))),
        MalformedRequest,
        "an INTEGER that is not minimal",
    ),
    "a DNS name over 7F": (value("2.5.29.17", sequence(tlv(0x82, b"\xc3\xa9"))), MalformedRequest, "IA5String"),
    "an address of five octets": (value("2.5.29.17", sequence(tlv(0x87, bytes(5)))), MalformedRequest, "syntax"),
    "reasons with trailing zeros": (
        value("2.5.29.31", sequence(sequence(tlv(0x81, b"\x00\x40")))),
        MalformedRequest,
        "bits end with a zero",
    ),
    "a minimum of zero": (
        value("2.5.29.30", sequence(tlv(0xA0, sequence(tlv(0x82, b"a"), tlv(0x80, b"\x00"))))),
        MalformedRequest,
        "a DEFAULT is spelled out",
    ),
}
SIGNATURES: dict[str, Refusal] = {
    "SHA-1": (request_der(algorithm=ECDSA_SHA1), UnsupportedRequest, "found SHA-1"),
    "RSA under an EC key": (
        request_der(algorithm=RSA_SHA256),
        UnsupportedRequest,
        "must fit the secp256r1 public key, found sha256WithRSAEncryption",
    ),
    "Ed25519 under an EC key": (request_der(algorithm=ED25519), UnsupportedRequest, "found id-Ed25519"),
    "the key of another": (
        request_der(public_key=spki_of(private_key("secp384r1"))),
        ProofOfPossessionError,
        "must verify under its own public key",
    ),
    "the hash of another": (
        request_der(digest=emitted_digest("secp384r1")),
        ProofOfPossessionError,
        "must verify under its own public key",
    ),
    "a changed subject": (GOOD.replace(b"Example Leaf", b"Example Loaf"), ProofOfPossessionError, "must verify"),
    "an empty signature": (
        sequence(INFORMATION, sequence(oid("1.2.840.10045.4.3.2")), tlv(3, b"\x00")),
        ProofOfPossessionError,
        "must verify under its own public key",
    ),
}


@pytest.mark.parametrize(
    ("der", "kind", "fault"),
    [
        pytest.param(*refusal, id=f"{group}: {name}")
        for group, refusals in {
            "structure": STRUCTURE,
            "public key": KEYS,
            "attribute": ATTRIBUTES,
            "extension value": VALUES,
            "signature": SIGNATURES,
        }.items()
        for name, refusal in refusals.items()
    ],
)
def test_each_fault_has_its_own_sentence(der: bytes, kind: type[RequestError], fault: str) -> None:
    with pytest.raises(kind) as refusal:
        load_request(pem(der))
    assert type(refusal.value) is kind
    assert fault in refusal.value.message
    assert SECRET.decode() not in refusal.value.message
    assert SECRET.hex() not in refusal.value.message


def test_a_challenge_password_is_in_no_repr() -> None:
    request = load_request(pem(ACCEPTED["a challengePassword"]))
    assert "horse" not in repr(request)


def test_a_certificate_is_not_taken_for_a_request() -> None:
    with pytest.raises(MalformedRequest, match="CERTIFICATE REQUEST was expected, found CERTIFICATE"):
        load_request(pem(GOOD, "CERTIFICATE"))


def test_more_than_64_kib_is_refused() -> None:
    padded = request_der(attributes=attributes(attribute("1.2.3", tlv(4, bytes(50000)))))
    with pytest.raises(MalformedRequest, match="at most 65536 characters"):
        load_request(pem(padded))


def test_an_rsa_key_of_1024_bits_is_read_for_the_key_check_to_judge() -> None:
    key = private_key("RSA1024")
    request = load_request(pem(request_der(key=key, algorithm=RSA_SHA256)))
    assert (request.public_key.bits, request.public_key.exponent) == (1024, 65537)


VECTORS = Path(str(cryptography_vectors.__file__)).parent / "x509" / "requests"
VECTOR_RESULTS = {
    "bad-version.pem": "must have version 0, found 01",
    "basic_constraints.pem": "found other text",  # openssl's readable form precedes the object.
    "challenge-invalid.der": "A challengePassword must be one DirectoryString",
    "challenge-multi-valued.der": "A challengePassword must be one DirectoryString",
    "challenge-unstructured.pem": None,
    "challenge.pem": None,
    "dsa_sha1.der": "found DSA",
    "dsa_sha1.pem": "found DSA",
    "ec_sha256.der": None,
    "ec_sha256.pem": None,
    "ec_sha256_old_header.pem": None,
    "freeipa-bad-critical.pem": "critical is spelled out as FALSE",
    "invalid_signature.pem": "must verify under its own public key",
    "long-form-attribute.pem": "must be DER",
    "rsa_md4.der": "found MD4",
    "rsa_md4.pem": "found MD4",
    "rsa_sha1.der": "found SHA-1",
    "rsa_sha1.pem": "found SHA-1",
    "rsa_sha256.der": None,
    "rsa_sha256.pem": None,
    "san_rsa_sha1.der": "found SHA-1",
    "san_rsa_sha1.pem": "found SHA-1",
    "two_basic_constraints.pem": "found other text",
    "unsupported_extension.pem": "found other text",
    "unsupported_extension_critical.pem": "found other text",
    "zero-element-attribute.pem": "must have at least one value",
}


def test_every_vector_of_pyca_has_its_result_here() -> None:
    assert {path.name for path in VECTORS.iterdir()} == VECTOR_RESULTS.keys()


@pytest.mark.parametrize(("name", "fault"), VECTOR_RESULTS.items())
def test_vectors_of_pyca(name: str, fault: str | None) -> None:
    octets = (VECTORS / name).read_bytes()
    text = octets.decode() if name.endswith(".pem") else pem(octets)
    if fault is None:
        assert x509.load_pem_x509_csr(text.encode()).is_signature_valid
        load_request(text)
    else:
        with pytest.raises(RequestError) as refusal:
            load_request(text)
        assert fault in refusal.value.message


SUBJECT = build_name(Name((("country", "US"), ("common_name", "Example Leaf"))))
SAN = SubjectAlternativeName((load_general_name("dNSName", "leaf.example.com"),))
DOCUMENT_SIGNER = (KeyUsage(frozenset({"digitalSignature"})), ExtendedKeyUsage(("1.0.18013.5.1.2",), critical=True))


@pytest.mark.parametrize("wanted", [(), (SAN,), DOCUMENT_SIGNER], ids=["none", "SAN", "document signer"])
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_built_request_is_read_by_pyca_and_by_load_request(
    key_type: str, wanted: tuple[SubjectAlternativeName | KeyUsage | ExtendedKeyUsage, ...]
) -> None:
    private = private_key(key_type)
    key = load_spki(spki_of(private))
    algorithm = signature_algorithm_for(key)
    information = build_certification_request_info(SUBJECT, key, wanted)
    der = assemble_request(information, algorithm, sign(private, information, emitted_digest(key_type)))
    check_request(der, information, key)
    request = x509.load_der_x509_csr(der)
    assert request.is_signature_valid
    assert [each.oid.dotted_string for each in request.extensions] == [each.oid for each in wanted]
    assert load_request(request.public_bytes(Encoding.PEM).decode()).subject == SUBJECT


def test_attributes_are_there_even_when_nothing_is_asked_for() -> None:
    information = build_certification_request_info(SUBJECT, load_spki(P256), ())
    assert information.endswith(b"\xa0\x00")


def test_a_request_over_other_octets_or_with_a_bad_signature_is_a_defect() -> None:
    private = private_key("secp256r1")
    key = load_spki(P256)
    information = build_certification_request_info(SUBJECT, key, ())
    other = build_certification_request_info(SUBJECT, key, (SAN,))
    algorithm = signature_algorithm_for(key)
    good = assemble_request(information, algorithm, sign(private, information))
    with pytest.raises(IssuanceDefect, match="found other octets"):
        check_request(good, other, key)
    with pytest.raises(IssuanceDefect, match="found one that does not"):
        check_request(assemble_request(information, algorithm, sign(private, other)), information, key)
    with pytest.raises(IssuanceDefect, match="found one that does not"):
        check_request(good, information, load_spki(spki_of(private_key("secp384r1"))))
    with pytest.raises(IssuanceDefect, match="must be readable"):
        check_request(good[:-1], information, key)
    misnamed = assemble_request(information, load_signature_algorithm(RSA_SHA256), sign(private, information))
    with pytest.raises(IssuanceDefect):
        check_request(misnamed, information, key)


def test_a_raw_token_signature_makes_a_request_that_verifies() -> None:
    key = load_spki(P256)
    information = build_certification_request_info(SUBJECT, key, ())
    r, s = decode_dss_signature(sign(private_key("secp256r1"), information))
    signature = encode_signature(key, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    check_request(assemble_request(information, signature_algorithm_for(key), signature), information, key)
