"""The configuration file: TOML read into frozen dataclasses, strict about every key.

An unknown key, a missing one or a wrong value is a ConfigError that names the dotted path. Relative paths in the
file mean "beside the file", so that a data folder can be moved. Nothing is opened here; `app` does that.
"""

import hashlib
import json
import re
import tomllib
from dataclasses import field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic.dataclasses import dataclass

from engine.errors import ConfigError
from engine.host import load_host

_STRICT = ConfigDict(
    extra="forbid",
    alias_generator=lambda name: name.replace("_", "-"),
    populate_by_name=False,
    hide_input_in_errors=True,
)

_MOST_THREADS = 256
_ID = r"[A-Za-z0-9_-]{1,256}"
OrganizationId = Annotated[str, Field(pattern=rf"^{_ID}$")]
ServicePath = Annotated[str, Field(pattern=rf"^{_ID}\.{_ID}\.{_ID}$")]
KeyPath = Annotated[str, Field(pattern=rf"^{_ID}\.{_ID}\.{_ID}\.{_ID}$")]
HostName = Annotated[str, AfterValidator(load_host)]
TokenName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _folder(info: ValidationInfo) -> Path:
    folder = (info.context or {})["folder"]
    if not isinstance(folder, Path):
        raise TypeError("The folder of the configuration file must be a Path.")
    return folder


def _beside_file(value: str, info: ValidationInfo) -> str:
    """A path; a relative one is taken to be beside the configuration file."""
    return str(_folder(info) / value)


def _variable(value: str, info: ValidationInfo) -> str:
    return str(_folder(info) / value[2:]) if value.startswith("./") else value


def _database_url(value: str, info: ValidationInfo) -> str:
    relative = re.fullmatch(r"sqlite:///(?!/)(.+)", value)
    return f"sqlite:///{_folder(info) / relative[1]}" if relative else value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("expected http://HOST/PATH or https://HOST/PATH")
    _ = parts.port  # a ValueError if it is none
    return value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError("expected an IP address, or a network such as 10.1.0.0/16") from None


Network = Annotated[str, AfterValidator(_network)]
FilePath = Annotated[str, AfterValidator(_beside_file)]
Argument = Annotated[str, Field(pattern=r"^[^\x00]*$"), AfterValidator(_variable)]
CustodyMinutes = Annotated[StrictInt, Field(ge=0, le=10_080)]
SpkiSha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=_STRICT)
class ServerConfig:
    """Where the JSON API listens and how much it takes on at once."""

    host: str = "127.0.0.1"
    port: Annotated[StrictInt, Field(ge=0, le=65535)] = 8080
    workers: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    """Processes that serve side by side on the one socket, each with token sessions, threads and a queue of its own."""
    threads: Annotated[StrictInt, Field(ge=1, le=_MOST_THREADS)] | None = None
    """Threads that walk the issuing corridor; as many as the tokens have sessions if it is not set."""
    queue: Annotated[StrictInt, Field(ge=1, le=100_000)] = 512
    """Requests that may wait for a thread; one more is answered 503."""
    request_seconds: Annotated[StrictFloat, Field(gt=0, le=600)] = 15.0
    """How long a request may take; after that it is answered 503, whatever the token does."""
    base_domain: HostName | None = None
    """The domain that organizations with host aliases are served under as well: it, and {organization}.{domain}."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of proxies that are believed when they say where a request came from (X-Forwarded-For)."""


@dataclass(frozen=True, config=_STRICT)
class SecretConfig:
    """Where a secret is found: exactly one of these. Never the secret itself."""

    file: FilePath | None = None
    """A file that only its owner may read."""
    environment: str | None = None
    """The name of a variable."""
    command: Annotated[tuple[Argument, ...], Field(min_length=1)] | None = None
    """A program and its arguments, run without a shell; it prints the secret on one line."""
    credential: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.@-]{0,254}$")] | None = None
    """The name of a systemd credential."""

    def sources(self) -> tuple[str, ...]:
        """Which of them are named."""
        return tuple(source.name for source in fields(self) if getattr(self, source.name) is not None)

    def fault(self) -> str | None:
        """What is wrong with their number."""
        named = self.sources()
        if len(named) == 1:
            return None
        expected = ", ".join(source.name for source in fields(self))
        return f"expected exactly one of {expected}, found {' and '.join(named) or 'none'}."


