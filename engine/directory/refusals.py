"""Refusals, for the audit trail: each one of a known credential, and counts of those of somebody unknown.

Whoever is unknown may send as much as the line carries, so no refusal is an event by itself: of each source there is
one event at most in SECONDS, with the number of refusals since the one before. So that sources cannot be without number
either, those of an IPv6 network of 64 bits are one, and beyond MOST at a time the others are one as well.
"""

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import EngineError, StoreError
from engine.store import Actor, Operator, Store
from engine.store.chain import REFUSED

SECONDS = 10.0
MOST = 64
OTHERS = "others"
"""The source of refusals beyond MOST."""
NOBODY = "nobody"
_NAMED = 8
"""Accounts that one event names."""


@dataclass(slots=True)
class _Count:
    """The refusals of one kind and source since the last event."""

    told_at: float
    """On the clock of `Refusals`."""
    number: int = 0
    accounts: list[str] = field(default_factory=list)
    request_id: str = ""


class Refusals:
    """Safe to use from any thread."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], _Count] = {}

    def record(self, caller: Actor, target: str, error: EngineError, *, call: str, step: str) -> None:
        """A request of a known credential was refused: which call, and at which step of it. Raises StoreError."""
        details = {"error": type(error).__name__, "call": call, "step": step}
        self._store.record_event("request-refused", caller, target, details, outcome=REFUSED)

    def count(self, kind: str, by: Actor, account: str = "") -> Callable[[], None] | None:
        """Somebody unknown was refused. What is to be called because of it, which writes; None: it is counted.

        `account` is an account that there is. What is returned raises StoreError, and has then told nothing.
        """
        now = self._clock()
        with self._lock:
            key = (kind, _network(by.source))
            if key not in self._counts and len(self._counts) >= MOST:
                key = (kind, OTHERS)
            count = self._counts.get(key)
            is_due = count is None or now - count.told_at >= SECONDS
            if count is None:
                count = self._counts[key] = _Count(now)
            count.number += 1
            count.request_id = by.request_id
            if account and account not in count.accounts and len(count.accounts) < _NAMED:
                count.accounts.append(account)
            if not is_due:
                return None
            count.told_at = now
        return lambda: self._tell(*key)

    def tell_counted(self, *, is_over: bool = False) -> None:
        """Tell of what was counted and nobody has come to tell of; of everything, if it is over. Raises StoreError."""
        now = self._clock()
        with self._lock:
            old = [key for key, count in self._counts.items() if is_over or now - count.told_at >= SECONDS]
        for key in old:
            self._tell(*key)
            with self._lock:
                if (count := self._counts.get(key)) is not None and not count.number and now - count.told_at >= SECONDS:
                    del self._counts[key]

    def _tell(self, kind: str, source: str) -> None:
        with self._lock:
            count = self._counts.get((kind, source))
            if count is None or not count.number:
                return
            number, accounts, request_id = count.number, count.accounts, count.request_id
            count.number, count.accounts = 0, []
        details = {"count": number, "accounts": accounts or None}
        try:
            self._store.record_event(kind, Operator(NOBODY, source, request_id), "", details, outcome=REFUSED)
        except StoreError:
            with self._lock:
                count = self._counts.setdefault((kind, source), count)
                count.number += number
                count.accounts = [*accounts, *count.accounts][:_NAMED]
            raise


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
