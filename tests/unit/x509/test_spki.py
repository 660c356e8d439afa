"""Public keys: what is read, and a sentence for each thing that is not."""

import hashlib
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.errors import MalformedRequest, RequestError, UnsupportedRequest
from engine.x509.spki import load_public_jwk, load_spki, render_public_jwk
from tests.unit.x509.forging import KEY_TYPES, NULL, oid, private_key, rsa_spki, sequence, spki, spki_of, tlv

EC = oid("1.2.840.10045.2.1")
P256 = oid("1.2.840.10045.3.1.7")
POINT = spki_of(private_key("secp256r1"))[-65:]
RSA_MODULUS = load_spki(spki_of(private_key("RSA"))).modulus or 0
HYBRID = bytes([6 | POINT[-1] & 1]) + POINT[1:]
COMPRESSED = bytes([2 | POINT[-1] & 1]) + POINT[1:33]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_every_key_type_is_read(key_type: str) -> None:
    der = spki_of(private_key(key_type))
    key = load_spki(der)
    assert key.key_type == key_type
    assert key.spki == der
    assert key.bits == {"secp256r1": 256, "secp384r1": 384, "secp521r1": 521, "RSA": 2048, "Ed25519": 255}[key_type]
    assert key.sha256 == hashlib.sha256(der).hexdigest()
    assert (key.modulus is None) == (key.exponent is None) == (key_type != "RSA")


def test_the_key_identifier_is_the_sha1_of_the_bits_and_not_of_the_structure() -> None:
    assert load_spki(spki(sequence(EC, P256), POINT)).key_identifier == hashlib.sha1(POINT).digest()


def test_keys_are_equal_when_their_encodings_are() -> None:
    der = spki_of(private_key("secp256r1"))
    assert load_spki(der) == load_spki(der)
    assert hash(load_spki(der)) == hash(load_spki(der))
    assert load_spki(der) != load_spki(spki_of(private_key("secp384r1")))


def x25519_spki() -> bytes:
    key = x25519.X25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def dsa_spki() -> bytes:
    parameters = sequence(*(tlv(2, bytes([number])) for number in (23, 11, 4)))
    return spki(sequence(oid("1.2.840.10040.4.1"), parameters), tlv(2, b"\x08"))


