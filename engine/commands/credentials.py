"""`signing-engine credentials` and `signing-engine accounts`: who may do what with the engine.

They need the configuration file and the database, no token, and work beside a running engine, which heeds them with its
next request. No secret is an argument; an API key is printed once, when it is made.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from engine.api.paths import check_id, check_path
from engine.app import store_password
from engine.commands.operator import operator, telling_refusals
from engine.commands.secret_file import read_secret_file
from engine.config import EngineConfig, load_config
from engine.directory import ROLES
from engine.directory.accounts import LONGEST_PASSWORD, create_account, load_email, set_password
from engine.directory.credentials import create_api_key
from engine.errors import ConfigError
from engine.issuance import Caller
from engine.store import Store

_DEFAULT_ROLE = "issuer"
_READ = 4 * LONGEST_PASSWORD + 3
"""Octets: the longest password in UTF-8, a line break, and one more that shows a longer one."""


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the commands about API keys."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make an API key and print it once")
    create.add_argument("id")
    _add_rights(create)
    create.set_defaults(command=_create_credential, called="credentials create")
    listing = commands.add_parser("list", help="list the API keys, without their secrets")
    listing.set_defaults(command=_list_credentials)
    revoke = commands.add_parser("revoke", help="have an API key open nothing from now on")
    revoke.add_argument("id")
    revoke.set_defaults(command=_revoke_credential, called="credentials revoke")
    _add_config(create, listing, revoke)


def add_accounts(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the commands about accounts."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make an account; its password is typed twice")
    password = commands.add_parser("password", help="give an account another password, which ends its sessions")
    listing = commands.add_parser("list", help="list the accounts")
    disable = commands.add_parser("disable", help="end the sessions of an account and let it open no more")
    enable = commands.add_parser("enable", help="let a disabled or locked account log in again")
    for one in (create, password, disable, enable):
        one.add_argument("email")
    _add_rights(create)
    for one in (create, password):
        one.add_argument(
            "--password-file", metavar="FILE", help="where the password is, on one line; -: standard input"
        )
    create.set_defaults(command=_create_account, called="accounts create")
    password.set_defaults(command=_set_password, called="accounts password")
    listing.set_defaults(command=_list_accounts)
    disable.set_defaults(command=_disable_account, called="accounts disable")
    enable.set_defaults(command=_enable_account, called="accounts enable")
    _add_config(create, password, listing, disable, enable)


def _add_rights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", required=True, metavar="PATH", help="the path it may act on and below")
    parser.add_argument(
        "--role", action="append", choices=list(ROLES), help=f"default: {_DEFAULT_ROLE}; may be repeated"
    )


def _add_config(*parsers: argparse.ArgumentParser) -> None:
    for parser in parsers:
        parser.add_argument("--config", type=Path, required=True, help="the configuration file")


def _create_credential(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    check_id(options.id)
    _check_scope(options.scope, config)
    with _acting(config, options, options.id) as (store, by):
        _say(create_api_key(store, credential_id=options.id, scope=options.scope, roles=_roles(options), by=by))
    return 0


def _list_credentials(options: argparse.Namespace) -> int:
    with _open_store(load_config(options.config)) as store:
        for row in store.list_credentials():
            revoked = f", revoked {_time(row.revoked_at)}" if row.revoked_at else ""
            _say(f"{row.credential_id}: {_rights(row.scope, row.roles)}, created {_time(row.created_at)}{revoked}")
    return 0


def _revoke_credential(options: argparse.Namespace) -> int:
    check_id(options.id)
    with _acting(load_config(options.config), options, options.id) as (store, by):
        store.revoke_credential(options.id, by=by)
        _say(f"{options.id}: revoked")
    return 0


def _create_account(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    email = load_email(options.email)
    _check_scope(options.scope, config)
    password = _password(options, email)
    with _acting(config, options, email) as (store, by):
        create_account(store, email=email, password=password, scope=options.scope, roles=_roles(options), by=by)
        _say(f"{email}: {_rights(options.scope, _roles(options))}")
    return 0


def _set_password(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    email = load_email(options.email)
    password = _password(options, email)
    with _acting(config, options, email) as (store, by):
        set_password(store, email=email, password=password, by=by)
        _say(f"{email}: another password, no sessions")
    return 0


def _list_accounts(options: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    with _open_store(load_config(options.config)) as store:
        for row in store.list_accounts():
            parts = [f"{row.email}: {_rights(row.scope, row.roles)}, created {_time(row.created_at)}"]
            if row.disabled_at is not None:
                parts.append(f"disabled {_time(row.disabled_at)}")
            if row.locked_until is not None and row.locked_until > now:
                parts.append(f"locked until {_time(row.locked_until)} after {row.failures} failed log-ins")
            _say(", ".join(parts))
    return 0


def _disable_account(options: argparse.Namespace) -> int:
    email = load_email(options.email)
    with _acting(load_config(options.config), options, email) as (store, by):
        store.disable_account(email, by=by)
        _say(f"{email}: disabled, no sessions")
    return 0


def _enable_account(options: argparse.Namespace) -> int:
    email = load_email(options.email)
    with _acting(load_config(options.config), options, email) as (store, by):
        store.enable_account(email, by=by)
        _say(f"{email}: enabled")
    return 0


@contextmanager
def _acting(config: EngineConfig, options: argparse.Namespace, target: str) -> Iterator[tuple[Store, Caller]]:
    """The store, and who acts on `target`; what is refused in the block is told."""
    with _open_store(config) as store, telling_refusals(store, operator(target), options.called) as by:
        yield store, by


def _open_store(config: EngineConfig) -> Store:
    return Store.open(config.store.url, store_password(config.store))


def _check_scope(scope: str, config: EngineConfig) -> None:
    """A misspelt scope would be noticed only when the credential opens nothing, or what is declared next."""
    check_path(scope)
    organization = scope.partition(".")[0]
    if organization not in config.organizations:
        declared = ", ".join(config.organizations) or "none"
        raise ConfigError(
            f"Expected --scope in an organization that the configuration declares ({declared}), found {organization!r}."
        )


def _roles(options: argparse.Namespace) -> list[str]:
    """Each once, in the order of the table."""
    asked = options.role or [_DEFAULT_ROLE]
    return [role for role in ROLES if role in asked]


def _rights(scope: str, roles: Sequence[str]) -> str:
    return f"scope {scope}, {'role' if len(roles) == 1 else 'roles'} {' '.join(roles)}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _password(options: argparse.Namespace, email: str) -> str:
    if options.password_file is None:
        return _typed(email)
    if options.password_file == "-":  # noqa: S105 (the name of standard input)
        return _line(sys.stdin.buffer.read(_READ), "Standard input")
    return _line(
        read_secret_file(options.password_file, "password", _READ), f"The password file {options.password_file}"
    )


def _typed(email: str) -> str:
    """Typed twice on this process' terminal, without echo."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        raise ConfigError(
            f"The password of {email} is to be typed, but there is no terminal; name a file, or - for standard input, "
            "with --password-file."
        ) from None
    try:
        password = getpass.getpass(f"Password of {email}: ")
        again = getpass.getpass("The same again: ")
        password.encode()
    except (EOFError, KeyboardInterrupt, UnicodeError):
        raise ConfigError(f"The password of {email} was not typed.") from None
    if password != again:
        raise ConfigError("Expected the same password twice, found two that differ.")
    return password


def _line(octets: bytes, what: str) -> str:
    if len(octets) == _READ:
        raise ConfigError(f"{what} must hold a password of at most {LONGEST_PASSWORD} characters.")
    try:
        text = octets.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{what} must hold a password in UTF-8.") from None
    if any(character < " " for character in text):
        raise ConfigError(f"{what} must hold a password on one line, without control characters.")
    return text
