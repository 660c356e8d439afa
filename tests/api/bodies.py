"""Request bodies that are right, keys and certification requests made outside the engine, and ways to spoil them."""

import base64
import copy
import datetime
import functools
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KMS = "test.tenant1.kms1"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def hosted(key_id: str, kms: str = KMS) -> dict[str, Any]:
    return {"type": "kms-hosted-key-descriptor", "keyIdPath": f"{kms}.{key_id}"}


def described_jwk(jwk: object) -> dict[str, Any]:
    return {"type": "jwk-encoded-key-descriptor", "jwk": jwk}


@functools.cache
def outside_key(name: str = "subject") -> ec.EllipticCurvePrivateKey:
    """A P-256 key that the engine does not hold; the same one for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


def certification_request(key: PrivateKey | None = None, common_name: str = "Outside") -> str:
    """A certification request, PEM, signed by its own key."""
    key = key or outside_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def tampered_request() -> str:
    """A certification request whose subject was changed after it was signed."""
    der = x509.load_pem_x509_csr(certification_request(common_name="Outside").encode()).public_bytes(Encoding.DER)
    return pem("CERTIFICATE REQUEST", der.replace(b"Outside", b"Inside!"))


def pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


CA_EXTENSIONS: list[tuple[x509.ExtensionType, bool]] = [
    (x509.BasicConstraints(ca=True, path_length=0), True),
    (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
]


def subject_key_identifier(key: CertificatePublicKeyTypes) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectKeyIdentifier.from_public_key(key), False


def outside_certificate(
    key: ec.EllipticCurvePrivateKey,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    *,
    public_key: CertificatePublicKeyTypes | None = None,
    subject: Iterable[tuple[x509.ObjectIdentifier, str]] = ((NameOID.COMMON_NAME, "Outside CA"),),
) -> str:
    """A certificate signed by `key`, made without the engine, PEM; self-signed unless it is for another key."""
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1000))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def private_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """RFC 7518 section 6.2."""
    numbers = key.private_numbers()
    public = numbers.public_numbers
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _base64url(public.x.to_bytes(32)),
        "y": _base64url(public.y.to_bytes(32)),
        "d": _base64url(numbers.private_value.to_bytes(32)),
    }


def public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return {name: value for name, value in private_jwk(key).items() if name != "d"}


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def csr_body() -> dict[str, Any]:
    return {
        "type": "generic",
        "subjectKeyDescriptor": hosted("leaf-secp256r1"),
        "subjectName": {"commonName": "Example Leaf", "country": "US", "organizationName": "Example Org"},
        "subjectAlternativeNames": {"dnsNames": ["leaf.example.com"]},
    }


def ds_csr_body() -> dict[str, Any]:
    return {
        "type": "iso-document-signer",
        "subjectKeyDescriptor": hosted("leaf-secp256r1"),
        "certificateData": {"country": "US", "commonName": "Example DS"},
    }


def certificate_body() -> dict[str, Any]:
    return {
        "certificateData": {
            "subjectName": {"commonName": "Example Leaf", "country": "US"},
            "keyUsage": ["DigitalSignature"],
        },
        "subjectPublicKeySource": {"type": "csr", "csrPEM": certification_request()},
        "issuer": {"type": "ca-signed", "issuerKeyDescriptor": hosted("ca-secp256r1")},
    }


def iaca_body(key_id: str = "new-iaca") -> dict[str, Any]:
    return {
        "iacaKeyDesc": hosted(key_id),
        "certificateData": {
            "country": "DE",
            "commonName": "Another IACA",
            "issuerAlternativeNameConf": {"email": "iaca@example.com", "uri": "https://iaca.example.com"},
        },
    }


def ds_body() -> dict[str, Any]:
    return {
        "iacaSigner": {
            "type": "iaca-cert-data-descriptor",
            "iacaKeyDesc": hosted("iaca-secp256r1"),
            "certificateData": {
                "country": "US",
                "commonName": "Example IACA",
                "notBefore": "2025-05-28T12:23:01Z",
                "notAfter": "2040-05-24T12:23:01Z",
                "issuerAlternativeNameConf": {"uri": "https://iaca.example.com"},
            },
        },
        "certificateData": {
            "country": "US",
            "commonName": "Example DS",
            "crlDistributionPointUri": "https://crl-example.com",
        },
        "dsPublicKeySource": {"type": "csr", "csrPEM": certification_request()},
    }


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The document with the member at a dotted path set, or removed for Ellipsis."""
    result = copy.deepcopy(document)
    *above, last = path.split(".")
    place = result
    for name in above:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result
