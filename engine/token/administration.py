"""What changes the keys of a token, or takes long: making, importing, examining and destroying them.

Each holds the module against all other processes, and runs once: whoever lost a reply looks before it asks again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pkcs11.types import Session

from engine.errors import EngineError, IssuanceDefect
from engine.token import module as modules
from engine.token.calls import Calls
from engine.token.connection import Connection
from engine.token.custody import check_custody, examine_key, load_custody
from engine.token.finding import check_free, destroy_all, find_pair
from engine.token.jwk import PrivateJwk
from engine.token.keys import KeyReference, SigningKey, check_key_id, check_label, check_pair
from engine.token.known_keys import KnownKeys
from engine.token.making import generate_pair, import_pair
from engine.token.mechanisms import KeyPairKind, SignatureMechanism
from engine.token.recovery import Recovery

_log = logging.getLogger(__name__)

Made = TypeVar("Made")
Sign = Callable[[SigningKey, SignatureMechanism, bytes], bytes]


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key pair: SubjectPublicKeyInfo in DER, the custody record and the raw signature of PROOF."""

    spki: bytes
    custody: dict[str, object]
    proof: bytes


class Administration:
    """Of one token; `Token` has what callers may ask for, and says what it means."""

    def __init__(self, name: str, recovery: Recovery, calls: Calls, keys: KnownKeys, sign: Sign) -> None:
        """`name` is what messages call the token; `sign` makes the signatures that prove new keys."""
        self._name = name
        self._recovery = recovery
        self._calls = calls
        self._keys = keys
        self._sign = sign

    def generate(self, kind: KeyPairKind, mechanism: SignatureMechanism, label: str, key_id: bytes) -> GeneratedKey:
        """A new pair, proven by one signature with `mechanism`."""
        return self._make(
            "generate a key", label, key_id, lambda session: self._generate(session, kind, mechanism, label, key_id)
        )

    def import_jwk(self, jwk: PrivateJwk, label: str, key_id: bytes) -> None:
        """A pair from a JWK; its halves are not proven."""
        self._make("import a key", label, key_id, lambda session: self._import(session, jwk, label, key_id))

    def _make(self, doing: str, label: str, key_id: bytes, make: Callable[[Session], Made]) -> Made:
        """A failed call leaves nothing on the token."""
        check_label(label)
        check_key_id(key_id)
        with modules.exclusive(self._recovery.module.path):
            self._calls.administer("look for a key", lambda session: check_free(session, key_id))
            try:
                return self._calls.administer(doing, make)
            except BaseException:
                self._clear_up(label, key_id)
                raise

    def examine(self, key: KeyReference) -> dict[str, object]:
        """The custody record, made now."""

        def examine(session: Session) -> dict[str, object]:
            connection = self._connection
            pair = find_pair(session, key.label, key.id, connection.is_logged_in)
            pair.check_pinned(key)
            return examine_key(pair, session, connection)

        with modules.exclusive(self._recovery.module.path):
            return self._calls.administer("examine a key", examine)

    def destroy(self, key: KeyReference) -> None:
        """Both halves of the pinned key."""

        def destroy(session: Session) -> None:
            pair = find_pair(session, key.label, key.id, self._connection.is_logged_in)
            pair.check_pinned(key)
            pair.private_key.destroy()
            pair.public_key.destroy()

        connection = self._connection
        with modules.exclusive(self._recovery.module.path):
            # Before, since who looks for it meanwhile and does not find it must not think the token lost.
            self._keys.forget_destroyed(key)
            try:
                self._calls.administer("destroy a key", destroy)
            except BaseException:
                self._keys.keep(key)
                raise
            finally:
                connection.pool.forget_keys()

    def destroy_leftovers(self, label: str, key_id: bytes) -> int:
        """Every object of a pair with this label and id; how many."""
        connection = self._connection
        with modules.exclusive(self._recovery.module.path):
            try:
                destroyed = self._calls.administer("clear up", lambda session: destroy_all(session, label, key_id))
                self._keys.forget_named(label, key_id)
                return destroyed
            finally:
                connection.pool.forget_keys()

    def _generate(
        self, session: Session, kind: KeyPairKind, mechanism: SignatureMechanism, label: str, key_id: bytes
    ) -> GeneratedKey:
        generate_pair(session, kind, label, key_id, self._connection.module.library.manufacturer_id)
        # Found again instead of taken from the answer: this also proves that there is exactly one.
        pair = find_pair(session, label, key_id, self._connection.is_logged_in)
        custody = load_custody(pair.private_key, self._connection.token, "generated")
        check_custody(custody)
        proof = check_pair(pair, mechanism, lambda key, prepared: self._sign(key, mechanism, prepared))
        return GeneratedKey(pair.public_half.spki, custody, proof)

    def _import(self, session: Session, jwk: PrivateJwk, label: str, key_id: bytes) -> None:
        import_pair(session, jwk, label, key_id)
        pair = find_pair(session, label, key_id, self._connection.is_logged_in)
        if pair.public_half != jwk.public_half:
            raise IssuanceDefect("The token made another public key than the one that was imported; it was destroyed.")
        check_custody(load_custody(pair.private_key, self._connection.token, "imported"), imported=True)

    def _clear_up(self, label: str, key_id: bytes) -> None:
        """After a failed call, of which the token may have answered nothing and yet have made the key."""
        try:
            destroyed = self._calls.administer("clear up", lambda session: destroy_all(session, label, key_id))
        except EngineError as error:
            _log.error("A key of id %s may be left on token %r: %s", key_id.hex(), self._name, error)
        else:
            _log.info("After a failed call %d objects of id %s were destroyed.", destroyed, key_id.hex())
            self._connection.pool.forget_keys()

    @property
    def _connection(self) -> Connection:
        return self._recovery.connection()
