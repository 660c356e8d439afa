"""Loss and return: the connection of a token, the breaker in front of it, and the thread that brings it back.

    ready ── a call or the keep-alive finds it lost ──> away ── connected, logged in, keys proven ──> ready
                                                         └─ the login is refused ──> refused, until the next start

While a token is away nobody calls it but the thread in here, which connects again and, where that fails, has the module
start anew: p11-kit's remoting and SoftHSM need that, others do not mind. Before anybody else is let through, every key
that has signed is found again, must be the pinned one, and must make a signature that verifies.
"""

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pkcs11.exceptions import PKCS11Error

from engine.errors import (
    ConfigError,
    EngineError,
    IssuanceDefect,
    StoreError,
    TokenBusy,
    TokenKeyAmbiguous,
    TokenLoginRefused,
    TokenUnavailable,
)
from engine.pin import PinSource
from engine.token import module as modules
from engine.token.connection import Connection, open_connection
from engine.token.gate import Call
from engine.token.known_keys import KnownKeys
from engine.token.module import Module
from engine.token.recorder import NoRecorder, Recorder
from engine.token.returncodes import classify
from engine.token.settings import TokenSettings
from engine.token.uri import Pkcs11Uri

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 1.0
"""How long calls wait for a token that has just gone; after that they are refused at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_RESTART_SECONDS = 1.0
"""How long a start anew waits for calls under way to end, before it is put off."""
_PATIENCE_SECONDS = 0.3
"""How long other processes are given to finish what they change, before a token is connected to all the same."""
_RARELY_SECONDS = 30.0
"""Between two starts anew of a module that disturb other tokens, or have not helped."""
_BACKGROUND_SECONDS = 60.0
"""How long what is called in the background may take before the token counts as not answering: it may connect."""

# What a token that is half there may make the binding raise. None of it may end the thread that brings it back.
_ANY_FAULT = (EngineError, PKCS11Error, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)

# What a start anew of the module seldom changes.
_OF_NO_START = (ConfigError, IssuanceDefect, TokenBusy, TokenKeyAmbiguous)


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when a token is away, and what was said last."""

    since: datetime
    began: float
    """The same, on the monotonic clock."""
    cause: str
    """What began it, for callers."""
    meaning: str
    """What stands against its end, for operators."""
    is_refused: bool = False
    """The login was refused: nothing more is tried."""
    is_told: bool = False
    """The recorder knows of it."""


