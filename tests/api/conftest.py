"""One engine for all tests of the API: a real SoftHSM token, a real store, the application called in process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pkcs11.constants import Attribute, MechanismFlag
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Session
from sqlalchemy import select

from engine.app import Engine, open_engine
from engine.directory.credentials import create_api_key
from engine.issuance import Caller
from engine.store.schema import intents
from engine.trial.quickstart import KMS_PATH, create
from tests.api.bodies import hosted
from tests.database import database_of_new_folder
from tests.in_process import InProcessClient

P256 = bytes.fromhex("06082a8648ce3d030107")
MORE_SERVICES = """
[organizations.other]
tenants = ["tenant1"]

[services."test.tenant1.kms2"]
type = "kms"
token = "trial"

[services."test.tenant1.x509-store-2"]
type = "x509-store"

# Two stores, and JWKs may not sign.
[services."test.tenant1.two-stores"]
type = "x509-service"
kms = ["test.tenant1.kms1"]
stores = ["test.tenant1.x509-store-1", "test.tenant1.x509-store-2"]

# No stores at all.
[services."test.tenant1.no-stores"]
type = "x509-service"
kms = ["test.tenant1.kms1"]

# Keys must have a good custody record, which a JWK never has.
[services."test.tenant1.custody"]
type = "x509-service"
kms = ["test.tenant1.kms1"]
allow-jwk-signing-keys = true
jwk-token = "trial"
require-custody = true

[services."other.tenant1.x509-store"]
type = "x509-store"

[services."other.tenant1.kms"]
type = "kms"
token = "trial"

[services."other.tenant1.store"]
type = "x509-store"

[services."other.tenant1.service"]
type = "x509-service"
kms = ["other.tenant1.kms"]
stores = ["other.tenant1.store"]
"""

KEYS = {
    "leaf-rsa": "RSA",
    "leaf-ed25519": "Ed25519",
    "leaf-secp384r1": "secp384r1",
    "without-certificate": "secp256r1",
    "two-subjects": "secp256r1",
    "new-iaca": "secp256r1",
    "subordinate": "secp256r1",
    "unproven": "secp256r1",
    "self-made": "secp256r1",
    "evident": "secp256r1",
    "examined": "secp256r1",
    "demoted": "secp256r1",
    "unified-iaca": "secp256r1",
    "unified-ca": "secp256r1",
    "unified-leaf": "secp256r1",
}


def operator(path: str) -> Caller:
    """Who manages the key at `path` past the API."""
    return Caller(credential_id="a test", target=path, request_id="a test", request_digest="")


@dataclass(frozen=True, slots=True)
class Running:
    """The open engine, a client with a credential for the organization `test`, and what there is to compare."""

    engine: Engine
    client: InProcessClient
    api_key: str = field(repr=False)

    @property
    def signatures(self) -> int:
        """Signatures the token was asked for so far."""
        return self.engine.tokens["trial"].signatures

    def post(self, call: str, body: Any, service: str = "x509-service-1") -> httpx.Response:
        return self.client.post(f"/v1/test.tenant1.{service}/x509-service-api/{call}", json=body)

    def stored(self) -> list[str]:
        """Every path in both stores."""
        paths: list[str] = []
        for store in ("x509-store-1", "x509-store-2"):
            response = self.client.get(f"/v1/test.tenant1.{store}/x509-store-api/certificates/ids")
            assert response.status_code == 200
            paths += response.json()
        return paths


@pytest.fixture(scope="package")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the engine keeps everything but what is in a PostgreSQL database."""
    return create(tmp_path_factory.mktemp("api") / "data", database_of_new_folder()).parent


