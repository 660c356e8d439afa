"""Standard output that somebody reads as much of as they want."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def piping() -> Iterator[TextIO]:
    """Standard output for the length of the block, which ends when nobody reads any more: `| head` is no failure."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer is written at the end of the process, and has to go somewhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
