"""A PKCS#11 token that is open: the one thing in the engine that can make a private key sign.

    Token.open(settings)                          load the module, find the token, log in once
    token.sign(reference, algorithm, message)     three PKCS#11 calls once the key's handle is known
    token.close()                                 when no call is in flight

Safe to use from any number of threads, never across a fork.
"""

import hashlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

from pkcs11.constants import Attribute
from pkcs11.exceptions import PKCS11Error

from engine.errors import TokenKeyNotFound, TokenUnavailable, UnsupportedRequest
from engine.pin import PinSource
from engine.token import module as modules
from engine.token.administration import Administration, GeneratedKey
from engine.token.calls import Calls
from engine.token.connection import Connection
from engine.token.custody import load_custody
from engine.token.finding import IsHidden, find_ids, find_pair
from engine.token.identity import TokenIdentity
from engine.token.jwk import PrivateJwk, load_private_jwk
from engine.token.keys import (
    KeyPair,
    KeyReference,
    SigningKey,
    load_signing_key,
)
from engine.token.known_keys import KnownKeys
from engine.token.mechanisms import SignatureMechanism, find_key_pair_kind, find_signature_mechanism
from engine.token.module import Module
from engine.token.reauthentication import Reauthentication
from engine.token.recorder import NoRecorder, Recorder
from engine.token.recovery import Recovery
from engine.token.sessions import PooledSession
from engine.token.settings import TokenSettings, check_uri, find_pin_source
from engine.token.uri import Pkcs11Uri, load_uri

_log = logging.getLogger(__name__)

