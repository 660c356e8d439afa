"""tbsCertificates joined by hand, to be broken one part at a time. Nothing here uses the engine."""

import copy
import hashlib
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")

UTF8, PRINTABLE, IA5 = 0x0C, 0x13, 0x16
C, CN, ST, L, O, OU = (bytes((0x55, 4, arc)) for arc in (6, 3, 8, 7, 10, 11))  # noqa: E741 - X.520's own letters
SKI, KU, SAN, IAN, BC, CRLDP, AKI, EKU = (bytes((0x55, 0x1D, arc)) for arc in (14, 15, 17, 18, 19, 31, 35, 37))
NAME_CONSTRAINTS = bytes((0x55, 0x1D, 30))
DOCUMENT_SIGNER = bytes.fromhex("28818c5d050102")
READER = bytes.fromhex("28818c5d050106")


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 128:
        return bytes((tag, length)) + content
    octets = length.to_bytes(2, "big").lstrip(b"\x00")
    return bytes((tag, 0x80 | len(octets))) + octets + content


@cache
def private_key(kind: str):
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind.split("/")[0]]
    return ec.generate_private_key(curve)


def spki(kind: str) -> bytes:
    return private_key(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def identifier(kind: str) -> bytes:
    form = PublicFormat.PKCS1 if kind == "RSA" else PublicFormat.UncompressedPoint
    encoding = Encoding.DER if kind == "RSA" else Encoding.X962
    if kind == "Ed25519":
        form, encoding = PublicFormat.Raw, Encoding.Raw
    return hashlib.sha1(private_key(kind).public_key().public_bytes(encoding, form)).digest()


def rdn(*attributes: tuple[bytes, int, str]) -> bytes:
    return tlv(0x31, *(tlv(0x30, tlv(6, kind), tlv(tag, text.encode())) for kind, tag, text in attributes))


def name(*attributes: tuple[bytes, int, str]) -> bytes:
    return tlv(0x30, *(rdn(attribute) for attribute in attributes))


def crl_point(uri: str = "http://crl.example/1", *more: bytes) -> bytes:
    return tlv(0x30, tlv(0x30, tlv(0xA0, tlv(0xA0, tlv(0x86, uri.encode()))), *more))


IACA_NAME = name((C, PRINTABLE, "US"), (CN, UTF8, "Example IACA"))
CONTACT = tlv(0x30, tlv(0x86, b"https://iaca.example.com"))


def generic_leaf() -> dict:
    """A sound generic end-entity certificate under `generic_ca`."""
    return {
        "version": tlv(0xA0, b"\x02\x01\x02"),
        "serial": tlv(2, b"\x41" * 20),
        "algorithm": ECDSA_SHA256,
        "issuer": name((CN, UTF8, "Example CA")),
        "not_before": tlv(0x17, b"260301120000Z"),
        "not_after": tlv(0x17, b"270301120000Z"),
        "subject": name((C, PRINTABLE, "US"), (O, UTF8, "Example Org"), (CN, UTF8, "Example Leaf")),
        "spki": spki("P-256/leaf"),
        "rest": b"",
        "extensions": [
            [SKI, False, tlv(4, identifier("P-256/leaf"))],
            [AKI, False, tlv(0x30, tlv(0x80, identifier("P-256/ca")))],
            [BC, True, b"\x30\x00"],
            [KU, True, b"\x03\x02\x07\x80"],
            [EKU, False, tlv(0x30, tlv(6, bytes.fromhex("2b06010505070301")))],
            [SAN, False, tlv(0x30, tlv(0x82, b"leaf.example.com"))],
            [CRLDP, False, crl_point()],
        ],
    }


def generic_ca() -> dict:
    """A sound generic self-signed CA."""
    parts = generic_leaf()
    parts["subject"] = parts["issuer"]
    parts["spki"] = spki("P-256/ca")
    parts["not_after"] = tlv(0x17, b"400301120000Z")
    parts["extensions"] = [
        [SKI, False, tlv(4, identifier("P-256/ca"))],
        [AKI, False, tlv(0x30, tlv(0x80, identifier("P-256/ca")))],
        [BC, True, bytes.fromhex("30060101ff020101")],
        [KU, True, b"\x03\x02\x01\x06"],
    ]
    return parts


def iaca() -> dict:
    """A sound IACA root."""
    parts = generic_ca()
    parts["issuer"] = parts["subject"] = IACA_NAME
    parts["extensions"] = [
        [SKI, False, tlv(4, identifier("P-256/ca"))],
        [KU, True, b"\x03\x02\x01\x06"],
        [BC, True, bytes.fromhex("30060101ff020100")],
        [IAN, False, CONTACT],
        [CRLDP, False, crl_point()],
    ]
    return parts


def document_signer() -> dict:
    """A sound document signer under `iaca`."""
    parts = generic_leaf()
    parts["issuer"] = IACA_NAME
    parts["subject"] = name((C, PRINTABLE, "US"), (CN, UTF8, "Example DS"))
    parts["extensions"] = [
        [SKI, False, tlv(4, identifier("P-256/leaf"))],
        [AKI, False, tlv(0x30, tlv(0x80, identifier("P-256/ca")))],
        [KU, True, b"\x03\x02\x07\x80"],
        [EKU, True, tlv(0x30, tlv(6, DOCUMENT_SIGNER))],
        [IAN, False, CONTACT],
        [CRLDP, False, crl_point()],
    ]
    return parts


def join(parts: dict) -> bytes:
    """The tbsCertificate."""
    extensions = [
        tlv(0x30, tlv(6, kind), b"\x01\x01\xff" if critical is True else critical or b"", tlv(4, value))
        for kind, critical, value in parts["extensions"]
    ]
    fields = ("version", "serial", "algorithm", "issuer")
    return tlv(
        0x30,
        *(parts[field] for field in fields),
        tlv(0x30, parts["not_before"], parts["not_after"]),
        parts["subject"],
        parts["spki"],
        parts["rest"],
        tlv(0xA3, tlv(0x30, *extensions)) if extensions else b"",
    )


def certificate(parts: dict) -> bytes:
    """A whole certificate with a signature of zeros."""
    return tlv(0x30, join(parts), parts["algorithm"], tlv(3, bytes(9)))


def signed(parts: dict, kind: str) -> bytes:
    """A whole certificate, signed with ECDSA and SHA-256 by the P-256 key of this name."""
    tbs_certificate = join(parts)
    signature = private_key(kind).sign(tbs_certificate, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs_certificate, parts["algorithm"], tlv(3, b"\x00", signature))


def extension(parts: dict, kind: bytes) -> list:
    """The extension of this type, to be changed in place."""
    return next(each for each in parts["extensions"] if each[0] == kind)


def without(parts: dict, kind: bytes) -> None:
    parts["extensions"] = [each for each in parts["extensions"] if each[0] != kind]


def broken(base, change) -> dict:
    """A copy of a sound certificate's parts with one change."""
    parts = copy.deepcopy(base())
    change(parts)
    return parts
