"""The command line: parse, call, print.

    signing-engine init   --data DIR              make a trial data folder on SoftHSM
    signing-engine trial  --data DIR [--once]     init, serve, and walk the main workflow against the server
    signing-engine serve  --config FILE           serve the JSON API
    signing-engine check  --config FILE           open everything, print what would be served, and stop
    signing-engine doctor --config FILE           examine tokens step by step; or --module PATH --uri URI
    signing-engine worker                         what serve starts; not for people
    signing-engine keys generate|adopt|list|show  bind key paths to keys on a token, examine one
    signing-engine credentials create             make an API key

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

from engine.app import ask_pins, open_engine
from engine.config import EngineConfig, load_config
from engine.custody_lines import custody_lines
from engine.directory import ROLES
from engine.directory.credentials import create_api_key
from engine.doctor_command import add_doctor
from engine.errors import ConfigError, EngineError, TokenLoginRefused
from engine.quickstart import create
from engine.server import base_url, end_with_supervisor, open_socket, serve
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

    keys = commands.add_parser("keys", help="bind key paths to keys on a token").add_subparsers(required=True)
    generate = keys.add_parser("generate", help="generate a key pair on the token")
    generate.add_argument("path", help="{organization}.{tenant}.{kms}.{keyId}")
    generate.add_argument("--type", default="secp256r1", dest="key_type")
    generate.set_defaults(command=_generate_key)
    adopt = keys.add_parser("adopt", help="register a key pair that is on the token already")
    adopt.add_argument("path", help="{organization}.{tenant}.{kms}.{keyId}")
    adopt.add_argument("--label", help="CKA_LABEL")
    adopt.add_argument("--id", help="CKA_ID, hex")
    adopt.set_defaults(command=_adopt_key)
    listing = keys.add_parser("list", help="list the keys of a KMS")
    listing.add_argument("path", help="{organization}.{tenant}.{kms}")
    listing.set_defaults(command=_list_keys)
    show = keys.add_parser("show", help="examine a key on its token and print its custody record")
    show.add_argument("path", help="{organization}.{tenant}.{kms}.{keyId}")
    show.set_defaults(command=_show_key)

    credentials = commands.add_parser("credentials", help="API keys").add_subparsers(required=True)
    credential = credentials.add_parser("create", help="make an API key and print it once")
    credential.add_argument("id")
    credential.add_argument("--scope", required=True, help="the path it may act on and below")
    credential.add_argument("--role", action="append", choices=list(ROLES), help="default: issuer; may be repeated")
    credential.set_defaults(command=_create_credential)

    for one in (serve, check, generate, adopt, listing, show, credential):
        one.add_argument("--config", type=Path, required=True, help="the configuration file")
    return parser


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _init(options: argparse.Namespace) -> int:
    _say(f"Ready: {create(options.data)}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    pins = ask_pins(config)
    with _listen(config, options) as listener:
        with supervised(options.config, listener, pins) as (supervisor, over):
            if _wait_until_ready(supervisor, over):
                _say(f"Serving on {base_url(listener)}")
            over.wait()
        return supervisor.exit_code


def _trial(options: argparse.Namespace) -> int:
    config = create(options.data)
    loaded = load_config(config)
    pins = ask_pins(loaded)
    with _listen(loaded, options) as listener, supervised(config, listener, pins) as (supervisor, over):
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
    engine = open_engine(options.config, receive_pins(options.pins), tokens_may_be_away=options.replacement)
    for intent in engine.dangling:
        _say(
            f"A signature of an earlier run has an unknown outcome: intent {intent.intent_id}, "
            f"serial {intent.serial_number}, key {intent.signing_key}. Its serial stays used."
        )
    # What is open now lives as long as the process: the collector need not walk it with every generation.
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=options.socket)
    code = serve(engine, listener, options.ready)
    if code == REPLACE_ME:
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
        for path, kms in engine.directory.kms.items():
            _say(f"kms {path} on token {kms.token_name}")
            for row in kms.list_keys():
                kms.check_custody(row.path)
                _say(f"  key {row.path}: {row.key_type}, {row.origin}, SPKI SHA-256 {row.spki_sha256}")
        for path, service in engine.directory.x509_services.items():
            _say(f"x509-service {path}: kms {', '.join(service.kms)}; stores {', '.join(service.stores)}")
        for path in engine.directory.x509_stores:
            _say(f"x509-store {path}")
    return 0


def _split_key_path(path: str) -> tuple[str, str]:
    kms, _, key_id = path.rpartition(".")
    if path.count(".") != 3 or not key_id:
        raise ConfigError(f"Expected a key path {{organization}}.{{tenant}}.{{kms}}.{{keyId}}, found {path!r}.")
    return kms, key_id


def _generate_key(options: argparse.Namespace) -> int:
    kms_path, key_id = _split_key_path(options.path)
    with open_engine(options.config) as engine:
        row = engine.directory.find_kms(kms_path).generate_key(key_id, options.key_type)
        _say(f"{row.path}: {row.key_type}, SPKI SHA-256 {row.spki_sha256}")
    return 0


def _adopt_key(options: argparse.Namespace) -> int:
    kms_path, key_id = _split_key_path(options.path)
    try:
        token_id = None if options.id is None else bytes.fromhex(options.id)
    except ValueError:
        raise ConfigError(f"Expected --id in hex, found {options.id!r}.") from None
    if options.label is None and token_id is None:
        raise ConfigError("Expected --label, --id or both, found neither.")
    with open_engine(options.config) as engine:
        record = engine.directory.find_kms(kms_path).adopt_key(key_id, label=options.label, token_id=token_id)
        _say(f"{record.path}: {record.public_key.key_type}, SPKI SHA-256 {record.public_key.sha256}")
        for shortfall in record.shortfalls:
            _say(f"  falls short of require-custody: {shortfall}")
    return 0


def _list_keys(options: argparse.Namespace) -> int:
    with open_engine(options.config) as engine:
        for row in engine.directory.find_kms(options.path).list_keys():
            _say(f"{row.path}: {row.key_type}, {row.origin}, SPKI SHA-256 {row.spki_sha256}")
    return 0


def _show_key(options: argparse.Namespace) -> int:
    """Exit code 1 if the record falls short of what `require-custody` wants."""
    kms_path, _ = _split_key_path(options.path)
    with open_engine(options.config) as engine:
        record = engine.directory.find_kms(kms_path).check_custody(options.path)
        _say(*custody_lines(record))
    return 1 if record.shortfalls else 0


def _create_credential(options: argparse.Namespace) -> int:
    with open_engine(options.config) as engine:
        _say(
            create_api_key(
                engine.store, credential_id=options.id, scope=options.scope, roles=options.role or ["issuer"]
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
