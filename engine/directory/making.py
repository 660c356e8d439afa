"""Token keys that are made for a path, so that neither a crash nor a race leaves a path without its key.

Such a key has its path for its CKA_LABEL and the id of the intent of its proof for its CKA_ID. The intent is open from
before the key is made; registering the key closes it in the same transaction. Once it is closed and no path stands for
the key, nobody has a use for the key and nobody can register it any more: it is a leftover of a call that failed or
was cut off, or of a deletion that was, and is destroyed by that call or by the next one for the path. So whoever loses
a race for a path destroys what it has made itself, and a crash leaves a token key without a path at worst.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from engine.directory.proof import proving
from engine.errors import EngineError, TokenKeyNotFound
from engine.issuance import Caller
from engine.store import KeyRow, Store
from engine.store.chain import FAILURE, Detail
from engine.store.keys import describe_key
from engine.token import KeyReference, Token

_log = logging.getLogger(__name__)

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class KeyMaker:
    """Of one token."""

    token_name: str
    token: Token = field(repr=False)
    store: Store = field(repr=False)

    def make(self, path: str, caller: Caller, make: Callable[[str], Made]) -> Made:
        """What `make` answers, which is given the id of the intent and makes, proves and registers a key.

        If it raises, nothing of the key is left, or the next call clears it away.
        """
        self.clear_leftovers(path, caller)
        token_id = b""
        try:
            with proving(self.store, path, caller) as intent_id:
                token_id = bytes.fromhex(intent_id)
                return make(intent_id)
        except BaseException:
            if token_id:
                self._clear_up(path, token_id, caller)
            raise

    def clear_leftovers(self, path: str, caller: Caller) -> int:
        """Destroy what earlier calls for this path have left on the token; how many objects."""
        leftovers = [token_id for token_id in self.token.find_ids(path) if self._is_leftover(path, token_id)]
        destroyed = sum(self._destroy_leftovers(path, token_id, caller) for token_id in leftovers)
        if destroyed:
            _log.info("%d objects were destroyed that an earlier call for the key %s had left.", destroyed, path)
        return destroyed

    def destroy(self, row: KeyRow, caller: Caller) -> None:
        """Destroy a key that no path stands for any more. One that is gone already is as well."""
        told = describe_key(row)
        try:
            self._destroy(KeyReference(label=row.label, id=row.key_id, spki_sha256=row.spki_sha256))
        except BaseException as error:
            told |= {"reason": type(error).__name__}
            self.store.record_event("key-destroyed", caller, row.path, told, outcome=FAILURE)
            raise
        self.store.record_event("key-destroyed", caller, row.path, told)

    def _destroy(self, key: KeyReference) -> None:
        try:
            self.token.destroy_key(key)
        except TokenKeyNotFound:
            self.token.destroy_leftovers(key.label, key.id)  # a half that is alone, or nothing

    def _destroy_leftovers(self, path: str, token_id: bytes, caller: Caller) -> int:
        destroyed = self.token.destroy_leftovers(path, token_id)
        if destroyed:
            told: dict[str, Detail | None] = {"signingKey": path, "token": self.token_name, "keyId": token_id.hex()}
            told["objects"] = destroyed
            self.store.record_event("key-leftovers-destroyed", caller, path, told)
        return destroyed

    def _clear_up(self, path: str, token_id: bytes, caller: Caller) -> None:
        try:
            # Not so if the store has registered the key and could not say so, or could not close the intent.
            if self._is_leftover(path, token_id):
                self._destroy_leftovers(path, token_id, caller)
        except EngineError as error:
            _log.error("A key with label %r and id %s may be left on its token: %s", path, token_id.hex(), error)

    def _is_leftover(self, path: str, token_id: bytes) -> bool:
        making = self.store.find_making(token_id)
        if making is None or making.path != path or making.is_open:
            return False
        return not self.store.list_keys_by_object(self.token_name, path, token_id)
