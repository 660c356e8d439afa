"""Certificates from drafts, signed by keys in software, with a fixed clock and serial number."""

from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from engine.profiles.generic import draft_generic
from engine.profiles.issuer import Issuer, issuer_from_certificate
from engine.profiles.lint import check_lint
from engine.profiles.mdoc import draft_iaca
from engine.profiles.orders import GenericOrder, IacaOrder, IssuerAlternativeNameOrder, SubjectName
from engine.x509.certificate import (
    Certificate,
    CertificateDraft,
    assemble_certificate,
    build_tbs_certificate,
    check_certificate,
    load_certificate,
)
from engine.x509.spki import PublicKey, load_spki

from .octets import private_key, spki

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SERIAL = 0x4FEDCBA9876543210FEDCBA9876543210FEDCBA9
CONTACT = IssuerAlternativeNameOrder(uri="https://iaca.example.com")
IACA_ORDER = IacaOrder(country="US", common_name="Example IACA", issuer_alternative_name=CONTACT)


@cache
def public_key(kind: str) -> PublicKey:
    return load_spki(spki(kind))


def sign(draft: CertificateDraft, kind: str, profile: str, issuer: bytes | None = None) -> bytes:
    """The certificate of a draft, linted as the corridor does, signed by the key of this kind."""
    tbs_certificate = build_tbs_certificate(draft)
    check_lint(tbs_certificate, profile, issuer)
    key = private_key(kind)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.key_size]
        signature = key.sign(tbs_certificate, ec.ECDSA(digest))
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(tbs_certificate, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(tbs_certificate)
    certificate = assemble_certificate(tbs_certificate, draft.algorithm, signature)
    check_certificate(certificate, tbs_certificate, public_key(kind), draft.algorithm)
    return certificate


@cache
def ca(kind: str = "P-256/ca", path_length: int | None = None) -> Certificate:
    """A generic self-signed CA that lives ten years from NOW."""
    order = GenericOrder(
        SubjectName("Example CA"),
        is_certificate_authority=True,
        path_length_constraint=path_length,
        not_after=NOW.replace(year=NOW.year + 10),
    )
    draft = draft_generic(order, public_key(kind), None, serial_number=SERIAL, now=NOW)
    return load_certificate(sign(draft, kind, "generic"))


def ca_issuer(kind: str = "P-256/ca", path_length: int | None = None) -> Issuer:
    return issuer_from_certificate(ca(kind, path_length), public_key(kind))


@cache
def iaca(order: IacaOrder = IACA_ORDER, kind: str = "P-256/ca") -> Certificate:
    draft = draft_iaca(order, public_key(kind), serial_number=SERIAL, now=NOW)
    return load_certificate(sign(draft, kind, "iaca"))


def iaca_issuer(order: IacaOrder = IACA_ORDER, kind: str = "P-256/ca") -> Issuer:
    return issuer_from_certificate(iaca(order, kind), public_key(kind))
