"""`signing-engine audit`: what happened, for people and for other programs, and whether it is as it was written.

These commands need the configuration file and the database and nothing else: no token is opened, nothing is changed,
and engines may be serving.
"""

import argparse
import base64
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from engine.app import store_password
from engine.audit.stored import as_found, load_event, octets_as_found
from engine.audit.verifier import canonical
from engine.commands.audit_sweep import add_sweep
from engine.commands.audit_verify import add_verify
from engine.commands.piping import piping
from engine.config import load_config
from engine.errors import ConfigError
from engine.store import KINDS, StoredTrail, WantedEvents, read_keys, reading_trail
from engine.x509.pem import render_pem

_SHOWN = 100


def add_audit(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the commands about the audit trail."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="print the last events, one a line")
    listing.add_argument("--limit", type=_positive, default=_SHOWN, help=f"how many; {_SHOWN} if it is not given")
    listing.set_defaults(command=_list)
    export = commands.add_parser(
        "export",
        help="write events and checkpoints as JSON lines",
        epilog="A selection of events says so in its first line, and cannot be verified by itself.",
    )
    export.add_argument("--output", type=Path, metavar="FILE", help="a new file, instead of standard output")
    export.set_defaults(command=_export)
    for one in (listing, export):
        one.add_argument("--since", type=_time, metavar="TIME", help="ISO 8601; UTC unless it says otherwise")
        one.add_argument("--until", type=_time, metavar="TIME", help="what was then or later is left out")
        one.add_argument("--key", metavar="PATH", help="of this key")
        one.add_argument(
            "--certificate", metavar="HEX", help="of this serial number, or SHA-256 of a certificate, in hex"
        )
        one.add_argument("--actor", metavar="ID", help="by this credential; account:EMAIL for a person")
        one.add_argument("--kind", action="append", default=[], help="of this kind; may be repeated")
        one.add_argument("--config", type=Path, required=True, help="the configuration file")
    kinds = commands.add_parser("kinds", help="print the kinds of events and what they say")
    kinds.set_defaults(command=_kinds)
    key = commands.add_parser("key", help="print the public key that signs checkpoints, PEM, for whoever verifies them")
    key.add_argument("--config", type=Path, required=True, help="the configuration file")
    key.set_defaults(command=_key)
    add_verify(commands.add_parser("verify", help="verify chains, checkpoints and the witness"))
    add_sweep(commands.add_parser("sweep", help="check every stored certificate again, and what stands"))


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("expected a number from 1")
    return number


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-03-01T12:00:00Z, found {text!r}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _wanted(options: argparse.Namespace) -> WantedEvents:
    return WantedEvents(
        since=options.since,
        until=options.until,
        signing_key=options.key,
        certificate=options.certificate,
        actor=options.actor,
        kinds=options.kind,
    )


def _list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with reading_trail(config.store.url, store_password(config.store)) as trail:
        rows = trail.latest_events(_wanted(options), options.limit)
    if not rows:
        sys.stderr.write("no event matches\n")
    with piping() as output:
        _write(map(_line, rows), output)
    return 0


def _line(row: Any) -> str:
    """No character of it does anything to a terminal, wherever it came from."""
    event = load_event(row)
    place = f"{_shown(event['writer'])}:{_shown(event['sequence'])}"
    told = {"by": "actor", "from": "source", "target": "target", "request": "requestId"}
    words = [f"{word} {_shown(event[member])}" for word, member in told.items() if event[member] != ""]
    time, kind, outcome = (_shown(event[member]) for member in ("recordedAt", "kind", "outcome"))
    return " ".join([time, place, kind, outcome, *words, json.dumps(event["details"])])


def _shown(value: object) -> str:
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    return str(value) if is_plain else json.dumps(value)


def _export(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with reading_trail(config.store.url, store_password(config.store)) as trail:
        lines = _exported(trail, _wanted(options))
        if options.output is None:
            with piping() as output:
                _write(lines, output)
            return 0
        try:
            with options.output.open("x", encoding="utf-8") as file:
                _write(lines, file)
        except OSError as error:
            raise ConfigError(f"The file {options.output} cannot be written: {error.strerror}.") from error
    return 0


def _write(lines: Iterable[str], file: TextIO) -> None:
    for line in lines:
        file.write(f"{line}\n")
    file.flush()


def _exported(trail: StoredTrail, wanted: WantedEvents) -> Iterator[str]:
    """As `engine.audit.verifier` reads it."""
    if asked := wanted.render():
        yield canonical({"partial": True, **asked})
    for row in trail.events(wanted):
        checkpoint = None if row.checkpoint is None else as_found(row.checkpoint, int)
        yield canonical({"event": load_event(row), "hash": as_found(row.hash, str), "checkpoint": checkpoint})
    for row in trail.checkpoints():
        signature, key = (octets_as_found(octets) for octets in (row.signature, row.spki))
        yield canonical(
            {
                "checkpoint": as_found(row.statement, str),
                "signature": None if signature is None else base64.b64encode(signature).decode(),
                "key": base64.b64encode(key or b"").decode(),
            }
        )


def _key(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    path = config.audit.key
    if path is None:
        raise ConfigError("There is no audit.key, so checkpoints are not made.")
    for row in read_keys(config.store.url, store_password(config.store)):
        if row.path == path:
            sys.stdout.write(f"{render_pem('PUBLIC KEY', row.spki)}\n")
            return 0
    raise ConfigError(f"audit.key: there is no key at {path}; make it with signing-engine keys generate {path}.")


def _kinds(options: argparse.Namespace) -> int:
    with piping() as output:
        _write((f"{kind}: {sentence}" for kind, sentence in KINDS.items()), output)
    return 0
