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
    signing-engine audit list|export|kinds|verify                   what happened, and whether it is as it was written

Exit code 0: done; 1: refused or failed, with one sentence on standard error; 2: the command line is wrong; 77: a token
refused the login, which is not to be tried again as it is (RestartPreventExitStatus=77 for systemd).
"""

import argparse
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.app import SERVE, ask_pins, open_engine, record_stop
from engine.audit_command import add_audit
from engine.auditing import audit_lines, check_audit_key
from engine.config import EngineConfig, load_config
from engine.credentials_command import add_accounts, add_credentials
from engine.directory import Directory, Resource
from engine.doctor_command import add_doctor
from engine.errors import EngineError, TokenLoginRefused
from engine.keys_command import add_keys
from engine.quickstart import create
from engine.server import base_url, end_with_supervisor, open_socket, serve
from engine.store import COMMAND_LINE
from engine.supervisor import LOGIN_REFUSED, REPLACE_ME, Supervisor, receive_pins, supervised
from engine.workflow import walk


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except EngineError as error:
        for line in (f"signing-engine: {error.message}", *(f"  {detail}" for detail in error.details)):
            sys.stderr.write(f"{line}\n")
        return LOGIN_REFUSED if isinstance(error, TokenLoginRefused) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="signing-engine", description="HSM-backed X.509 signing engine")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make a trial data folder on SoftHSM")
    init.add_argument("--data", type=Path, default=Path(".engine"))
    init.set_defaults(command=_init)

    trial = commands.add_parser("trial", help="init, serve, and walk the main workflow against the server")
    trial.add_argument("--data", type=Path, default=Path(".engine"))
    trial.add_argument("--once", action="store_true", help="stop after the workflow")
    trial.set_defaults(command=_trial)
    for one in (init, trial):
        one.add_argument(
            "--database",
            metavar="URL",
            help="of a new folder; postgresql://user@host/name takes a password from PGPASSWORD or ~/.pgpass",
        )

    serve = commands.add_parser("serve", help="serve the JSON API")
    check = commands.add_parser("check", help="open everything, print what would be served, and stop")
    serve.set_defaults(command=_serve)
    worker = commands.add_parser("worker")
    worker.add_argument("--config", type=Path, required=True)
    worker.add_argument("--socket", type=int, required=True)
    worker.add_argument("--supervisor", type=int, required=True)
    worker.add_argument("--ready", type=int, required=True)
    worker.add_argument("--pins", type=int, required=True)
    worker.add_argument("--replacement", action="store_true")
    worker.set_defaults(command=_worker)
    check.set_defaults(command=_check)
    add_doctor(commands.add_parser("doctor", help="examine tokens step by step and say what to do"))
    for one in (trial, serve):
        one.add_argument("--host", help="instead of server.host")
        one.add_argument("--port", type=int, help="instead of server.port")

    add_keys(commands.add_parser("keys", help="bind key paths to keys on a token"))
    add_credentials(commands.add_parser("credentials", help="API keys"))
    add_accounts(commands.add_parser("accounts", help="people, who log in with a password"))
    add_audit(commands.add_parser("audit", help="the audit trail"))

    for one in (serve, check):
        one.add_argument("--config", type=Path, required=True, help="the configuration file")
    return parser


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _init(options: argparse.Namespace) -> int:
    _say(f"Ready: {create(options.data, options.database)}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    pins = ask_pins(config)
    with _listen(config, options) as listener:
        with supervised(options.config, listener, pins, config.server.workers) as (supervisor, over):
            if _wait_until_ready(supervisor, over):
                _say(f"Serving on {base_url(listener)}")
            over.wait()
        return supervisor.exit_code


def _trial(options: argparse.Namespace) -> int:
    config = create(options.data, options.database)
    loaded = load_config(config)
    pins = ask_pins(loaded)
    with (
        _listen(loaded, options) as listener,
        supervised(config, listener, pins, loaded.server.workers) as (supervisor, over),
    ):
        if not _wait_until_ready(supervisor, over):
            return 1
        key_file = config.parent / "api-key"
        walk(base_url(listener), key_file.read_text(encoding="utf-8").strip(), sys.stdout, api_key_file=key_file)
        if not options.once:
            _say(f"Serving on {base_url(listener)}; stop with Ctrl-C.")
            over.wait()
    return 0


def _wait_until_ready(supervisor: Supervisor, over: threading.Event) -> bool:
    while not over.wait(0.05):
        if supervisor.ready.is_set():
            return True
    return supervisor.ready.is_set()


def _worker(options: argparse.Namespace) -> int:
    end_with_supervisor(options.supervisor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    engine = open_engine(
        options.config, receive_pins(options.pins), tokens_may_be_away=options.replacement, purpose=SERVE
    )
    # What is open now lives as long as the process: the collector need not walk it with every generation.
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=options.socket)
    code = serve(engine, listener, options.ready)
    if code == REPLACE_ME:
        record_stop(engine.store, SERVE, "a call on a token does not come back")
        engine.store.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    engine.close()
    return code


def _listen(config: EngineConfig, options: argparse.Namespace) -> socket.socket:
    server = config.server
    return open_socket(options.host or server.host, server.port if options.port is None else options.port)


def _check(options: argparse.Namespace) -> int:
    with open_engine(options.config) as engine:
        for name, token in engine.tokens.items():
            _say(f"token {name}: {token.state()}")
        for resource in engine.directory.list_everything():
            _say_checked(engine.directory, resource)
        _say(*audit_lines(engine.config.audit))
        check_audit_key(engine.config.audit, engine.store)
    return 0


def _say_checked(directory: Directory, resource: Resource) -> None:
    """What is served at a path; the keys of a KMS are examined."""
    path, how = resource.path, "" if resource.is_declared else ", created over the API"
    if resource.type == "kms":
        kms = directory.find_kms(path)
        _say(f"kms {path} on token {kms.token_name}{how}")
        for row in kms.list_keys():
            kms.check_custody(row.path, COMMAND_LINE)
            _say(f"  key {row.path}: {row.key_type}, {row.origin}, SPKI SHA-256 {row.spki_sha256}")
    elif resource.type == "x509-service":
        service = directory.x509_service(path)
        _say(f"x509-service {path}: kms {', '.join(service.kms)}; stores {', '.join(service.stores)}{how}")
    elif resource.type == "x509-store" or not resource.is_declared:
        _say(f"{resource.type} {path}{how}")


if __name__ == "__main__":
    sys.exit(main())
