"""Keeping the trail covered by checkpoints, and nothing signed while that cannot be done for too long."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from engine.audit.checkpoint import MOST_EVENTS, CheckpointMaker
from engine.errors import EngineError, StoreUnavailable

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
"""After a failure."""
_STOP_SECONDS = 8.0
"""For the last one."""
_OTHERS_PAUSE_SECONDS = 0.02
"""Between looks at what another process is making."""
_LOG_SECONDS = 60.0
"""How often the same failure is logged."""


class Gate:
    """Asked before every signature that is not a checkpoint's. Open until it has been told of the trail."""

    def __init__(self, longest_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`longest_seconds` is how long an event may wait for its checkpoint. `clock` counts seconds."""
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._open_until: float | None = None
        self._why = ""

    def tell(self, waiting_seconds: float) -> None:
        """For how long the oldest uncovered event has waited; to be told again and again, or the gate closes."""
        self._open_until = self._clock() + self._longest_seconds - waiting_seconds

    def explain(self, why: str) -> None:
        """Why no checkpoint was made at the last try, a sentence; empty: one was, or none was due."""
        self._why = why

    def check_open(self) -> None:
        """Raises StoreUnavailable while nothing may be signed."""
        if self._open_until is not None and self._clock() >= self._open_until:
            why = f" ({self._why.removesuffix('.')})" if self._why else ""
            raise StoreUnavailable(
                f"Nothing is signed until the audit trail has a checkpoint: events have waited for one for more than "
                f"{self._longest_seconds:g} seconds{why}."
            )

    def state(self) -> str:
        """`ready`, or in words why nothing may be signed."""
        try:
            self.check_open()
        except StoreUnavailable as error:
            return error.message
        return "ready"


class WaitingEvents(Protocol):
    """Events that no checkpoint covers."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def oldest(self) -> datetime | None:
        """When the oldest was recorded; None if there is none."""


@dataclass(slots=True)
class CheckpointKeeper:
    """Makes a checkpoint when `events` wait for one, or one has waited for `seconds`."""

    maker: CheckpointMaker
    find_waiting_events: Callable[[], WaitingEvents]
    gate: Gate
    now: Callable[[], datetime]
    events: int
    seconds: float
    _making: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def look(self) -> None:
        """Make what is due, and tell the gate how things are. Raises EngineError."""
        waiting = self._look()
        while waiting.oldest is not None and (waiting.count >= self.events or waiting.oldest <= self._due()):
            with self._making:
                made = self.maker.make(at_least=self.events, recorded_by=self._due())
            if not made:
                return
            waiting = self._look()

    def cover_all(self) -> None:
        """Make checkpoints of whatever waits now. Raises EngineError."""
        while True:
            with self._making:
                made = self.maker.make(at_least=1, recorded_by=self.now())
            if made < MOST_EVENTS:
                break
        self._look()

    def cover(self, is_covered: Callable[[], bool], seconds: float) -> bool:
        """Make checkpoints of what waits until `is_covered`, for at most so many seconds, and what one may take.

        False if that was not enough, as when another process is about a checkpoint. Raises EngineError.
        """
        deadline = time.monotonic() + seconds
        while not is_covered():
            left = deadline - time.monotonic()
            if left <= 0 or not self._making.acquire(timeout=left):
                return False
            try:
                made = not is_covered() and self.maker.make(at_least=1, recorded_by=self.now())
            finally:
                self._making.release()
            if made:
                self._look()
            else:
                time.sleep(_OTHERS_PAUSE_SECONDS)
        return True

    def _due(self) -> datetime:
        return self.now() - timedelta(seconds=self.seconds)

    def _look(self) -> WaitingEvents:
        waiting = self.find_waiting_events()
        since = waiting.oldest
        self.gate.tell(0.0 if since is None else (self.now() - since).total_seconds())
        return waiting


@contextmanager
def making_checkpoints(keeper: CheckpointKeeper | None, is_hung: Callable[[], bool] = bool) -> Iterator[None]:
    """Keep the trail covered for the length of the block, and cover it all at its beginning and its end.

    If a token `is_hung` at the end, nothing is asked of it, and what is under way is left behind.
    """
    if keeper is None:
        yield
        return
    keeper.gate.tell(0.0)
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(keeper, over), name="checkpoints", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if not is_hung():
            over.set()
            thread.join(_STOP_SECONDS)
            if thread.is_alive():
                _log.error("The last checkpoint of the audit trail was not made in %g seconds.", _STOP_SECONDS)


def _watch(keeper: CheckpointKeeper, over: threading.Event) -> None:
    complaints = _Complaints(keeper.gate.explain)
    pause = _LOOK_SECONDS if complaints.silent(keeper.cover_all) else _AGAIN_SECONDS
    while not over.wait(pause):
        pause = _LOOK_SECONDS if complaints.silent(keeper.look) else _AGAIN_SECONDS
    complaints.silent(keeper.cover_all)


class _Complaints:
    """What goes wrong, in the log, and not the same again and again."""

    def __init__(self, explain: Callable[[str], None]) -> None:
        self._explain = explain
        self._last = ""
        self._logged = 0.0

    def silent(self, act: Callable[[], None]) -> bool:
        """Whether `act` has done what it does."""
        try:
            act()
        except EngineError as error:
            self._complain(error.message, error.__cause__)
            return False
        except Exception as error:  # noqa: BLE001 (whatever it is, the next checkpoint is to be tried)
            self._complain("An error that nobody foresaw is in the log.", error)
            return False
        self._explain("")
        if self._last:
            _log.warning("Checkpoints of the audit trail are made again.")
            self._last = ""
        return True

    def _complain(self, message: str, cause: BaseException | None) -> None:
        self._explain(message)
        if message != self._last or time.monotonic() - self._logged >= _LOG_SECONDS:
            _log.error("No checkpoint of the audit trail was made: %s", message, exc_info=cause)
            self._last, self._logged = message, time.monotonic()
