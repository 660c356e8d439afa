"""The command line: parse, call, print.

    signing-engine init   --data DIR              make a trial data folder on SoftHSM; --database URL: not on SQLite
    signing-engine trial  --data DIR [--once]     init, serve, and walk the main workflow against the server
    signing-engine serve  --config FILE           serve the JSON API
    signing-engine check  --config FILE           open everything, print what would be served, and stop
    signing-engine doctor --config FILE           examine tokens step by step; or --module PATH --uri URI
    signing-engine worker                         what serve starts; not for people
    signing-engine keys generate|adopt|import|list|show|delete      bind key paths to keys on a token, examine one
    signing-engine credentials create|list|revoke make an API key, list them, revoke one
    signing-engine accounts create|password|list|disable|enable     people who log in
    signing-engine audit list|export|verify|sweep|key|kinds         what happened, and whether it is as it was written
    signing-engine evidence SERIAL                                  how a certificate came about, with proofs

Exit code 0: done; 1: refused or failed, with one sentence on standard error; 2: the command line is wrong; 77: a token
refused the login, which is not to be tried again as it is (RestartPreventExitStatus=77 for systemd). Of `audit verify`
and `audit sweep`, 1: faults were found; 3: they could not look for all of them, and why.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from engine.errors import EngineError, TokenLoginRefused
from engine.serving import LOGIN_REFUSED

# What each says of itself, and where it is: `add_NAME` of the module gives its parser what it takes.
_COMMANDS = {
    "init": ("make a trial data folder on SoftHSM", "trial"),
    "trial": ("init, serve, and walk the main workflow against the server", "trial"),
    "serve": ("serve the JSON API", "serve"),
    "check": ("open everything, print what would be served, and stop", "check"),
    "doctor": ("examine tokens step by step and say what to do", "doctor"),
    "worker": (None, "worker"),
    "keys": ("bind key paths to keys on a token", "keys"),
    "credentials": ("API keys", "credentials"),
    "accounts": ("people, who log in with a password", "credentials"),
    "audit": ("the audit trail", "audit"),
    "evidence": ("how a certificate came about, with proofs", "evidence"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except EngineError as error:
        for line in (f"signing-engine: {error.message}", *(f"  {detail}" for detail in error.details)):
            sys.stderr.write(f"{line}\n")
        return LOGIN_REFUSED if isinstance(error, TokenLoginRefused) else int(getattr(options, "failed", 1))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Only the command that is called is imported: the supervisor, which is `serve`, needs next to nothing."""
    parser = argparse.ArgumentParser(prog="signing-engine", description="HSM-backed X.509 signing engine")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (sentence, module) in _COMMANDS.items():
        one = commands.add_parser(name) if sentence is None else commands.add_parser(name, help=sentence)
        if arguments[:1] == [name]:
            getattr(import_module(f"engine.commands.{module}"), f"add_{name}")(one)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
