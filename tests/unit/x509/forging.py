"""Requests and certificates made by hand, so that one thing in them can be wrong while their signature is right."""

from base64 import b64encode
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KEY_TYPES = ("secp256r1", "secp384r1", "secp521r1", "RSA", "Ed25519")


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def set_of(*contents: bytes) -> bytes:
    return tlv(0x31, *sorted(contents))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.insert(0, 0x80 | arc & 0x7F)
        content += bytes(octets)
    return tlv(6, content)


NULL = b"\x05\x00"
ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
ECDSA_SHA1 = sequence(oid("1.2.840.10045.4.1"))
RSA_SHA256 = sequence(oid("1.2.840.113549.1.1.11"), NULL)
ED25519 = sequence(oid("1.3.101.112"))
COMMON_NAME = sequence(set_of(sequence(oid("2.5.4.3"), tlv(0x0C, b"Example Leaf"))))
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"


@cache
def private_key(key_type: str) -> PrivateKey:
    if key_type.startswith("RSA"):
        return rsa.generate_private_key(65537, int(key_type[3:] or 2048))
    if key_type == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1(), "secp521r1": ec.SECP521R1()}
    return ec.generate_private_key(curves[key_type])


def spki_of(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def spki(algorithm: bytes, bits: bytes) -> bytes:
    return sequence(algorithm, tlv(3, b"\x00", bits))


def rsa_spki(modulus: int, exponent: int, parameters: bytes = NULL) -> bytes:
    numbers = [
        tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)) for number in (modulus, exponent)
    ]
    return spki(sequence(oid("1.2.840.113549.1.1.1"), parameters), sequence(*numbers))


def sign(key: PrivateKey, message: bytes, digest: HashAlgorithm | None = None) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(digest or SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), digest or SHA256())
    return key.sign(message)


def emitted_digest(key_type: str) -> HashAlgorithm:
    return {"secp384r1": SHA384(), "secp521r1": SHA512()}.get(key_type, SHA256())


def attribute(dotted: str, *values: bytes) -> bytes:
    return sequence(oid(dotted), set_of(*values))


def extension(dotted: str, value: bytes, critical: bytes = b"") -> bytes:
    return sequence(oid(dotted), critical, tlv(4, value))


def requested(*extensions: bytes) -> bytes:
    return attribute(EXTENSION_REQUEST, sequence(*extensions))


def request_der(
    *,
    key: PrivateKey | None = None,
    version: bytes = b"\x02\x01\x00",
    subject: bytes = COMMON_NAME,
    public_key: bytes | None = None,
    attributes: bytes = tlv(0xA0),
    algorithm: bytes = ECDSA_SHA256,
    digest: HashAlgorithm | None = None,
    unused_bits: bytes = b"\x00",
) -> bytes:
    key = key or private_key("secp256r1")
    public_key = spki_of(key) if public_key is None else public_key
    information = sequence(version, subject, public_key, attributes)
    return sequence(information, algorithm, tlv(3, unused_bits, sign(key, information, digest)))


def pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> str:
    text = b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
