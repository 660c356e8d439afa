"""The keys that have signed in this process: proven again before a token that was away is used.

Whichever key it is, and whether it is known here or not, each session looks at its pin before it signs with it.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from engine.errors import IssuanceDefect, TokenKeyNotFound, TokenUnavailable
from engine.token.connection import Connection
from engine.token.finding import find_pair
from engine.token.keys import PROOF, KeyPair, KeyReference, SigningKey, check_pair
from engine.token.mechanisms import SignatureMechanism
from engine.token.recorder import NoRecorder, Recorder
from engine.token.sessions import PooledSession

_log = logging.getLogger(__name__)

_PROOF_SHA256 = hashlib.sha256(PROOF).hexdigest()
_MOST = 64
"""Keys that are proven at a return: those that were last to sign for the first time."""


class KeysGone(Exception):
    """A key that has signed is not found: the token, or all that was on it, is gone."""


class KnownKeys:
    """Of one token. Safe to use from any thread."""

    def __init__(
        self,
        name: str,
        sign: Callable[[SignatureMechanism, SigningKey, bytes], bytes],
        recorder: Recorder | None = None,
    ) -> None:
        """`name` is what messages call the token; `sign` makes the signatures that prove keys, `recorder` is told."""
        self._name = name
        self._sign = sign
        self._recorder = recorder or NoRecorder()
        self._lock = threading.Lock()
        self._keys: dict[KeyReference, SignatureMechanism] = {}
        """The latest last."""
        self._destroyed: dict[KeyReference, None] = {}
        """Some of these may still be found by whoever has looked for them before."""

    def remember(self, key: KeyReference, mechanism: SignatureMechanism) -> None:
        """A key has signed."""
        with self._lock:
            if key in self._destroyed:
                return
            self._keys.pop(key, None)
            self._keys[key] = mechanism
            while len(self._keys) > _MOST:
                del self._keys[next(iter(self._keys))]

    def forget(self, key: KeyReference) -> None:
        """A key was removed."""
        with self._lock:
            self._keys.pop(key, None)

    def forget_destroyed(self, key: KeyReference) -> None:
        """A key is being destroyed here: nobody who has just used it has it remembered any more."""
        with self._lock:
            self._keys.pop(key, None)
            self._destroyed[key] = None
            while len(self._destroyed) > _MOST:
                del self._destroyed[next(iter(self._destroyed))]

    def forget_named(self, label: str, key_id: bytes) -> None:
        """Every key with this label and id was destroyed."""
        with self._lock:
            for key in [key for key in self._keys if (key.label, key.id) == (label, key_id)]:
                del self._keys[key]

    def keep(self, key: KeyReference) -> None:
        """A key was to be destroyed and was not."""
        with self._lock:
            self._destroyed.pop(key, None)

    def check_there(self, pooled: PooledSession, absent: KeyReference) -> None:
        """Raises KeysGone if `absent`, which was not found, has signed before, or the key that did last is not found.

        SoftHSM does not say that its files are gone: it finds nothing.
        """
        with self._lock:
            latest = next(reversed(self._keys), None)
            has_signed = absent in self._keys
        if has_signed:
            raise KeysGone
        if latest is not None:
            try:
                find_pair(pooled.session, latest.label, latest.id, pooled.is_logged_in)
            except TokenKeyNotFound:
                raise KeysGone from None

    def prove(self, connection: Connection) -> None:
        """Find every key, check its pin, sign with it and verify. Raises what is wrong with one.

        A key that is missing while others are there was removed; if all are missing, the token is not what it was.
        """
        with self._lock:
            keys = dict(self._keys)
        if not keys:
            return
        pooled = connection.pool.take()
        try:
            found = self._find(pooled, keys)
            self._prove(found, keys)
        except BaseException:
            connection.pool.drop(pooled)
            raise
        connection.pool.give_back(pooled)
        if not found:
            raise TokenUnavailable(
                f"The token has none of the {len(keys)} keys that have signed; if they were removed from it on "
                "purpose, start the engine anew."
            )
        for key in keys.keys() - found.keys():
            _log.error("Token %r came back without the key with label %r.", self._name, key.label)
            self.forget(key)

    @staticmethod
    def _find(pooled: PooledSession, keys: Iterable[KeyReference]) -> dict[KeyReference, KeyPair]:
        """Those that are there, each the pinned one."""
        found: dict[KeyReference, KeyPair] = {}
        for key in keys:
            try:
                pair = find_pair(pooled.session, key.label, key.id, pooled.is_logged_in)
            except TokenKeyNotFound:
                continue
            pair.check_pinned(key)
            found[key] = pair
        return found

    def _prove(
        self, found: Mapping[KeyReference, KeyPair], mechanisms: Mapping[KeyReference, SignatureMechanism]
    ) -> None:
        """One signature by each, told before."""
        if not found:
            return
        with self._recorder.signing(self._name, tuple(found), _PROOF_SHA256) as proven:
            for key, pair in found.items():
                mechanism = mechanisms[key]
                try:
                    check_pair(pair, mechanism, partial(self._sign, mechanism))
                except IssuanceDefect:
                    raise IssuanceDefect(f"The key with label {key.label!r} made a signature that is wrong.") from None
                proven[key] += 1
