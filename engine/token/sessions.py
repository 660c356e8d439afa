"""A bounded pool of PKCS#11 sessions, each with the key handles that were found in it.

Sessions are opened when they are first needed, without a PIN: the login is the token's, not theirs. One is only ever
closed by the thread that holds it or while nobody does, since closing a session in use crashes modules.

A pool serves one connection and ends with it: `retire` it where its sessions still exist, `abandon` it where the module
has been finalised and they do not.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pkcs11.exceptions import PKCS11Error, SessionCount
from pkcs11.types import Session

from engine.errors import TokenBusy
from engine.token.keys import SigningKey

_log = logging.getLogger(__name__)
_GROW_SECONDS = 10.0
"""How long a pool that the token refused a session keeps to what it has, before it tries for one more."""


class PoolRetired(Exception):
    """The connection of this pool was given up while a caller waited for a session of it."""


@dataclass(slots=True, eq=False)
class PooledSession:
    """A session and what was found in it. Used by one thread at a time."""

    session: Session
    is_logged_in: Callable[[], bool]
    """Whether private keys can be seen at all, asked of the token."""
    generation: int
    keys: dict[tuple[str, bytes, str], SigningKey] = field(default_factory=dict)
    """By label, id and pinned SHA-256 of the SubjectPublicKeyInfo."""
    asked: bool = False
    """Whether C_Sign was asked for since it was taken."""
    is_spoilt: bool = False
    """Whether it holds what could not be destroyed, which ends with it."""
    used: float = 0.0
    """When it was last given back or looked at, on the monotonic clock."""


class SessionPool:
    """At most `limit` sessions; a thread waits at most `wait_seconds` for one."""

    def __init__(
        self,
        open_session: Callable[[], Session],
        is_logged_in: Callable[[], bool],
        *,
        limit: int,
        wait_seconds: float,
        one_at_a_time: "threading.RLock | None",
    ) -> None:
        self._open_session = open_session
        self._is_logged_in = is_logged_in
        self._most = limit
        self._limit = limit
        self._grow_at = 0.0
        self._wait_seconds = wait_seconds
        self._one_at_a_time = one_at_a_time
        # Popped and appended without the lock, which an interpreter's deque allows; what waits or counts holds it.
        # Those that were used last are at the right.
        self._idle: deque[PooledSession] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._waiting = 0
        self._sessions: set[PooledSession] = set()
        """All that are open, idle or taken."""
        self._opening = 0
        self._generation = 0
        self._retired = False

    def take(self, fresh: bool = False) -> PooledSession:
        """A session for this thread, to be handed to `give_back` or `drop`; with `fresh`, one opened just now.

        Raises TokenBusy when none comes free in time, PoolRetired when the pool is, and the binding's errors when a
        session cannot be opened.
        """
        one_at_a_time = self._one_at_a_time
        if one_at_a_time is not None and not one_at_a_time.acquire(timeout=self._wait_seconds):
            raise self._busy()
        try:
            pooled = None if fresh else self._idle.pop()
        except IndexError:
            pooled = None
        if pooled is None:
            try:
                pooled = self._wait_or_open(fresh)
            except BaseException:
                if one_at_a_time is not None:
                    one_at_a_time.release()
                raise
        if pooled.generation != self._generation:
            pooled.generation = self._generation
            pooled.keys.clear()
        pooled.asked = False
        return pooled

    def give_back(self, pooled: PooledSession) -> None:
        """Return a session on which every call has ended cleanly. One that is spoilt is dropped."""
        if pooled.is_spoilt:
            self.drop(pooled)
            return
        pooled.used = time.monotonic()
        self._idle.append(pooled)
        if self._waiting:  # who waits has said so before looking, so that nobody is missed
            with self._changed:
                self._changed.notify()
        if self._retired:  # set before the idle sessions were closed, so that this one is closed by either thread
            self._close_idle()
        if self._one_at_a_time is not None:
            self._one_at_a_time.release()

    def drop(self, pooled: PooledSession) -> None:
        """Close a session that cannot be trusted any more; the token destroys its session objects with it."""
        self._close(pooled)
        if self._one_at_a_time is not None:
            self._one_at_a_time.release()

    def forget_keys(self) -> None:
        """Every session finds its keys again at its next use: a token may give a destroyed key's handle to another."""
        with self._changed:
            self._generation += 1

    def look_at_idle(self, seconds: float, is_alive: Callable[[Session], bool]) -> None:
        """Have `is_alive` call the token for every session that was not used for so long; close those it denies."""
        one_at_a_time = self._one_at_a_time
        if one_at_a_time is not None and not one_at_a_time.acquire(timeout=self._wait_seconds):
            return  # in use all the time, so not idle
        try:
            for _ in range(len(self._idle)):
                try:
                    pooled = self._idle.popleft()
                except IndexError:
                    return
                if time.monotonic() - pooled.used < seconds:
                    self._idle.appendleft(pooled)
                    return  # and so were the others
                if is_alive(pooled.session):
                    pooled.used = time.monotonic()
                    self._idle.append(pooled)
                    with self._changed:
                        self._changed.notify()
                else:
                    self._close(pooled)
        finally:
            if one_at_a_time is not None:
                one_at_a_time.release()
            if self._retired:
                self._close_idle()

    def turn_away(self) -> None:
        """Hand out no more. Those in use are closed when they are given back, by whoever does."""
        with self._changed:
            self._retired = True
            self._changed.notify_all()

    def retire(self) -> None:
        """`turn_away`, and close every session that is idle."""
        self.turn_away()
        self._close_idle()

    def abandon(self) -> None:
        """`turn_away`, and close nothing: the module was finalised while none was in use."""
        self._idle.clear()
        self.turn_away()

    def _close_idle(self) -> None:
        while (pooled := self._pop_idle()) is not None:
            self._close(pooled)

    def _close(self, pooled: PooledSession) -> None:
        close_session(pooled.session)
        with self._changed:
            self._sessions.discard(pooled)
            self._changed.notify_all()

    def _pop_idle(self) -> PooledSession | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _wait_or_open(self, fresh: bool) -> PooledSession:
        deadline = time.monotonic() + self._wait_seconds
        while True:
            idle = self._idle_or_reserved(fresh, deadline)
            if idle is not None and not fresh:
                return idle
            if idle is not None:
                close_session(idle.session)
            opened = self._open_reserved(deadline)
            if opened is not None:
                return opened

    def _idle_or_reserved(self, fresh: bool, deadline: float) -> PooledSession | None:
        """An idle session, or None: the right to open one. If `fresh`, always that right, for which an idle session
        may have to go: it is returned to be closed."""
        with self._changed:
            self._waiting += 1
            try:
                while True:
                    if self._retired:
                        raise PoolRetired
                    room = self._has_room()
                    idle = None if fresh and room else self._pop_idle()
                    if idle is not None and fresh:
                        self._sessions.discard(idle)
                        self._opening += 1
                    if idle is not None:
                        return idle
                    if room:
                        self._opening += 1
                        return None
                    remaining = deadline - time.monotonic()
                    if remaining <= 0:
                        raise self._busy()
                    self._changed.wait(remaining)
            finally:
                self._waiting -= 1

    def _has_room(self) -> bool:
        open_or_opening = len(self._sessions) + self._opening
        if open_or_opening >= self._limit < self._most and time.monotonic() >= self._grow_at:
            self._limit += 1
        return open_or_opening < self._limit

    def _open_reserved(self, deadline: float) -> PooledSession | None:
        """Open the session that was reserved; None if the token has no more and one in use must be waited for."""
        opened: PooledSession | None = None
        generation = self._generation
        try:
            opened = PooledSession(self._open_session(), self._is_logged_in, generation)
        except SessionCount:
            with self._changed:
                others = len(self._sessions) + self._opening - 1
                if others == 0 or time.monotonic() > deadline:
                    raise
                self._limit = others
                self._grow_at = time.monotonic() + _GROW_SECONDS
            _log.warning("The token gave no session beyond %d; more are tried later.", others)
        finally:
            with self._changed:
                self._opening -= 1
                if opened is not None:
                    self._sessions.add(opened)
                else:
                    self._changed.notify()
        return opened

    def _busy(self) -> TokenBusy:
        return TokenBusy(f"No session of the token came free within {self._wait_seconds:g} seconds.")


def close_session(session: Session) -> None:
    """Close a session that nobody uses. One that does not close is logged: often it is closed because it is gone."""
    try:
        session.close()
    except PKCS11Error as error:
        _log.info("A PKCS#11 session did not close: %r.", error)