class Recovery:
    """One token's connection. `lost` opens the breaker; while it is open, `enter` refuses."""

    def __init__(
        self,
        settings: TokenSettings,
        module: Module,
        uri: Pkcs11Uri,
        pin: PinSource,
        keys: KnownKeys,
        recorder: Recorder | None = None,
    ) -> None:
        """`keys` are those that are to be proven before the token is used again; `recorder` is told before, too."""
        self._settings = settings
        self.module = module
        self._uri = uri
        self._pin = pin
        self._keys = keys
        self._recorder = recorder or NoRecorder()
        self._grace = min(settings.wait_seconds, _GRACE_SECONDS)
        self._limit = settings.wait_seconds + settings.sign_seconds
        self._changed = threading.Condition(threading.Lock())
        self._connection: Connection | None = None
        self._given_up: Connection | None = None
        """What was lost and is still to be closed."""
        self._outage: Outage | None = None
        self._restarted_at: float | None = None
        self._closed = False
        self._keeper = threading.Thread(target=self._keep, name=f"token {settings.name}", daemon=True)

    def open(self) -> None:
        """Connect. The caller holds `exclusive`. Raises what stands against it."""
        with self.module.reconnecting:
            self._connection = self._connect()
            self._begin()

    def open_later(self) -> None:
        """Begin as away, and let the token come when it does."""
        self._outage = _outage("it is being opened")
        self._begin()

    def _begin(self) -> None:
        self.module.tokens.append(self)
        self._keeper.start()

    def stop(self, seconds: float) -> bool:
        """Let nobody in and wait for calls under way; False if one has not ended in time. Then nothing is closed."""
        with self._changed:
            self._closed = True
            self._given_up, self._connection = self._connection or self._given_up, None
            self._changed.notify_all()
        self._keeper.join(seconds)
        return not self._keeper.is_alive() and self.module.gate.wait_until_gone(self, seconds)

    def close(self) -> None:
        """Close every session. The caller holds `exclusive` and has seen everything `stop`."""
        self.module.tokens.remove(self)
        if self._given_up is not None:
            self._given_up.give_up()
            self._given_up = None

    # -- calls -------------------------------------------------------------------------------------------------------

    def connection(self) -> Connection:
        """The connection, for which a token that has just gone is waited for. Raises as `enter` does."""
        self.module.check_process()
        return self._connection or self._wait_for_return()

    def enter(self, limit: float | None = None) -> tuple[Call, Connection]:
        """Begin a call, which must `leave`. Raises TokenUnavailable or TokenLoginRefused, having called nothing."""
        while True:
            connection = self.connection()
            call = Call(self, limit or self._limit)
            if not self.module.gate.enter(call, self._grace):
                raise TokenUnavailable(f"The module of token {self._settings.name!r} is being started anew.")
            if connection is self._connection:
                return call, connection
            self.module.gate.leave(call)

    def leave(self, call: Call) -> None:
        """End a call."""
        self.module.gate.leave(call)

    def lost(self, connection: Connection, meaning: str) -> None:
        """Open the breaker, unless `connection` has been given up already. `meaning` says why, in a few words."""
        with self._changed:
            if self._connection is not connection:
                return
            self._connection, self._given_up = None, connection
            self._outage = _outage(meaning)
            self._changed.notify_all()
        # Those who wait for a session are let go at once, so that they do not keep the module from being restarted.
        connection.pool.turn_away()
        _log.warning("Token %r is away: %s.", self._settings.name, meaning)

    def state(self) -> str:
        """In words: ready, away since when and why, refused, not answering, or closed."""
        if self._closed:
            return "closed"
        if self.has_hung():
            return "not answering"
        outage = self._outage
        if outage is None:
            return "ready"
        if outage.is_refused:
            return f"login refused: {outage.meaning}; needs the operator"
        return f"away since {_utc(outage.since)}: {outage.meaning}; trying again"

    def has_hung(self) -> bool:
        """Whether a call has been under way for longer than any should be."""
        return self.module.gate.has_hung(self)

    def _wait_for_return(self) -> Connection:
        with self._changed:
            while self._connection is None:
                if self._closed or self._outage is None:
                    raise TokenUnavailable(f"The token {self._settings.name!r} is closed.")
                if self._outage.is_refused:
                    raise TokenLoginRefused(
                        f"The token {self._settings.name!r} refused its login; that needs the operator."
                    )
                remaining = self._outage.began + self._grace - time.monotonic()
                if remaining <= 0:
                    raise TokenUnavailable(
                        f"The token {self._settings.name!r} is away since {_utc(self._outage.since)}: "
                        f"{self._outage.cause}; try again later."
                    )
                self._changed.wait(remaining)
            return self._connection

    # -- the thread --------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while self._wait_for_work():
            if self._connection is None:
                self._bring_back()
            else:
                self._keep_alive()

    def _wait_for_work(self) -> bool:
        """True: the token is away, or it is time to keep it alive. False: it is closed."""
        seconds = self._settings.keep_alive_seconds
        with self._changed:
            while not self._closed:
                if self._outage is not None and not self._outage.is_refused:
                    return True
                if not self._changed.wait(seconds / 2 if seconds and self._outage is None else None):
                    return True
            return False

    def _keep_alive(self) -> None:
        """C_GetSessionInfo for the owner and for every session that may be idle for too long before the next time."""
        connection = self._connection
        call = Call(self, _BACKGROUND_SECONDS)
        if connection is None or not self.module.gate.enter(call, self._grace):
            return
        try:
            loss = connection.find_loss()
            if loss is None:
                connection.pool.look_at_idle(self._settings.keep_alive_seconds / 2, connection.is_alive)
        finally:
            self.module.gate.leave(call)
        if loss is not None:
            self.lost(connection, loss)

    def _bring_back(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed and self._outage is not None and not self._outage.is_refused:
            try:
                self._tell_lost(self._outage)
                self._reconnect()
            except TokenLoginRefused as error:
                self._say(_meaning(error), is_refused=True)
                _log.error("Token %r is not tried again: %s", self._settings.name, error)
            except _ANY_FAULT as error:
                self._say(_meaning(error))
                _log.info("Token %r is not back: %s, %r.", self._settings.name, _meaning(error), error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell_lost(self, outage: Outage) -> None:
        if outage.is_told:
            return
        self._recorder.lost(self._settings.name, outage.cause)
        with self._changed:
            if self._outage is not None and self._outage.began == outage.began:
                self._outage = replace(self._outage, is_told=True)

    def _say(self, meaning: str, *, is_refused: bool = False) -> None:
        with self._changed:
            if self._outage is not None:
                self._outage = replace(self._outage, meaning=meaning, is_refused=is_refused)
            self._changed.notify_all()

    def _reconnect(self) -> None:
        """Connect, prove the keys and let callers through. Raises what stands against it."""
        with ExitStack() as held:
            try:
                held.enter_context(modules.exclusive(self.module.path, _PATIENCE_SECONDS))
            except TokenBusy:
                # Somebody generates a key, which may take long. What may fail for that, fails and is tried again.
                _log.info("Token %r is tried while another process changes one on its module.", self._settings.name)
            # Until callers are let through: a connection that is from before another start must never be let in.
            held.enter_context(self.module.reconnecting)
            if self._closed:
                return
            with self.module.gate.inside(Call(self, _BACKGROUND_SECONDS), self._grace):
                if self._given_up is not None:
                    self._given_up.give_up()
                    self._given_up = None
            self._install(self._connect_or_restart())

    def _connect_or_restart(self) -> Connection:
        try:
            return self._connect()
        except (TokenLoginRefused, StoreError):
            raise
        except _ANY_FAULT as error:
            if not self._may_restart(error):
                raise
            _log.info("Token %r is not back without its module: %r.", self._settings.name, error)
        self._restarted_at = time.monotonic()
        self.module.restart(Call(self, _BACKGROUND_SECONDS), _RESTART_SECONDS)
        return self._connect()

    def _install(self, connection: Connection) -> None:
        with self._changed:
            outage = self._outage
            if self._closed or outage is None:
                self._given_up = connection
            else:
                self._connection, self._outage = connection, None
                _log.warning("Token %r is back after %.3f s.", self._settings.name, time.monotonic() - outage.began)
            self._changed.notify_all()

    def _may_restart(self, error: BaseException) -> bool:
        """Whether to have the module start anew. Each start anew is an outage for its other tokens, too."""
        now = time.monotonic()
        is_due = self._restarted_at is None or now - self._restarted_at > _RARELY_SECONDS
        if any(token.is_well() for token in tuple(self.module.tokens) if token is not self):
            return is_due and self._outage is not None and now - self._outage.began > self._grace
        return is_due or not isinstance(error, _OF_NO_START)

    def is_well(self) -> bool:
        """Whether the token is there and logged in, asked of it by another token on the module."""
        self._keep_alive()
        return self._connection is not None

    def on_restart(self) -> None:
        """The module has started anew, so nothing that was open is."""
        connection = self._connection
        if connection is not None:
            self.lost(connection, "its module was started anew")

    def _connect(self) -> Connection:
        settings = self._settings
        with self.module.gate.inside(Call(self, _BACKGROUND_SECONDS), self._grace):
            if not self.module.is_started:
                raise TokenUnavailable(f"The PKCS#11 module of token {settings.name!r} is not started.")
            connection = open_connection(
                self.module,
                self._uri,
                self._pin,
                name=settings.name,
                sessions=settings.sessions,
                wait_seconds=settings.wait_seconds,
            )
            try:
                self._keys.prove(connection)
                if self._outage is not None:
                    self._recorder.back(settings.name)
            except BaseException:
                connection.give_up()
                raise
        return connection


def _outage(cause: str) -> Outage:
    return Outage(datetime.now(UTC), time.monotonic(), cause, cause)


def _meaning(error: BaseException) -> str:
    """A few words that hold nothing of a vendor's."""
    if isinstance(error, EngineError):
        return error.message.removesuffix(".")
    if isinstance(error, PKCS11Error):
        fault = classify(error)
        return f"{fault.meaning} ({fault.code})"
    return f"what it answers cannot be read ({type(error).__name__})"


def _utc(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
