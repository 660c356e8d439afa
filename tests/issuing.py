"""A database with certificates that were really issued: by the corridor, with keys of a token."""

import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from engine.directory.signers import HostedSigner, JwkSigner
from engine.directory.x509_store import certificate_facts
from engine.issuance import Caller, Corridor, NewEntry, Provenance, utc_now
from engine.profiles.issuer import Issuer, issuer_from_certificate
from engine.profiles.orders import (
    AlternativeNames,
    DocumentSignerOrder,
    GenericOrder,
    GenericRequestOrder,
    IacaOrder,
    IssuerAlternativeNameOrder,
    SubjectName,
)
from engine.store import CertificateFacts, Store
from engine.token import KeyReference, Token
from engine.x509.certificate import load_certificate
from engine.x509.spki import load_public_jwk, load_spki

KMS, STORE = "test.tenant1.kms1", "test.tenant1.x509-store-1"
CALLER = Caller("credential-1", "test.tenant1.x509-service-1", "request-1", "d" * 64)
CRL = "https://crl.example.com/ca.crl"
JWK = {
    "kty": "EC",
    "crv": "P-256",
    "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
"""RFC 7517 appendix A.2."""


class Workshop:
    """Issues into a store. `sha256` has what it issued, by name."""

    def __init__(self, store: Store, token: Token) -> None:
        self.store = store
        self.token = token
        self.ledger: Any = store
        self.sha256: dict[str, str] = {}

    @property
    def corridor(self) -> Corridor:
        return Corridor(ledger=self.ledger, now=utc_now, random_bytes=secrets.token_bytes)

    def make_key(self, name: str, custody: Mapping[str, object] | None = None) -> HostedSigner:
        """A P-256 key at a path of the KMS."""
        path, key_id = f"{KMS}.{name}", secrets.token_bytes(16)
        public_key = load_spki(self.token.generate_key("secp256r1", path, key_id).spki)
        self.store.add_key(
            path=path,
            token="test",
            label=path,
            key_id=key_id,
            key_type="secp256r1",
            spki=public_key.spki,
            spki_sha256=public_key.sha256,
            origin="generated",
            custody=custody or {"sensitive": True},
            checked_at=datetime.now(UTC),
        )
        return HostedSigner(path, public_key, self.token, KeyReference(path, key_id, public_key.sha256))

    def find_signer(self, name: str) -> HostedSigner:
        """For a key that is there."""
        key = self.store.find_key(f"{KMS}.{name}")
        reference = KeyReference(key.label, key.key_id, key.spki_sha256)
        return HostedSigner(key.path, load_spki(key.spki), self.token, reference)

    def issue_ca(self, name: str, signer: Any, *, not_after: datetime | None = None) -> Issuer:
        """A self-signed CA certificate."""
        order = GenericOrder(
            subject_name=SubjectName(common_name=name, country="US"),
            key_usage=("keyCertSign", "cRLSign"),
            is_certificate_authority=True,
            not_after=not_after,
        )
        subject = Provenance(public_key=signer.public_key)
        entries = [NewEntry(f"{STORE}.{name}")]
        issued = self.corridor.issue_certificate(order, subject, None, signer, entries, CALLER)
        certificate = load_certificate(issued.der)
        self.sha256[name] = certificate.sha256
        return issuer_from_certificate(certificate, signer.public_key)

    def issue_leaf(self, name: str, signer: Any, issuer: Issuer, *, stores: tuple[str, ...] = (STORE,)) -> bytes:
        """For a certification request of somebody outside."""
        order = GenericOrder(
            subject_name=SubjectName(common_name=name),
            key_usage=("digitalSignature",),
            not_after=issuer.not_after,
            crl_distribution_point_uri=CRL,
        )
        entries = [NewEntry(f"{store}.{name}") for store in stores]
        subject = Provenance(request_pem=request_pem(name))
        issued = self.corridor.issue_certificate(order, subject, issuer, signer, entries, CALLER)
        self.sha256[name] = load_certificate(issued.der).sha256
        return issued.der

    def issue_iso(self) -> None:
        """An IACA and a document signer under it."""
        signer = self.make_key("iaca")
        contact = IssuerAlternativeNameOrder(email="pki@example.com")
        order = IacaOrder("US", "IACA", contact, crl_distribution_point_uri=CRL)
        iaca = self.corridor.issue_iaca(order, signer, [NewEntry(f"{STORE}.iaca")], CALLER)
        issuer = issuer_from_certificate(load_certificate(iaca.der), signer.public_key)
        signers = DocumentSignerOrder("US", "Document signer", CRL)
        subject = Provenance(request_pem=request_pem("document signer"))
        entries = [NewEntry(f"{STORE}.document-signer")]
        issued = self.corridor.issue_document_signer(signers, subject, issuer, signer, entries, CALLER)
        self.sha256 |= {
            "iaca": load_certificate(iaca.der).sha256,
            "document signer": load_certificate(issued.der).sha256,
        }

    def add_foreign(self, name: str, der: bytes) -> None:
        """A certificate from elsewhere."""
        facts = facts_of(der)
        self.store.add_entry(path=f"{STORE}.{name}", type="base", **facts)
        self.sha256[name] = facts["sha256"]

    def create_request(self, signer: HostedSigner) -> None:
        """Which leaves an intent and no certificate."""
        self.corridor.create_request(GenericRequestOrder(SubjectName(common_name="Request")), signer, CALLER)


class Load:
    """Issues as much as is wanted: certification request in, verified and recorded certificate out."""

    def __init__(self, workshop: Workshop, requests: int = 5000) -> None:
        """More `requests` than any cache of the engine holds: every certificate has names of its own, as in the field,
        and a key that few others have."""
        self._signer = workshop.make_key("load")
        self._issuer = workshop.issue_ca("load", self._signer)
        self._corridor = workshop.corridor
        self._requests = [request_pem(f"leaf {number}") for number in range(requests)]

    def issue(self, number: int) -> None:
        """The certificate with this number."""
        order = GenericOrder(
            subject_name=SubjectName(common_name=f"Leaf {number}", country="US", organization_name="Example Org"),
            key_usage=("digitalSignature",),
            extended_key_usage=("1.3.6.1.5.5.7.3.1",),
            subject_alternative_names=AlternativeNames(dns_names=(f"leaf-{number}.example.com",)),
            not_after=self._issuer.not_after,
            crl_distribution_point_uri=CRL,
        )
        subject = Provenance(request_pem=self._requests[number % len(self._requests)])
        caller = Caller("credential-1", CALLER.target, str(uuid4()), secrets.token_hex(32), source="192.0.2.7")
        entries = [NewEntry(f"{STORE}.{uuid4()}")]
        self._corridor.issue_certificate(order, subject, self._issuer, self._signer, entries, caller)

    def issue_many(self, count: int, threads: int) -> float:
        """So many by so many threads; the seconds it took. What was not issued is an error."""
        numbers = iter(range(count))
        lock = threading.Lock()

        def share() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                self.issue(number)

        with ThreadPoolExecutor(threads) as workers:
            begin = time.perf_counter()
            for done in [workers.submit(share) for _ in range(threads)]:
                done.result()
            return time.perf_counter() - begin


class Nowhere:
    """A ledger that keeps nothing: what is issued with it is from elsewhere."""

    def record_intent(self, **_: object) -> None: ...

    def record_certificate(self, **_: object) -> None: ...

    def record_signed(self, **_: object) -> None: ...

    def record_failure(self, **_: object) -> None: ...

    def record_unknown(self, **_: object) -> None: ...

    def is_ca_key(self, _spki_sha256: str, _organization: str) -> bool:
        return False


class WithoutGrounds:
    """The ledger as it was before it kept the grounds of certificates."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def record_intent(self, **facts: Any) -> None:
        self._store.record_intent(**facts | {"grounds": None})


def jwk_signer(token: Token) -> JwkSigner:
    public = {name: value for name, value in JWK.items() if name != "d"}
    return JwkSigner(load_public_jwk(public), token, JWK)


def request_pem(name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM).decode()


def foreign_certificate(name: str = "Elsewhere", issuer: bytes | None = None, serial_number: int = 5) -> bytes:
    """Signed by a key that nobody here has. `issuer` is a DER certificate whose subject it names as its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own if issuer is None else x509.load_der_x509_certificate(issuer).subject)
        .serial_number(serial_number)
        .public_key(key.public_key())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def facts_of(der: bytes) -> CertificateFacts:
    """What the store is told of a certificate from elsewhere."""
    return certificate_facts(load_certificate(der))


