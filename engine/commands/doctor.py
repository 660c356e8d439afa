"""The options of `signing-engine doctor`: a configuration file, or one token by module and URI before there is any."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from engine.app import store_password
from engine.config import load_config
from engine.doctor import Doctor, Patient, find_patients
from engine.errors import ConfigError
from engine.pin import EnvironmentPin, FilePin, PinSource
from engine.store import Store
from engine.token import TokenSettings, load_uri
from engine.token.diagnosis import KeyToTry, Names
from engine.token_trail import FileTrail, TokenTrail

_NAMES = Names(module="--module", uri="--uri", pin="--pin-file", sessions="--sessions", environment="--environment")


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options and the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="the configuration file: its tokens and registered keys")
    what.add_argument("--module", help="a PKCS#11 library, for which there is no configuration yet")
    parser.add_argument("--token", help="with --config: this token only")
    alone = parser.add_argument_group("with --module")
    alone.add_argument("--uri", help="which token, RFC 7512: pkcs11:token=LABEL")
    pin = alone.add_mutually_exclusive_group()
    pin.add_argument("--pin-file", help="where the PIN is; without it and a pin-source in the URI it is asked for")
    pin.add_argument("--pin-environment", metavar="NAME", help="the variable that holds the PIN")
    alone.add_argument("--environment", action="append", default=[], metavar="NAME=VALUE", help="set for the library")
    alone.add_argument("--initialize-arguments", help="pReserved of C_Initialize (NSS softokn)")
    alone.add_argument("--sessions", type=_positive, default=8)
    alone.add_argument("--label", help="CKA_LABEL of a key to sign with")
    alone.add_argument("--id", help="CKA_ID of a key to sign with, hex")
    alone.add_argument(
        "--record", metavar="FILE", help="with --label or --id: where each signature is told before it is"
    )
    parser.add_argument("--bench", action="store_true", help="measure signatures per second by number of sessions")
    parser.add_argument("--bench-seconds", type=_seconds, default=2.0, help="for each number of sessions")
    parser.set_defaults(command=_doctor)


def _positive(text: str) -> int:
    if not 1 <= (number := int(text)) <= 1024:
        raise argparse.ArgumentTypeError("expected 1 to 1024")
    return number


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) <= 600:
        raise argparse.ArgumentTypeError("expected more than 0 and at most 600 seconds")
    return number


def _doctor(options: argparse.Namespace) -> int:
    """Examine every token; 0 if the engine can work with all of them."""
    bench_seconds = options.bench_seconds if options.bench else None
    if options.config is None:
        patient = _patient(options)
        record = None if options.record is None else FileTrail(options.record)
        if patient.keys and record is None:
            raise ConfigError(
                "Expected --record FILE with --label or --id: no key signs anything that was not recorded before."
            )
        return 0 if Doctor(sys.stdout, sys.stderr, bench_seconds, record).examine(patient) else 1
    config = load_config(options.config)
    patients = find_patients(config, options.token)
    with ExitStack() as opened:
        trail = None
        if any(patient.keys for patient in patients):
            trail = TokenTrail(opened.enter_context(Store.open(config.store.url, store_password(config.store))))
        doctor = Doctor(sys.stdout, sys.stderr, bench_seconds, trail)
        usable = [doctor.examine(patient) for patient in patients]
    return 0 if all(usable) else 1


def _patient(options: argparse.Namespace) -> Patient:
    if options.uri is None:
        raise ConfigError("Expected --uri with --module: which token, for instance pkcs11:token=LABEL.")
    environment: dict[str, str] = {}
    for setting in options.environment:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise ConfigError(f"Expected --environment NAME=VALUE, found {setting!r}.")
        environment[name] = value
    try:
        key_id = None if options.id is None else bytes.fromhex(options.id)
    except ValueError:
        raise ConfigError(f"Expected --id in hex, found {options.id!r}.") from None
    key = KeyToTry(name="the key", label=options.label, id=key_id, spki_sha256=None)
    pin: PinSource | None = None
    if options.pin_file is not None:
        pin = FilePin(options.pin_file)
    elif options.pin_environment is not None:
        pin = EnvironmentPin(options.pin_environment)
    settings = TokenSettings(
        name=_name(options.uri),
        module=options.module,
        uri=options.uri,
        pin=pin,
        sessions=options.sessions,
        environment=environment,
        initialize_arguments=options.initialize_arguments,
    )
    return Patient(
        settings=settings,
        names=_NAMES,
        keys=() if options.label is None and key_id is None else (key,),
        asks=pin is None and not _has_pin_source(options.uri),
    )


def _name(uri: str) -> str:
    """What messages call the token: its label if the URI has one."""
    try:
        return load_uri(uri).token or "token"
    except ConfigError:
        return "token"


def _has_pin_source(uri: str) -> bool:
    """Also for a URI that cannot be read: the examination says so before a PIN is of use."""
    try:
        return load_uri(uri).pin_source is not None
    except ConfigError:
        return True
