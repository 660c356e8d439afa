"""Where a server is killed, to the instruction, and the file by which a test says where next.

The places in Python are those of killed/sitecustomize.py, which a worker process has on its PYTHONPATH; the two in
C_Sign are the fault-injecting module's.
"""

import mmap
import os
import signal
from enum import Enum
from pathlib import Path
from threading import Lock

CONTROL = "ENGINE_KILL_CONTROL"
"""The variable that names the file. A process without it is left as it is."""
_WORDS = ("step", "arrivals", "group")


class Step(Enum):
    """The numbers are those of the steps in engine/issuance.py and engine/audit/checkpoint.py."""

    READ = "1, the request is read and proven"
    LINTED = "4, the tbsCertificate is linted"
    INTENT_WRITTEN = "5, the intent is written and not committed"
    INTENT_COMMITTED = "5, the intent is committed and nobody told"
    SIGNING = "6, C_Sign is called and has not signed"
    SIGNED = "6, C_Sign has signed and not returned"
    SIGNATURE_RETURNED = "7, the signature is there and not verified"
    VERIFIED = "7, the certificate is verified and not recorded"
    RECORD_WRITTEN = "8, the record is written and not committed"
    RECORD_COMMITTED = "8, the record is committed and nobody told"
    ANSWERING = "9, the answer is rendered and not sent"
    CHECKPOINT_WRITTEN = "checkpoint 1, its statement is written and not committed"
    CHECKPOINT_COMMITTED = "checkpoint 1, its statement is committed"
    CHECKPOINT_SIGNED = "checkpoint 3, it is signed and the witness does not have it"
    CHECKPOINT_TORN = "checkpoint 4, the witness has half of it"
    CHECKPOINT_WITNESSED = "checkpoint 4, the witness has it"
    CHECKPOINT_COMPLETING = "checkpoint 5, its signature is written and not committed"
    # Elsewhere than on the way of a certificate.
    REQUEST_SIGNED = "a certification request is signed and not verified"
    REQUEST_RECORDED = "a certification request is recorded and nobody told"
    KEY_MADE = "a key is generated and proven, and not registered"
    KEY_REGISTERING = "a key is written and not committed"
    FAILURE_WRITTEN = "a failure is written and not committed"
    RECONCILING = "what a dead process has left open is closed and that not committed"
    PROVING = "a token is back, and its keys have not proven themselves yet"
    PROVEN = "a token is back, and that its keys have proven themselves is written and not committed"

    @property
    def is_elsewhere(self) -> bool:
        return list(Step).index(self) >= list(Step).index(Step.REQUEST_SIGNED)

    @property
    def is_of_checkpoint(self) -> bool:
        return self.name.startswith("CHECKPOINT")


class KillControl:
    """The file, in the test and in the worker."""

    def __init__(self, path: Path) -> None:
        """Made if it is not there."""
        with path.open("r+b" if path.exists() else "x+b") as file:
            file.truncate(8 * len(_WORDS))
            self._map = mmap.mmap(file.fileno(), 8 * len(_WORDS))
        self._words = memoryview(self._map).cast("Q")
        self._lock = Lock()

    def close(self) -> None:
        self._words.release()
        self._map.close()

    # -- in the test -------------------------------------------------------------------------------------------------

    def order(self, step: Step, arrival: int, *, group: bool) -> None:
        """Kill at the `arrival`-th arrival at `step` from now: the worker, or with `group` all of its process group."""
        self._words[1], self._words[2] = arrival, group
        self._words[0] = 1 + list(Step).index(step)  # last: this is the order

    @property
    def is_ordered(self) -> bool:
        """Whether the kill is still to come."""
        return self._words[0] != 0

    # -- in the worker -----------------------------------------------------------------------------------------------

    def arrive(self, step: Step) -> None:
        """Does not return if this is the arrival that was ordered."""
        if self.is_due(step):
            self.kill()

    def is_due(self, step: Step) -> bool:
        """Count an arrival; whether it is the one. If so, `kill` is to be called."""
        with self._lock:
            if self._words[0] != 1 + list(Step).index(step):
                return False
            self._words[1] -= 1
            if self._words[1]:
                return False
            self._words[0] = 0
            return True

    def kill(self) -> None:
        """SIGKILL is not outlived: nothing of this process happens after it."""
        os.kill(0 if self._words[2] else os.getpid(), signal.SIGKILL)
