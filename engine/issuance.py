"""The corridor: the one way from an order to a signature.

 1. `x509.request` reads the certification request: DER gate, structure, proof of possession.
 2. `profiles` turns order, proven key, issuer, clock and serial into a frozen draft, or refuses with findings.
 3. `x509.certificate` builds the tbsCertificate. From here on only bytes travel.
 4. `profiles.lint` re-reads those bytes; an error finding stops.
 5. The ledger commits the intent (issuer, serial, tbs, caller, stored ids, and the grounds of all before) durably,
    before the token is asked.
 6. The signer signs: the only call that reaches a private key.
 7. Assemble, parse back, compare the tbsCertificate byte for byte, verify the signature under the issuer's key.
 8. The ledger commits the certificate against its intent, durably.
 9. The caller renders what is returned.

Creating a certification request is the same corridor: no issuer in 2, and of 5 only the fact that the key signs,
since a request is not kept. A failure after 5 closes the intent, as failed if the token has not been asked or has
denied, else with an unknown outcome, as signed and lost; its serial is never used again. If the process dies, the
intent stays open until the next start, or until another process finds that its writer is gone; if the ledger cannot be
written, until it can be. What 5 and 8 commit is told to the audit trail in the same transaction.

An order that may be repeated brings a `Repeat`: 5 binds its key to the intent, so that of two orders with one key only
one gets to 6, and 8 keeps the rendered answer beside the certificate, so that a repeat is answered from the ledger.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from engine.errors import EngineError, PolicyRefusal
from engine.grounds import (
    TokenIdentity,
    prove_by_own_signature,
    prove_by_registration,
    prove_by_request,
    prove_nothing,
    render_grounds,
)
from engine.profiles.drafts import RequestDraft
from engine.profiles.generic import draft_generic, draft_generic_request
from engine.profiles.issuer import Issuer
from engine.profiles.keys import check_public_key
from engine.profiles.lint import LintReport, check_lint
from engine.profiles.mdoc import draft_document_signer, draft_document_signer_request, draft_iaca
from engine.profiles.orders import (
    AlternativeNames,
    DocumentSignerOrder,
    DocumentSignerRequestOrder,
    GenericOrder,
    GenericRequestOrder,
    IacaOrder,
)
from engine.x509.algorithms import SignatureAlgorithm, encode_signature, signature_algorithm_for
from engine.x509.certificate import (
    CertificateDraft,
    assemble_certificate,
    build_tbs_certificate,
    check_certificate,
    new_serial_number,
)
from engine.x509.names import Name, build_name, load_name
from engine.x509.request import (
    assemble_request,
    build_certification_request_info,
    check_request,
    load_request,
)
from engine.x509.spki import PublicKey


class Signer(Protocol):
    """A private key inside a token: its public half, its name in the records, and the one thing it does."""

    @property
    def public_key(self) -> PublicKey:
        """The public half, as it was pinned."""

    @property
    def name(self) -> str:
        """The key's full path, or `jwk:` and the SHA-256 of its SubjectPublicKeyInfo."""

    @property
    def custody_sha256(self) -> str | None:
        """SHA-256 of the key's custody record, lower-case hex; None for a key that has none."""

    def check_present(self) -> None:
        """Raises TokenError while the token is known to be away, asking nothing of it."""

    def token_identity(self) -> TokenIdentity:
        """The token it signs on. Raises as `check_present`."""

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The token's raw signature over `message` (ECDSA: r and s side by side). Raises TokenError, which says whether
        the token `may_have_signed`."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A place in a certificate store that the certificate will take."""

    path: str
    type: str = "base"
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """What makes an order one that may be repeated: the same key and digest again mean the same certificate."""

    scope: str
    """Whose key it is: nobody else's orders are compared."""
    key: str
    digest: str
    """SHA-256 of the whole order, lower-case hex."""
    render: "Callable[[IssuedCertificate], str]" = field(repr=False, compare=False)
    """The answer, as it is kept and given again."""


class Guard(Protocol):
    """What may not be signed, or not by this key, whatever the order."""

    def check_open(self) -> None:
        """Raises StoreUnavailable while nothing may be signed."""

    def check_key(self, spki_sha256: str) -> None:
        """Raises NotAuthorized for a key that may neither sign here nor have a certificate."""


