"""A KMS service: key ids that are bound to keys on one PKCS#11 token."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature

from engine.directory.custody import ADOPTED, GENERATED, CustodyWatch, KeyRecord, build_record
from engine.directory.signers import HostedSigner
from engine.errors import (
    AlreadyExists,
    NotAuthorized,
    NotFound,
    PolicyRefusal,
    TokenKeyAmbiguous,
    TokenKeyNotFound,
)
from engine.store import KeyRow, Store
from engine.token import FoundKey, KeyReference, Token
from engine.x509.algorithms import check_signature, encode_signature, signature_algorithm_for
from engine.x509.spki import PublicKey, load_spki

cached_spki = functools.lru_cache(maxsize=1024)(load_spki)

_PROOF = b"One signature to prove that the halves of an adopted key pair belong together."


def token_key_id(path: str) -> bytes:
    """The CKA_ID of a generated key: 16 octets of the SHA-256 of its path.

    Derived from the path, so that a key whose generation was answered but not registered can be found again.
    """
    return hashlib.sha256(path.encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class Kms:
    """Keys under `path`, on `token`."""

    path: str
    token_name: str
    token: Token = field(repr=False)
    store: Store = field(repr=False)
    allow_adopt: bool = False
    """Whether callers of the API may bind keys of the token."""
    watch: CustodyWatch = field(default_factory=CustodyWatch, repr=False)

    def key_path(self, key_id: str) -> str:
        """The full path of a key id."""
        return f"{self.path}.{key_id}"

    def generate_key(self, key_id: str, key_type: str) -> KeyRow:
        """Generate a key pair on the token with the sign-only template and register it."""
        path = self.key_path(key_id)
        self._check_free(path)
        generated = self.token.generate_key(key_type, path, token_key_id(path))
        reference = KeyReference(path, token_key_id(path), cached_spki(generated.spki).sha256)
        return self._register(path, reference, generated.spki, self.token.custody(reference), GENERATED)

    def adopt_key(
        self, key_id: str, *, label: str | None, token_id: bytes | None, by_caller: bool = False
    ) -> KeyRecord:
        """Register a key pair that is on the token already, found by label and/or CKA_ID and proven by a signature.

        `by_caller`: not the operator but a caller of the API wants it, who may not take what another KMS has. Raises
        NotFound or PolicyRefusal saying which attribute to name or to change, NotAuthorized, AlreadyExists.
        """
        path = self.key_path(key_id)
        if by_caller and not self.allow_adopt:
            raise NotAuthorized(
                f"Keys of the token may not be adopted over the API: the setting allow-adopt of {self.path} is off."
            )
        self._check_free(path)
        found = self._find_on_token(label, token_id)
        public_key = load_spki(found.spki)
        if by_caller and any(self._is_elsewhere(row) for row in self.store.list_keys_by_spki(public_key.sha256)):
            raise NotAuthorized(f"The key belongs to another KMS than {self.path}; only the operator can share it.")
        reference = KeyReference(found.label, found.id, public_key.sha256)
        self._check_pair(reference, public_key)
        row = self._register(path, reference, found.spki, self.token.custody(reference), ADOPTED)
        return build_record(row, public_key)

    def find_key(self, path: str) -> KeyRow:
        """The registered key at a full path. NotFound otherwise."""
        return self.store.find_key(path)

    def list_keys(self) -> tuple[KeyRow, ...]:
        """Every registered key of this KMS."""
        return self.store.list_keys(self.path)

    def list_records(self) -> tuple[KeyRecord, ...]:
        """The record of every registered key, as it was kept last; the token is not asked."""
        return tuple(build_record(row, cached_spki(row.spki)) for row in self.list_keys())

    def check_custody(self, path: str) -> KeyRecord:
        """Have the key at a full path examined on the token now, keep the record and return it."""
        row = self.find_key(path)
        began, connection = self.watch.clock(), self.token.connected()
        custody, checked_at = _dated(self.token.custody(_reference(row)), row.origin)
        self.store.record_custody(path, custody, checked_at)
        record = build_record(replace(row, custody=custody, checked_at=checked_at), cached_spki(row.spki))
        self.watch.record(path, began, connection, is_sufficient=not record.shortfalls)
        return record

    def require_custody(self, path: str, minutes: float) -> None:
        """Raises PolicyRefusal naming every shortfall unless the record of the key at `path` is sufficient.

        The key is examined if it was not in the last `minutes`, or not since the token was connected.
        """
        if self._was_sufficient(path, minutes):
            return
        with self.watch.checking:
            if self._was_sufficient(path, minutes):
                return
            shortfalls = self.check_custody(path).shortfalls
        if shortfalls:
            raise PolicyRefusal(
                f"The key {path} may not sign where custody is required: {'; '.join(shortfalls)}.", details=shortfalls
            )

    def public_key(self, path: str) -> PublicKey:
        """The public half of the key at a full path, as it was pinned."""
        return cached_spki(self.find_key(path).spki)

    def signer(self, path: str) -> HostedSigner:
        """The key at a full path, ready to sign."""
        row = self.find_key(path)
        return HostedSigner(
            name=path,
            public_key=cached_spki(row.spki),
            token=self.token,
            reference=_reference(row),
        )

    def _was_sufficient(self, path: str, minutes: float) -> bool:
        return self.watch.is_recent(path, self.token.connected(), minutes * 60)

    def _check_free(self, path: str) -> None:
        try:
            self.store.find_key(path)
        except NotFound:
            return
        raise AlreadyExists(f"A key already exists at {path}.", target=path)

    def _is_elsewhere(self, row: KeyRow) -> bool:
        return row.path.rpartition(".")[0] != self.path

    def _find_on_token(self, label: str | None, token_id: bytes | None) -> FoundKey:
        """What the one who names a key can put right is a refusal here, not a fault of the token."""
        try:
            return self.token.find_key(label, token_id)
        except TokenKeyNotFound as error:
            raise NotFound(error.message) from None
        except TokenKeyAmbiguous as error:
            raise PolicyRefusal(error.message) from None

    def _check_pair(self, reference: KeyReference, public_key: PublicKey) -> None:
        """One signature by the private half, verified outside the token under what it says is the public half."""
        algorithm = signature_algorithm_for(public_key)
        try:
            raw = self.token.prove(reference, algorithm.name, _PROOF)
            check_signature(public_key, algorithm, encode_signature(public_key, raw), _PROOF)
        except InvalidSignature:
            raise PolicyRefusal(
                f"The private key with label {reference.label!r} and id {reference.id.hex()} makes no signature that "
                "verifies under the public key with that id; give the public key that belongs to it the same CKA_ID "
                "and take it from the other."
            ) from None

    def _register(
        self, path: str, reference: KeyReference, spki: bytes, said: Mapping[str, object], origin: str
    ) -> KeyRow:
        custody, checked_at = _dated(said, origin)
        self.store.add_key(
            path=path,
            token=self.token_name,
            label=reference.label,
            key_id=reference.id,
            key_type=cached_spki(spki).key_type,
            spki=spki,
            spki_sha256=reference.spki_sha256,
            origin=origin,
            custody=custody,
            checked_at=checked_at,
        )
        return self.store.find_key(path)


def _reference(row: KeyRow) -> KeyReference:
    return KeyReference(label=row.label, id=row.key_id, spki_sha256=row.spki_sha256)


def _dated(said: Mapping[str, object], origin: str) -> tuple[dict[str, object], datetime]:
    """The token's record as it is kept, and when it was made."""
    custody = {**said, "origin": origin}
    return custody, datetime.fromisoformat(str(custody.pop("checked_at")))
