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

from engine.errors import EngineError, TokenError, TokenUnavailable, UnsupportedRequest
from engine.token import module as modules
from engine.token.connection import Connection, open_connection
from engine.token.custody import check_custody, load_custody
from engine.token.jwk import PrivateJwk, load_private_jwk
from engine.token.keys import (
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
from engine.token.returncodes import Cure, Fault, classify
from engine.token.sessions import PooledSession
from engine.token.settings import TokenSettings, check_uri, find_pin_source
from engine.token.uri import load_uri

_log = logging.getLogger(__name__)
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

    def __init__(self, settings: TokenSettings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._mechanisms: dict[str, SignatureMechanism] = {}
        self._counting = threading.Lock()
        self._signatures = 0
        self._fault: Fault | None = None
        self._closed = False

    @classmethod
    def open(cls, settings: TokenSettings) -> Self:
        """Load the module, find the token and log in, once: a refused PIN is not tried again.

        Raises ConfigError, TokenUnavailable or TokenLoginRefused.
        """
        uri = load_uri(settings.uri)
        pin = find_pin_source(settings, uri)
        check_uri(settings, uri)
        with modules.exclusive(settings.module):
            module = modules.acquire(settings.module, settings.environment, settings.initialize_arguments)
            try:
                connection = open_connection(
                    module,
                    uri,
                    pin,
                    name=settings.name,
                    sessions=settings.sessions,
                    wait_seconds=settings.wait_seconds,
                )
            except BaseException:
                modules.release(module)
                raise
        return cls(settings, connection)

    def close(self) -> None:
        """Wait for calls in flight, close every session and give the module back. May be called again.

        Raises TokenUnavailable if a call is still in flight after `sign_seconds`; the module is then left as it is.
        """
        with self._counting:
            closed, self._closed = self._closed, True
        if closed:
            return
        # Nobody generates or starts meanwhile; what this token was generating in another thread has ended.
        with modules.exclusive(self._connection.module.path):
            if not self._connection.close(self._settings.sign_seconds):
                raise TokenUnavailable(
                    f"The token {self._settings.name!r} was left open: a call on it has not come back."
                )
            modules.release(self._connection.module)

    def state(self) -> str:
        """`ready`, or in a few words why not. Asks nothing of the token, so it answers when the token does not."""
        if self._closed:
            return "closed"
        if self._connection.pool.longest_call() > self._settings.sign_seconds:
            return "not answering"
        fault = self._fault
        return "ready" if fault is None else f"failing: {fault.meaning}"

    @property
    def signatures(self) -> int:
        """How many times C_Sign was asked for since open, counted before each call, whether or not it succeeded."""
        with self._counting:
            return self._signatures

    def sign(self, key: KeyReference, algorithm: str, message: bytes) -> bytes:
        """The raw signature of `message` (which is hashed here): ECDSA r and s at field width each; RSA, Ed25519 as is.

        The key found must be the pinned one. A call that fails for want of its session is made once more in a new one.
        """
        mechanism = self._mechanisms.get(algorithm) or self._signature_mechanism(algorithm)
        return self._in_session("sign", self._sign_pinned, key, mechanism, mechanism.prepare(message))

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
        connection = self._open_connection()
        kind = find_key_pair_kind(key_type, connection.usable)
        mechanism = self._signature_mechanism(kind.signature_algorithm)
        with modules.exclusive(connection.module.path):
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
            custody = load_custody(pair.private_key, connection.token)
            return FoundKey(pair.public_half.spki, pair.label, pair.id, custody)

        return self._in_session("find a key", find)

    def custody(self, key: KeyReference) -> dict[str, object]:
        """The custody record of a key, read from the token now. The key found must be the pinned one."""

        def read(pooled: PooledSession) -> dict[str, object]:
            pair = find_pair(pooled.session, key.label, key.id, self._connection.is_logged_in)
            pair.check_pinned(key)
            return load_custody(pair.private_key, self._connection.token)

        return self._in_session("read a key's attributes", read)

    def destroy_key(self, key: KeyReference) -> None:
        """Destroy both halves of a key, which must be the pinned one. There is no way back."""

        def destroy(session: Session) -> None:
            pair = find_pair(session, key.label, key.id, self._connection.is_logged_in)
            pair.check_pinned(key)
            pair.private_key.destroy()
            pair.public_key.destroy()

        connection = self._open_connection()
        with modules.exclusive(connection.module.path):
            try:
                self._administer("destroy a key", destroy)
            finally:
                connection.pool.forget_keys()

    def destroy_leftovers(self, label: str, key_id: bytes) -> None:
        """Destroy what a generation left under this label and id when its process was killed: half a pair, mostly.

        For a caller that has found no key pair there and has never registered one. There is no way back.
        """
        with modules.exclusive(self._open_connection().module.path):
            self._destroy_leftovers(label, key_id)

    def _generate(
        self, session: Session, kind: KeyPairKind, mechanism: SignatureMechanism, label: str, key_id: bytes
    ) -> GeneratedKey:
        generate_pair(session, kind, label, key_id)
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
        self, pooled: PooledSession, key: KeyReference, mechanism: SignatureMechanism, prepared: bytes
    ) -> bytes:
        name = (key.label, key.id, key.spki_sha256)
        signing_key = pooled.keys.get(name)
        if signing_key is None:
            pair = find_pair(pooled.session, key.label, key.id, self._connection.is_logged_in)
            pair.check_pinned(key)
            signing_key = pooled.keys[name] = pair.signing_key()
        return self._sign(signing_key, mechanism, prepared)

    def _sign_imported(
        self, pooled: PooledSession, private_jwk: PrivateJwk, mechanism: SignatureMechanism, prepared: bytes
    ) -> bytes:
        private_key = pooled.session.create_object(private_jwk.template)
        try:
            signing_key = load_signing_key(private_key, private_jwk.family, private_jwk.signature_length)
            return self._sign(signing_key, mechanism, prepared)
        finally:
            # If even this fails, the session is dropped, and session objects end with their session.
            private_key.destroy()

    def _sign(self, key: SigningKey, mechanism: SignatureMechanism, prepared: bytes) -> bytes:
        """C_SignInit and C_Sign: the only way to a private key, counted at the door."""
        if key.family != mechanism.family:
            raise UnsupportedRequest(
                f"An algorithm for {key.family} keys was expected, found one for {mechanism.family}."
            )
        with self._counting:
            self._signatures += 1
        signature = key.private_key.sign(prepared, mechanism=mechanism.mechanism, mechanism_param=mechanism.parameter)
        return signature if len(signature) == key.signature_length else key.pad_signature(signature)

    def _signature_mechanism(self, algorithm: str) -> SignatureMechanism:
        mechanism = self._mechanisms[algorithm] = find_signature_mechanism(algorithm, self._connection.usable)
        return mechanism

    def _open_connection(self) -> Connection:
        self._connection.module.check_process()
        if self._closed:
            raise TokenUnavailable(f"The token {self._settings.name!r} is closed.")
        return self._connection

    def _in_session(
        self,
        doing: str,
        operation: Callable[[PooledSession, *_Ts], _T],
        *arguments: *_Ts,
    ) -> _T:
        """Run `operation` in a pooled session and, if it failed for want of its session, once more in a new one.

        An error of the engine's own is raised between whole calls and leaves the session good; after anything else it
        is closed. The binding's exception is let go before ours is raised, for its traceback holds on to the session.
        """
        pool = self._open_connection().pool
        for fresh in (False, True):
            try:
                pooled = pool.take(fresh)
                try:
                    result = operation(pooled, *arguments)
                except EngineError:
                    pool.give_back(pooled)
                    raise
                except BaseException:
                    pool.drop(pooled)
                    raise
                pool.give_back(pooled)
            except PKCS11Error as error:
                fault = self._failed(error, doing)
            else:
                self._fault = None
                return result
            if fault.cure is not Cure.NEW_SESSION:
                break
        raise fault.build_error(self._settings.name, doing)

    def _administer(self, doing: str, operation: Callable[[Session], _T]) -> _T:
        """Run `operation` in a read-write session of its own, once. The caller holds `exclusive`."""
        connection = self._open_connection()
        try:
            with connection.read_write() as session:
                result = operation(session)
        except PKCS11Error as error:
            fault = self._failed(error, doing)
        else:
            self._fault = None
            return result
        raise fault.build_error(self._settings.name, doing)

    def _failed(self, error: PKCS11Error, doing: str) -> Fault:
        fault = classify(error)
        _log.warning("Token %r could not %s: %s, %r.", self._settings.name, doing, fault.code, error)
        self._fault = fault if issubclass(fault.error, TokenError) else None
        return fault