class Ledger(Protocol):
    """The durable record. Each method returns only when what it was told survives a crash; else StoreError."""

    def record_intent(
        self,
        *,
        intent_id: str,
        kind: str,
        profile: str,
        issuer: bytes | None,
        serial_number: int | None,
        tbs: bytes | None,
        tbs_sha256: str,
        signing_key: str,
        caller: str,
        target: str,
        request_id: str,
        request_digest: str,
        entries: Sequence[NewEntry],
        repeat: Repeat | None = None,
        source: str = "",
        grounds: str | None = None,
        issuing_key: str | None = None,
    ) -> None:
        """Before the token is asked. Reserves serial and entries; AlreadyExists if an entry is taken, RequestUnderWay
        if the key of `repeat` is. `issuing_key` is the statement that the grounds name."""

    def record_certificate(
        self,
        *,
        intent_id: str,
        certificate: bytes,
        sha256: str,
        subject: bytes,
        issuer: bytes,
        serial_number: int,
        spki_sha256: str,
        is_ca: bool,
        not_before: datetime,
        not_after: datetime,
        answer: str | None = None,
    ) -> None:
        """After verification, before release. `answer` is kept for repeats."""

    def record_signed(self, *, intent_id: str) -> None:
        """After verification of a signature that is not a certificate's, before release."""

    def record_failure(self, *, intent_id: str, reason: str) -> None:
        """Nothing was signed: the serial stays used, the entries are free again."""

    def record_unknown(self, *, intent_id: str, reason: str) -> None:
        """Nothing was released and something may have been signed: likewise, and the serial is to be revoked."""

    def is_ca_key(self, spki_sha256: str, organization: str) -> bool:
        """Whether a certificate authority of the organization uses the key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, for the record: never a secret."""

    credential_id: str
    target: str
    """The path that the request was sent to: a service, or what it is to make below one."""
    request_id: str
    request_digest: str
    """SHA-256 of the request body, lower-case hex."""
    repeat: Repeat | None = None
    """For an order that may be repeated. Of what is not an order for a certificate, nothing is kept."""
    source: str = ""
    """The address that the request came from; empty if it came from nowhere."""

    @property
    def organization(self) -> str:
        """The organization that the request is about."""
        return self.target.partition(".")[0]


@dataclass(frozen=True, slots=True)
class IssuedRequest:
    """A signed and verified CertificationRequest."""

    der: bytes
    subject: Name
    alternative_names: AlternativeNames
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A signed, verified and recorded certificate, and the draft it was built from."""

    der: bytes
    draft: CertificateDraft
    issuer_name: Name
    entry_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the subject's public key came from: a certification request to be proven, or a known key."""

    request_pem: str | None = None
    public_key: PublicKey | None = None
    key_path: str | None = None
    """The full path of the known key, if it is a registered one."""


