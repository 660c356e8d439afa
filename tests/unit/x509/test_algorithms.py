"""Signature algorithms: what is emitted, what is accepted, and the ECDSA value."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from engine.errors import IssuanceDefect, MalformedRequest, RequestError, UnsupportedRequest
from engine.x509.algorithms import (
    RSASSA_PSS_SHA256,
    check_signature,
    encode_signature,
    load_signature_algorithm,
    signature_algorithm_for,
)
from engine.x509.spki import load_spki
from tests.unit.x509.forging import KEY_TYPES, NULL, emitted_digest, oid, private_key, sequence, sign, spki_of, tlv

P256 = load_spki(spki_of(private_key("secp256r1")))
EMITTED = {
    "secp256r1": ("ecdsa-with-SHA256", sequence(oid("1.2.840.10045.4.3.2"))),
    "secp384r1": ("ecdsa-with-SHA384", sequence(oid("1.2.840.10045.4.3.3"))),
    "secp521r1": ("ecdsa-with-SHA512", sequence(oid("1.2.840.10045.4.3.4"))),
    "RSA": ("sha256WithRSAEncryption", sequence(oid("1.2.840.113549.1.1.11"), NULL)),
    "Ed25519": ("id-Ed25519", sequence(oid("1.3.101.112"))),
}


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_the_emitted_algorithm_of_each_key(key_type: str) -> None:
    algorithm = signature_algorithm_for(load_spki(spki_of(private_key(key_type))))
    assert (algorithm.name, algorithm.identifier) == EMITTED[key_type]
    assert load_signature_algorithm(algorithm.identifier) == algorithm


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_signature_is_checked_over_its_message_and_no_other(key_type: str) -> None:
    key = load_spki(spki_of(private_key(key_type)))
    signature = sign(private_key(key_type), b"message", emitted_digest(key_type))
    check_signature(key, signature_algorithm_for(key), signature, b"message")
    with pytest.raises(InvalidSignature):
        check_signature(key, signature_algorithm_for(key), signature, b"another")


def pss(digest: bytes, salt: int) -> bytes:
    mask = sequence(oid("1.2.840.113549.1.1.8"), digest)
    salt_length = tlv(2, bytes([salt]))
    return sequence(oid("1.2.840.113549.1.1.10"), sequence(tlv(0xA0, digest), tlv(0xA1, mask), tlv(0xA2, salt_length)))


SHA2_ARCS = {"SHA256": 1, "SHA384": 2, "SHA512": 3}


@pytest.mark.parametrize("null", [NULL, b""], ids=["NULL", "absent"])
@pytest.mark.parametrize("digest", [SHA256(), SHA384(), SHA512()], ids=lambda digest: digest.name)
def test_rsassa_pss_with_everything_stated_is_accepted(digest: SHA256 | SHA384 | SHA512, null: bytes) -> None:
    name = digest.name.upper()
    identifier = pss(sequence(oid(f"2.16.840.1.101.3.4.2.{SHA2_ARCS[name]}"), null), digest.digest_size)
    algorithm = load_signature_algorithm(identifier)
    assert algorithm.name == f"id-RSASSA-PSS-{name}"
    key = private_key("RSA")
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(b"m", padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    check_signature(load_spki(spki_of(key)), algorithm, signature, b"m")


def test_the_emitted_rsassa_pss_states_hash_mask_and_salt() -> None:
    assert RSASSA_PSS_SHA256.identifier == pss(sequence(oid("2.16.840.1.101.3.4.2.1"), NULL), 32)


REFUSED: dict[str, tuple[bytes, type[RequestError], str]] = {
    "RSA with SHA-1": (sequence(oid("1.2.840.113549.1.1.5"), NULL), UnsupportedRequest, "found SHA-1"),
    "ECDSA with SHA-1": (sequence(oid("1.2.840.10045.4.1")), UnsupportedRequest, "found SHA-1"),
    "MD5": (sequence(oid("1.2.840.113549.1.1.4"), NULL), UnsupportedRequest, "found MD5"),
    "MD4": (sequence(oid("1.2.840.113549.1.1.3"), NULL), UnsupportedRequest, "found MD4"),
    "MD2": (sequence(oid("1.2.840.113549.1.1.2"), NULL), UnsupportedRequest, "found MD2"),
    "SHA-224": (sequence(oid("1.2.840.10045.4.3.1")), UnsupportedRequest, "found SHA-224"),
    "DSA with SHA-1": (sequence(oid("1.2.840.10040.4.3")), UnsupportedRequest, "found DSA"),
    "DSA with SHA-256": (sequence(oid("2.16.840.1.101.3.4.3.2")), UnsupportedRequest, "found DSA"),
    "PSS by default": (sequence(oid("1.2.840.113549.1.1.10"), sequence()), UnsupportedRequest, "RSASSA-PSS must state"),
    "PSS with another salt": (pss(sequence(oid("2.16.840.1.101.3.4.2.1"), NULL), 20), UnsupportedRequest, "RSASSA-PSS"),
    "ECDSA with NULL": (sequence(oid("1.2.840.10045.4.3.2"), NULL), MalformedRequest, "SHA256 must be absent"),
    "Ed25519 with NULL": (sequence(oid("1.3.101.112"), NULL), MalformedRequest, "id-Ed25519 must be absent"),
    "RSA with other parameters": (
        sequence(oid("1.2.840.113549.1.1.11"), sequence()),
        MalformedRequest,
        "sha256WithRSAEncryption must be NULL",
    ),
    "an unknown algorithm": (sequence(oid("1.2.3")), UnsupportedRequest, "found the algorithm 1.2.3"),
    "another shape": (sequence(NULL), MalformedRequest, "found another shape"),
    "three members": (sequence(oid("1.2.3"), NULL, NULL), MalformedRequest, "found another shape"),
    "not DER": (b"\x30\x80", MalformedRequest, "must be DER"),
}


@pytest.mark.parametrize(("identifier", "kind", "fault"), REFUSED.values(), ids=REFUSED)
def test_each_refused_algorithm_has_its_own_sentence(identifier: bytes, kind: type[RequestError], fault: str) -> None:
    with pytest.raises(kind) as refusal:
        load_signature_algorithm(identifier)
    assert fault in refusal.value.message


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_an_algorithm_that_does_not_fit_the_key_is_refused(key_type: str) -> None:
    key = load_spki(spki_of(private_key(key_type)))
    other = EMITTED["RSA" if key_type != "RSA" else "secp256r1"]
    with pytest.raises(UnsupportedRequest, match=f"must fit the {key_type} public key, found {other[0]}"):
        check_signature(key, load_signature_algorithm(other[1]), b"", b"")


INTEGERS = {
    "small": (1, 1, "3006020101020101"),
    "a high bit": (0x80, 0xFF, "300802020080020200ff"),
    "leading zero octets": (0x7F, 0x0100, "300702017f02020100"),
    "the largest": (2**256 - 1, 2**255, f"3046022100{'ff' * 32}022100{'80' + '00' * 31}"),
    "no high bit": (2**255 - 1, 2**248 - 1, f"30440220{'7f' + 'ff' * 31}022000{'ff' * 31}"),
}


@pytest.mark.parametrize(("r", "s", "expected"), INTEGERS.values(), ids=INTEGERS)
def test_r_and_s_become_minimal_positive_integers(r: int, s: int, expected: str) -> None:
    assert encode_signature(P256, r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex() == expected


def test_p521_signatures_are_132_octets_and_may_need_a_long_length() -> None:
    key = load_spki(spki_of(private_key("secp521r1")))
    octets = encode_signature(key, (2**520).to_bytes(66, "big") * 2)
    assert octets[:3] == b"\x30\x81\x88"
    with pytest.raises(IssuanceDefect, match="must have 132 octets from the token, found 130"):
        encode_signature(key, bytes(130))


@pytest.mark.parametrize("raw", [b"", b"\x01" * 63, b"\x01" * 65, b"\x01" * 32 + bytes(32), bytes(32) + b"\x01" * 32])
def test_a_raw_signature_of_another_length_or_with_a_zero_is_a_defect(raw: bytes) -> None:
    with pytest.raises(IssuanceDefect):
        encode_signature(P256, raw)


@pytest.mark.parametrize("key_type", ["RSA", "Ed25519"])
def test_other_signatures_are_left_as_they_are(key_type: str) -> None:
    assert encode_signature(load_spki(spki_of(private_key(key_type))), b"\x00\x01") == b"\x00\x01"
