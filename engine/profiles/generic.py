"""The generic profile: end-entity and CA certificates after RFC 5280, self-signed or under a CA, and requests.

Extensions, in this order: SubjectKeyIdentifier; AuthorityKeyIdentifier (also when self-signed); BasicConstraints,
critical; KeyUsage, critical, if any; ExtendedKeyUsage, not critical, if any; SubjectAltName, not critical (the subject
is never empty), if any; CRLDistributionPoints, not critical, if given. The same order gives the same octets.
"""

from datetime import datetime, timedelta

from engine.errors import MalformedRequest, PolicyRefusal
from engine.profiles.drafts import RequestDraft
from engine.profiles.faults import check_no_faults, must
from engine.profiles.issuer import Issuer
from engine.profiles.naming import load_alternative_names, load_distribution_point, load_generic_subject
from engine.profiles.orders import GenericOrder, GenericRequestOrder
from engine.profiles.usage import load_key_usage
from engine.profiles.validity import Lifetime, choose_validity, plus
from engine.x509.algorithms import signature_algorithm_for
from engine.x509.certificate import CertificateDraft
from engine.x509.der import encode_object_identifier
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
)
from engine.x509.names import build_name
from engine.x509.spki import PublicKey

LIFETIME = Lifetime(default=lambda not_before: plus(not_before, timedelta(days=365)))

_END_ENTITY = BasicConstraints(False)
CA_KEY_USAGE = frozenset({"keyCertSign", "cRLSign"})
"""What a CA gets when its order names no key usage; an order that names some must name keyCertSign itself."""


def draft_generic(
    order: GenericOrder, public_key: PublicKey, issuer: Issuer | None, *, serial_number: int, now: datetime
) -> CertificateDraft:
    """The certificate that this order describes; `issuer` None means self-signed.

    `now` is used when the order has no notBefore. Raises PolicyRefusal with every fault of the order.
    """
    faults: list[str] = []
    subject = load_generic_subject(order.subject_name, faults)
    validity = choose_validity(
        order.not_before,
        order.not_after,
        now=now,
        lifetime=LIFETIME,
        issuer=None if issuer is None else issuer.validity,
        faults=faults,
    )
    basic_constraints = _basic_constraints(order, issuer, faults)
    extensions: list[Extension] = [
        SubjectKeyIdentifier(public_key.key_identifier),
        AuthorityKeyIdentifier(public_key.key_identifier if issuer is None else issuer.subject_key_identifier),
        basic_constraints,
    ]
    if uses := _key_usage(order, public_key, faults):
        extensions.append(KeyUsage(uses))
    if order.extended_key_usage:
        _check_purposes(order.extended_key_usage, faults)
        extensions.append(ExtendedKeyUsage(order.extended_key_usage))
    if names := load_alternative_names(order.subject_alternative_names, faults):
        extensions.append(SubjectAlternativeName(names))
    if order.crl_distribution_point_uri is not None:
        extensions.append(CRLDistributionPoints(load_distribution_point(order.crl_distribution_point_uri, faults)))
    if issuer is not None and issuer.public_key == public_key:
        faults.append("The subject's key must be its own, found the key of the issuer.")
    check_no_faults(faults)
    subject_octets = build_name(subject)
    if issuer is not None and issuer.subject == subject_octets and not order.is_certificate_authority:
        raise PolicyRefusal("The subject must have another name than the issuer, found the same one.")
    return CertificateDraft(
        serial_number=serial_number,
        algorithm=signature_algorithm_for(public_key if issuer is None else issuer.public_key),
        issuer=subject_octets if issuer is None else issuer.subject,
        not_before=validity.not_before,
        not_after=validity.not_after,
        subject=subject,
        public_key=public_key,
        extensions=tuple(extensions),
    )


def draft_generic_request(order: GenericRequestOrder) -> RequestDraft:
    """The certification request that this order describes; PolicyRefusal with every fault of the order."""
    faults: list[str] = []
    subject = load_generic_subject(order.subject_name, faults)
    names = load_alternative_names(order.subject_alternative_names, faults)
    check_no_faults(faults)
    return RequestDraft(subject, (SubjectAlternativeName(names),) if names else ())


def _basic_constraints(order: GenericOrder, issuer: Issuer | None, faults: list[str]) -> BasicConstraints:
    """BasicConstraints within the issuer's pathLenConstraint (RFC 5280 section 4.2.1.9)."""
    length = order.path_length_constraint
    if not order.is_certificate_authority:
        if length is not None:
            faults.append(must("pathLengthConstraint", "be absent, since this is not a CA", length))
        return _END_ENTITY
    if length is not None and not 0 <= length <= 255:
        faults.append(must("pathLengthConstraint", "be 0 to 255", length))
    limit = None if issuer is None else issuer.path_length
    if limit == 0:
        faults.append("The issuer must issue no CA, since its path length constraint is 0, found a CA ordered.")
    elif limit is not None and length is not None and length >= limit:
        faults.append(must("pathLengthConstraint", f"be less than the issuer's, {limit}", length))
    return BasicConstraints(True, length)


def _key_usage(order: GenericOrder, public_key: PublicKey, faults: list[str]) -> frozenset[str]:
    """KeyUsage with keyCertSign if and only if this is a CA (RFC 5280 section 4.2.1.3)."""
    uses = load_key_usage(order.key_usage, public_key, faults)
    if not order.is_certificate_authority:
        if "keyCertSign" in uses:
            faults.append("The keyUsage must have keyCertSign only in a CA certificate, found it in another.")
        return uses
    if not order.key_usage:
        return CA_KEY_USAGE
    if "keyCertSign" not in uses:
        faults.append(must("keyUsage", "have keyCertSign, since this is a CA", ", ".join(sorted(uses))))
    return uses


def _check_purposes(purposes: tuple[str, ...], faults: list[str]) -> None:
    """Each purpose once and a dotted object identifier; which ones is the caller's business."""
    for position, purpose in enumerate(purposes):
        try:
            encode_object_identifier(purpose)
        except MalformedRequest as error:
            faults.append(error.message)
        if purpose in purposes[:position]:
            faults.append(must("extendedKeyUsageOids", "name each purpose once", purpose))
