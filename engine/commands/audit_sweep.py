"""`signing-engine audit sweep`: whether every stored certificate is what was intended, allowed and told."""

import argparse
import sys
import time
from pathlib import Path

from engine.app import store_password
from engine.commands import UNFINISHED
from engine.config import load_config
from engine.store import reading_records
from engine.sweep import Sweep

_BAR = 30
_LINE_SECONDS = 30.0
_BAR_SECONDS = 0.2


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.epilog = (
        "Exit code 0: no fault was found; 1: faults were, a line each; 2: the command line is wrong; "
        f"{UNFINISHED}: the database could not be read to its end, whatever was found until then."
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    parser.set_defaults(command=_sweep, failed=UNFINISHED)


def _sweep(options: argparse.Namespace) -> int:
    """Opens no token and changes nothing; engines may be serving."""
    config = load_config(options.config)
    bar = _Bar()
    with reading_records(config.store.url, store_password(config.store)) as records:
        sweep = Sweep(records, bar.show)
        for found in sweep.run():
            bar.clear()
            sys.stdout.write(f"{found}\n")
    bar.clear()
    sys.stdout.write("".join(f"{line}\n" for line in sweep.counts.lines()))
    return 1 if sweep.counts.faults else 0


class _Bar:
    """How far it is, on standard error: on a terminal in place, else a line every so often."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (0.0 if self._on_terminal else _LINE_SECONDS)

    def show(self, what: str, done: int, total: int) -> None:
        if (now := time.monotonic()) < self._next:
            return
        full = _BAR * min(done, total) // max(total, 1)
        line = f"[{'#' * full:<{_BAR}}] {what}: {done:,} of {total:,}"
        sys.stderr.write(f"\r\x1b[K{line}" if self._on_terminal else f"{line}\n")
        sys.stderr.flush()
        self._next = now + (_BAR_SECONDS if self._on_terminal else _LINE_SECONDS)

    def clear(self) -> None:
        """Make room for what is written to standard output."""
        if self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
