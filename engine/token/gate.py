"""Who is inside a PKCS#11 module at this moment, and the door that is shut while the module starts anew.

Finalising a module under a running call crashes the process, and a call that never comes back cannot be cancelled
(PKCS#11 2.40 section 11.4 leaves both undefined). So every use of a module is entered here: a module is finalised only
when nobody is inside, and who is inside for too long has it replaced with the whole process.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import TokenUnavailable


class Call:
    """One use of a module, from before its first PKCS#11 call until after its last."""

    __slots__ = ("limit", "owner", "started")

    def __init__(self, owner: object, limit: float) -> None:
        """`owner` is the token it is for; `limit` in seconds is how long it may take before it counts as hung."""
        self.owner = owner
        self.limit = limit
        self.started = time.monotonic()

    def begin(self, limit: float) -> None:
        """Count anew from now: what was waited for until here was not the module."""
        self.limit = limit
        self.started = time.monotonic()


class Gate:
    """Any number of calls inside, or one restart."""

    def __init__(self) -> None:
        # Added to and removed from without the lock, which an interpreter's set allows for objects that hash as
        # themselves. Who enters adds first and looks at `_is_shut` then; who shuts sets that first and looks then.
        self._inside: set[Call] = set()
        self._changed = threading.Condition(threading.Lock())
        self._is_shut = False

    def enter(self, call: Call, seconds: float) -> bool:
        """Count a call in; the caller lets it `leave`. False if the gate stays shut for so many seconds."""
        self._inside.add(call)
        if not self._is_shut:
            return True
        self.leave(call)
        deadline = time.monotonic() + seconds
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_shut, seconds):
                return False
        return self.enter(call, max(0.0, deadline - time.monotonic()))

    def leave(self, call: Call) -> None:
        """Count a call out."""
        self._inside.discard(call)
        if self._is_shut:
            with self._changed:
                self._changed.notify_all()

    @contextmanager
    def inside(self, call: Call, seconds: float) -> Iterator[None]:
        """Count a call in for the length of the block. Raises TokenUnavailable if the gate stays shut."""
        if not self.enter(call, seconds):
            raise TokenUnavailable("The PKCS#11 module is being started anew; try again later.")
        try:
            yield
        finally:
            self.leave(call)

    @contextmanager
    def shut(self, call: Call, seconds: float) -> Iterator[None]:
        """Be inside alone, as `call`, for the length of the block.

        Raises TokenUnavailable, having disturbed nobody, if a call is still inside after so many seconds. One thread
        shuts at a time.
        """
        with self._changed:
            self._is_shut = True
            if not self._changed.wait_for(lambda: not self._inside, seconds):
                self._open()
                raise TokenUnavailable("The PKCS#11 module cannot be started anew: a call into it has not come back.")
        call.begin(call.limit)
        self._inside.add(call)
        try:
            yield
        finally:
            with self._changed:
                self._inside.discard(call)
                self._open()

    def _open(self) -> None:
        self._is_shut = False
        self._changed.notify_all()

    def has_hung(self, owner: object) -> bool:
        """Whether a call of this owner has been inside for longer than its limit."""
        now = time.monotonic()
        return any(call.owner is owner and now - call.started > call.limit for call in list(self._inside))

    def wait_until_gone(self, owner: object, seconds: float) -> bool:
        """Wait until no call of this owner is inside; False if one still is after so many seconds."""
        deadline = time.monotonic() + seconds
        while any(call.owner is owner for call in list(self._inside)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True
