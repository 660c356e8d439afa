"""The public half of a token key: CKA_EC_POINT and friends in, SubjectPublicKeyInfo out.

The encodings are constants of RFC 5480, RFC 8410 and RFC 3279, so that the token room needs no ASN.1 library.
"""

from dataclasses import dataclass

from pkcs11.constants import Attribute
from pkcs11.mechanisms import KeyType
from pkcs11.types import Object

from engine.errors import UnsupportedRequest

_SEQUENCE, _INTEGER, _BIT_STRING, _OCTET_STRING = 0x30, 0x02, 0x03, 0x04
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
_ED25519 = bytes.fromhex("06032b6570")
ED25519_PARAMETERS = (_ED25519, b"\x13\x0cedwards25519")
"""CKA_EC_PARAMS of Ed25519: the OID of RFC 8410, or the PrintableString of PKCS#11 3.0 section 2.3.5."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve y² = x³ - 3x + b over a prime field (SP 800-186 section 3.2.1)."""

    name: str
    parameters: bytes
    """CKA_EC_PARAMS: the curve's OID in DER."""
    width: int
    """Octets of a coordinate, and of r and s each."""
    prime: int
    b: int
    order: int

    @property
    def wrappings(self) -> tuple[bytes, ...]:
        """What may precede the uncompressed point: nothing, a DER OCTET STRING header, and for P-521 the header with
        a one-octet length that the TPM module writes. The total lengths differ, so that length decides."""
        size = 2 * self.width + 1
        return (b"", _tlv(_OCTET_STRING, bytes(size))[:-size], bytes((_OCTET_STRING, size)))

    def check_point(self, point: bytes) -> None:
        """Raises UnsupportedRequest unless `point` is 04, x, y with (x, y) on the curve."""
        x, y = int.from_bytes(point[1 : 1 + self.width]), int.from_bytes(point[1 + self.width :])
        outside = max(x, y) >= self.prime or (y * y - x * x * x + 3 * x - self.b) % self.prime
        if len(point) != 2 * self.width + 1 or point[0] != 0x04 or outside:
            raise UnsupportedRequest(f"The public key is not an uncompressed point on {self.name}.")


_P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P384 = 2**384 - 2**128 - 2**96 + 2**32 - 1
CURVES = (
    Curve(
        "secp256r1",
        bytes.fromhex("06082a8648ce3d030107"),
        32,
        _P256,
        0x5AC635D8_AA3A93E7_B3EBBD55_769886BC_651D06B0_CC53B0F6_3BCE3C3E_27D2604B,
        0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
    ),
    Curve(
        "secp384r1",
        bytes.fromhex("06052b81040022"),
        48,
        _P384,
        0xB3312FA7_E23EE7E4_988E056B_E3F82D19_181D9C6E_FE814112_0314088F_5013875A_C656398D_8A2ED19D_2A85C8ED_D3EC2AEF,
        0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_C7634D81_F4372DDF_581A0DB2_48B0A77A_ECEC196A_CCC52973,
    ),
    Curve(
        "secp521r1",
        bytes.fromhex("06052b81040023"),
        66,
        2**521 - 1,
        int(
            "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef1"
            "09e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
            16,
        ),
        int(
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
            "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
            16,
        ),
    ),
)
CURVE_BY_PARAMETERS = {curve.parameters: curve for curve in CURVES}


@dataclass(frozen=True, slots=True)
class PublicHalf:
    """A public key as it leaves the token, or is to enter it.

    `family` is EC, RSA or Ed25519; `signature_length` is in octets, raw; `spki` DER.
    """

    family: str
    key_type: str
    signature_length: int
    spki: bytes


def load_public_half(public_key: Object) -> PublicHalf:
    """Read a public key object. Raises UnsupportedRequest for a type, curve or encoding that is not known."""
    key_type = public_key[Attribute.KEY_TYPE]
    if key_type == KeyType.RSA:
        return rsa_half(public_key[Attribute.MODULUS], public_key[Attribute.PUBLIC_EXPONENT])
    if key_type not in (KeyType.EC, KeyType.EC_EDWARDS):
        raise UnsupportedRequest("The key on the token is of a type other than EC, RSA and Ed25519.")
    parameters, point = public_key[Attribute.EC_PARAMS], public_key[Attribute.EC_POINT]
    if parameters in ED25519_PARAMETERS:
        return ed25519_half(point)
    curve = CURVE_BY_PARAMETERS.get(parameters)
    if curve is None:
        raise UnsupportedRequest("The key on the token is on a curve other than P-256, P-384, P-521 and Ed25519.")
    return elliptic_half(curve, point)


def elliptic_half(curve: Curve, value: bytes) -> PublicHalf:
    """From CKA_EC_POINT in any of its wrappings. Raises UnsupportedRequest."""
    size = 2 * curve.width + 1
    for wrapping in curve.wrappings:
        if len(value) == len(wrapping) + size and value.startswith(wrapping):
            point = value[len(wrapping) :]
            curve.check_point(point)
            algorithm = _tlv(_SEQUENCE, _EC_PUBLIC_KEY + curve.parameters)
            spki = _tlv(_SEQUENCE, algorithm + _tlv(_BIT_STRING, b"\x00" + point))
            return PublicHalf("EC", curve.name, 2 * curve.width, spki)
    raise UnsupportedRequest(f"The token's point for a {curve.name} key is {len(value)} bytes in no known encoding.")


def ed25519_half(value: bytes) -> PublicHalf:
    """From CKA_EC_POINT, bare or in an OCTET STRING. Raises UnsupportedRequest."""
    if len(value) == 34 and value.startswith(b"\x04\x20"):
        value = value[2:]
    if len(value) != 32:
        raise UnsupportedRequest(f"The token's point for an Ed25519 key is {len(value)} bytes in no known encoding.")
    spki = _tlv(_SEQUENCE, _tlv(_SEQUENCE, _ED25519) + _tlv(_BIT_STRING, b"\x00" + value))
    return PublicHalf("Ed25519", "Ed25519", 64, spki)


def rsa_half(modulus: bytes, exponent: bytes) -> PublicHalf:
    """From CKA_MODULUS and CKA_PUBLIC_EXPONENT."""
    key = _tlv(_SEQUENCE, _integer(modulus) + _integer(exponent))
    spki = _tlv(_SEQUENCE, _RSA_ENCRYPTION + _tlv(_BIT_STRING, b"\x00" + key))
    return PublicHalf("RSA", "RSA", (int.from_bytes(modulus).bit_length() + 7) // 8, spki)


def wrap_point(point: bytes) -> bytes:
    """CKA_EC_POINT as PKCS#11 2.40 section 2.3.3 has it: a DER OCTET STRING."""
    return _tlv(_OCTET_STRING, point)


def _integer(magnitude: bytes) -> bytes:
    """A positive INTEGER; PKCS#11 big integers are unsigned and may begin with zeros."""
    number = int.from_bytes(magnitude)
    return _tlv(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content
