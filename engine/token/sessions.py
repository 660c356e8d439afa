"""A bounded pool of PKCS#11 sessions, each with the key handles that were found in it.

Sessions are opened when they are first needed, without a PIN: the login is the token's, not theirs. One is only ever
closed by the thread that holds it or while nobody does, since closing a session in use crashes modules.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pkcs11.exceptions import PKCS11Error, SessionCount
from pkcs11.types import Session

from engine.errors import TokenBusy, TokenUnavailable
from engine.token.keys import SigningKey

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class PooledSession:
    """A session and what was found in it. Used by one thread at a time."""

    session: Session
    generation: int
    keys: dict[tuple[str, bytes, str], SigningKey] = field(default_factory=dict)
    """By label, id and pinned SHA-256 of the SubjectPublicKeyInfo."""
    since: float = 0.0
    """When it was taken, on the monotonic clock."""


class SessionPool:
    """At most `limit` sessions; a thread waits at most `wait_seconds` for one."""

    def __init__(
        self,
        open_session: Callable[[], Session],
        *,
        limit: int,
        wait_seconds: float,
        one_at_a_time: "threading.RLock | None",
    ) -> None:
        self._open_session = open_session
        self._limit = limit
        self._wait_seconds = wait_seconds
        self._one_at_a_time = one_at_a_time
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._idle: list[PooledSession] = []
        self._taken: set[PooledSession] = set()
        self._opening = 0
        self._generation = 0
        self._closed = False

    def take(self, *, fresh: bool = False) -> PooledSession:
        """A session for this thread, to be handed to `give_back` or `drop`; with `fresh`, one opened just now.

        Raises TokenBusy when none comes free in time, TokenUnavailable when the pool is closed, and the binding's
        errors when a session cannot be opened.
        """
        one_at_a_time = self._one_at_a_time
        if one_at_a_time is not None and not one_at_a_time.acquire(timeout=self._wait_seconds):
            raise self._busy()
        # The way of nearly every call; the rest of this class is for when there is no idle session.
        with self._lock:
            if self._idle and not fresh and not self._closed:
                return self._lend(self._idle.pop())
        try:
            return self._take_or_open(fresh, time.monotonic() + self._wait_seconds)
        except BaseException:
            if one_at_a_time is not None:
                one_at_a_time.release()
            raise

    def give_back(self, pooled: PooledSession) -> None:
        """Return a session on which every call has ended cleanly."""
        with self._lock:
            self._taken.discard(pooled)
            self._idle.append(pooled)
            if self._waiting:
                self._changed.notify()
        if self._one_at_a_time is not None:
            self._one_at_a_time.release()

    def drop(self, pooled: PooledSession) -> None:
        """Close a session that cannot be trusted any more; the token destroys its session objects with it."""
        close_session(pooled.session)
        with self._lock:
            self._taken.discard(pooled)
            self._changed.notify()
        if self._one_at_a_time is not None:
            self._one_at_a_time.release()

    def forget_keys(self) -> None:
        """Every session finds its keys again at its next use: a token may give a destroyed key's handle to another."""
        with self._lock:
            self._generation += 1

    def longest_call(self) -> float:
        """For how many seconds the session that was taken first has been in use; 0 if none is."""
        now = time.monotonic()
        with self._lock:
            return max((now - pooled.since for pooled in self._taken), default=0.0)

    def close(self, seconds: float) -> bool:
        """Hand out no more, wait for those in use, close all. False if some were still in use after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            while (self._taken or self._opening) and self._wait(deadline):
                pass
            idle, self._idle = self._idle, []
            drained = not self._taken and not self._opening
        for pooled in idle:
            close_session(pooled.session)
        return drained

    def _take_or_open(self, fresh: bool, deadline: float) -> PooledSession:
        while True:
            idle = self._take_idle_or_reserve(fresh, deadline)
            if idle is not None and not fresh:
                return idle
            if idle is not None:
                close_session(idle.session)
            opened = self._open_reserved(deadline)
            if opened is not None:
                return opened

    def _take_idle_or_reserve(self, fresh: bool, deadline: float) -> PooledSession | None:
        """An idle session, or None: the right to open one. If `fresh`, always that right, for which an idle session
        may have to go: it is returned to be closed."""
        with self._lock:
            while True:
                if self._closed:
                    raise TokenUnavailable("The token is being closed; no more sessions are opened on it.")
                room = len(self._idle) + len(self._taken) + self._opening < self._limit
                if self._idle and not fresh:
                    return self._lend(self._idle.pop())
                if room or self._idle:
                    self._opening += 1
                    return None if room else self._idle.pop()
                if not self._wait(deadline):
                    raise self._busy()

    def _open_reserved(self, deadline: float) -> PooledSession | None:
        """Open the session that was reserved; None if the token has no more and one in use must be waited for."""
        opened: PooledSession | None = None
        generation = self._generation
        try:
            opened = PooledSession(self._open_session(), generation)
        except SessionCount:
            with self._lock:
                others = len(self._idle) + len(self._taken) + self._opening - 1
                if others == 0 or time.monotonic() > deadline:
                    raise
                self._limit = others
            _log.warning("The token gave no session beyond %d; no more are tried.", others)
        finally:
            with self._lock:
                self._opening -= 1
                if opened is not None:
                    self._lend(opened)
                else:
                    self._changed.notify()
        return opened

    def _lend(self, pooled: PooledSession) -> PooledSession:
        if pooled.generation != self._generation:
            pooled.keys.clear()
            pooled.generation = self._generation
        pooled.since = time.monotonic()
        self._taken.add(pooled)
        return pooled

    def _wait(self, deadline: float) -> bool:
        """Wait for a change, holding the lock; False once the deadline has passed."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        self._waiting += 1
        try:
            return self._changed.wait(remaining)
        finally:
            self._waiting -= 1

    def _busy(self) -> TokenBusy:
        return TokenBusy(f"No session of the token came free within {self._wait_seconds:g} seconds.")


def close_session(session: Session) -> None:
    """Close a session that nobody uses. One that does not close is logged: often it is closed because it is gone."""
    try:
        session.close()
    except PKCS11Error as error:
        _log.info("A PKCS#11 session did not close: %r.", error)
