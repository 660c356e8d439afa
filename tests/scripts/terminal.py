"""A command on a terminal of its own, and somebody who types."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 60.0


@dataclass
class Terminal:
    """What stands on the terminal so far, and the process that writes there."""

    process: "subprocess.Popen[Any]"
    descriptor: int
    shown: str = field(default="")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Read until the text has come so often."""
        deadline = time.monotonic() + SECONDS
        while self.shown.count(text) < times:
            assert time.monotonic() < deadline, self.shown
            if not select.select([self.descriptor], [], [], 0.2)[0]:
                continue
            try:
                self.shown += os.read(self.descriptor, 4096).decode()
            except OSError:  # Linux says EIO when the other end of a terminal is closed
                raise AssertionError(f"the command ended before it said {text!r}: {self.shown}") from None

    def type(self, line: str) -> None:
        os.write(self.descriptor, line.encode() + b"\n")

    def end(self) -> int:
        """Read to the end; the exit code."""
        while True:
            try:
                came = os.read(self.descriptor, 4096)
            except OSError:
                break
            if not came:
                break
            self.shown += came.decode()
        return self.process.wait(timeout=SECONDS)


@contextmanager
def on_terminal(command: Sequence[str | Path]) -> Iterator[Terminal]:
    """Run the command as the leader of a session whose controlling terminal is a new one; end it with the block."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(["setsid", "--ctty", *command], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        os.close(ours)  # SIGHUP to whatever still runs there, unless whoever runs the tests has it ignored
        process.terminate()
        process.wait(timeout=SECONDS)
