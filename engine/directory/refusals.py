"""Refusals, for the audit trail: each one of a known credential, and counts of those of somebody unknown.

Whoever is unknown may send as much as the line carries, so no refusal is an event by itself: of each source there is
one event at most in SECONDS, with the number of refusals since the one before. So that sources cannot be without number
either, those of an IPv6 network of 64 bits are one, and beyond MOST at a time the others are one as well. What the
engine, a token or the database could not do is counted too, by credential and error: an outage refuses everything. Such
an event has the particulars of the first that it counts.
"""

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from engine.errors import (
    EngineBusy,
    PolicyRefusal,
    RequestError,
    StoreError,
    StoreUnavailable,
    TokenBusy,
    TokenLoginRefused,
    TokenUnavailable,
)
from engine.store import Actor, Store
from engine.store.chain import FAILURE, REFUSED, Detail, Event

SECONDS = 10.0
MOST = 64
OTHERS = "others"
"""The source of refusals beyond MOST."""
NOBODY = "nobody"
_NAMED = 8
"""Accounts, or credentials, that one event names."""
_REFUSED = "request-refused"
_LATER = (EngineBusy, StoreUnavailable, TokenBusy, TokenLoginRefused, TokenUnavailable)
"""What refuses a request though nothing has failed on it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused, in words that are the engine's own or were masked: never what was sent."""

    by: Actor
    target: str
    error: Exception
    call: str
    """Method and path, or the command."""
    step: str
    """What was looked at."""
    request_sha256: str | None = None
    """Of the body, if it was read."""
    signing_key: str | None = None
    """The path of the key that was to sign, if the request has named one."""

    @property
    def is_fault(self) -> bool:
        """Whether it is nothing that who has sent the request can put right."""
        return not isinstance(self.error, RequestError)

    @property
    def outcome(self) -> str:
        """As events have it."""
        return FAILURE if self.is_fault and not isinstance(self.error, _LATER) else REFUSED

    def details(self) -> dict[str, Detail | None]:
        """As events have them. `reason` is the codes of findings."""
        return {
            "error": type(self.error).__name__,
            "call": self.call,
            "step": self.step,
            "requestSha256": self.request_sha256,
            "signingKey": self.signing_key,
            "reason": (self.error.codes or None) if isinstance(self.error, PolicyRefusal) else None,
        }


class _Key(NamedTuple):
    """What is counted together."""

    kind: str
    actor: str
    source: str
    """Empty where the actor is known."""
    error: str = ""


@dataclass(slots=True)
class _Count:
    """The refusals of one key since the last event."""

    told_at: float
    """On the clock of `Refusals`."""
    number: int = 0
    first: Event | None = None
    accounts: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)


class Refusals:
    """Safe to use from any thread."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[_Key, _Count] = {}

    def record(self, refusal: Refusal) -> None:
        """A request of a known credential was refused, by a fault of its own. Raises StoreError."""
        self._store.record_events([_event(refusal)])

    def count_fault(self, refusal: Refusal) -> Callable[[], None] | None:
        """A request was refused by no fault of its own. What may be called because of it, as `count` has it; whoever
        cannot call it leaves it to `tell_counted`. The credential is NOBODY where there was no time to look at it."""
        event = _event(refusal)
        key = _Key(
            _REFUSED, event.actor, _network(event.source) if event.actor == NOBODY else "", type(refusal.error).__name__
        )
        return self._count(key, event)

    def count(
        self, kind: str, by: Actor, account: str = "", *, credential: str = "", call: str = ""
    ) -> Callable[[], None] | None:
        """Somebody unknown was refused. What is to be called because of it, which writes; None: it is counted.

        `account` is an account that there is, `credential` one that there was. What is returned raises StoreError, and
        has then told nothing.
        """
        key = _Key(kind, NOBODY, _network(by.source))
        event = Event(kind, REFUSED, NOBODY, "", "", by.request_id, {"call": call or None})
        return self._count(key, event, account, credential)

    def _count(self, key: _Key, event: Event, account: str = "", credential: str = "") -> Callable[[], None] | None:
        now = self._clock()
        with self._lock:
            if key.actor == NOBODY and key not in self._counts:
                key = key if sum(one.actor == NOBODY for one in self._counts) < MOST else key._replace(source=OTHERS)
            count = self._counts.get(key)
            is_due = count is None or now - count.told_at >= SECONDS
            if count is None:
                count = self._counts[key] = _Count(now)
            count.number += 1
            count.first = count.first or event
            _name(account, count.accounts)
            _name(credential, count.credentials)
            if not is_due:
                return None
            count.told_at = now
        return lambda: self._tell(key)

    def tell_counted(self, *, is_over: bool = False) -> None:
        """Tell of what was counted and nobody has come to tell of; of everything, if it is over. Raises StoreError."""
        now = self._clock()
        with self._lock:
            old = [key for key, count in self._counts.items() if is_over or now - count.told_at >= SECONDS]
        for key in old:
            self._tell(key)
            with self._lock:
                if (count := self._counts.get(key)) is not None and not count.number and now - count.told_at >= SECONDS:
                    del self._counts[key]

    def _tell(self, key: _Key) -> None:
        with self._lock:
            told = self._counts.get(key)
            if told is None or told.first is None:
                return
            self._counts[key], event = _Count(told.told_at), told.first
        named: dict[str, Detail | None] = {"accounts": told.accounts or None, "credentials": told.credentials or None}
        details = {**event.details, **named, "count": told.number}
        source = key.source if key.actor == NOBODY else event.source
        try:
            self._store.record_events([replace(event, source=source, details=details)])
        except StoreError:
            with self._lock:
                count = self._counts.setdefault(key, _Count(told.told_at))
                count.number += told.number
                count.first = event
                count.accounts = [*told.accounts, *count.accounts][:_NAMED]
                count.credentials = [*told.credentials, *count.credentials][:_NAMED]
            raise


def _event(refusal: Refusal) -> Event:
    by = refusal.by
    return Event(
        _REFUSED, refusal.outcome, by.credential_id, by.source, refusal.target, by.request_id, refusal.details()
    )


def _name(name: str, named: list[str]) -> None:
    if name and name not in named and len(named) < _NAMED:
        named.append(name)


def _network(source: str) -> str:
    """The source, or the network of an IPv6 address: whoever has one address has all of it."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if address.version == 4:
        return source
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.ip_network((address.packed, 64), strict=False))
