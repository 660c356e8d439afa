"""Composition root: a configuration file becomes opened tokens, an opened store and an ASGI application.

The only file that knows every room.
"""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from starlette.applications import Starlette

from engine.api import build_application
from engine.audit.keeper import CheckpointKeeper
from engine.auditing import build_guard, build_keeper, check_audit_key
from engine.config import (
    EngineConfig,
    KmsConfig,
    OrganizationConfig,
    SecretConfig,
    StoreConfig,
    TokenConfig,
    X509ServiceConfig,
    X509StoreConfig,
    configuration_sha256,
    load_config,
    policy_of,
    policy_sha256,
)
from engine.directory import Directory, Kms, X509Service, X509Store
from engine.directory.accounts import Accounts
from engine.directory.audit_guard import AuditGuard
from engine.directory.created import CreatedServices
from engine.directory.custody import CustodyWatch
from engine.directory.directory import Threads
from engine.directory.evidence import EvidenceRoom
from engine.directory.organizations import CreatedServicePolicy, Organization
from engine.directory.refusals import Refusals
from engine.errors import ConfigError, StoreError, TokenLoginRefused
from engine.issuance import Corridor, utc_now
from engine.pin import CommandPin, CredentialPin, EnvironmentPin, FilePin, HeldPin, Pin, PinSource, ask_pins
from engine.store import ENGINE, Store
from engine.store.chain import FAILURE, SUCCESS, Detail
from engine.store.sweeping import close_dangling_intents
from engine.token import Token, TokenSettings
from engine.token_trail import TokenTrail
from engine.whereabouts import local_source, machine_name

_LOG = logging.getLogger(__name__)

SERVE = "serve"
"""The purpose of an engine that answers requests."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything that is open. Use as a context manager, or call `close`."""

    config: EngineConfig
    application: Starlette
    directory: Directory
    tokens: Mapping[str, Token]
    store: Store
    checkpoints: CheckpointKeeper | None
    """What makes checkpoints of the audit trail, once it is started."""
    _opened: ExitStack = field(repr=False)

    def close(self) -> None:
        """Close threads, tokens and store, in this order."""
        self._opened.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_engine(
    config_path: Path,
    pins: Mapping[str, Pin] | None = None,
    *,
    tokens_may_be_away: bool = False,
    purpose: str = "command",
) -> Engine:
    """Open what the configuration file at `config_path` declares. Raises ConfigError, TokenError or StoreError.

    `pins` are those that were typed already; None: they are asked for now. With `tokens_may_be_away` no token is waited
    for: each is served when it comes, and says meanwhile why it is away. `purpose` is a word for the audit trail; for
    SERVE the audit key has to be there, if one is configured.
    """
    config = load_config(config_path)
    if pins is None:
        pins = ask_pins(config.typed_pins())
    for name in config.typed_pins():
        if name not in pins:
            raise ConfigError(f"tokens.{name}.pin: a PIN is asked for when the server starts; start it anew.")
    with ExitStack() as opening:
        store = Store.open(config.store.url, store_password(config.store))
        opening.callback(store.close)
        store.record_start(
            version=version("hsm-signing-engine"),
            configuration_sha256=configuration_sha256(config_path),
            policy=policy_of(config),
            purpose=purpose,
            host=machine_name(),
            source=local_source(),
        )
        opening.push(_stopping(store, purpose))
        if purpose == SERVE:
            check_audit_key(config.audit, store)
        refusals = Refusals(store)
        opening.callback(_tell_refusals, refusals)
        close_dangling_intents(store)
        trail = TokenTrail(store)
        tokens: dict[str, Token] = {}
        for name, token_config in config.tokens.items():
            settings = token_settings(name, token_config, pins.get(name))
            with _telling_refused_logins(store, name, purpose):
                tokens[name] = Token.open(settings, may_be_away=tokens_may_be_away, recorder=trail)
            opening.callback(tokens[name].close)
        threads = Threads(config.threads(), config.server.queue, config.server.request_seconds)
        opening.callback(threads.close)
        accounts = Accounts(store, session_hours=config.accounts.session_hours, refusals=refusals)
        opening.callback(accounts.close)
        guard = build_guard(config.audit, store)
        directory, checkpoints = _build_directory(config, store, tokens, accounts, refusals, threads, guard)
        return Engine(
            config=config,
            application=build_application(directory, request_seconds=config.server.request_seconds),
            directory=directory,
            tokens=tokens,
            store=store,
            checkpoints=checkpoints,
            _opened=opening.pop_all(),
        )