EXPLICIT = sequence(tlv(2, b"\x01"), sequence(oid("1.2.840.10045.1.1"), tlv(2, b"\x17")))
REFUSED: dict[str, tuple[bytes, type[RequestError], str]] = {
    "not DER": (spki(sequence(EC, P256), POINT) + b"\x00", MalformedRequest, "The subjectPublicKeyInfo must be DER"),
    "another shape": (sequence(sequence(EC, P256)), MalformedRequest, "an algorithm identifier and a BIT STRING"),
    "no SEQUENCE": (NULL, MalformedRequest, "an algorithm identifier and a BIT STRING"),
    "unused bits": (sequence(sequence(EC, P256), tlv(3, b"\x01\x04\x00")), MalformedRequest, "found 1 unused bits"),
    "an empty algorithm": (spki(sequence(), POINT), MalformedRequest, "AlgorithmIdentifier must be a SEQUENCE"),
    "three members": (
        spki(sequence(EC, P256, NULL), POINT),
        MalformedRequest,
        "AlgorithmIdentifier must be a SEQUENCE",
    ),
    "explicit parameters": (spki(sequence(EC, EXPLICIT), POINT), UnsupportedRequest, "found explicit curve parameters"),
    "no curve": (spki(sequence(EC), POINT), MalformedRequest, "must name its curve, found no parameters"),
    "an inherited curve": (spki(sequence(EC, NULL), POINT), UnsupportedRequest, "inherited from the CA"),
    "a curve by number": (spki(sequence(EC, tlv(2, b"\x01")), POINT), MalformedRequest, "found the tag 0x02"),
    "secp256k1": (spki(sequence(EC, oid("1.3.132.0.10")), POINT), UnsupportedRequest, "found the curve secp256k1"),
    "an unknown curve": (spki(sequence(EC, oid("1.2.3.4")), POINT), UnsupportedRequest, "found the curve 1.2.3.4"),
    "a compressed point": (spki(sequence(EC, P256), COMPRESSED), UnsupportedRequest, "found a compressed one"),
    "a hybrid point": (spki(sequence(EC, P256), HYBRID), UnsupportedRequest, "found a hybrid one"),
    "the point at infinity": (spki(sequence(EC, P256), b"\x00"), MalformedRequest, "found the point at infinity"),
    "no point": (spki(sequence(EC, P256), b""), MalformedRequest, "found 0 octets beginning with nothing"),
    "a point cut short": (
        spki(sequence(EC, P256), POINT[:-1]),
        MalformedRequest,
        "must have 65 octets and begin with 04",
    ),
    "a point off the curve": (
        spki(sequence(EC, P256), POINT[:-1] + bytes([POINT[-1] ^ 1])),
        MalformedRequest,
        "must be a point on secp256r1, found one off the curve",
    ),
    "a coordinate over the field": (
        spki(sequence(EC, P256), b"\x04" + b"\xff" * 64),
        MalformedRequest,
        "off the curve",
    ),
    "RSA without parameters": (rsa_spki(RSA_MODULUS, 65537, b""), MalformedRequest, "must be NULL, found none"),
    "RSA with other parameters": (rsa_spki(RSA_MODULUS, 65537, sequence()), MalformedRequest, "found the tag 0x30"),
    "RSA with one number": (
        spki(sequence(oid("1.2.840.113549.1.1.1"), NULL), sequence(tlv(2, b"\x05"))),
        MalformedRequest,
        "must be a SEQUENCE of two INTEGERs",
    ),
    "RSA with BER inside": (
        spki(sequence(oid("1.2.840.113549.1.1.1"), NULL), sequence(tlv(2, b"\x00\x05"), tlv(2, b"\x03"))),
        MalformedRequest,
        "The RSAPublicKey must be DER",
    ),
    "a negative modulus": (rsa_spki(-RSA_MODULUS, 65537), MalformedRequest, "must be positive"),
    "an exponent of zero": (rsa_spki(RSA_MODULUS, 0), MalformedRequest, "must be positive"),
    "an exponent of one": (rsa_spki(RSA_MODULUS, 1), UnsupportedRequest, "of 2048 bits and the exponent 1."),
    "an even exponent": (rsa_spki(RSA_MODULUS, 65536), UnsupportedRequest, "and the exponent 65536."),
    "an exponent over the modulus": (
        rsa_spki(RSA_MODULUS, RSA_MODULUS + 2),
        UnsupportedRequest,
        "one of 2048 bits",
    ),
    "a giant modulus": (rsa_spki(2**16384 + 1, 65537), UnsupportedRequest, "at most 16384 bits, found 16385"),
    "RSASSA-PSS": (spki(sequence(oid("1.2.840.113549.1.1.10")), b""), UnsupportedRequest, "found RSASSA-PSS"),
    "DSA": (dsa_spki(), UnsupportedRequest, "must be EC, RSA or Ed25519, found DSA"),
    "X25519": (x25519_spki(), UnsupportedRequest, "found X25519"),
    "an unknown algorithm": (spki(sequence(oid("1.2.3")), b""), UnsupportedRequest, "found the algorithm 1.2.3"),
    "Ed25519 with parameters": (
        spki(sequence(oid("1.3.101.112"), NULL), bytes(32)),
        MalformedRequest,
        "The parameters of an Ed25519 public key must be absent",
    ),
    "Ed25519 of 31 octets": (spki(sequence(oid("1.3.101.112")), bytes(31)), MalformedRequest, "32 octets, found 31"),
}


@pytest.mark.parametrize(("der", "kind", "fault"), REFUSED.values(), ids=REFUSED)
def test_each_fault_of_a_public_key_has_its_own_sentence(der: bytes, kind: type[RequestError], fault: str) -> None:
    with pytest.raises(kind) as refusal:
        load_spki(der)
    assert type(refusal.value) is kind
    assert fault in refusal.value.message


