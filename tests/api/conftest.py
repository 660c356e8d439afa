"""One engine for all tests of the API: a real SoftHSM token, a real store, the application called in process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.app import Engine, open_engine
from engine.directory.credentials import create_api_key
from engine.quickstart import KMS_PATH, create
from tests.api.bodies import hosted
from tests.in_process import InProcessClient

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
"""

KEYS = {
    "leaf-rsa": "RSA",
    "leaf-ed25519": "Ed25519",
    "leaf-secp384r1": "secp384r1",
    "without-certificate": "secp256r1",
    "two-subjects": "secp256r1",
    "new-iaca": "secp256r1",
}


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
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config_path = create(tmp_path_factory.mktemp("api") / "data")
    with config_path.open("a", encoding="utf-8") as file:
        file.write(MORE_SERVICES)
    api_key = (config_path.parent / "api-key").read_text(encoding="utf-8").strip()
    with (
        open_engine(config_path) as engine,
        InProcessClient(engine.application, {"authorization": f"Bearer {api_key}"}) as client,
    ):
        kms = engine.directory.find_kms(KMS_PATH)
        for key_id, key_type in KEYS.items():
            kms.generate_key(key_id, key_type)
        engine.directory.find_kms("test.tenant1.kms2").generate_key("elsewhere", "secp256r1")
        running = Running(engine, client, api_key)
        for number in (1, 2):
            running.post("certificate", _ca_body("two-subjects", f"CA {number}")).raise_for_status()
        yield running


def _ca_body(key_id: str, common_name: str) -> dict[str, Any]:
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


@pytest.fixture(scope="package")
def data_folder(running: Running) -> Path:
    """Where the engine keeps everything."""
    return Path(running.engine.config.store.url.removeprefix("sqlite:///")).parent
