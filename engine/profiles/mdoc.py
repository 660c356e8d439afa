"""The mdoc profiles of ISO/IEC 18013-5 Annex B as public verifiers enforce them: IACA root and document signer.

A document signer certificate has, in this order: SubjectKeyIdentifier; AuthorityKeyIdentifier, that of the IACA;
KeyUsage, critical, exactly digitalSignature; ExtendedKeyUsage, critical, exactly 1.0.18013.5.1.2; IssuerAltName as in
the IACA, octet for octet; CRLDistributionPoints. BasicConstraints is absent. The subject is C, CN, ST, O, L; C and ST
are those of the IACA. A life is 457 days less one second, cut to the IACA's, unless the order says otherwise, and at
most 457 days.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from engine.profiles.drafts import RequestDraft
from engine.profiles.faults import check_no_faults, must
from engine.profiles.iaca import check_iaca, check_iaca_matches, check_iso_key, draft_iaca
from engine.profiles.issuer import Issuer
from engine.profiles.naming import attribute_title, load_distribution_point, load_iso_subject
from engine.profiles.orders import DocumentSignerOrder, DocumentSignerRequestOrder
from engine.profiles.validity import Lifetime, choose_validity, plus
from engine.x509.algorithms import signature_algorithm_for
from engine.x509.certificate import CertificateDraft
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    KeyUsage,
    SubjectKeyIdentifier,
)
from engine.x509.names import Name, build_name, load_name
from engine.x509.spki import PublicKey

__all__ = [
    "DOCUMENT_SIGNER_PURPOSE",
    "check_iaca",
    "check_iaca_matches",
    "draft_document_signer",
    "draft_document_signer_request",
    "draft_iaca",
]

DOCUMENT_SIGNER_PURPOSE = "1.0.18013.5.1.2"
LONGEST_LIFE = timedelta(days=457)
LIFETIME = Lifetime(
    default=lambda not_before: plus(not_before, LONGEST_LIFE - timedelta(seconds=1)), longest=LONGEST_LIFE
)

_KEY_USAGE = KeyUsage(frozenset({"digitalSignature"}))
_EXTENDED_KEY_USAGE = ExtendedKeyUsage((DOCUMENT_SIGNER_PURPOSE,), critical=True)


def draft_document_signer(
    order: DocumentSignerOrder, public_key: PublicKey, issuer: Issuer, *, serial_number: int, now: datetime
) -> CertificateDraft:
    """The document signer certificate that this order describes, under this IACA.

    When the issuer has a certificate, that must be an IACA root of the profile (`check_iaca`). `now` is used when the
    order has no notBefore. Raises PolicyRefusal with every fault of the order.
    """
    if issuer.certificate is not None:
        check_iaca(issuer.certificate)
    faults: list[str] = []
    check_iso_key(public_key, faults)
    check_iso_key(issuer.public_key, faults)
    subject = _subject(order, faults)
    _check_place(order, issuer, faults)
    validity = choose_validity(
        order.not_before,
        order.not_after,
        now=now,
        lifetime=LIFETIME,
        issuer=issuer.validity,
        faults=faults,
    )
    uri = load_distribution_point(order.crl_distribution_point_uri, faults)
    if issuer.public_key == public_key:
        faults.append("The document signer's key must be its own, found the key of the IACA.")
    if issuer.issuer_alternative_name is None:
        faults.append("The IACA must have an IssuerAltName to copy, found none.")
    check_no_faults(faults)
    if build_name(subject) == issuer.subject:
        check_no_faults(["The document signer must have another name than the IACA, found the same one."])
    extensions: tuple[Extension | None, ...] = (
        SubjectKeyIdentifier(public_key.key_identifier),
        AuthorityKeyIdentifier(issuer.subject_key_identifier),
        _KEY_USAGE,
        _EXTENDED_KEY_USAGE,
        issuer.issuer_alternative_name,
        CRLDistributionPoints(uri),
    )
    return CertificateDraft(
        serial_number=serial_number,
        algorithm=signature_algorithm_for(issuer.public_key),
        issuer=issuer.subject,
        not_before=validity.not_before,
        not_after=validity.not_after,
        subject=subject,
        public_key=public_key,
        extensions=tuple(extension for extension in extensions if extension is not None),
    )


def draft_document_signer_request(order: DocumentSignerRequestOrder, public_key: PublicKey) -> RequestDraft:
    """The request for a document signer certificate that this order describes; asks for its two key usages."""
    faults: list[str] = []
    check_iso_key(public_key, faults)
    subject = _subject(order, faults)
    check_no_faults(faults)
    return RequestDraft(subject, (_KEY_USAGE, _EXTENDED_KEY_USAGE))


def _subject(order: DocumentSignerOrder | DocumentSignerRequestOrder, faults: list[str]) -> Name:
    members = {
        "country": order.country,
        "common_name": order.common_name,
        "state_or_province_name": order.state_or_province_name,
        "organization_name": order.organization_name,
        "locality_name": order.locality_name,
    }
    return load_iso_subject(members, faults)


def _check_place(order: DocumentSignerOrder, issuer: Issuer, faults: list[str]) -> None:
    """C and ST are those of the IACA; ST is in both or in neither."""
    place = _place_of(issuer.subject)
    for kind, value in (("country", order.country), ("state_or_province_name", order.state_or_province_name)):
        there = place.get(kind)
        if value != there:
            wanted = "be absent, as in the IACA" if there is None else f"be {there!r}, as in the IACA"
            faults.append(must(attribute_title(kind), wanted, value))


@lru_cache(maxsize=256)
def _place_of(subject: bytes) -> dict[str, str]:
    return dict(load_name(subject).attributes)
