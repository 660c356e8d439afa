"""The first start: a data folder with a SoftHSM token, a configuration, keys, CA certificates and an API key.

Every step looks before it makes, so that a folder left by a start that was cut short is completed, and a complete
one is left as it is.
"""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from engine.app import Engine, open_engine
from engine.config import load_config
from engine.directory import HostedKey, Kms, SelfSigned, X509Service
from engine.directory.credentials import create_api_key, find_credential
from engine.directory.descriptors import KeySource
from engine.errors import ConfigError, NotFound
from engine.issuance import Caller
from engine.profiles.orders import GenericOrder, IacaOrder, IssuerAlternativeNameOrder, SubjectName
from engine.store import Operator
from engine.store.address import load_address
from engine.whereabouts import local_source

TRIAL_LABEL = "engine-trial"
KMS_PATH = "test.tenant1.kms1"
STORE_PATH = "test.tenant1.x509-store-1"
SERVICE_PATH = "test.tenant1.x509-service-1"
AUDIT_KMS_PATH, AUDIT_KEY = "engine.audit.kms", "checkpoints"
LEAF_KEY, IACA_KEY, CA_KEY = "leaf-secp256r1", "iaca-secp256r1", "ca-secp256r1"
RECIPE = Path(__file__).resolve().parents[2] / "softhsm" / "create-token"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
DATABASE = "sqlite:///engine.db"
CONFIGURATION = f"""\
# Configuration of the signing engine. Relative paths mean "beside this file". Unknown keys are refused.

[server]
host = "127.0.0.1"      # address to listen on
port = 8080
workers = 1             # processes that serve side by side; each has its own sessions, threads and queue
# threads = 8           # requests worked on at once; without this line as many as the tokens have sessions
queue = 512             # requests that may wait for a thread; one more is answered 503
request-seconds = 15.0  # how long a request may take before it is answered 503, whatever the token does
# trusted-proxies = ["10.0.0.0/8"]  # proxies whose X-Forwarded-For says where a request came from
# base-domain = "example.com"   # organizations with host-aliases are served under it, and {{organization}}.example.com

[store]
url = @DATABASE@

# One table per PKCS#11 token. The PIN is only ever named, never written here.
[tokens.trial]
module = "@MODULE@"     # the vendor's PKCS#11 library
uri = "pkcs11:token={TRIAL_LABEL}"                      # RFC 7512: token and/or serial
pin = {{ file = "softhsm/pin" }}                          # or {{ environment = "NAME" }}
sessions = 8            # most PKCS#11 sessions to open; the token sees as many of each worker
wait-seconds = 5.0      # how long a request waits for a free session before it is answered 503
sign-seconds = 10.0     # how long one signature may take before the worker process is replaced
keep-alive-seconds = 60.0   # no session is left idle for longer without asking the token for its state; 0: never ask
# Variables the module reads when it is loaded; a value that begins with ./ is a path beside this file.
environment = {{ SOFTHSM2_CONF = "./softhsm/softhsm2.conf" }}
# initialize-arguments = ""   # only for modules that want a string in C_Initialize (NSS softokn)

# An organization and its tenants. Callers of the API can create more tenants, and services in them.
[organizations.test]
tenants = ["tenant1"]
# host-aliases = ["engine.example.com"]   # the only hosts its paths are served under; without this line any host

# What services created over the API may do; the same switches as on the services below.
[organizations.test.created-services]
tokens = ["trial"]      # a KMS has its keys on one of these, the first unless it names one; []: no KMS is created
allow-adopt = true
allow-import = true
allow-delete-in-use = false
allow-jwk-signing-keys = true   # on the first of the tokens
require-custody = false
custody-minutes = 60

# A KMS: the keys under its path live on its token.
[services."{KMS_PATH}"]
type = "kms"
token = "trial"
allow-adopt = true      # a caller may bind a key that is on the token already; `keys adopt` can always
allow-import = true     # a caller may bring a private JWK, which becomes a key of the token; never proof of custody
allow-delete-in-use = false     # a caller may destroy a key that a certificate authority uses

# A certificate store.
[services."{STORE_PATH}"]
type = "x509-store"

# An X.509 service: the KMS it may sign with, the stores it writes to.
[services."{SERVICE_PATH}"]
type = "x509-service"
kms = ["{KMS_PATH}"]
stores = ["{STORE_PATH}"]
allow-jwk-signing-keys = true   # a request may bring a private JWK; it becomes a session object of jwk-token
jwk-token = "trial"
require-custody = false # sign only with keys whose custody record shows them made on the token and unable to leave it
custody-minutes = 60    # how old that examination may be; 0 examines the key before every signature

# The engine's own organization, which no other's credentials see. Its one key signs checkpoints of the audit trail.
[organizations.engine]
tenants = ["audit"]

[services."{AUDIT_KMS_PATH}"]
type = "kms"
token = "trial"

# Every event is in a chain of hashes; a signed checkpoint every now and then holds all chains together.
[audit]
key = "{AUDIT_KMS_PATH}.{AUDIT_KEY}"    # signs checkpoints and nothing else; without this line there are none
events = 1000           # so many events make a checkpoint due,
seconds = 60.0          # and so does one event that is so old
longest-seconds = 600.0 # how long an event may wait for its checkpoint; after that nothing is signed until it has one
# Each checkpoint is told to a witness, best out of reach of who can change the database: a cut end shows by it.
witness = {{ file = "audit-witness.jsonl" }}      # or {{ url = "https://witness.example.com/checkpoints" }}

[accounts]
session-hours = 12.0    # how long the session lasts that a person's log-in opens

[policy]
blocked-keys = []       # SHA-256 of SubjectPublicKeyInfo, hex: keys that never get a certificate
iaca-requires-state = false     # AAMVA: an IACA must name its stateOrProvinceName
"""