def build(url: str, token: Token) -> dict[str, str]:
    """Everything that a sweep distinguishes, and nothing that is wrong. SHA-256 of what was issued, by name."""
    with Store.open(url) as store:
        workshop = Workshop(store, token)
        signer = workshop.make_key("ca")
        issuer = workshop.issue_ca("ca", signer)
        workshop.issue_leaf("leaf", signer, issuer, stores=(STORE, "test.tenant1.x509-store-2"))
        workshop.issue_leaf("nowhere", signer, issuer, stores=())
        workshop.issue_iso()
        workshop.create_request(signer)
        of_jwk = jwk_signer(token)
        workshop.issue_leaf("of a jwk", of_jwk, workshop.issue_ca("jwk", of_jwk))
        workshop.add_foreign("foreign", foreign_certificate())
        gone = workshop.make_key("gone")
        workshop.issue_leaf("of a gone key", gone, workshop.issue_ca("gone", gone))
        store.remove_key(gone.name, organization="test", even_in_use=True)
        replaced = workshop.make_key("replaced")
        workshop.issue_leaf("of a replaced key", replaced, workshop.issue_ca("replaced", replaced))
        store.remove_key(replaced.name, organization="test", even_in_use=True)
        workshop.make_key("replaced")
        return workshop.sha256
