"""`signing-engine keys`: which key paths stand for which keys on a token, and how the token holds them.

The operator may adopt and import keys whatever the settings of a KMS say about callers of the API. A private key is
read from a file or from standard input, never from an argument, which other users of the machine can see.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from engine.api.json_body import BODY_LIMIT, load_json_object
from engine.api.paths import check_path
from engine.app import Engine, open_engine
from engine.commands.custody_lines import custody_lines
from engine.commands.operator import operator, telling_refusals
from engine.commands.secret_file import read_secret_file
from engine.directory import KNOWN_KEY_TYPES, KeyRecord
from engine.errors import ConfigError, MalformedRequest
from engine.issuance import Caller

_KEY_PATH = "{organization}.{tenant}.{kms}.{keyId}"


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the commands about keys."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="generate a key pair on the token")
    adopt = commands.add_parser("adopt", help="register a key pair that is on the token already")
    import_ = commands.add_parser("import", help="have the token take a private JWK as a key of its own")
    listing = commands.add_parser("list", help="list the keys of a KMS")
    show = commands.add_parser("show", help="examine a key on its token and print its custody record")
    delete = commands.add_parser("delete", help="destroy a key on the token; one that was adopted is only unbound")
    for one in (generate, adopt, import_, show, delete):
        one.add_argument("path", help=_KEY_PATH)
    listing.add_argument("path", help="{organization}.{tenant}.{kms}")
    generate.add_argument("--type", default="secp256r1", dest="key_type", help=f"one of {', '.join(KNOWN_KEY_TYPES)}")
    adopt.add_argument("--label", help="CKA_LABEL")
    adopt.add_argument("--id", help="CKA_ID, hex")
    import_.add_argument("--jwk-file", metavar="FILE", required=True, help="where the JWK is; -: standard input")
    delete.add_argument("--yes", action="store_true", help="that it is meant: there is no way back")
    generate.set_defaults(command=_generate, called="keys generate")
    adopt.set_defaults(command=_adopt, called="keys adopt")
    import_.set_defaults(command=_import, called="keys import")
    listing.set_defaults(command=_list)
    show.set_defaults(command=_show)
    delete.set_defaults(command=_delete, called="keys delete")
    for one in (generate, adopt, import_, listing, show, delete):
        one.add_argument("--config", type=Path, required=True, help="the configuration file")


def _generate(options: argparse.Namespace) -> int:
    kms_path, key_id = _split_key_path(options.path)
    with _acting(options) as (engine, by):
        kms = engine.directory.find_kms(kms_path)
        _say_new(kms.generate_key(key_id, options.key_type, by))
    return 0


def _adopt(options: argparse.Namespace) -> int:
    kms_path, key_id = _split_key_path(options.path)
    try:
        token_id = None if options.id is None else bytes.fromhex(options.id)
    except ValueError:
        raise ConfigError(f"Expected --id in hex, found {options.id!r}.") from None
    if options.label is None and token_id is None:
        raise ConfigError("Expected --label, --id or both, found neither.")
    with _acting(options) as (engine, by):
        kms = engine.directory.find_kms(kms_path)
        _say_new(kms.adopt_key(key_id, by, label=options.label, token_id=token_id))
    return 0


def _import(options: argparse.Namespace) -> int:
    kms_path, key_id = _split_key_path(options.path)
    jwk = _read_jwk(options.jwk_file)
    with _acting(options) as (engine, by):
        kms = engine.directory.find_kms(kms_path)
        _say_new(kms.import_key(key_id, jwk, by))
    return 0


def _list(options: argparse.Namespace) -> int:
    with open_engine(options.config) as engine:
        for row in engine.directory.find_kms(options.path).list_keys():
            _say(f"{row.path}: {row.key_type}, {row.origin}, SPKI SHA-256 {row.spki_sha256}")
    return 0


def _show(options: argparse.Namespace) -> int:
    """Exit code 1 if the record falls short of what `require-custody` wants."""
    kms_path, _ = _split_key_path(options.path)
    with open_engine(options.config) as engine:
        record = engine.directory.find_kms(kms_path).check_custody(options.path, operator(options.path))
        _say(*custody_lines(record))
    return 1 if record.shortfalls else 0


def _delete(options: argparse.Namespace) -> int:
    kms_path, key_id = _split_key_path(options.path)
    if not options.yes:
        raise ConfigError(
            f"The key {options.path} is destroyed for good; repeat the command with --yes if it is meant."
        )
    with _acting(options) as (engine, by):
        deleted = engine.directory.find_kms(kms_path).delete_key(key_id, by)
        _say(f"{deleted.path}: {'destroyed' if deleted.destroyed else 'unbound; the key stays on its token'}")
    return 0


def _split_key_path(path: str) -> tuple[str, str]:
    kms, _, key_id = path.rpartition(".")
    if path.count(".") != 3 or not key_id:
        raise ConfigError(f"Expected a key path {_KEY_PATH}, found {path!r}.")
    check_path(path)
    return kms, key_id


@contextmanager
def _acting(options: argparse.Namespace) -> Iterator[tuple[Engine, Caller]]:
    """The engine, and who acts on the key; what is refused in the block is told."""
    by = operator(options.path)
    with open_engine(options.config) as engine, telling_refusals(engine.store, by, options.called):
        yield engine, by


def _say_new(record: KeyRecord) -> None:
    _say(f"{record.path}: {record.public_key.key_type}, SPKI SHA-256 {record.public_key.sha256}")
    _say(*(f"  falls short of require-custody: {shortfall}" for shortfall in record.shortfalls))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _read_jwk(path: str) -> Mapping[str, object]:
    """An ordinary file must be its owner's alone; a pipe, such as a shell's <(command), is read as it is."""
    if path == "-":
        octets, what = sys.stdin.buffer.read(BODY_LIMIT + 1), "Standard input"
    else:
        octets, what = read_secret_file(path, "JWK", BODY_LIMIT + 1), f"The JWK file {path}"
    try:
        if len(octets) <= BODY_LIMIT:
            return load_json_object(octets)
    except MalformedRequest:
        pass  # what is wrong with it is said of request bodies, and is not worth two sentences
    raise ConfigError(f"{what} must hold one private JWK (RFC 7517) and nothing else.")