@dataclass(frozen=True, config=_STRICT)
class StoreConfig:
    """The database: `sqlite:///PATH`, relative to the configuration file, or `postgresql://user@host:port/name`."""

    url: Annotated[str, AfterValidator(_database_url)]
    password: SecretConfig | None = None
    """Of a PostgreSQL user. Without it libpq looks where it always does, PGPASSWORD or ~/.pgpass for instance."""


@dataclass(frozen=True, config=_STRICT)
class PinConfig(SecretConfig):
    """Where the user PIN is found."""

    prompt: Literal[True] | None = None
    """Asked for on the terminal, once."""


@dataclass(frozen=True, config=_STRICT)
class TokenConfig:
    """One PKCS#11 token."""

    module: str
    """The PKCS#11 library, an absolute path."""
    uri: str
    """RFC 7512, e.g. `pkcs11:token=production;serial=1234`."""
    pin: PinConfig
    sessions: Annotated[StrictInt, Field(ge=1, le=1024)] = 8
    environment: dict[str, Annotated[str, AfterValidator(_variable)]] = field(default_factory=dict)
    """Variables the module reads when it is loaded; a value that begins with `./` is a path beside the file."""
    initialize_arguments: str | None = None
    """What the module wants in CK_C_INITIALIZE_ARGS.pReserved (NSS softokn does)."""
    wait_seconds: Annotated[StrictFloat, Field(gt=0, le=300)] = 5.0
    sign_seconds: Annotated[StrictFloat, Field(gt=0, le=300)] = 10.0
    keep_alive_seconds: Annotated[StrictFloat, Field(ge=0, le=86400)] = 60.0
    """Sessions idle for longer are asked for their state; 0: they are not."""


@dataclass(frozen=True, config=_STRICT)
class CreatedServicesConfig:
    """What services may do that are created over the API, each switch as on a declared service."""

    tokens: tuple[TokenName, ...] = ()
    """Where created KMS have their keys; the first unless a caller names another. Without any, no KMS is created."""
    allow_adopt: StrictBool = False
    allow_import: StrictBool = False
    allow_delete_in_use: StrictBool = False
    allow_jwk_signing_keys: StrictBool = False
    """Whether a request may bring a private JWK, which is used once as a session object of the first of the tokens."""
    require_custody: StrictBool = False
    custody_minutes: CustodyMinutes = 60


@dataclass(frozen=True, config=_STRICT)
class OrganizationConfig:
    """An organization, the first id of every path."""

    tenants: tuple[OrganizationId, ...] = ()
    host_aliases: tuple[HostName, ...] = ()
    """Hosts that its paths are served under; any host if there are none."""
    created_services: CreatedServicesConfig = field(default_factory=CreatedServicesConfig)


@dataclass(frozen=True, config=_STRICT)
class KmsConfig:
    """A KMS service: key ids under its path are keys on its token."""

    type: Literal["kms"]
    token: TokenName
    allow_adopt: StrictBool = False
    """Whether a caller of the API may bind a key that is on the token already; the operator always may."""
    allow_import: StrictBool = False
    """Whether a caller of the API may bring a private JWK, which becomes a key of the token."""
    allow_delete_in_use: StrictBool = False
    """Whether a caller of the API may destroy a key that a certificate authority uses."""


@dataclass(frozen=True, config=_STRICT)
class X509StoreConfig:
    """A certificate store service."""

    type: Literal["x509-store"]


@dataclass(frozen=True, config=_STRICT)
class X509ServiceConfig:
    """An X.509 service: what it may sign with and where it keeps what it signed."""

    type: Literal["x509-service"]
    kms: tuple[ServicePath, ...] = ()
    stores: tuple[ServicePath, ...] = ()
    allow_jwk_signing_keys: StrictBool = False
    """Whether a request may bring a private JWK, which is used once as a session object of `jwk-token`."""
    jwk_token: TokenName | None = None
    require_custody: StrictBool = False
    """Whether only keys may sign whose custody record shows that they were made on their token and cannot leave it."""
    custody_minutes: CustodyMinutes = 60
    """How old the examination of such a key may be; 0 examines it before every signature."""


