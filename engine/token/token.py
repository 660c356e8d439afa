"""A PKCS#11 token that is open: the one thing in the engine that can make a private key sign.

    Token.open(settings)                          load the module, find the token, log in once
    token.sign(reference, algorithm, message)     three PKCS#11 calls once the key's handle is known
    token.close()                                 when no call is in flight

Safe to use from any number of threads, never across a fork.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar, TypeVarTuple

from pkcs11.exceptions import PKCS11Error
from pkcs11.types import Session

from engine.errors import EngineError, TokenError, TokenKeyNotFound, TokenUnavailable, UnsupportedRequest
from engine.token import module as modules
from engine.token.connection import Connection
from engine.token.custody import check_custody, examine_key, load_custody
from engine.token.jwk import PrivateJwk, load_private_jwk
from engine.token.keys import (
    KeyPair,
    KeyReference,
    SigningKey,
    check_free,
    check_key_id,
    check_label,
    check_pair,
    destroy_all,
    find_pair,
    generate_pair,
    load_signing_key,
)
from engine.token.mechanisms import KeyPairKind, SignatureMechanism, find_key_pair_kind, find_signature_mechanism
from engine.token.module import Module
from engine.token.pin import PinSource
from engine.token.reauthentication import Reauthentication
from engine.token.recovery import KeysGone, Recovery
from engine.token.returncodes import Cure, Fault, classify
from engine.token.sessions import PooledSession, PoolRetired, SessionPool
from engine.token.settings import TokenSettings, check_uri, find_pin_source
from engine.token.uri import Pkcs11Uri, load_uri

_log = logging.getLogger(__name__)
_ADMINISTERING_SECONDS = 120.0
"""How long generating a key may take before the token counts as not answering."""
_STRIKES = 3
_KEYS_GONE = Fault("nothing found", Cure.NEW_SLOT, TokenUnavailable, "its keys are not there")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key pair: SubjectPublicKeyInfo in DER and the custody record."""

    spki: bytes
    custody: dict[str, object]


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key pair that was on the token: SubjectPublicKeyInfo in DER, CKA_LABEL, CKA_ID and the custody record."""

    spki: bytes
    label: str
    id: bytes
    custody: dict[str, object]


class Token:
    """An open token. `open` it, `close` it. Calls raise TokenError, or RequestError for what the caller can change."""

    def __init__(self, settings: TokenSettings, module: Module, uri: Pkcs11Uri, pin: PinSource) -> None:
        self._settings = settings
        self._recovery = Recovery(settings, module, uri, pin, self._sign_uncounted)
        waiting = min(settings.wait_seconds, settings.sign_seconds / 2)  # it counts as part of the call
        self._reauthentication = Reauthentication(settings.name, pin, waiting)
        self._mechanisms: dict[str, SignatureMechanism] = {}
        self._counting = threading.Lock()
        self._signatures = 0
        self._strikes = 0
        """Answers in a row that say nothing of what is wrong."""
        self._closed = False

    @classmethod
    def open(cls, settings: TokenSettings, *, may_be_away: bool = False) -> Self:
        """Load the module, find the token and log in, once: a refused PIN is not tried again.

        With `may_be_away` it opens as a token that is away, and comes when it can. Raises ConfigError; without, also
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
                token = cls(settings, module, uri, pin)
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
        return self._in_session("sign", self._sign_pinned, key, mechanism, mechanism.prepare(message))

    def prove(self, key: KeyReference, algorithm: str, message: bytes) -> bytes:
        """As `sign`, by a key of which it is not known yet whether its halves belong together.

        That it has signed is not remembered: keys that have are looked for, and sign, whenever the token comes back.
        """
        mechanism = self._signature_mechanism(algorithm)
        return self._in_session("sign", self._sign_found, key, mechanism, mechanism.prepare(message))

    def sign_with_jwk(self, jwk: Mapping[str, str], algorithm: str, message: bytes) -> bytes:
        """As `sign`, with a private JWK as a session object: sensitive, not extractable, sign only, destroyed after.

        Whether the public members belong to the private ones is for the caller to check, by verifying.
        """
        private_jwk = load_private_jwk(jwk)
        mechanism = self._signature_mechanism(algorithm)
        prepared = mechanism.prepare(message)
        return self._in_session("sign with a JWK", self._sign_imported, private_jwk, mechanism, prepared)

    def generate_key(self, key_type: str, label: str, key_id: bytes) -> GeneratedKey:
        """Generate a sign-only, sensitive, non-extractable token key pair and prove it with one signature.

        `key_type`: secp256r1, secp384r1, secp521r1, RSA (2048 bits), RSA3072, RSA4096, Ed25519. Raises
        TokenKeyAmbiguous if the id is taken, UnsupportedRequest if the token cannot, IssuanceDefect if the key is not
        as it must be. A failed call leaves nothing on the token.
        """
        check_label(label)
        check_key_id(key_id)
        kind = find_key_pair_kind(key_type, self._connection.usable)
        mechanism = self._signature_mechanism(kind.signature_algorithm)
        with modules.exclusive(self._recovery.module.path):
            self._administer("look for a key", lambda session: check_free(session, key_id))
            try:
                return self._administer(
                    "generate a key", lambda session: self._generate(session, kind, mechanism, label, key_id)
                )
            except BaseException:
                self._destroy_leftovers(label, key_id)
                raise

    def find_key(self, label: str | None, key_id: bytes | None) -> FoundKey:
        """The one key pair with this label and id, either of which may be None.

        Raises TokenKeyNotFound, or TokenKeyAmbiguous saying which attribute to name or to change.
        """

        def find(pooled: PooledSession) -> FoundKey:
            connection = self._connection
            pair = find_pair(pooled.session, label, key_id, connection.is_logged_in)
            pair.signing_key()
            pair.check_kind()
            custody = load_custody(pair.private_key, connection.token)
            return FoundKey(pair.public_half.spki, pair.label, pair.id, custody)

        return self._in_session("find a key", find)

    def custody(self, key: KeyReference) -> dict[str, object]:
        """The custody record of a key, read from the token now, and what came of trying to take the key out of it.

        The key found must be the pinned one. `engine.token.custody.examine_key` has the members.
        """

        def examine(session: Session) -> dict[str, object]:
            connection = self._connection
            pair = find_pair(session, key.label, key.id, connection.is_logged_in)
            pair.check_pinned(key)
            return examine_key(pair, session, connection)

        self._in_session("find a key", self._find_pinned, key)  # which brings back a token that is gone
        with modules.exclusive(self._recovery.module.path):
            return self._administer("examine a key", examine)

    def connected(self) -> object:
        """An object that is another one after every loss of the token. Raises TokenUnavailable while it is away."""
        return self._connection.mark

    def destroy_key(self, key: KeyReference) -> None:
        """Destroy both halves of a key, which must be the pinned one. There is no way back."""

        def destroy(session: Session) -> None:
            pair = find_pair(session, key.label, key.id, self._connection.is_logged_in)
            pair.check_pinned(key)
            pair.private_key.destroy()
            pair.public_key.destroy()

        connection = self._connection
        with modules.exclusive(self._recovery.module.path):
            try:
                self._administer("destroy a key", destroy)
                self._recovery.forget(key)
            finally:
                connection.pool.forget_keys()

    def destroy_leftovers(self, label: str, key_id: bytes) -> None:
        """Destroy what a generation left under this label and id when its process was killed: half a pair, mostly.

        For a caller that has found no key pair there and has never registered one. There is no way back.
        """
        with modules.exclusive(self._recovery.module.path):
            self._destroy_leftovers(label, key_id)

    def _generate(
        self, session: Session, kind: KeyPairKind, mechanism: SignatureMechanism, label: str, key_id: bytes
    ) -> GeneratedKey:
        generate_pair(session, kind, label, key_id, self._connection.module.library.manufacturer_id)
        # Found again instead of taken from the answer: this also proves that there is exactly one.
        pair = find_pair(session, label, key_id, self._connection.is_logged_in)
        custody = load_custody(pair.private_key, self._connection.token, "generated")
        check_custody(custody)
        check_pair(pair, mechanism, lambda key, prepared: self._sign(key, mechanism, prepared))
        return GeneratedKey(pair.public_half.spki, custody)

    def _destroy_leftovers(self, label: str, key_id: bytes) -> None:
        """After a failed generation, of which the token may have answered nothing and yet have made the key."""
        try:
            destroyed = self._administer("clear up", lambda session: destroy_all(session, label, key_id))
        except EngineError as error:
            _log.error("A key of id %s may be left on token %r: %s", key_id.hex(), self._settings.name, error)
        else:
            _log.info("After a failed generation %d objects of id %s were destroyed.", destroyed, key_id.hex())
            self._connection.pool.forget_keys()

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
        self._recovery.remember(key, mechanism)
        return signature

    def _sign_found(
        self, pooled: PooledSession, key: KeyReference, mechanism: SignatureMechanism, prepared: bytes
    ) -> bytes:
        return self._sign(self._find_pinned(pooled, key).signing_key(), mechanism, prepared, pooled)

    def _find_pinned(self, pooled: PooledSession, key: KeyReference) -> KeyPair:
        try:
            pair = find_pair(pooled.session, key.label, key.id, pooled.is_logged_in)
        except TokenKeyNotFound:
            self._recovery.check_keys_are_there(pooled, key)
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
        private_key = pooled.session.create_object(private_jwk.template)
        try:
            signing_key = load_signing_key(private_key, private_jwk.family, private_jwk.signature_length)
            return self._sign(signing_key, mechanism, prepared, pooled)
        finally:
            # If even this fails, the session is dropped, and session objects end with their session.
            private_key.destroy()

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

    def _in_session(
        self,
        doing: str,
        operation: Callable[[PooledSession, *_Ts], _T],
        *arguments: *_Ts,
    ) -> _T:
        """Run `operation` in a pooled session; if it failed for want of its session or token, again in another.

        It asks for a signature twice at most. What a lost token or login has kept it from asking is asked once the
        token is back, for which a short while is waited.
        """
        recovery = self._recovery
        fresh, asked, faults = False, 0, 0
        while True:
            call, connection = recovery.enter()
            pooled = None
            try:
                pooled = connection.pool.take(fresh)
                call.begin(self._settings.sign_seconds)
                result = self._use(connection.pool, pooled, operation, *arguments)
            except PoolRetired:
                continue  # lost while a session was waited for: nothing was asked
            except PKCS11Error as error:
                # Let go before ours is raised: its traceback holds on to the session.
                fault = self._failed(error, doing)
                is_gone = self._is_gone(connection, fault)
            except KeysGone:
                fault, is_gone = _KEYS_GONE, True
            else:
                self._strikes = 0
                return result
            finally:
                recovery.leave(call)
            faults += 1
            asked += pooled is not None and pooled.asked
            fresh = fault.cure is Cure.NEW_SESSION
            if is_gone or (fresh and (faults > 1 or pooled is None)):
                recovery.lost(connection, f"{fault.meaning} ({fault.code})")
            elif not fresh:
                break
            if asked > 1 or faults > 2:
                break
        raise fault.build_error(self._settings.name, doing)

    @staticmethod
    def _use(
        pool: SessionPool, pooled: PooledSession, operation: Callable[[PooledSession, *_Ts], _T], *arguments: *_Ts
    ) -> _T:
        """Errors of ours are raised between whole calls and leave the session good; after others it is closed."""
        try:
            result = operation(pooled, *arguments)
        except (EngineError, KeysGone):
            pool.give_back(pooled)
            raise
        except BaseException:
            pool.drop(pooled)
            raise
        pool.give_back(pooled)
        return result

    def _administer(self, doing: str, operation: Callable[[Session], _T]) -> _T:
        """Run `operation` in a read-write session of its own, once. The caller holds `exclusive`."""
        call, connection = self._recovery.enter(_ADMINISTERING_SECONDS)
        try:
            with connection.read_write() as session:
                return operation(session)
        except PKCS11Error as error:
            fault = self._failed(error, doing)
            is_gone = self._is_gone(connection, fault) or connection.find_loss() is not None
        finally:
            self._recovery.leave(call)
        if is_gone:
            self._recovery.lost(connection, f"{fault.meaning} ({fault.code})")
        raise fault.build_error(self._settings.name, doing)

    def _failed(self, error: PKCS11Error, doing: str) -> Fault:
        fault = classify(error)
        _log.warning("Token %r could not %s: %s, %r.", self._settings.name, doing, fault.code, error)
        return fault

    def _is_gone(self, connection: Connection, fault: Fault) -> bool:
        """Whether more than a session is gone. Where the code does not say, the token is asked, and three in a row
        are as good as its word: network modules have codes of their own for a lost device."""
        if fault.cure in (Cure.LOGIN, Cure.NEW_SLOT, Cure.INITIALIZE):
            return True
        if fault.cure is not Cure.NONE or not issubclass(fault.error, TokenError):
            return False
        self._strikes += 1
        return self._strikes >= _STRIKES or connection.find_loss() is not None
