"""CKA_EC_POINT, CKA_MODULUS and friends become the SubjectPublicKeyInfo that pyca builds for the same key."""

from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute
from pkcs11.mechanisms import KeyType

from engine.errors import UnsupportedRequest
from engine.token.publickey import CURVES, ED25519_PARAMETERS, load_public_half

CURVE = {curve.name: curve for curve in CURVES}
KEYS = {
    "secp256r1": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "secp384r1": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "secp521r1": ec.generate_private_key(ec.SECP521R1()).public_key(),
}
POINTS = {name: key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for name, key in KEYS.items()}
WRAPPED = {
    "secp256r1": b"\x04\x41" + POINTS["secp256r1"],
    "secp384r1": b"\x04\x61" + POINTS["secp384r1"],
    "secp521r1": b"\x04\x81\x85" + POINTS["secp521r1"],
}


def elliptic(name: str, point: bytes) -> Mapping[Attribute, object]:
    """The attributes of a public key object, as a token gives them."""
    return {Attribute.KEY_TYPE: KeyType.EC, Attribute.EC_PARAMS: CURVE[name].parameters, Attribute.EC_POINT: point}


def spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("name", KEYS)
def test_a_point_is_read_raw_and_wrapped_in_an_octet_string(name: str) -> None:
    for point in (POINTS[name], WRAPPED[name]):
        half = load_public_half(elliptic(name, point))
        assert (half.spki, half.key_type, half.family) == (spki(KEYS[name]), name, "EC")
        assert half.signature_length == len(POINTS[name]) - 1


def test_the_one_octet_length_that_the_tpm_module_writes_for_p521_is_read() -> None:
    half = load_public_half(elliptic("secp521r1", b"\x04\x85" + POINTS["secp521r1"]))
    assert half.spki == spki(KEYS["secp521r1"])


def test_a_raw_point_that_looks_like_an_octet_string_is_told_apart_by_its_length() -> None:
    """04 41 … at 65 bytes is a point whose x begins with 41; decoding it as DER first would be wrong."""
    prime = CURVE["secp256r1"].prime
    for x in range(0x41 << 248, (0x41 << 248) + 100):
        square = (x**3 - 3 * x + CURVE["secp256r1"].b) % prime
        y = pow(square, (prime + 1) // 4, prime)
        if y * y % prime == square:
            break
    point = b"\x04" + x.to_bytes(32) + y.to_bytes(32)
    assert point[1] == 0x41
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    assert load_public_half(elliptic("secp256r1", point)).spki == spki(key)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda point: point[:-1],
        lambda point: point + b"\x00",
        lambda point: b"\x04\x42" + point,
        lambda point: b"\x03\x41" + point,
        lambda point: b"\x02" + point[1:],
        lambda point: point[:-1] + bytes((point[-1] ^ 1,)),
        lambda point: b"\x04" + bytes(64),
        lambda point: b"\x04" + b"\xff" * 64,
        lambda point: b"",
    ],
)
def test_a_point_that_is_not_on_its_curve_in_a_known_encoding_is_refused(spoil: object) -> None:
    with pytest.raises(UnsupportedRequest, match="point"):
        load_public_half(elliptic("secp256r1", spoil(POINTS["secp256r1"])))


@pytest.mark.parametrize("parameters", ED25519_PARAMETERS)
@pytest.mark.parametrize("prefix", [b"\x04\x20", b""])
def test_an_ed25519_point_is_read_in_both_encodings_and_under_both_names(parameters: bytes, prefix: bytes) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    half = load_public_half(
        {
            Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
            Attribute.EC_PARAMS: parameters,
            Attribute.EC_POINT: prefix + key.public_bytes_raw(),
        }
    )
    assert (half.spki, half.signature_length) == (spki(key), 64)


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
@pytest.mark.parametrize("zeros", [0, 1])
def test_an_rsa_modulus_is_read_with_and_without_leading_zeros(bits: int, zeros: int) -> None:
    key = rsa.generate_private_key(65537, bits).public_key()
    half = load_public_half(
        {
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.MODULUS: bytes(zeros) + key.public_numbers().n.to_bytes(bits // 8),
            Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01",
        }
    )
    assert (half.spki, half.signature_length) == (spki(key), bits // 8)


@pytest.mark.parametrize("name", KEYS)
def test_the_constants_of_the_curves_are_those_of_pyca(name: str) -> None:
    """The order times the generator is the point at infinity: order - 1 has the generator's x."""
    curve = CURVE[name]
    one = ec.derive_private_key(1, KEYS[name].curve).public_key().public_numbers()
    last = ec.derive_private_key(curve.order - 1, KEYS[name].curve).public_key().public_numbers()
    assert (last.x, last.y) == (one.x, curve.prime - one.y)


def test_a_key_of_another_type_or_curve_is_refused() -> None:
    with pytest.raises(UnsupportedRequest, match="EC, RSA and Ed25519"):
        load_public_half({Attribute.KEY_TYPE: KeyType.DSA})
    with pytest.raises(UnsupportedRequest, match="P-256, P-384, P-521"):
        load_public_half({**elliptic("secp256r1", b""), Attribute.EC_PARAMS: bytes.fromhex("06052b8104000a")})