@pytest.fixture(scope="package")
def running(data_folder: Path) -> Iterator[Running]:
    config_path = data_folder / "engine.toml"
    with config_path.open("a", encoding="utf-8") as file:
        file.write(MORE_SERVICES)
    api_key = (data_folder / "api-key").read_text(encoding="utf-8").strip()
    with (
        open_engine(config_path) as engine,
        InProcessClient(engine.application, {"authorization": f"Bearer {api_key}"}) as client,
    ):
        kms = engine.directory.find_kms(KMS_PATH)
        for key_id, key_type in KEYS.items():
            kms.generate_key(key_id, key_type, operator(kms.key_path(key_id)))
        elsewhere = operator("test.tenant1.kms2.elsewhere")
        engine.directory.find_kms("test.tenant1.kms2").generate_key("elsewhere", "secp256r1", elsewhere)
        running = Running(engine, client, api_key)
        for number in (1, 2):
            running.post("certificate", ca_body("two-subjects", f"CA {number}")).raise_for_status()
        yield running


def ca_body(key_id: str, common_name: str) -> dict[str, Any]:
    """Of a self-signed CA certificate for a key of the first KMS."""
    return {
        "certificateData": {"subjectName": {"commonName": common_name}, "isCertificateAuthority": True},
        "subjectPublicKeySource": {"type": "key-descriptor", "keyDescriptor": hosted(key_id)},
        "issuer": {"type": "self-signed"},
    }


@pytest.fixture
def narrow_key(running: Running) -> str:
    """An API key for one service of another tenant only."""
    scope = "test.tenant2"
    return create_api_key(
        running.engine.store, credential_id=f"narrow-{running.signatures}", scope=scope, roles=["administrator"]
    )


@pytest.fixture
def issue(running: Running) -> Callable[..., Any]:
    """POST and expect 200; the JSON."""

    def post(call: str, body: Any, service: str = "x509-service-1") -> Any:
        response = running.post(call, body, service)
        assert response.status_code == 200, response.text
        return response.json()

    return post


@pytest.fixture
def other_engine(running: Running, data_folder: Path) -> Iterator[Engine]:
    """Another engine on the same database and token, opened while the first one serves."""
    with open_engine(data_folder / "engine.toml") as engine:
        yield engine


def keys_call(path: str) -> str:
    """Of a KMS, or of a key."""
    return f"/v1/{path}/kms-service-api/keys"


@pytest.fixture
def raw_session(running: Running) -> Iterator[Session]:
    """A session of other software on the engine's token; the login is the token's."""
    session = running.engine.tokens["trial"]._connection.token.open(rw=True)
    yield session
    session.close()


@pytest.fixture
def ceremony(raw_session: Session) -> Callable[..., tuple[Any, Any]]:
    """Make a P-256 pair as in a key ceremony: label, CKA_ID, private attributes.

    They stay, as adopted ones must: a key that has signed and is gone looks like a token that is.
    """

    def make(label: str, key_id: bytes, parameters: bytes = P256, **private: bool) -> tuple[Any, Any]:
        curve = raw_session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: parameters}, local=True)
        return curve.generate_keypair(
            id=key_id,
            label=label,
            store=True,
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template={
                **{Attribute[name]: False for name in ("DECRYPT", "UNWRAP", "DERIVE", "SIGN_RECOVER")},
                **{Attribute[name.upper()]: value for name, value in private.items()},
            },
        )

    return make


@pytest.fixture
def proofs(running: Running) -> Callable[[str], list[tuple[str, str, str]]]:
    """State, caller and target of every record of a signature that proves the key of a path, oldest first."""

    def find(path: str) -> list[tuple[str, str, str]]:
        wanted = (
            select(intents.c.state, intents.c.caller, intents.c.target)
            .where(intents.c.signing_key == path, intents.c.kind == "proof")
            .order_by(intents.c.recorded_at)
        )
        return [tuple(row) for row in running.engine.store._database.read(wanted)]

    return find


@pytest.fixture
def token_objects(raw_session: Session) -> Callable[[str], int]:
    """How many objects on the token have a label."""
    return lambda label: len(list(raw_session.get_objects({Attribute.LABEL: label})))
