"""A certificate store service: what was issued into it, and certificates from elsewhere.

Any certificate may be put here, a CA's too, expired or not. That one is here says nothing about who it belongs to:
an X.509 service asks who put it here before it lets it name the issuer of anything.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.directory.descriptors import EntryOrder
from engine.directory.evidence import EvidenceRoom
from engine.profiles.issuer import is_self_signed
from engine.store import Actor, CertificateFacts, Store, StoredCertificate
from engine.x509.certificate import Certificate, load_certificate
from engine.x509.pem import load_pem


@dataclass(frozen=True, slots=True)
class X509Store:
    """Certificates under `path`."""

    path: str
    store: Store = field(repr=False)
    evidence: EvidenceRoom = field(repr=False)

    def find_entry(self, entry_id: str) -> StoredCertificate:
        """The certificate with this id. NotFound otherwise."""
        return self.store.find_entry(f"{self.path}.{entry_id}")

    def find_evidence(self, entry_id: str) -> Mapping[str, object]:
        """Evidence of how the certificate with this id came about. Raises NotFound, also if it was not issued into this
        store; StoreUnavailable if there is none yet."""
        return self.evidence.find(f"{self.path}.{entry_id}")

    def list_entries(self, limit: int, offset: int, after: str) -> tuple[StoredCertificate, ...]:
        """Certificates in the order of their paths, from behind the path `after`, which may be empty."""
        return self.store.list_entries(self.path, limit, offset, after)

    def list_entry_paths(self, limit: int, offset: int, after: str) -> tuple[str, ...]:
        """Full paths, in the same order."""
        return self.store.list_entry_paths(self.path, limit, offset, after)

    def add_entry(
        self, entry_id: str | None, order: EntryOrder, vouched_below: str | None, by: Actor
    ) -> StoredCertificate:
        """Keep a certificate under this id, or under a new one.

        At `vouched_below` and below, a CA certificate is believed on the caller's word. Raises MalformedRequest or
        UnsupportedRequest for what is no certificate of RFC 5280, AlreadyExists.
        """
        path = f"{self.path}.{entry_id or uuid.uuid4()}"
        certificate = _load(order)
        self.store.add_entry(
            path=path,
            type=order.type,
            metadata=order.metadata,
            vouched_below=vouched_below,
            self_signed=is_self_signed(certificate),
            by=by,
            **certificate_facts(certificate),
        )
        return StoredCertificate(path, order.type, certificate.der, order.metadata)

    def replace_entry(
        self, entry_id: str, order: EntryOrder, vouched_below: str | None, by: Actor
    ) -> StoredCertificate:
        """Keep this certificate under an id that has one. As `add_entry`, but NotFound where AlreadyExists."""
        path = f"{self.path}.{entry_id}"
        certificate = _load(order)
        self.store.replace_entry(
            path=path,
            type=order.type,
            metadata=order.metadata,
            vouched_below=vouched_below,
            self_signed=is_self_signed(certificate),
            by=by,
            **certificate_facts(certificate),
        )
        return StoredCertificate(path, order.type, certificate.der, order.metadata)

    def delete_entry(self, entry_id: str, by: Actor) -> None:
        """Keep the certificate here no longer; what was issued stays recorded. Raises NotFound."""
        self.store.delete_entry(f"{self.path}.{entry_id}", by=by)


def _load(order: EntryOrder) -> Certificate:
    return load_certificate(load_pem(order.pem, "CERTIFICATE"))


def certificate_facts(certificate: Certificate) -> CertificateFacts:
    """What the store is told of a certificate that a caller brings."""
    return {
        "certificate": certificate.der,
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial_number": certificate.serial_number,
        "spki_sha256": certificate.public_key.sha256,
        "is_ca": certificate.is_ca,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
    }