@pytest.mark.parametrize("bits", [512, 1024])
def test_a_weak_rsa_key_is_read_so_that_its_strength_can_be_judged(bits: int) -> None:
    modulus = 2 ** (bits - 1) + 1
    key = load_spki(rsa_spki(modulus, 3))
    assert (key.bits, key.modulus, key.exponent) == (bits, modulus, 3)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_public_jwk_leads_to_the_same_key(key_type: str) -> None:
    key = load_spki(spki_of(private_key(key_type)))
    jwk = render_public_jwk(key)
    assert load_public_jwk(jwk) == key
    expected = {"RSA": ["kty", "n", "e"], "Ed25519": ["kty", "crv", "x"]}.get(key_type, ["kty", "crv", "x", "y"])
    assert list(jwk) == expected


def test_coordinates_keep_their_leading_zeros() -> None:
    number = next(
        d for d in range(1, 5000) if ec.derive_private_key(d, ec.SECP256R1()).public_key().public_numbers().x < 2**248
    )
    key = load_spki(spki_of(ec.derive_private_key(number, ec.SECP256R1())))
    jwk = render_public_jwk(key)
    assert len(jwk["x"]) == 43
    assert load_public_jwk(jwk) == key


EC_JWK = render_public_jwk(load_spki(spki_of(private_key("secp256r1"))))
RSA_JWK = render_public_jwk(load_spki(spki_of(private_key("RSA"))))
REFUSED_JWKS: dict[str, tuple[Mapping[str, object], type[RequestError], str]] = {
    "no kty": ({}, UnsupportedRequest, "kty EC, RSA or OKP, found 'None'"),
    "oct": ({"kty": "oct"}, UnsupportedRequest, "found 'oct'"),
    "another curve": (EC_JWK | {"crv": "secp256k1"}, UnsupportedRequest, "found 'secp256k1'"),
    "another OKP curve": ({"kty": "OKP", "crv": "X25519", "x": "AA"}, UnsupportedRequest, "found 'X25519'"),
    "no y": ({**EC_JWK, "y": None}, MalformedRequest, "The JWK member y must be a base64url string"),
    "a number": ({**EC_JWK, "x": 5}, MalformedRequest, "The JWK member x must be a base64url string"),
    "padding": (EC_JWK | {"x": EC_JWK["x"] + "="}, MalformedRequest, "canonical base64url without padding"),
    "base64": (EC_JWK | {"x": "+" + EC_JWK["x"][1:]}, MalformedRequest, "canonical base64url"),
    "another script": (EC_JWK | {"x": "é" + EC_JWK["x"][1:]}, MalformedRequest, "canonical base64url"),
    "a coordinate cut short": (EC_JWK | {"x": EC_JWK["x"][:-3]}, MalformedRequest, "x must have 32 octets, found 30"),
    "a point off the curve": (EC_JWK | {"x": EC_JWK["y"], "y": EC_JWK["x"]}, MalformedRequest, "off the curve"),
    "leading zeros": (RSA_JWK | {"e": "AAEAAQ"}, MalformedRequest, "e must have no leading zero octets"),
    "no modulus": ({"kty": "RSA", "e": "AQAB"}, MalformedRequest, "The JWK member n"),
}


@pytest.mark.parametrize(("jwk", "kind", "fault"), REFUSED_JWKS.values(), ids=REFUSED_JWKS)
def test_each_fault_of_a_jwk_has_its_own_sentence(
    jwk: Mapping[str, object], kind: type[RequestError], fault: str
) -> None:
    with pytest.raises(kind) as refusal:
        load_public_jwk(jwk)
    assert fault in refusal.value.message


def test_private_members_of_a_jwk_are_neither_read_nor_shown() -> None:
    key = load_public_jwk({**EC_JWK, "d": "c2VjcmV0", "kid": 7})
    assert "d" not in render_public_jwk(key)
    assert "c2VjcmV0" not in repr(key)
