"""`signing-engine audit verify`: whether the audit trail in the database is as it was written."""

import argparse
import sys
from pathlib import Path

from engine.app import store_password
from engine.audit.stored import verify_stored
from engine.audit.verifier import read_keys
from engine.commands import UNFINISHED
from engine.config import load_config
from engine.errors import ConfigError
from engine.store import reading_trail


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.epilog = (
        "Exit code 0: nothing was found; 1: something was, and is named; 2: the command line is wrong; "
        f"{UNFINISHED}: the trail could not be read to its end."
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    parser.add_argument(
        "--witness",
        type=Path,
        action="append",
        metavar="FILE",
        help="what the witness has kept, JSON lines; may be given twice; instead of the file in audit.witness",
    )
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        metavar="FILE",
        help="PEM of public keys that may sign; without it anybody's signature counts",
    )
    parser.set_defaults(command=_verify, failed=UNFINISHED)


def _verify(options: argparse.Namespace) -> int:
    """Opens no token and changes nothing; engines may be serving."""
    config = load_config(options.config)
    witness = config.audit.witness
    kept = [Path(witness.file)] if witness is not None and witness.file is not None else []
    witnesses = kept if options.witness is None else options.witness
    try:
        trusted = None
        if options.key is not None:
            trusted = frozenset[str]().union(*(read_keys(path) for path in options.key))
        with reading_trail(config.store.url, store_password(config.store)) as trail:
            # An engine that has just been set up has not made its witness yet.
            report = verify_stored(trail, witnesses, trusted, may_lack_witness=options.witness is None)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"{error}.") from error
    sys.stdout.write("".join(f"{line}\n" for line in report.lines()))
    return 1 if report.faults else 0
