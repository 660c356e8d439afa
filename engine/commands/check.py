"""`signing-engine check`: open everything, print what would be served, and stop."""

import argparse
from pathlib import Path

from engine.app import open_engine
from engine.auditing import check_audit_key
from engine.commands.audit_lines import audit_lines
from engine.commands.operator import operator
from engine.commands.serve import say
from engine.directory import Directory, Resource


def add_check(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    with open_engine(options.config) as engine:
        for name, token in engine.tokens.items():
            say(f"token {name}: {token.state()}")
        for resource in engine.directory.list_everything():
            _say_checked(engine.directory, resource)
        for setting in engine.store.list_risks():
            say(f"store: WARNING: {setting} is off at its server, so what was recorded may be lost when that ends")
        say(*audit_lines(engine.config.audit))
        check_audit_key(engine.config.audit, engine.store)
    return 0


def _say_checked(directory: Directory, resource: Resource) -> None:
    """What is served at a path; the keys of a KMS are examined."""
    path, how = resource.path, "" if resource.is_declared else ", created over the API"
    if resource.type == "kms":
        kms = directory.find_kms(path)
        say(f"kms {path} on token {kms.token_name}{how}")
        for row in kms.list_keys():
            kms.check_custody(row.path, operator(row.path))
            say(f"  key {row.path}: {row.key_type}, {row.origin}, SPKI SHA-256 {row.spki_sha256}")
    elif resource.type == "x509-service":
        service = directory.x509_service(path)
        say(f"x509-service {path}: kms {', '.join(service.kms)}; stores {', '.join(service.stores)}{how}")
    elif resource.type == "x509-store" or not resource.is_declared:
        say(f"{resource.type} {path}{how}")