def create(folder: Path, database: str | None = None) -> Path:
    """Complete the data folder and return the path of its `engine.toml`. Raises ConfigError, TokenError, StoreError.

    `database` is the URL of the database of a new folder, instead of a SQLite file in it; a folder that has a database
    keeps it.
    """
    if database is not None:
        load_address(database)
    folder = folder.resolve()
    config_path = folder / "engine.toml"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(
                f"The data folder {folder} cannot be written by this user; start as its owner or name another: --data."
            )
        _create_token(folder / "softhsm")
        if not config_path.exists():
            url = json.dumps(DATABASE if database is None else database, ensure_ascii=False)
            _write(config_path, CONFIGURATION.replace("@MODULE@", find_module()).replace("@DATABASE@", url))
        elif database is not None and load_config(config_path).store.url != database:
            raise ConfigError(
                f"{config_path} names another database already; change store.url there, or take another data folder."
            )
    except OSError as error:
        raise ConfigError(f"The data folder {folder} cannot be written: {error.strerror}: {error.filename}.") from error
    with open_engine(config_path) as engine:
        _create_audit_key(engine)
        _create_keys(engine)
        _create_certificates(engine)
        _create_api_key(engine, folder / "api-key")
    return config_path


def find_module() -> str:
    """The SoftHSM module of this machine. Raises ConfigError if there is none."""
    for module in MODULES:
        if Path(module).exists():
            return module
    raise ConfigError("The SoftHSM module was not found; install it: apt-get install softhsm2")


def _create_token(folder: Path) -> None:
    if not RECIPE.exists():
        raise ConfigError(f"The token recipe {RECIPE} is missing; run the trial from a checkout of the project.")
    result = subprocess.run([RECIPE, folder, TRIAL_LABEL], capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        raise ConfigError((result.stderr or result.stdout).strip() or f"{RECIPE} failed.")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    scratch = path.with_name(f"{path.name}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)


def _create_keys(engine: Engine) -> None:
    kms = engine.directory.find_kms(KMS_PATH)
    for key_id in (LEAF_KEY, IACA_KEY, CA_KEY):
        if not _exists(kms, key_id):
            kms.generate_key(key_id, "secp256r1", _caller(kms.key_path(key_id)))


def _create_audit_key(engine: Engine) -> None:
    """Where the configuration is one that the first start has written."""
    path = f"{AUDIT_KMS_PATH}.{AUDIT_KEY}"
    kms = engine.directory.kms.get(AUDIT_KMS_PATH)
    if kms is not None and engine.config.audit.key == path and not _exists(kms, AUDIT_KEY):
        kms.generate_key(AUDIT_KEY, "secp256r1", _caller(path))


def _exists(kms: Kms, key_id: str) -> bool:
    try:
        kms.find_key(kms.key_path(key_id))
    except NotFound:
        return False
    return True


def _caller(target: str) -> Caller:
    return Caller(
        credential_id="quickstart",
        target=target,
        request_id="quickstart",
        request_digest="",
        source=local_source(),
    )


def _create_certificates(engine: Engine) -> None:
    service = engine.directory.x509_service(SERVICE_PATH)
    caller = _caller(SERVICE_PATH)
    if not _stored(engine, IACA_KEY):
        service.issue_iaca(
            IacaOrder(
                country="US",
                common_name="Example IACA",
                issuer_alternative_name=IssuerAlternativeNameOrder(uri="https://iaca.example.com"),
                not_before=datetime(2025, 5, 28, 12, 23, 1, tzinfo=UTC),
                not_after=datetime(2040, 5, 24, 12, 23, 1, tzinfo=UTC),
            ),
            HostedKey(f"{KMS_PATH}.{IACA_KEY}"),
            IACA_KEY,
            None,
            caller,
        )
    if not _stored(engine, CA_KEY):
        _issue_ca(service, caller)


def _issue_ca(service: X509Service, caller: Caller) -> None:
    service.issue_certificate(
        GenericOrder(
            subject_name=SubjectName(common_name="Example CA", country="US"),
            key_usage=("keyCertSign", "cRLSign"),
            not_before=datetime(2025, 5, 28, 12, 23, 1, tzinfo=UTC),
            not_after=datetime(2040, 5, 24, 12, 23, 1, tzinfo=UTC),
            is_certificate_authority=True,
            path_length_constraint=0,
        ),
        KeySource(HostedKey(f"{KMS_PATH}.{CA_KEY}")),
        SelfSigned(),
        CA_KEY,
        caller,
    )


def _stored(engine: Engine, entry_id: str) -> bool:
    try:
        engine.store.find_entry(f"{STORE_PATH}.{entry_id}")
    except NotFound:
        return False
    return True


def _create_api_key(engine: Engine, path: Path) -> None:
    """An API key for the organization; a file whose key the store does not know is replaced."""
    if path.exists() and find_credential(engine.store, path.read_text(encoding="utf-8").strip()) is not None:
        return
    secret = create_api_key(
        engine.store,
        credential_id=f"quickstart-{os.urandom(4).hex()}",
        scope="test",
        roles=["administrator"],
        by=Operator("quickstart", local_source()),
    )
    _write(path, f"{secret}\n", 0o600)
