"""An X.509 service: resolves what a request names to live keys and issuers, then hands over to the corridor."""

import functools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.directory.descriptors import (
    CaSigned,
    CsrSource,
    HostedKey,
    IacaAsIssuer,
    IacaPem,
    IacaSigner,
    IssuerChoice,
    JwkKey,
    KeyDescriptor,
    SelfSigned,
    SubjectSource,
)
from engine.directory.kms import Kms
from engine.directory.signers import PRIVATE_JWK_MEMBERS, HostedSigner, JwkSigner
from engine.errors import MalformedRequest, NotAuthorized, PolicyRefusal, RequestError
from engine.issuance import Caller, Corridor, IssuedCertificate, IssuedRequest, NewEntry, Provenance
from engine.profiles.iaca import check_iaca_alternative_name
from engine.profiles.issuer import (
    Issuer,
    check_presented_issuer,
    is_self_signed,
    issuer_from_certificate,
    issuer_from_iaca_order,
)
from engine.profiles.mdoc import check_iaca, check_iaca_matches
from engine.profiles.orders import (
    DocumentSignerOrder,
    DocumentSignerRequestOrder,
    GenericOrder,
    GenericRequestOrder,
    IacaOrder,
)
from engine.store import Store
from engine.token import Token
from engine.x509.certificate import Certificate, load_certificate
from engine.x509.pem import load_pem
from engine.x509.spki import PublicKey, load_public_jwk

cached_certificate = functools.lru_cache(maxsize=256)(load_certificate)


