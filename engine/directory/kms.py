"""A KMS service: key ids that are bound to keys on one PKCS#11 token."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.directory.signers import HostedSigner
from engine.errors import AlreadyExists, NotFound
from engine.store import KeyRow, Store
from engine.token import FoundKey, GeneratedKey, KeyReference, Token
from engine.x509.spki import PublicKey, load_spki

cached_spki = functools.lru_cache(maxsize=1024)(load_spki)


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

    def key_path(self, key_id: str) -> str:
        """The full path of a key id."""
        return f"{self.path}.{key_id}"

    def generate_key(self, key_id: str, key_type: str) -> KeyRow:
        """Generate a key pair on the token with the sign-only template and register it."""
        path = self.key_path(key_id)
        self._check_free(path)
        generated = self.token.generate_key(key_type, path, token_key_id(path))
        return self._register(path, path, token_key_id(path), generated, "generated")

    def adopt_key(self, key_id: str, *, label: str | None, token_id: bytes | None) -> KeyRow:
        """Register a key pair that is on the token already, found by label and/or CKA_ID."""
        path = self.key_path(key_id)
        self._check_free(path)
        found = self.token.find_key(label, token_id)
        return self._register(path, found.label, found.id, found, "adopted")

    def find_key(self, path: str) -> KeyRow:
        """The registered key at a full path. NotFound otherwise."""
        return self.store.find_key(path)

    def list_keys(self) -> tuple[KeyRow, ...]:
        """Every registered key of this KMS."""
        return self.store.list_keys(self.path)

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
            reference=KeyReference(label=row.label, id=row.key_id, spki_sha256=row.spki_sha256),
        )

    def _check_free(self, path: str) -> None:
        try:
            self.store.find_key(path)
        except NotFound:
            return
        raise AlreadyExists(f"A key already exists at {path}.", target=path)

    def _register(self, path: str, label: str, key_id: bytes, key: GeneratedKey | FoundKey, origin: str) -> KeyRow:
        public_key = load_spki(key.spki)
        custody: Mapping[str, object] = {**key.custody, "origin": origin}
        self.store.add_key(
            path=path,
            token=self.token_name,
            label=label,
            key_id=key_id,
            key_type=public_key.key_type,
            spki=key.spki,
            spki_sha256=public_key.sha256,
            origin=origin,
            custody=dict(custody),
        )
        return self.store.find_key(path)