_PROOF_ALGORITHMS = {"EC": "ecdsa-with-SHA256", "RSA": "sha256WithRSAEncryption", "Ed25519": "id-Ed25519"}
"""One for each family of keys, without which none of it can be used here."""


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key pair that was on the token: SubjectPublicKeyInfo in DER, CKA_LABEL, CKA_ID and the custody record."""

    spki: bytes
    label: str
    id: bytes
    custody: dict[str, object]


class Token:
    """An open token. `open` it, `close` it. Calls raise TokenError, or RequestError for what the caller can change."""

    def __init__(
        self,
        settings: TokenSettings,
        module: Module,
        uri: Pkcs11Uri,
        pin: PinSource,
        recorder: Recorder | None = None,
    ) -> None:
        self._settings = settings
        self._name = settings.name
        self._recorder = recorder or NoRecorder()
        self._keys = KnownKeys(settings.name, self._sign_uncounted, recorder)
        self._recovery = Recovery(settings, module, uri, pin, self._keys, recorder)
        self._calls = Calls(settings.name, self._recovery, settings.sign_seconds)
        self._administration = Administration(settings.name, self._recovery, self._calls, self._keys, self._sign)
        waiting = min(settings.wait_seconds, settings.sign_seconds / 2)  # it counts as part of the call
        self._reauthentication = Reauthentication(settings.name, pin, waiting)
        self._mechanisms: dict[str, SignatureMechanism] = {}
        self._counting = threading.Lock()
        self._signatures = 0
        self._closed = False

    @classmethod
    def open(cls, settings: TokenSettings, *, may_be_away: bool = False, recorder: Recorder | None = None) -> Self:
        """Load the module, find the token and log in, once: a refused PIN is not tried again.

        With `may_be_away` it opens as a token that is away, and comes when it can. `recorder` is told what the token
        does by itself. Raises ConfigError; without, also
        TokenUnavailable or TokenLoginRefused.
        """
        uri = load_uri(settings.uri)
        pin = find_pin_source(settings, uri)
        check_uri(settings, uri)
        with modules.exclusive(settings.module):
            module = modules.acquire(
                settings.module, settings.environment, settings.initialize_arguments, must_start=not may_be_away
            )
            try:
                token = cls(settings, module, uri, pin, recorder)
                if may_be_away:
                    token._recovery.open_later()
                else:
                    token._recovery.open()
            except BaseException:
                modules.release(module)
                raise
        return token

    def close(self) -> None:
        """Wait for calls in flight, close every session and give the module back. May be called again.

        Raises TokenUnavailable if a call is still in flight after `sign_seconds`; the module is then left as it is.
        """
        with self._counting:
            closed, self._closed = self._closed, True
        if closed:
            return
        if not self._recovery.stop(self._settings.sign_seconds):
            raise TokenUnavailable(f"The token {self._settings.name!r} was left open: a call on it has not come back.")
        module = self._recovery.module
        with modules.exclusive(module.path):
            self._recovery.close()
            modules.release(module)

    def state(self) -> str:
        """`ready`, or in a few words why not. Asks nothing of the token, so it answers when the token does not."""
        return self._recovery.state()

    def is_hung(self) -> bool:
        """Whether a call has not come back in its time. Only another process can use the module then."""
        return self._recovery.has_hung()

    @property
    def signatures(self) -> int:
        """How many times C_Sign was asked for since open, counted before each call, whether or not it succeeded.

        Signatures that prove keys when a token has come back are not among them: nobody has asked for those.
        """
        with self._counting:
            return self._signatures

    def sign(self, key: KeyReference, algorithm: str, message: bytes) -> bytes:
        """The raw signature of `message` (which is hashed here): ECDSA r and s at field width each; RSA, Ed25519 as is.

        The key found must be the pinned one. A call that fails for want of its session is made once more in a new one.
        """
        mechanism = self._mechanisms.get(algorithm) or self._signature_mechanism(algorithm)
        return self._calls.in_session(
            "sign",
            self._sign_pinned,
            key,
            mechanism,
            mechanism.prepare(message),
            repeating=partial(self._tell_repeat, key, message),
        )

    def prove(self, key: KeyReference, algorithm: str, message: bytes) -> bytes:
        """As `sign`, by a key of which it is not known yet whether its halves belong together.

        That it has signed is not remembered: keys that have are looked for, and sign, whenever the token comes back.
        """
        mechanism = self._signature_mechanism(algorithm)
        return self._calls.in_session(
            "sign",
            self._sign_found,
            key,
            mechanism,
            mechanism.prepare(message),
            repeating=partial(self._tell_repeat, key, message),
        )

    def sign_with_jwk(self, jwk: Mapping[str, object], algorithm: str, message: bytes) -> bytes:
        """As `sign`, with a private JWK as a session object: sensitive, not extractable, sign only, destroyed after.

        Whether the public members belong to the private ones is for the caller to check, by verifying.
        """
        private_jwk = load_private_jwk(jwk)
        mechanism = self._signature_mechanism(algorithm)
        spki_sha256 = hashlib.sha256(private_jwk.public_half.spki).hexdigest()
        key = KeyReference(f"jwk:{spki_sha256}", b"", spki_sha256)
        return self._calls.in_session(
            "sign with a JWK",
            self._sign_imported,
            private_jwk,
            mechanism,
            mechanism.prepare(message),
            repeating=partial(self._tell_repeat, key, message),
        )

    def generate_key(self, key_type: str, label: str, key_id: bytes) -> GeneratedKey:
        """Generate a sign-only, sensitive, non-extractable token key pair and prove it with one signature.

        `key_type`: secp256r1, secp384r1, secp521r1, RSA (2048 bits), RSA3072, RSA4096, Ed25519. Raises
        TokenKeyAmbiguous if the id is taken, UnsupportedRequest if the token cannot, IssuanceDefect if the key is not
        as it must be. A failed call leaves nothing on the token.
        """
        kind = find_key_pair_kind(key_type, self._connection.usable)
        mechanism = self._signature_mechanism(kind.signature_algorithm)
        return self._administration.generate(kind, mechanism, label, key_id)

    def check_key_type(self, key_type: str) -> None:
        """Raises UnsupportedRequest, naming those it does, unless the token generates keys of this type."""
        find_key_pair_kind(key_type, self._connection.usable)

    def import_key(self, jwk: PrivateJwk, label: str, key_id: bytes) -> None:
        """Create both halves of a private JWK as a sign-only, sensitive, non-extractable token key pair.

        Whether the halves belong together is for the caller to check, by `prove`. Raises TokenKeyAmbiguous if the id is
        taken, UnsupportedRequest if the token cannot, IssuanceDefect if the key is not as it must be. A failed call
        leaves nothing on the token.
        """
        self._signature_mechanism(_PROOF_ALGORITHMS[jwk.public_half.family])
        self._administration.import_jwk(jwk, label, key_id)

    def find_ids(self, label: str) -> frozenset[bytes]:
        """CKA_ID of every key with this label, pair or half."""
        return self._calls.in_session("find a key", lambda pooled: find_ids(pooled.session, label, pooled.is_logged_in))

    def find_key(self, label: str | None, key_id: bytes | None, is_hidden: IsHidden | None = None) -> FoundKey:
        """The one key pair with this label and id, either of which may be None.

        A key that `is_hidden` is as if it were not there. Raises TokenKeyNotFound, or TokenKeyAmbiguous saying which
        attribute to name or to change.
        """

        def find(pooled: PooledSession) -> FoundKey:
            connection = self._connection
            pair = find_pair(pooled.session, label, key_id, connection.is_logged_in, is_hidden)
            pair.signing_key()
            pair.check_kind()
            custody = load_custody(pair.private_key, connection.token)
            return FoundKey(pair.public_half.spki, pair.label, pair.id, custody)

        return self._calls.in_session("find a key", find)

    def custody(self, key: KeyReference) -> dict[str, object]:
        """The custody record of a key, read from the token now, and what came of trying to take the key out of it.

        The key found must be the pinned one. `engine.token.custody.examine_key` has the members.
        """
        self._calls.in_session("find a key", self._find_pinned, key)  # which brings back a token that is gone
        return self._administration.examine(key)

    def destroy_key(self, key: KeyReference) -> None:
        """Destroy both halves of a key, which must be the pinned one. There is no way back."""
        self._administration.destroy(key)

    def destroy_leftovers(self, label: str, key_id: bytes) -> int:
        """Destroy every object of a key pair with this label and id, be it half a pair; how many.

        For a caller that knows that nobody has use for it. There is no way back.
        """
        return self._administration.destroy_leftovers(label, key_id)

    def connected(self) -> object:
        """An object that is another one after every loss of the token. Raises TokenUnavailable while it is away."""
        return self._connection.mark

    def identity(self) -> TokenIdentity:
        """Which token it is, as it said when it was connected. Raises TokenUnavailable while it is away."""
        return self._connection.identity

    def _sign_pinned(
        self,
        pooled: PooledSession,
        key: KeyReference,
        mechanism: SignatureMechanism,
        prepared: bytes,
    ) -> bytes:
        name = (key.label, key.id, key.spki_sha256)
        signing_key = pooled.keys.get(name)
        if signing_key is not None:
            return self._sign(signing_key, mechanism, prepared, pooled)
        signing_key = self._find_pinned(pooled, key).signing_key()
        signature = self._sign(signing_key, mechanism, prepared, pooled)
        pooled.keys[name] = signing_key
        self._keys.remember(key, mechanism)
        return signature

    def _sign_found(
        self, pooled: PooledSession, key: KeyReference, mechanism: SignatureMechanism, prepared: bytes
    ) -> bytes:
        return self._sign(self._find_pinned(pooled, key).signing_key(), mechanism, prepared, pooled)

    def _find_pinned(self, pooled: PooledSession, key: KeyReference) -> KeyPair:
        try:
            pair = find_pair(pooled.session, key.label, key.id, pooled.is_logged_in)
        except TokenKeyNotFound:
            self._keys.check_there(pooled, key)
            raise
        pair.check_pinned(key)
        return pair

    def _sign_imported(
        self,
        pooled: PooledSession,
        private_jwk: PrivateJwk,
        mechanism: SignatureMechanism,
        prepared: bytes,
    ) -> bytes:
        private_key = pooled.session.create_object({**private_jwk.template, Attribute.TOKEN: False})
        half = private_jwk.public_half
        pooled.is_spoilt = True  # session objects end with their session, if it does not come to their being destroyed
        signing_key = load_signing_key(private_key, half.family, half.signature_length)
        signature = self._sign(signing_key, mechanism, prepared, pooled)
        try:
            private_key.destroy()
        except PKCS11Error as error:
            _log.warning("Token %r did not destroy a session object, whose session is closed: %r.", self._name, error)
        else:
            pooled.is_spoilt = False
        return signature

    def _tell_repeat(self, key: KeyReference, message: bytes) -> None:
        self._recorder.repeating(self._name, key, hashlib.sha256(message).hexdigest())

    def _sign(
        self, key: SigningKey, mechanism: SignatureMechanism, prepared: bytes, pooled: PooledSession | None = None
    ) -> bytes:
        """What a caller asked for: counted at the door. `pooled` is told that it was."""
        if key.family != mechanism.family:
            raise UnsupportedRequest(
                f"An algorithm for {key.family} keys was expected, found one for {mechanism.family}."
            )
        if pooled is not None:
            pooled.asked = True
        with self._counting:
            self._signatures += 1
        return self._sign_uncounted(mechanism, key, prepared)

    def _sign_uncounted(self, mechanism: SignatureMechanism, key: SigningKey, prepared: bytes) -> bytes:
        """C_SignInit and C_Sign: the only way to a private key."""
        if key.always_authenticate:
            signature = self._reauthentication.sign(key, mechanism, prepared)
        else:
            signature = key.private_key.sign(
                prepared, mechanism=mechanism.mechanism, mechanism_param=mechanism.parameter
            )
        return signature if len(signature) == key.signature_length else key.pad_signature(signature)

    def _signature_mechanism(self, algorithm: str) -> SignatureMechanism:
        mechanism = self._mechanisms[algorithm] = find_signature_mechanism(algorithm, self._connection.usable)
        return mechanism

    @property
    def _connection(self) -> Connection:
        """Raises TokenUnavailable or TokenLoginRefused while there is none."""
        return self._recovery.connection()