@dataclass(frozen=True, slots=True)
class X509Service:
    """One X.509 service with what is attached to it: KMS services, stores, and a token for private JWKs or none."""

    path: str
    kms: Mapping[str, Kms]
    stores: tuple[str, ...]
    store: Store = field(repr=False)
    corridor: Corridor = field(repr=False)
    jwk_token: Token | None = field(default=None, repr=False)
    custody_minutes: int | None = None
    """How old the examination of a key may be that is to sign; None: custody is not required."""

    def create_request(
        self,
        key: KeyDescriptor,
        order: GenericRequestOrder | DocumentSignerRequestOrder,
        caller: Caller,
    ) -> IssuedRequest:
        """A certification request signed by its own subject key."""
        return self.corridor.create_request(order, self._signer(key), caller)

    def issue_certificate(
        self,
        order: GenericOrder,
        source: SubjectSource,
        issuer_choice: IssuerChoice,
        stored_certificate_id: str | None,
        caller: Caller,
        only_store: str | None = None,
    ) -> IssuedCertificate:
        """A certificate of the generic profile, kept in every attached store or in one of them."""
        entries = self._entries(stored_certificate_id, only_store=only_store)
        if isinstance(issuer_choice, SelfSigned):
            if isinstance(source, CsrSource):
                raise MalformedRequest("Self-signed certificates cannot use CSR input.")
            signer = self._signer(source.key)
            subject = Provenance(public_key=signer.public_key)
            return self.corridor.issue_certificate(order, subject, None, signer, entries, caller)
        signer = self._signer(issuer_choice.key)
        issuer = self._find_issuer(issuer_choice, signer.public_key)
        subject = self._provenance(source)
        return self.corridor.issue_certificate(order, subject, issuer, signer, entries, caller)

    def issue_iaca(
        self,
        order: IacaOrder,
        key: KeyDescriptor,
        stored_certificate_id: str | None,
        vical_metadata: Mapping[str, object] | None,
        caller: Caller,
        only_store: str | None = None,
    ) -> IssuedCertificate:
        """A self-signed IACA root certificate, stored as a VICAL entry if metadata came with it."""
        entries = self._entries(stored_certificate_id, vical_metadata, only_store)
        return self.corridor.issue_iaca(order, self._signer(key), entries, caller)

    def issue_document_signer(
        self,
        order: DocumentSignerOrder,
        source: SubjectSource,
        iaca_signer: IacaSigner,
        stored_certificate_id: str | None,
        caller: Caller,
        only_store: str | None = None,
    ) -> IssuedCertificate:
        """A document signer certificate under an IACA."""
        entries = self._entries(stored_certificate_id, only_store=only_store)
        signer = self._signer(iaca_signer.key)
        issuer = self._find_iaca(iaca_signer, signer.public_key)
        subject = self._provenance(source)
        return self.corridor.issue_document_signer(order, subject, issuer, signer, entries, caller)

    def _entries(
        self,
        stored_certificate_id: str | None,
        vical_metadata: Mapping[str, object] | None = None,
        only_store: str | None = None,
    ) -> tuple[NewEntry, ...]:
        """One entry per attached store, or in `only_store`, which must be attached; all under one id."""
        if only_store is not None:
            self._check_attached(only_store)
        stores = self.stores if only_store is None else (only_store,)
        entry_id = stored_certificate_id or str(uuid.uuid4())
        kind = "base" if vical_metadata is None else "vical-entry"
        return tuple(NewEntry(f"{store}.{entry_id}", kind, vical_metadata) for store in stores)

    def _check_attached(self, store_path: str) -> None:
        if store_path not in self.stores:
            raise NotAuthorized(f"The store {store_path} is not attached to the service {self.path}.")

    def _attached_kms(self, key_path: str) -> Kms:
        kms_path = key_path.rpartition(".")[0]
        kms = self.kms.get(kms_path)
        if kms is None:
            raise NotAuthorized(f"The KMS {kms_path} is not attached to the service {self.path}.")
        return kms

    def _signer(self, key: KeyDescriptor) -> HostedSigner | JwkSigner:
        """A private key: on a token, or a JWK if the operator allows it."""
        if isinstance(key, HostedKey):
            kms = self._attached_kms(key.path)
            return kms.signer(key.path, self.custody_minutes)
        if self.custody_minutes is not None:
            raise PolicyRefusal(
                f"A private JWK may not sign for the service {self.path}, which requires custody: it was not made on a "
                "token and somebody outside holds it."
            )
        if self.jwk_token is None:
            raise NotAuthorized(
                f"Private JWKs may not sign for the service {self.path}: its setting allow-jwk-signing-keys is off."
            )
        public_key = load_public_jwk(key.jwk)
        if "d" not in key.jwk:
            raise MalformedRequest("A private JWK is required here, but the member d is missing.")
        members: dict[str, str] = {}
        for name, value in key.jwk.items():
            if name in PRIVATE_JWK_MEMBERS or name in ("kty", "crv", "x", "y", "n", "e"):
                if not isinstance(value, str):
                    raise MalformedRequest(f"The JWK member {name} must be a string.")
                members[name] = value
        return JwkSigner(public_key=public_key, token=self.jwk_token, jwk=members)

    def _public_key(self, key: KeyDescriptor) -> PublicKey:
        """A public key where only that is needed; a JWK with private members is refused, not ignored."""
        if isinstance(key, HostedKey):
            return self._attached_kms(key.path).public_key(key.path)
        return _load_jwk_without_private_members(key)

    def _provenance(self, source: SubjectSource) -> Provenance:
        if isinstance(source, CsrSource):
            return Provenance(request_pem=source.pem)
        path = source.key.path if isinstance(source.key, HostedKey) else None
        return Provenance(public_key=self._public_key(source.key), key_path=path)

    def _stored_issuers(self, key: PublicKey) -> list[Certificate]:
        """The valid CA certificates in the attached stores whose public key is `key`, latest notAfter first.

        Those that are not to be believed are not there: who may only store must not choose a name for the key, nor
        stop it from issuing.
        """
        now = self.corridor.now()
        found = [
            (cached_certificate(one.der), one.trusted)
            for one in self.store.find_ca_certificates(self.stores, key.sha256, self.path)
        ]
        valid = [
            certificate
            for certificate, trusted in found
            if certificate.not_before <= now <= certificate.not_after and (trusted or self._believes(certificate))
        ]
        return sorted(valid, key=lambda one: (one.not_after, one.sha256), reverse=True)

    def _believes(self, certificate: Certificate) -> bool:
        try:
            self._check_believed(certificate)
        except PolicyRefusal:
            return False
        return True

    def _check_believed(self, certificate: Certificate) -> None:
        """Raises PolicyRefusal unless a CA certificate is to be believed, wherever it came from."""
        if not is_self_signed(certificate):
            check_presented_issuer(certificate, self._trusted_authorities(certificate))

    def _trusted_authorities(self, certificate: Certificate) -> list[Certificate]:
        """The trusted CA certificates in the attached stores that may have signed this one, and this one if it is one.

        Trusted is what was issued into the store, and what was put there by one who may issue here.
        """
        subjects = {certificate.subject, certificate.issuer}
        found = (self.store.find_trusted_ca_certificates(self.stores, subject, self.path) for subject in subjects)
        return [cached_certificate(der) for ders in found for der in ders]

    def _find_issuer(self, choice: CaSigned, key: PublicKey) -> Issuer:
        """The issuer: the certificate that was given, or named, or the one in the attached stores."""
        if choice.certificate_pem is not None and choice.certificate_id is not None:
            raise MalformedRequest(f"Expected {choice.members}, found both.")
        if choice.certificate_pem is not None:
            return self._believed_issuer(load_certificate(load_pem(choice.certificate_pem, "CERTIFICATE")), key)
        if choice.certificate_id is not None:
            self._check_attached(choice.certificate_id.rpartition(".")[0])
            return self._believed_issuer(cached_certificate(self.store.find_entry(choice.certificate_id).der), key)
        found = self._stored_issuers(key)
        if not found:
            raise PolicyRefusal(f"No valid CA certificate for the issuer key is stored; name one by {choice.members}.")
        if len({certificate.subject for certificate in found}) > 1:
            raise PolicyRefusal(
                f"CA certificates with different subjects are stored for the issuer key; name one by {choice.members}."
            )
        return issuer_from_certificate(found[0], key)

    def _believed_issuer(self, certificate: Certificate, key: PublicKey) -> Issuer:
        issuer = issuer_from_certificate(certificate, key)
        self._check_believed(certificate)
        return issuer

    def _find_iaca(self, signer: IacaSigner, key: PublicKey) -> Issuer:
        """The IACA that signs: presented, it must satisfy the profile; described, it must not contradict the stores."""
        if isinstance(signer, IacaAsIssuer):
            issuer = self._find_issuer(signer.issuer, key)
            if signer.alternative_name is not None and issuer.certificate is not None:
                check_iaca_alternative_name(issuer.certificate, signer.alternative_name)
            return issuer
        if isinstance(signer, IacaPem):
            certificate = load_certificate(load_pem(signer.pem, "CERTIFICATE"))
            check_iaca(certificate)
            return issuer_from_certificate(certificate, key)
        contradiction: RequestError | None = None
        for certificate in self._stored_issuers(key):
            try:
                check_iaca(certificate)
                check_iaca_matches(certificate, signer.order)
            except PolicyRefusal as error:
                contradiction = contradiction or error
            else:
                return issuer_from_certificate(certificate, key)
        if contradiction is not None:
            raise contradiction
        return issuer_from_iaca_order(signer.order, key, self.corridor.now())


def _load_jwk_without_private_members(key: JwkKey) -> PublicKey:
    private = sorted(PRIVATE_JWK_MEMBERS.intersection(key.jwk))
    if private:
        raise MalformedRequest(f"Only a public JWK is accepted here, but it has the members {', '.join(private)}.")
    return load_public_jwk(key.jwk)
