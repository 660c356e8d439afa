"""`signing-engine serve`: the supervisor, which holds the socket and opens no token and no database."""

import argparse
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.commands.audit_lines import audit_warnings
from engine.config import load_config
from engine.pin import ask_pins
from engine.serving.listening import base_url, open_socket
from engine.serving.supervisor import Supervisor, supervised


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    add_address(parser)
    parser.set_defaults(command=_serve)


def add_address(parser: argparse.ArgumentParser) -> None:
    """Give `parser` where to listen."""
    parser.add_argument("--host", help="instead of server.host")
    parser.add_argument("--port", type=int, help="instead of server.port")


def _serve(options: argparse.Namespace) -> int:
    with serving(options.config, options) as (supervisor, over, url):
        if supervisor.ready.is_set():
            say(f"Serving on {url}")
        over.wait()
    return supervisor.exit_code


@contextmanager
def serving(config: Path, options: argparse.Namespace) -> Iterator[tuple[Supervisor, threading.Event, str]]:
    """Serve for the length of the block, which begins when requests are answered, or when that is over.

    The event is set when it is over; the text is where it serves.
    """
    loaded = load_config(config)
    say(*audit_warnings(loaded.audit))
    pins = ask_pins(loaded.typed_pins())
    host, port = loaded.server.host, loaded.server.port
    with (
        open_socket(options.host or host, port if options.port is None else options.port) as listener,
        supervised(config, listener, pins, loaded.server.workers) as (supervisor, over),
    ):
        while not (supervisor.ready.is_set() or over.wait(0.05)):
            pass
        yield supervisor, over, base_url(listener)


def say(*lines: str) -> None:
    """Print, at once."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
