"""The IACA root of ISO/IEC 18013-5 Annex B: drafting one, and judging one that was presented.

Extensions, in this order: SubjectKeyIdentifier; KeyUsage, critical, exactly keyCertSign and cRLSign; BasicConstraints,
critical, cA TRUE and pathLenConstraint 0; IssuerAltName; CRLDistributionPoints if given. AuthorityKeyIdentifier is
left out, which the profile allows. A life is nine calendar years unless the order says otherwise (the same day and
time nine years later; the standard calls that enough for an issuer of mDL only) and at most 7300 days.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from cryptography.exceptions import InvalidSignature

from engine.errors import PolicyRefusal
from engine.profiles.faults import check_no_faults, must
from engine.profiles.lint import check_presented_certificate
from engine.profiles.naming import attribute_title, load_alternative_name, load_distribution_point, load_iso_subject
from engine.profiles.orders import IacaOrder, IssuerAlternativeNameOrder
from engine.profiles.validity import Lifetime, Validity, choose_validity, plus_years, whole_seconds
from engine.x509.algorithms import signature_algorithm_for
from engine.x509.certificate import Certificate, CertificateDraft, check_signed_by
from engine.x509.der import read_children, read_element
from engine.x509.extensions import (
    BasicConstraints,
    CRLDistributionPoints,
    Extension,
    IssuerAlternativeName,
    KeyUsage,
    SubjectKeyIdentifier,
    build_extension,
)
from engine.x509.names import Name, build_name, load_name
from engine.x509.spki import PublicKey

KEY_TYPES = ("secp256r1", "secp384r1", "secp521r1")
LIFETIME = Lifetime(default=lambda not_before: plus_years(not_before, 9), longest=timedelta(days=7300))

_ISSUER_ALTERNATIVE_NAME = "2.5.29.18"
_CRL_DISTRIBUTION_POINTS = "2.5.29.31"


def draft_iaca(order: IacaOrder, public_key: PublicKey, *, serial_number: int, now: datetime) -> CertificateDraft:
    """The self-signed IACA certificate that this order describes; PolicyRefusal with every fault of the order."""
    faults: list[str] = []
    check_iso_key(public_key, faults)
    subject = iaca_subject(order, faults)
    validity = iaca_validity(order, now, faults)
    extensions: list[Extension] = [
        SubjectKeyIdentifier(public_key.key_identifier),
        KeyUsage(frozenset({"keyCertSign", "cRLSign"})),
        BasicConstraints(True, 0),
        iaca_alternative_name(order.issuer_alternative_name, faults),
    ]
    if order.crl_distribution_point_uri is not None:
        extensions.append(CRLDistributionPoints(load_distribution_point(order.crl_distribution_point_uri, faults)))
    check_no_faults(faults)
    return CertificateDraft(
        serial_number=serial_number,
        algorithm=signature_algorithm_for(public_key),
        issuer=build_name(subject),
        not_before=validity.not_before,
        not_after=validity.not_after,
        subject=subject,
        public_key=public_key,
        extensions=tuple(extensions),
    )


def check_iso_key(public_key: PublicKey, faults: list[str]) -> None:
    """The ISO profiles take P-256, P-384 and P-521 only."""
    if public_key.key_type not in KEY_TYPES:
        faults.append(must("public key", f"be one of {', '.join(KEY_TYPES)}", public_key.key_type))


def iaca_subject(order: IacaOrder, faults: list[str]) -> Name:
    """The name of the IACA that this order describes."""
    return load_iso_subject(_subject_members(order), faults)


def _subject_members(order: IacaOrder) -> dict[str, str | None]:
    return {
        "country": order.country,
        "common_name": order.common_name,
        "state_or_province_name": order.state_or_province_name,
        "organization_name": order.organization_name,
    }


def iaca_validity(order: IacaOrder, now: datetime, faults: list[str]) -> Validity:
    """The life of the IACA that this order describes."""
    return choose_validity(order.not_before, order.not_after, now=now, lifetime=LIFETIME, issuer=None, faults=faults)


def iaca_alternative_name(order: IssuerAlternativeNameOrder, faults: list[str]) -> IssuerAlternativeName:
    """IssuerAltName: e-mail, then URI; one of them at least."""
    if order.email is None and order.uri is None:
        faults.append("The issuerAlternativeNameConf must have an email, a uri or both, found neither.")
    names = [
        load_alternative_name(kind, text, faults)
        for kind, text in (("rfc822Name", order.email), ("uniformResourceIdentifier", order.uri))
        if text is not None
    ]
    return IssuerAlternativeName(tuple(name for name in names if name is not None))


def check_iaca(certificate: Certificate) -> None:
    """Raise PolicyRefusal, with the findings, unless a presented certificate is an IACA root of this profile.

    Its bytes are judged by the lint rules, less those that only this engine asks of its own certificates, and its
    signature must verify under its own key: a caller's certificate is believed in nothing.
    """
    _check_iaca(certificate.der, certificate.public_key)


@lru_cache(maxsize=256)
def _check_iaca(der: bytes, public_key: PublicKey) -> None:
    check_presented_certificate(read_children(read_element(der).content)[0].encoding, "iaca")
    try:
        check_signed_by(der, public_key)
    except InvalidSignature:
        raise PolicyRefusal("The IACA certificate must be signed by its own key, found another signature.") from None


def check_iaca_matches(certificate: Certificate, order: IacaOrder) -> None:
    """Raise PolicyRefusal, saying which members differ, unless the data describes this IACA certificate.

    The name and the alternative names must be the same in full. notBefore, notAfter and the distribution point are
    compared only when they are given, since a description need not repeat them.
    """
    faults: list[str] = []
    certified = dict(load_name(certificate.subject).attributes)
    for kind, value in _subject_members(order).items():
        if certified.pop(kind, None) != value:
            faults.append(must(f"IACA's {attribute_title(kind)}", "be what its certificate says", value))
    faults.extend(
        must("IACA's data", f"have the {attribute_title(kind)} of its certificate", None) for kind in certified
    )
    for member, given, there in (
        ("notBefore", order.not_before, certificate.not_before),
        ("notAfter", order.not_after, certificate.not_after),
    ):
        if given is not None and whole_seconds(member, given, faults) != there:
            faults.append(must(f"IACA's {member}", "be what its certificate says", given.isoformat()))
    _compare_alternative_name(certificate, order.issuer_alternative_name, "issuerAlternativeNameConf", faults)
    if order.crl_distribution_point_uri is not None:
        points = CRLDistributionPoints(load_distribution_point(order.crl_distribution_point_uri, faults))
        _compare(certificate, _CRL_DISTRIBUTION_POINTS, points, "crlDistributionPointUri", faults)
    check_no_faults(faults)


def check_iaca_alternative_name(certificate: Certificate, order: IssuerAlternativeNameOrder) -> None:
    """Raise PolicyRefusal unless the IssuerAltName of this IACA certificate is what was ordered."""
    faults: list[str] = []
    _compare_alternative_name(certificate, order, "issuerAlternativeNames", faults)
    check_no_faults(faults)


def _compare_alternative_name(
    certificate: Certificate, order: IssuerAlternativeNameOrder, member: str, faults: list[str]
) -> None:
    _compare(certificate, _ISSUER_ALTERNATIVE_NAME, iaca_alternative_name(order, faults), member, faults)


def _compare(certificate: Certificate, oid: str, extension: Extension, member: str, faults: list[str]) -> None:
    _, certified_value = certificate.extensions.get(oid, (False, b""))
    wanted = read_children(read_element(build_extension(extension)).content)[-1].content
    if _names_in(certified_value) != _names_in(wanted):
        faults.append(f"The IACA's {member} must be what its certificate says, found something else.")


def _names_in(value: bytes) -> list[bytes]:
    """The members of a SEQUENCE OF, sorted: another order of the same names is no contradiction."""
    return sorted(child.encoding for child in read_children(read_element(value).content)) if value else []
