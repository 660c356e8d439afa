"""What this process knows of its own intents: which are under way, and which have ended without a record of it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from engine.errors import StoreError
from engine.store.writer import UnconfirmedError


class LeftOpen:
    """The intents of requests that are over here and whose end could not be recorded; and of those under way here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._intents: dict[str, bool] = {}
        self._under_way: set[str] = set()

    @contextmanager
    def beginning(self, intent_id: str) -> Iterator[None]:
        """Around the record of an intent: the token has not been asked.

        One that was not committed is not there; only where that is not known it may be.
        """
        with self._lock:
            self._under_way.add(intent_id)
        try:
            yield
        except BaseException as error:
            with self._lock:
                if isinstance(error.__cause__, UnconfirmedError):
                    self._intents[intent_id] = False
                self._under_way.discard(intent_id)
            raise

    @contextmanager
    def ending(self, intent_id: str) -> Iterator[None]:
        """Around the record of its end: the token may have been asked."""
        try:
            yield
        except StoreError:
            with self._lock:
                self._intents[intent_id] = True
            raise
        finally:
            self.end(intent_id)

    def end(self, intent_id: str) -> None:
        """Its request is over, or has recorded its end."""
        with self._lock:
            self._under_way.discard(intent_id)

    def under_way(self) -> list[str]:
        """Those whose requests are."""
        with self._lock:
            return list(self._under_way)

    def listed(self) -> Mapping[str, bool]:
        """Each with whether the token may have been asked."""
        with self._lock:
            return dict(self._intents)

    def forget(self, closed: Mapping[str, bool]) -> None:
        """These are closed now."""
        with self._lock:
            for intent_id in closed:
                self._intents.pop(intent_id, None)
