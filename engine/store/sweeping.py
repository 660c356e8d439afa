"""Signatures whose end nobody has recorded: whether the token made them is not known, and that is said.

What a dead process left open is closed by whoever comes first: the next to start, or one that serves beside it. What a
living one could not record is closed by itself, as soon as its database takes records again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from engine.errors import StoreError
from engine.store.rows import DanglingIntent

_LOG = logging.getLogger(__name__)
_SECONDS = 10.0
_SOON_SECONDS = 1.0
"""When it is known that there is something to close: its request may be repeated, and what it reserved is wanted."""


class Ledger(Protocol):
    """The part of the store that closes them."""

    def close_dangling_intents(self) -> tuple[DanglingIntent, ...]:
        """Close what was open when its writer died. Raises StoreError."""


def close_dangling_intents(store: Ledger) -> int:
    """Close what dead writers left open, and write a line for each into the log; how many. Raises StoreError."""
    closed = store.close_dangling_intents()
    for intent in closed:
        log_unknown(intent, "since its request ended without a record of it")
    return len(closed)


def log_unknown(intent: DanglingIntent, why: str) -> None:
    """A line in the log of an intent that is closed, of which it is not known whether it was signed."""
    serial = "" if intent.serial_number is None else f"serial {intent.serial_number:040x}, "
    _LOG.warning(
        "A signature has an unknown outcome, %s: "
        "intent %s of %s, %s%skey %s, request %s of %s. What it reserved is free again; its serial stays used.",
        why,
        intent.intent_id,
        intent.recorded_at.isoformat(),
        "" if intent.kind == "certificate" else f"a {intent.kind}, ",
        serial,
        intent.signing_key,
        intent.request_id,
        intent.caller,
    )


@contextmanager
def closing_dangling_intents(
    store: Ledger,
    seconds: float = _SECONDS,
    *,
    has_left_open: Callable[[], bool] = bool,
    also: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Do so again and again for the length of the block, so that other processes need not start anew to be helped.

    Sooner if this process itself `has_left_open` any. And `also`, which may raise StoreError.
    """
    over = threading.Event()

    def watch() -> None:
        last = time.monotonic()
        while not over.wait(min(seconds, _SOON_SECONDS)):
            if time.monotonic() - last < seconds and not has_left_open():
                continue
            last = time.monotonic()
            try:
                close_dangling_intents(store)
                if also is not None:
                    also()
            except StoreError as error:
                _LOG.warning("Intents of dead processes could not be closed, nor refusals told: %s", error.message)

    thread = threading.Thread(target=watch, name="dangling-intents", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
