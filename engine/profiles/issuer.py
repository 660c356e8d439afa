"""The issuer of a certificate: what a profile needs to know of the CA that will sign."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.exceptions import InvalidSignature

from engine.errors import PolicyRefusal, RequestError
from engine.profiles.faults import check_no_faults
from engine.profiles.iaca import check_iso_key, iaca_alternative_name, iaca_subject, iaca_validity
from engine.profiles.orders import IacaOrder
from engine.profiles.validity import Validity
from engine.x509.certificate import Certificate, check_signed_by
from engine.x509.extensions import CopiedExtension, Extension
from engine.x509.names import build_name
from engine.x509.spki import PublicKey

ISSUER_ALTERNATIVE_NAME = "2.5.29.18"


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA: its subject as the octets to copy, its key, and the limits it sets."""

    public_key: PublicKey
    subject: bytes
    """Name, DER; never encoded again."""
    subject_key_identifier: bytes
    not_before: datetime
    not_after: datetime
    path_length: int | None
    """pathLenConstraint; None is no limit."""
    certificate: Certificate | None
    """None when the CA is known only by the data of a request."""
    issuer_alternative_name: Extension | None

    @property
    def validity(self) -> Validity:
        """The life of the CA."""
        return Validity(self.not_before, self.not_after)


def issuer_from_certificate(certificate: Certificate, signing_key: PublicKey) -> Issuer:
    """The issuer that this CA certificate and this signing key are.

    Raises PolicyRefusal unless it is a CA certificate with keyCertSign and a SubjectKeyIdentifier whose public key
    is the signing key (RFC 5280 sections 4.2.1.2, 4.2.1.3 and 4.2.1.9).
    """
    if certificate.public_key != signing_key:
        raise PolicyRefusal(
            "The issuer certificate must carry the signing key, found the key with SHA-256 "
            f"{certificate.public_key.sha256} where {signing_key.sha256} was expected."
        )
    if not certificate.is_ca:
        raise PolicyRefusal("The issuer certificate must be a CA certificate, found one without cA TRUE.")
    if "keyCertSign" not in certificate.key_usage:
        found = ", ".join(sorted(certificate.key_usage)) or "no key usage"
        raise PolicyRefusal(f"The issuer certificate must allow keyCertSign, found {found}.")
    if certificate.subject_key_identifier is None:
        raise PolicyRefusal("The issuer certificate must have a SubjectKeyIdentifier, found none.")
    alternative_name = certificate.extensions.get(ISSUER_ALTERNATIVE_NAME)
    return Issuer(
        public_key=signing_key,
        subject=certificate.subject,
        subject_key_identifier=certificate.subject_key_identifier,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        path_length=certificate.path_length,
        certificate=certificate,
        issuer_alternative_name=(
            None if alternative_name is None else CopiedExtension(ISSUER_ALTERNATIVE_NAME, *alternative_name)
        ),
    )


def check_presented_issuer(certificate: Certificate, trusted: Sequence[Certificate]) -> None:
    """Raise PolicyRefusal unless a CA certificate that a caller presents, or has stored, is what an authority signed.

    Anybody can write a certificate with any name around a public key. It is believed if it is self-signed, or signed
    by one of the `trusted` CA certificates, whose subject is its issuer, or is itself one of them.
    """
    if certificate in trusted or is_self_signed(certificate):
        return
    if any(one.subject == certificate.issuer and _is_signed_by(certificate, one.public_key) for one in trusted):
        return
    raise PolicyRefusal(
        "The issuer certificate must be self-signed, or a trusted CA certificate or signed by one (which was issued "
        "into an attached store, or put there by one who may issue), found another."
    )


@lru_cache(maxsize=256)
def is_self_signed(certificate: Certificate) -> bool:
    """Whether issuer and subject are the same and the signature verifies under the certificate's own key."""
    return certificate.subject == certificate.issuer and _is_signed_by(certificate, certificate.public_key)


def _is_signed_by(certificate: Certificate, key: PublicKey) -> bool:
    """A signature with an algorithm that is not accepted, such as SHA-1, proves nothing."""
    try:
        check_signed_by(certificate.der, key)
    except (InvalidSignature, RequestError):
        return False
    return True


def issuer_from_iaca_order(order: IacaOrder, signing_key: PublicKey, now: datetime) -> Issuer:
    """The IACA that a request describes, when there is no certificate of it at hand.

    Its name is built from the data as `draft_iaca` would, its life is filled in the same way. Raises PolicyRefusal
    with every fault of the description.
    """
    faults: list[str] = []
    check_iso_key(signing_key, faults)
    subject = iaca_subject(order, faults)
    validity = iaca_validity(order, now, faults)
    alternative_name = iaca_alternative_name(order.issuer_alternative_name, faults)
    check_no_faults(faults)
    return Issuer(
        public_key=signing_key,
        subject=build_name(subject),
        subject_key_identifier=signing_key.key_identifier,
        not_before=validity.not_before,
        not_after=validity.not_after,
        path_length=0,
        certificate=None,
        issuer_alternative_name=alternative_name,
    )