ServiceConfig = Annotated[KmsConfig | X509StoreConfig | X509ServiceConfig, Field(discriminator="type")]


@dataclass(frozen=True, config=_STRICT)
class AccountsConfig:
    """How people log in."""

    session_hours: Annotated[StrictFloat, Field(gt=0, le=720)] = 12.0
    """How long a session lasts after its log-in."""


@dataclass(frozen=True, config=_STRICT)
class PolicyConfig:
    """What is refused everywhere."""

    blocked_keys: tuple[SpkiSha256, ...] = ()
    """SHA-256 of SubjectPublicKeyInfo, lower-case hex: keys that never get a certificate."""
    iaca_requires_state: StrictBool = False
    """Whether an IACA must name its stateOrProvinceName, as AAMVA's mDL guidelines ask of issuing states."""


@dataclass(frozen=True, config=_STRICT)
class WitnessConfig:
    """Where checkpoints of the audit trail are told of: exactly one of these."""

    file: FilePath | None = None
    """A line is put at its end for each."""
    url: Annotated[str, AfterValidator(_http_url)] | None = None
    """Each is sent there with POST; an answer of 2xx says that it was kept."""

    def fault(self) -> str | None:
        """What is wrong with their number."""
        if (self.file is None) != (self.url is None):
            return None
        return f"expected exactly one of file, url, found {'none' if self.file is None else 'both'}."


@dataclass(frozen=True, config=_STRICT)
class AuditConfig:
    """Checkpoints of the audit trail."""

    key: KeyPath | None = None
    """The key that signs them and nothing else; without it there are none."""
    events: Annotated[StrictInt, Field(ge=1, le=20_000)] = 1000
    """So many events make a checkpoint due."""
    seconds: Annotated[StrictFloat, Field(gt=0, le=86_400)] = 60.0
    """So does an event that is so old."""
    longest_seconds: Annotated[StrictFloat, Field(gt=0, le=604_800)] = 600.0
    """How long an event may wait for its checkpoint; after that nothing is signed until it has one."""
    witness: WitnessConfig | None = None

    def fault(self) -> str | None:
        """What is wrong with how they fit each other."""
        if self.longest_seconds <= self.seconds:
            return f"longest-seconds: expected more than seconds, {self.seconds:g}, found {self.longest_seconds:g}."
        fault = None if self.witness is None else self.witness.fault()
        return None if fault is None else f"witness: {fault}"


@dataclass(frozen=True, config=_STRICT)
class EngineConfig:
    """The whole file."""

    store: StoreConfig
    tokens: dict[TokenName, TokenConfig]
    organizations: dict[OrganizationId, OrganizationConfig]
    services: dict[ServicePath, ServiceConfig] = field(default_factory=dict)
    server: ServerConfig = field(default_factory=ServerConfig)
    accounts: AccountsConfig = field(default_factory=AccountsConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)

    def typed_pins(self) -> tuple[str, ...]:
        """The tokens whose PIN a person types."""
        return tuple(name for name, token in self.tokens.items() if token.pin.prompt)

    def threads(self) -> int:
        """How many requests are worked on at once."""
        sessions = sum(token.sessions for token in self.tokens.values())
        return self.server.threads or max(1, min(_MOST_THREADS, sessions))


_ADAPTER = TypeAdapter(EngineConfig)
_POLICY = {"policy", "organizations", "services", "accounts", "audit"}
_WORDS = {"unexpected_keyword_argument": "unknown key", "missing_argument": "missing", "missing": "missing"}


