"""`signing-engine init` and `trial`: a data folder on SoftHSM, and the main workflow against the server on it."""

import argparse
import sys
from pathlib import Path

from engine.commands.serve import add_address, say, serving
from engine.trial.quickstart import create
from engine.trial.workflow import walk


def add_init(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    _add_folder(parser)
    parser.set_defaults(command=_init)


def add_trial(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    _add_folder(parser)
    parser.add_argument("--once", action="store_true", help="stop after the workflow")
    add_address(parser)
    parser.set_defaults(command=_trial)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path(".engine"))
    parser.add_argument(
        "--database",
        metavar="URL",
        help="of a new folder; postgresql://user@host/name takes a password from PGPASSWORD or ~/.pgpass",
    )


def _init(options: argparse.Namespace) -> int:
    say(f"Ready: {create(options.data, options.database)}")
    return 0


def _trial(options: argparse.Namespace) -> int:
    config = create(options.data, options.database)
    with serving(config, options) as (supervisor, over, url):
        if not supervisor.ready.is_set():
            return 1
        key_file = config.parent / "api-key"
        walk(url, key_file.read_text(encoding="utf-8").strip(), sys.stdout, api_key_file=key_file)
        if not options.once:
            say(f"Serving on {url}; stop with Ctrl-C.")
            over.wait()
    return 0
