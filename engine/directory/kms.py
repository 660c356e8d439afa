"""A KMS service: key ids that are bound to keys on one PKCS#11 token."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from engine.directory.audit_guard import AuditGuard
from engine.directory.custody import ADOPTED, GENERATED, IMPORTED, CustodyWatch, KeyRecord, build_record
from engine.directory.making import KeyMaker
from engine.directory.proof import check_proof, proving
from engine.directory.signers import HostedSigner
from engine.errors import (
    AlreadyExists,
    IssuanceDefect,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PolicyRefusal,
    TokenKeyAmbiguous,
    TokenKeyNotFound,
    UnsupportedRequest,
)
from engine.issuance import Caller
from engine.profiles.keys import check_public_key
from engine.store import ENGINE, Actor, KeyInUse, KeyRow, Store
from engine.store.chain import custody_sha256
from engine.token import KEY_TYPES, PROOF, FoundKey, KeyReference, Token, key_not_found, load_private_jwk
from engine.x509.algorithms import signature_algorithm_for
from engine.x509.spki import PublicKey, load_spki

_log = logging.getLogger(__name__)
cached_spki = functools.lru_cache(maxsize=1024)(load_spki)

NOT_CERTIFIED = frozenset({"secp256k1"})
"""Key types that some tokens have and that no certificate profile allows."""
KNOWN_KEY_TYPES = (*KEY_TYPES, *NOT_CERTIFIED)
"""What a caller may ask for, be it to be told that it is not to be had."""


@dataclass(frozen=True, slots=True)
class DeletedKey:
    """A path that stands for no key any more, and whether the key on the token was destroyed."""

    path: str
    destroyed: bool


@dataclass(frozen=True, slots=True)
class Kms:
    """Keys under `path`, on `token`."""

    path: str
    token_name: str
    token: Token = field(repr=False)
    store: Store = field(repr=False)
    allow_adopt: bool = False
    """Whether callers of the API may bind keys of the token."""
    allow_import: bool = False
    """Whether they may bring private JWKs that become keys of the token."""
    allow_delete_in_use: bool = False
    """Whether they may destroy a key that a certificate authority uses."""
    watch: CustodyWatch = field(default_factory=CustodyWatch, repr=False)
    """Shared by every KMS on the token."""
    guard: AuditGuard = field(default_factory=AuditGuard, repr=False)
    """Shared by every KMS."""

    def key_path(self, key_id: str) -> str:
        """The full path of a key id."""
        return f"{self.path}.{key_id}"

    def generate_key(self, key_id: str, key_type: str, caller: Caller) -> KeyRecord:
        """Generate a key pair on the token with the sign-only template and register it.

        Raises AlreadyExists, and UnsupportedRequest saying what the token generates.
        """
        if key_type in NOT_CERTIFIED:
            raise UnsupportedRequest(
                f"Keys on {key_type} are not generated here, since no certificate that the engine issues may hold one; "
                f"expected one of {', '.join(KEY_TYPES)}."
            )
        self.token.check_key_type(key_type)
        path = self.key_path(key_id)

        def generate(token_id: bytes) -> PublicKey:
            made = self.token.generate_key(key_type, path, token_id)
            public_key = cached_spki(made.spki)
            mismatch = IssuanceDefect("The token made a key pair whose halves do not belong together; it is destroyed.")
            check_proof(public_key, made.proof, mismatch)
            return public_key

        return self._make(path, GENERATED, generate, caller)

    def import_key(
        self, key_id: str, jwk: Mapping[str, object], caller: Caller, *, by_caller: bool = False
    ) -> KeyRecord:
        """Have the token take a private JWK as a key of its own, prove it with one signature and register it.

        The same key again under the same id makes nothing and is answered alike. `by_caller`: not the operator but a
        caller of the API wants it. Raises NotAuthorized, MalformedRequest, UnsupportedRequest, PolicyRefusal for a weak
        key, AlreadyExists. No message and no record holds a private member.
        """
        path = self.key_path(key_id)
        if by_caller and not self.allow_import:
            raise NotAuthorized(
                f"Private keys may not be imported over the API: the setting allow-import of {self.path} is off."
            )
        self.guard.check_path(path)  # who has brought the audit key could sign checkpoints elsewhere
        private_jwk = load_private_jwk(jwk)
        public_key = load_spki(private_jwk.public_half.spki)
        self.guard.check_key(public_key.sha256)
        check_public_key(public_key)
        algorithm = signature_algorithm_for(public_key).name
        mismatch = MalformedRequest("The private members of the JWK do not belong to its public members.")

        def import_private(token_id: bytes) -> PublicKey:
            self.token.import_key(private_jwk, path, token_id)
            reference = KeyReference(path, token_id, public_key.sha256)
            check_proof(public_key, self.token.prove(reference, algorithm, PROOF), mismatch)
            return public_key

        known = self._find_import(path, public_key)
        if known is None:
            try:
                return self._make(path, IMPORTED, import_private, caller)
            except AlreadyExists:
                known = self._find_import(path, public_key)
                if known is None:
                    raise
        self.token.connected()
        self.guard.check_open()
        with proving(self.store, path, caller) as intent_id:
            check_proof(public_key, self.token.sign_with_jwk(jwk, algorithm, PROOF), mismatch)
            self.store.record_signed(intent_id=intent_id)
        return build_record(known, public_key)

    def adopt_key(
        self, key_id: str, caller: Caller, *, label: str | None, token_id: bytes | None, by_caller: bool = False
    ) -> KeyRecord:
        """Register a key pair that is on the token already, found by label and/or CKA_ID and proven by a signature.

        `by_caller`: not the operator but a caller of the API wants it, to whom keys of other KMSs are not there. Raises
        NotFound or PolicyRefusal saying which attribute to name or to change, NotAuthorized, AlreadyExists.
        """
        path = self.key_path(key_id)
        if by_caller and not self.allow_adopt:
            raise NotAuthorized(
                f"Keys of the token may not be adopted over the API: the setting allow-adopt of {self.path} is off."
            )
        self._check_free(path)
        found = self._find_on_token(label, token_id, by_caller)
        public_key = load_spki(found.spki)
        if by_caller and self._is_elsewhere(self.store.list_keys_by_spki(public_key.sha256)):
            raise NotFound(key_not_found(label, token_id).message)
        if path != self.guard.key_path:
            self.guard.check_key(public_key.sha256)
        reference = KeyReference(found.label, found.id, public_key.sha256)
        refusal = PolicyRefusal(
            f"The private key with label {found.label!r} and id {found.id.hex()} makes no signature that verifies "
            "under the public key with that id; give the public key that belongs to it the same CKA_ID and take it "
            "from the other."
        )
        algorithm = signature_algorithm_for(public_key).name
        self.guard.check_open()
        with proving(self.store, path, caller) as intent_id:
            check_proof(public_key, self.token.prove(reference, algorithm, PROOF), refusal)
            return self._register(path, reference, public_key, ADOPTED, intent_id)

    def delete_key(self, key_id: str, caller: Caller) -> DeletedKey:
        """Have the key id stand for nothing any more, and destroy the key on the token if it was made from here.

        A key that was adopted, or that another path stands for too, stays on its token. What an earlier call has left
        there is destroyed if it is called again. Raises PolicyRefusal while a certificate authority uses the key,
        unless that is allowed; NotFound.
        """
        path = self.key_path(key_id)
        self.guard.check_kept(path)
        try:
            self.store.find_key(path)
        except NotFound:
            if not self._maker.clear_leftovers(path, caller):
                raise
            return DeletedKey(path, destroyed=True)
        self.token.connected()
        organization = path.partition(".")[0]
        removed = self.store.remove_key(
            path, organization=organization, even_in_use=self.allow_delete_in_use, by=caller
        )
        if isinstance(removed, KeyInUse):
            raise PolicyRefusal(
                f"The key {path} may not be deleted: a CA certificate for it, of SHA-256 {removed.certificate_sha256}, "
                f"is valid until {removed.not_after.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, and the setting "
                f"allow-delete-in-use of {self.path} is off."
            )
        self.watch.forget(path)
        _log.info("%s has deleted the key %s (request %s).", caller.credential_id, path, caller.request_id)
        row = removed.row
        was_made_here = row.origin in (GENERATED, IMPORTED) or self.store.find_making(row.key_id) is not None
        destroyed = removed.is_last and was_made_here
        if destroyed:
            self._maker.destroy(row, caller)
        return DeletedKey(path, destroyed)

    def find_key(self, path: str) -> KeyRow:
        """The registered key at a full path. NotFound otherwise."""
        return self.store.find_key(path)

    def list_keys(self) -> tuple[KeyRow, ...]:
        """Every registered key of this KMS."""
        return self.store.list_keys(self.path)

    def list_records(self, limit: int, offset: int) -> tuple[KeyRecord, ...]:
        """A page of the records of registered keys, as they were kept last; the token is not asked."""
        rows = self.store.list_keys_page(self.path, limit, offset)
        return tuple(build_record(row, cached_spki(row.spki)) for row in rows)

    def check_custody(self, path: str, by: Actor = ENGINE) -> KeyRecord:
        """Have the key at a full path examined on the token now, keep the record and return it."""
        return self._examine(self.find_key(path), by)

    def _examine(self, row: KeyRow, by: Actor = ENGINE) -> KeyRecord:
        began, connection = self.watch.clock(), self.token.connected()
        custody, checked_at = _dated(self.token.custody(_reference(row)), row.origin)
        self.store.record_custody(row.path, row.key_id, custody, checked_at, by=by)
        record = build_record(replace(row, custody=custody, checked_at=checked_at), cached_spki(row.spki))
        self.watch.record(row.path, row.spki_sha256, began, connection, is_sufficient=not record.shortfalls)
        return record

    def require_custody(self, path: str, minutes: float) -> None:
        """Raises PolicyRefusal naming every shortfall unless the record of the key at `path` is sufficient.

        The key is examined if it was not in the last `minutes`, or not since the token was connected.
        """
        self._require_custody(self.find_key(path), minutes)

    def _require_custody(self, row: KeyRow, minutes: float) -> KeyRow:
        """The row with the record that is sufficient."""
        if self._was_sufficient(row, minutes):
            return row
        with self.watch.checking:
            if self._was_sufficient(row, minutes):  # another request has had it examined meanwhile
                latest = self.find_key(row.path)
                return latest if latest.spki_sha256 == row.spki_sha256 else row
            record = self._examine(row)
        if record.shortfalls:
            raise PolicyRefusal(
                f"The key {row.path} may not sign where custody is required: {'; '.join(record.shortfalls)}.",
                details=record.shortfalls,
            )
        return replace(row, custody=record.custody, checked_at=record.checked_at)

    def public_key(self, path: str) -> PublicKey:
        """The public half of the key at a full path, as it was pinned, for a certificate. Raises NotAuthorized for the
        audit key."""
        self.guard.check_path(path)
        return cached_spki(self.find_key(path).spki)

    def signer(self, path: str, custody_minutes: float | None = None) -> HostedSigner:
        """The key at a full path, ready to sign; the very key whose custody was found sufficient, if that is required.

        `custody_minutes` is how old its examination may be; None: custody is not required. Raises as `require_custody`,
        and NotAuthorized for the audit key.
        """
        self.guard.check_path(path)
        row = self.find_key(path)
        self.guard.check_key(row.spki_sha256)
        if custody_minutes is not None:
            row = self._require_custody(row, custody_minutes)
        return self._hosted(row)

    def checkpoint_signer(self) -> HostedSigner:
        """The audit key, for checkpoints. Raises NotFound unless it is a key of this KMS."""
        return self._hosted(self.find_key(self.guard.key_path or ""))

    def _hosted(self, row: KeyRow) -> HostedSigner:
        return HostedSigner(
            name=row.path,
            public_key=cached_spki(row.spki),
            token=self.token,
            reference=_reference(row),
            custody_sha256=custody_sha256(row.custody),
        )

    def _was_sufficient(self, row: KeyRow, minutes: float) -> bool:
        return self.watch.is_recent(row.path, row.spki_sha256, self.token.connected(), minutes * 60)

    def _check_free(self, path: str) -> None:
        try:
            self.store.find_key(path)
        except NotFound:
            return
        raise AlreadyExists(f"A key already exists at {path}.", target=path)

    def _make(self, path: str, origin: str, make: Callable[[bytes], PublicKey], caller: Caller) -> KeyRecord:
        """Register the key that `make` makes and proves, whose CKA_LABEL is `path` and whose CKA_ID it is given."""
        self._check_free(path)
        self.guard.check_open()

        def make_and_register(intent_id: str) -> KeyRecord:
            token_id = bytes.fromhex(intent_id)
            public_key = make(token_id)
            reference = KeyReference(path, token_id, public_key.sha256)
            return self._register(path, reference, public_key, origin, intent_id)

        return self._maker.make(path, caller, make_and_register)

    @property
    def _maker(self) -> KeyMaker:
        return KeyMaker(self.token_name, self.token, self.store)

    def _find_import(self, path: str, public_key: PublicKey) -> KeyRow | None:
        """The same key, if it was imported to `path` before. Raises AlreadyExists if another one is there."""
        try:
            row = self.store.find_key(path)
        except NotFound:
            return None
        if row.origin == IMPORTED and row.spki_sha256 == public_key.sha256:
            return row
        raise AlreadyExists(f"Another key already exists at {path}.", target=path)

    def _is_elsewhere(self, rows: Sequence[KeyRow]) -> bool:
        """Whether other KMSs have the key, and this one does not."""
        kms_paths = {row.path.rpartition(".")[0] for row in rows}
        return bool(kms_paths) and self.path not in kms_paths

    def _is_hidden(self, label: str, token_id: bytes) -> bool:
        """Whether a caller that may manage keys of this KMS must not know of the one with this label and id."""
        rows = self.store.list_keys_by_object(self.token_name, label, token_id)
        if rows:
            return self._is_elsewhere(rows)
        making = self.store.find_making(token_id)
        return making is not None and making.path.rpartition(".")[0] != self.path

    def _find_on_token(self, label: str | None, token_id: bytes | None, by_caller: bool) -> FoundKey:
        """What the one who names a key can put right is a refusal here, not a fault of the token."""
        try:
            return self.token.find_key(label, token_id, self._is_hidden if by_caller else None)
        except TokenKeyNotFound as error:
            raise NotFound(error.message) from None
        except TokenKeyAmbiguous as error:
            raise PolicyRefusal(error.message) from None

    def _register(
        self, path: str, reference: KeyReference, public_key: PublicKey, origin: str, intent_id: str
    ) -> KeyRecord:
        """Have the key examined and `path` stand for it; the intent of its proof is closed with that."""
        custody, checked_at = _dated(self.token.custody(reference), origin)
        row = self.store.add_key(
            path=path,
            token=self.token_name,
            label=reference.label,
            key_id=reference.id,
            key_type=public_key.key_type,
            spki=public_key.spki,
            spki_sha256=reference.spki_sha256,
            origin=origin,
            custody=custody,
            checked_at=checked_at,
            intent_id=intent_id,
        )
        return build_record(row, public_key)


def _reference(row: KeyRow) -> KeyReference:
    return KeyReference(label=row.label, id=row.key_id, spki_sha256=row.spki_sha256)


def _dated(said: Mapping[str, object], origin: str) -> tuple[dict[str, object], datetime]:
    """The token's record as it is kept, and when it was made."""
    custody = {**said, "origin": origin}
    return custody, datetime.fromisoformat(str(custody.pop("checked_at")))