def utc_now() -> datetime:
    """The time in UTC, in whole seconds, as certificates hold it."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Corridor:
    """The corridor with what it needs bound: the ledger, the clock, the random source and the blocked keys."""

    ledger: Ledger
    now: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    blocked_keys: frozenset[str] = frozenset()
    iaca_requires_state: bool = False
    guard: Guard | None = None
    engine: str = ""
    """The version of the engine, for the grounds."""
    policy_sha256: str = ""
    """Of the policy in force, likewise."""

    def create_request(
        self, order: GenericRequestOrder | DocumentSignerRequestOrder, signer: Signer, caller: Caller
    ) -> IssuedRequest:
        """A certification request (RFC 2986) for the signer's own key. Not stored."""
        self._check_subject_key(signer.public_key, caller, may_be_ca=True)
        if isinstance(order, GenericRequestOrder):
            draft, names = draft_generic_request(order), order.subject_alternative_names
            return self._sign_request(draft, names, "generic", signer, caller)
        draft = draft_document_signer_request(order, signer.public_key)
        return self._sign_request(draft, AlternativeNames(), "document-signer", signer, caller)

    def issue_certificate(
        self,
        order: GenericOrder,
        subject: Provenance,
        issuer: Issuer | None,
        signer: Signer,
        entries: Sequence[NewEntry],
        caller: Caller,
    ) -> IssuedCertificate:
        """A certificate of the generic profile; `issuer` None means self-signed by the subject key."""
        public_key, proof = self._prove(subject, caller, may_be_ca=order.is_certificate_authority or issuer is None)
        if issuer is None:
            proof = prove_by_own_signature(public_key)
        draft = draft_generic(order, public_key, issuer, serial_number=self._serial(), now=self.now())
        return self._sign_certificate(draft, "generic", proof, issuer, signer, entries, caller)

    def issue_iaca(
        self, order: IacaOrder, signer: Signer, entries: Sequence[NewEntry], caller: Caller
    ) -> IssuedCertificate:
        """A self-signed IACA root certificate (ISO/IEC 18013-5 Annex B.1.2)."""
        if self.iaca_requires_state and order.state_or_province_name is None:
            raise PolicyRefusal("The IACA must have a stateOrProvinceName by this deployment's policy, found none.")
        self._check_subject_key(signer.public_key, caller, may_be_ca=True)
        draft = draft_iaca(order, signer.public_key, serial_number=self._serial(), now=self.now())
        proof = prove_by_own_signature(signer.public_key)
        return self._sign_certificate(draft, "iaca", proof, None, signer, entries, caller)

    def issue_document_signer(
        self,
        order: DocumentSignerOrder,
        subject: Provenance,
        issuer: Issuer,
        signer: Signer,
        entries: Sequence[NewEntry],
        caller: Caller,
    ) -> IssuedCertificate:
        """A document signer certificate under an IACA (ISO/IEC 18013-5 Annex B.1.4)."""
        public_key, proof = self._prove(subject, caller, may_be_ca=False)
        draft = draft_document_signer(order, public_key, issuer, serial_number=self._serial(), now=self.now())
        return self._sign_certificate(draft, "document-signer", proof, issuer, signer, entries, caller)

    def _serial(self) -> int:
        return new_serial_number(self.random_bytes)

    def _prove(self, subject: Provenance, caller: Caller, *, may_be_ca: bool) -> tuple[PublicKey, str]:
        """Step 1: the key a certificate may be made for, and how it was proven, for the grounds."""
        if subject.request_pem is not None:
            request = load_request(subject.request_pem)
            public_key, proof = request.public_key, prove_by_request(request)
            may_be_ca = False
        elif subject.public_key is not None:
            public_key, path = subject.public_key, subject.key_path
            proof = prove_nothing(public_key) if path is None else prove_by_registration(path, public_key)
        else:
            raise TypeError("A subject needs a certification request or a public key.")
        self._check_subject_key(public_key, caller, may_be_ca=may_be_ca)
        return public_key, proof

    def _check_subject_key(self, public_key: PublicKey, caller: Caller, *, may_be_ca: bool) -> None:
        check_public_key(public_key)
        if self.guard is not None:
            self.guard.check_key(public_key.sha256)
        if public_key.sha256 in self.blocked_keys:
            raise PolicyRefusal(f"The public key with SPKI SHA-256 {public_key.sha256} is blocked by policy.")
        if not may_be_ca and self.ledger.is_ca_key(public_key.sha256, caller.organization):
            raise PolicyRefusal("The subject key is a key of a certificate authority of this organization.")

    def _sign_certificate(
        self,
        draft: CertificateDraft,
        profile: str,
        proof: str,
        issuer: Issuer | None,
        signer: Signer,
        entries: Sequence[NewEntry],
        caller: Caller,
    ) -> IssuedCertificate:
        """Steps 3 to 8 for a certificate."""
        tbs = build_tbs_certificate(draft)
        issuer_certificate = issuer.certificate.der if issuer and issuer.certificate else None
        report = check_lint(tbs, profile, issuer_certificate)
        grounds = _Grounds(proof, report)
        intent_id = self._record_intent(
            "certificate", profile, tbs, signer, caller, draft.issuer, draft.serial_number, entries, grounds
        )
        with self._closing(intent_id) as signed:
            signature = self._sign(signer, draft.algorithm, tbs, signed)
            certificate = assemble_certificate(tbs, draft.algorithm, signature)
            check_certificate(certificate, tbs, signer.public_key, draft.algorithm)
            issued = IssuedCertificate(
                der=certificate,
                draft=draft,
                issuer_name=load_name(draft.issuer),
                entry_paths=tuple(entry.path for entry in entries),
            )
            answer = None if caller.repeat is None else caller.repeat.render(issued)
        self.ledger.record_certificate(
            intent_id=intent_id,
            certificate=certificate,
            sha256=hashlib.sha256(certificate).hexdigest(),
            subject=build_name(draft.subject),
            issuer=draft.issuer,
            serial_number=draft.serial_number,
            spki_sha256=draft.public_key.sha256,
            is_ca=draft.is_ca,
            not_before=draft.not_before,
            not_after=draft.not_after,
            answer=answer,
        )
        return issued

    def _sign_request(
        self, draft: RequestDraft, names: AlternativeNames, profile: str, signer: Signer, caller: Caller
    ) -> IssuedRequest:
        """Steps 3 to 8 for a certification request."""
        algorithm = signature_algorithm_for(signer.public_key)
        tbs = build_certification_request_info(build_name(draft.subject), signer.public_key, draft.extensions)
        intent_id = self._record_intent("request", profile, tbs, signer, caller, None, None, ())
        with self._closing(intent_id) as signed:
            signature = self._sign(signer, algorithm, tbs, signed)
            request = assemble_request(tbs, algorithm, signature)
            check_request(request, tbs, signer.public_key)
        self.ledger.record_signed(intent_id=intent_id)
        return IssuedRequest(
            der=request,
            subject=draft.subject,
            alternative_names=names,
            public_key=signer.public_key,
        )

    def _record_intent(
        self,
        kind: str,
        profile: str,
        tbs: bytes,
        signer: Signer,
        caller: Caller,
        issuer: bytes | None,
        serial_number: int | None,
        entries: Sequence[NewEntry],
        grounds: "_Grounds | None" = None,
    ) -> str:
        """Step 5. A request's octets are not kept, only their digest. An absent token costs no intent and no serial."""
        if self.guard is not None:
            self.guard.check_key(signer.public_key.sha256)
            self.guard.check_open()
        signer.check_present()
        issuing_key, rendered = self._render_grounds(grounds, profile, signer, caller) if grounds else (None, None)
        intent_id = self.random_bytes(16).hex()
        self.ledger.record_intent(
            intent_id=intent_id,
            kind=kind,
            profile=profile,
            issuer=issuer,
            serial_number=serial_number,
            tbs=tbs if kind == "certificate" else None,
            tbs_sha256=hashlib.sha256(tbs).hexdigest(),
            signing_key=signer.name,
            caller=caller.credential_id,
            target=caller.target,
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            entries=entries,
            repeat=caller.repeat if kind == "certificate" else None,
            source=caller.source,
            grounds=rendered,
            issuing_key=issuing_key,
        )
        return intent_id

    def _render_grounds(self, grounds: "_Grounds", profile: str, signer: Signer, caller: Caller) -> tuple[str, str]:
        return render_grounds(
            engine=self.engine,
            policy_sha256=self.policy_sha256,
            profile=profile,
            request_sha256=caller.request_digest,
            proof=grounds.proof,
            lint=grounds.lint,
            issuing_key=signer,
        )

    @contextmanager
    def _closing(self, intent_id: str) -> Iterator[list[bool]]:
        """Around steps 6 and 7: whatever they raise closes the intent."""
        signed: list[bool] = []
        try:
            yield signed
        except BaseException as error:
            may_have_signed = signed or not isinstance(error, EngineError) or error.may_have_signed
            record = self.ledger.record_unknown if may_have_signed else self.ledger.record_failure
            record(intent_id=intent_id, reason=type(error).__name__)
            raise

    @staticmethod
    def _sign(signer: Signer, algorithm: SignatureAlgorithm, tbs: bytes, signed: list[bool]) -> bytes:
        """Step 6. `signed` is told that the token has signed."""
        signature = signer.sign(algorithm.name, tbs)
        signed.append(True)
        return encode_signature(signer.public_key, signature)


@dataclass(frozen=True, slots=True)
class _Grounds:
    """What steps 1 and 4 have found."""

    proof: str
    lint: LintReport
