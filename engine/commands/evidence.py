"""`signing-engine evidence`: what was recorded of how one certificate came about, for whoever doubts it.

Needs the configuration file and the database and nothing else: no token is opened, nothing is changed, and engines may
be serving.
"""

import argparse
from pathlib import Path

from engine.app import store_password
from engine.audit.evidence import find_recorded, render_evidence
from engine.commands.piping import piping
from engine.config import load_config
from engine.errors import ConfigError, NotFound, StoreUnavailable
from engine.store import reading_evidence


def add_evidence(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.epilog = (
        "Exit code 0: the evidence was written; 1: there is none, or it cannot be read, and why; 2: the command line "
        "is wrong. Whether it proves anything is for engine/audit/verifier.py to say."
    )
    parser.add_argument(
        "certificate", metavar="SERIAL", help="the serial number or the SHA-256 of the certificate, in hex"
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a new file, instead of standard output")
    parser.set_defaults(command=_evidence)


def _evidence(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with reading_evidence(config.store.url, store_password(config.store)) as records:
        issued = records.find_issued(options.certificate)
        evidence = find_recorded(records, issued).build_evidence()
    if evidence is None:
        none = f"There is no evidence of the certificate {issued.sha256}"
        if config.audit.key is None:
            raise NotFound(
                f"{none}: no checkpoint of the audit trail covers its events, and the setting audit.key, without which "
                "none is made, is absent."
            )
        raise StoreUnavailable(
            f"{none} yet: no checkpoint of the audit trail covers its events. An engine that serves makes one every "
            f"{config.audit.seconds:g} seconds."
        )
    text = render_evidence(evidence)
    if options.output is None:
        with piping() as output:
            output.write(text)
        return 0
    try:
        with options.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"The file {options.output} cannot be written: {error.strerror}.") from error
    return 0