def _stopping(store: Store, purpose: str) -> Callable[..., None]:
    """For an ExitStack: tells that this process ends, and why, if it does before it is open."""

    def stop(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        record_stop(store, purpose, None if kind is None else kind.__name__)

    return stop


@contextmanager
def _telling_refused_logins(store: Store, token: str, purpose: str) -> Iterator[None]:
    try:
        yield
    except TokenLoginRefused as error:
        # What follows the token's name is why, with the code if the token was asked.
        why = error.message.rpartition(": ")[2].removesuffix(".")
        told = {"token": token, "reason": why, "purpose": purpose}
        store.record_event("token-login-refused", ENGINE, token, told, outcome=FAILURE)
        raise


def record_stop(store: Store, purpose: str, reason: str | None = None) -> None:
    """Tell the audit trail that this process ends; `reason` is a few words, or an error, if it ends before its time.

    A database that does not take it shows as a start without a stop.
    """
    told: dict[str, Detail | None] = {"purpose": purpose, "processId": os.getpid(), "reason": reason}
    try:
        store.record_event("engine-stopped", ENGINE, "", told, outcome=FAILURE if reason else SUCCESS)
    except StoreError as error:
        _LOG.error("The stop of the engine was not told to the audit trail: %s", error.message)


def _tell_refusals(refusals: Refusals) -> None:
    try:
        refusals.tell_counted(is_over=True)
    except StoreError as error:
        _LOG.error("Refusals were not told to the audit trail: %s", error.message)


def store_password(config: StoreConfig) -> Pin | None:
    """The password of the database, where the configuration says that there is one. Raises ConfigError."""
    source = None if config.password is None else _secret_source(config.password, "password")
    return None if source is None else source.load_pin()


def _secret_source(named: SecretConfig, called: str) -> PinSource | None:
    """`called` is what messages call it."""
    if named.file is not None:
        return FilePin(named.file, called=called)
    if named.environment is not None:
        return EnvironmentPin(named.environment, called=called)
    if named.command is not None:
        return CommandPin(named.command, called=called)
    if named.credential is not None:
        return CredentialPin(named.credential, called=called)
    return None


def token_settings(name: str, config: TokenConfig, typed: Pin | None) -> TokenSettings:
    """How the token `name` is opened. `typed` is its PIN where the configuration says that it is typed."""
    return TokenSettings(
        name=name,
        module=config.module,
        uri=config.uri,
        pin=_secret_source(config.pin, "PIN") or (None if typed is None else HeldPin(typed)),
        sessions=config.sessions,
        environment=config.environment,
        wait_seconds=config.wait_seconds,
        sign_seconds=config.sign_seconds,
        keep_alive_seconds=config.keep_alive_seconds,
        initialize_arguments=config.initialize_arguments,
    )


def _build_directory(
    config: EngineConfig,
    store: Store,
    tokens: Mapping[str, Token],
    accounts: Accounts,
    refusals: Refusals,
    threads: Threads,
    guard: AuditGuard,
) -> tuple[Directory, CheckpointKeeper | None]:
    corridor = Corridor(
        ledger=store,
        now=utc_now,
        random_bytes=secrets.token_bytes,
        blocked_keys=frozenset(config.policy.blocked_keys),
        iaca_requires_state=config.policy.iaca_requires_state,
        guard=guard,
        engine=version("hsm-signing-engine"),
        policy_sha256=policy_sha256(config),
    )
    organizations = {
        name: _organization(name, organization, config.server.base_domain)
        for name, organization in config.organizations.items()
    }
    watches = {name: CustodyWatch() for name in tokens}
    kms = {
        path: Kms(
            path=path,
            token_name=service.token,
            token=tokens[service.token],
            store=store,
            allow_adopt=service.allow_adopt,
            allow_import=service.allow_import,
            allow_delete_in_use=service.allow_delete_in_use,
            watch=watches[service.token],
            guard=guard,
        )
        for path, service in config.services.items()
        if isinstance(service, KmsConfig)
    }
    checkpoints = build_keeper(config.audit, guard, store, kms)
    evidence = EvidenceRoom(store, checkpoints)
    x509_services = {
        path: X509Service(
            path=path,
            kms={kms_path: kms[kms_path] for kms_path in service.kms},
            stores=service.stores,
            store=store,
            corridor=corridor,
            jwk_token=tokens[service.jwk_token] if service.allow_jwk_signing_keys and service.jwk_token else None,
            custody_minutes=service.custody_minutes if service.require_custody else None,
        )
        for path, service in config.services.items()
        if isinstance(service, X509ServiceConfig)
    }
    x509_stores = {
        path: X509Store(path=path, store=store, evidence=evidence)
        for path, service in config.services.items()
        if isinstance(service, X509StoreConfig)
    }
    created = CreatedServices(
        organizations=organizations,
        declared_kms=kms,
        declared_stores=x509_stores,
        tokens=tokens,
        watches=watches,
        store=store,
        corridor=corridor,
        evidence=evidence,
        guard=guard,
    )
    directory = Directory(
        organizations=organizations,
        kms=kms,
        x509_services=x509_services,
        x509_stores=x509_stores,
        created=created,
        tokens=tokens,
        store=store,
        accounts=accounts,
        refusals=refusals,
        threads=threads,
        guard=guard,
    )
    store.declare(directory.declared_types())
    return directory, checkpoints


def _organization(name: str, config: OrganizationConfig, base_domain: str | None) -> Organization:
    hosts = set(config.host_aliases)
    if hosts and base_domain is not None:
        hosts |= {base_domain, f"{name.lower()}.{base_domain}"}
    created = config.created_services
    return Organization(
        id=name,
        tenants=frozenset(f"{name}.{tenant}" for tenant in config.tenants),
        hosts=frozenset(hosts),
        created_services=CreatedServicePolicy(
            tokens=created.tokens,
            allow_adopt=created.allow_adopt,
            allow_import=created.allow_import,
            allow_delete_in_use=created.allow_delete_in_use,
            allow_jwk_signing_keys=created.allow_jwk_signing_keys,
            custody_minutes=created.custody_minutes if created.require_custody else None,
        ),
    )