def load_config(path: Path) -> EngineConfig:
    """Read and check the configuration file at `path`. Raises ConfigError, one sentence per fault in `details`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} is not TOML: {error}.") from error
    try:
        config = _ADAPTER.validate_python(document, context={"folder": path.resolve().parent})
    except ValidationError as error:
        faults = [
            f"{_dotted(item['loc'])}: {_WORDS.get(item['type'], item['msg'].removeprefix('Value error, '))}."
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError(f"The configuration file {path} is not valid: {faults[0]}", details=faults) from None
    faults = _reference_faults(config)
    if faults:
        raise ConfigError(f"The configuration file {path} is not valid: {faults[0]}", details=faults)
    return config


def configuration_sha256(path: Path) -> str:
    """SHA-256 of the file as it is, lower-case hex. Raises ConfigError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from error


def policy_of(config: EngineConfig) -> str:
    """What the file says of who may do what, with which keys, and who is believed, however it is written: all but where
    things are and how much of them there is. Canonical JSON without a secret."""
    policy = _ADAPTER.dump_python(config, mode="json", include=_POLICY, by_alias=True)
    # A PIN may be said to be in a file by the query of the token's URI, and the witness' may let in whoever has it.
    policy["tokens"] = {
        name: {"module": token.module, "uri": token.uri.partition("?")[0]} for name, token in config.tokens.items()
    }
    policy["server"] = {"trusted-proxies": list(config.server.trusted_proxies)}
    witness = config.audit.witness
    if witness is not None and witness.url is not None:
        bare, _, query = witness.url.partition("?")
        policy["audit"]["witness"]["url"] = f"{bare}?{hashlib.sha256(query.encode()).hexdigest()}" if query else bare
    return json.dumps(policy, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def policy_sha256(config: EngineConfig) -> str:
    """SHA-256 of that, lower-case hex."""
    return hashlib.sha256(policy_of(config).encode()).hexdigest()


def _dotted(location: tuple[int | str, ...]) -> str:
    # The validator puts the type of a service after its path.
    parts = [str(part) for index, part in enumerate(location) if (location[0], index) != ("services", 2)]
    return ".".join(f'"{part}"' if "." in part else part for part in parts)


def _reference_faults(config: EngineConfig) -> list[str]:
    """What one part of the file says of another and is not so."""
    faults: list[str] = []
    if config.store.password is not None and (fault := config.store.password.fault()):
        faults.append(f"store.password: {fault}")
    if fault := config.audit.fault():
        faults.append(f"audit.{fault}")
    key = config.audit.key
    if key is not None and not isinstance(config.services.get(key.rpartition(".")[0]), KmsConfig):
        faults.append(f"audit.key: {key.rpartition('.')[0]} is not declared as a KMS.")
    for name, token in config.tokens.items():
        if fault := token.pin.fault():
            faults.append(f"tokens.{name}.pin: {fault}")
        if not token.module.startswith("/"):
            faults.append(f"tokens.{name}.module: expected an absolute path, found {token.module!r}.")
    for name, organization_config in config.organizations.items():
        created = organization_config.created_services
        faults.extend(
            f"organizations.{name}.created-services.tokens: no token {token!r} is declared."
            for token in created.tokens
            if token not in config.tokens
        )
        if created.allow_jwk_signing_keys and not created.tokens:
            faults.append(
                f"organizations.{name}.created-services.tokens: expected a declared token, since JWK keys are allowed."
            )
    for path, service in config.services.items():
        organization, tenant, _ = path.split(".")
        known = config.organizations.get(organization)
        if known is None:
            faults.append(f'services."{path}": no organization {organization!r} is declared.')
        elif tenant not in known.tenants:
            faults.append(f'services."{path}": organization {organization!r} declares no tenant {tenant!r}.')
        if isinstance(service, KmsConfig) and service.token not in config.tokens:
            faults.append(f'services."{path}".token: no token {service.token!r} is declared.')
        if isinstance(service, X509ServiceConfig):
            for member, paths, kind in (
                ("kms", service.kms, KmsConfig),
                ("stores", service.stores, X509StoreConfig),
            ):
                faults.extend(
                    f'services."{path}".{member}: {other} is not declared as such a service.'
                    for other in paths
                    if not isinstance(config.services.get(other), kind)
                )
            if service.allow_jwk_signing_keys and service.jwk_token not in config.tokens:
                faults.append(f'services."{path}".jwk-token: expected a declared token, since JWK keys are allowed.')
    return faults
