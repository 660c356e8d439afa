"""Every role against every call of the API: what a role does not allow is 403, and nothing has happened.

The calls are taken from the application itself, so that a new one is tested from its first day.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from engine.api.application import target_operations
from engine.api.operations import Operation
from engine.directory import ROLES, Permission
from engine.directory.accounts import create_account
from engine.directory.credentials import create_api_key
from engine.store.schema import metadata
from tests.api.bodies import certificate_body, csr_body, ds_body, iaca_body
from tests.api.conftest import Running
from tests.database import select

NEEDED = {
    "x509-service-api/csrs": Permission.ISSUE,
    "x509-service-api/certificate": Permission.ISSUE,
    "x509-service-api/certificates": Permission.ISSUE,
    "x509-service-api/iso/iacas": Permission.ISSUE,
    "x509-service-api/iso/document-signers": Permission.ISSUE,
    "x509-service-api/dependencies/add": Permission.MANAGE_RESOURCES,
    "x509-service-api/dependencies/remove": Permission.MANAGE_RESOURCES,
    "resource-api/tenants/create": Permission.MANAGE_RESOURCES,
    "resource-api/services/create": Permission.MANAGE_RESOURCES,
    "resource-api/resources/delete": Permission.MANAGE_RESOURCES,
    "x509-store-api/certificates": Permission.STORE,
    "kms-service-api/keys": Permission.MANAGE_KEYS,
    "kms-service-api/keys/generate": Permission.MANAGE_KEYS,
    "kms-service-api/keys/import/jwk": Permission.MANAGE_KEYS,
    "kms-service-api/keys/adopt": Permission.MANAGE_KEYS,
}
"""By call; every GET needs READ."""

PASSWORD = "correct horse battery"
# What all credentials have in common that may use nothing: a role of a later version, or none at all.
POWERLESS = {"later": ["a-role-of-a-later-version"], "none": []}


def calls(running: Running) -> list[Operation[Any]]:
    return target_operations(running.engine.directory)


@pytest.fixture(scope="module")
def secrets(running: Running) -> Mapping[str, str]:
    """A secret for every role: of an API key for some, of an account's session for the others."""
    store = running.engine.store
    made = {}
    for number, (role, roles) in enumerate({**{role: [role] for role in ROLES}, **POWERLESS}.items()):
        if number % 2:
            made[role] = create_api_key(store, credential_id=f"role-{role}", scope="test", roles=roles)
            continue
        email = f"{role}@example.com"
        create_account(store, email=email, password=PASSWORD, scope="test", roles=roles)
        opened = running.client.post("/auth/account/emailpass", json={"email": email, "password": PASSWORD})
        made[role] = opened.json()["token"]
    return made


@pytest.fixture
def nothing_happened(running: Running) -> Iterator[None]:
    """What the test does signs nothing and leaves every table as it was but the audit trail, which tells of it."""

    def state() -> dict[str, object]:
        url = running.engine.config.store.url
        rows: dict[str, object] = {
            table: sorted(map(repr, select(url, f"SELECT * FROM {table}")))
            for table in metadata.tables
            if table != "events"
        }
        return rows | {"signatures": running.signatures}

    before = state()
    yield
    assert state() == before


def ask(running: Running, secret: str, method: str, path: str, body: object) -> httpx.Response:
    options = {} if method == "GET" else {"json": body}
    return running.client.request(method, path, headers={"authorization": f"Bearer {secret}"}, **options)


def test_every_call_needs_the_permission_that_the_table_says(running: Running) -> None:
    assert {(one.method, one.path, one.permission) for one in calls(running)} == {
        (
            one.method,
            one.path,
            Permission.READ if one.method == "GET" else NEEDED[one.path.removeprefix("/v1/{target}/")],
        )
        for one in calls(running)
    }


@pytest.mark.usefixtures("nothing_happened")
@pytest.mark.parametrize("role", [*ROLES, *POWERLESS])
def test_a_role_opens_the_calls_of_its_permissions_and_no_other(
    running: Running, secrets: Mapping[str, str], role: str
) -> None:
    """The body is one that every call refuses, and its target is not there: nothing comes of what is allowed either."""
    for call in calls(running):
        assert call.permission is not None
        allowed = call.permission in ROLES.get(role, ())
        for target in ("test.tenant1.x509-service-1", "test.tenant1.nothing.there"):
            if allowed and target == "test.tenant1.x509-service-1":
                continue
            response = ask(running, secrets[role], call.method, call.path.replace("{target}", target), {"unknown!": 1})
            where = f"{role}: {call.method} {call.path} at {target}: {response.text}"
            if allowed:
                assert response.status_code in (400, 404), where
            else:
                assert response.status_code == 403, where
                assert f"{call.permission.value!r}" in response.json()["message"], where


SIGNING: Mapping[str, Callable[[], dict[str, Any]]] = {
    "csrs": csr_body,
    "certificate": certificate_body,
    "iso/iacas": iaca_body,
    "iso/document-signers": ds_body,
}


@pytest.mark.usefixtures("nothing_happened")
@pytest.mark.parametrize("call", SIGNING)
@pytest.mark.parametrize("role", [role for role in ROLES if Permission.ISSUE not in ROLES[role]])
def test_a_request_that_would_sign_signs_nothing_without_the_role(
    running: Running, secrets: Mapping[str, str], role: str, call: str
) -> None:
    path = f"/v1/test.tenant1.x509-service-1/x509-service-api/{call}"
    assert ask(running, secrets[role], "POST", path, SIGNING[call]()).status_code == 403


@pytest.mark.parametrize("role", ["issuer", "administrator"])
def test_the_same_request_signs_with_the_role(running: Running, secrets: Mapping[str, str], role: str) -> None:
    path = "/v1/test.tenant1.x509-service-1/x509-service-api/csrs"
    signatures = running.signatures
    assert ask(running, secrets[role], "POST", path, csr_body()).status_code == 200
    assert running.signatures == signatures + 1


@pytest.mark.usefixtures("nothing_happened")
@pytest.mark.parametrize("secret", [None, "unknown", "Basic"])
def test_without_a_known_credential_every_call_is_401_wherever_it_goes(running: Running, secret: str | None) -> None:
    authorization = {None: "", "Basic": "Basic dGVzdDp0ZXN0"}.get(secret, f"Bearer {secret}")
    for call in calls(running):
        for target in ("test.tenant1.x509-service-1", "nobody.there"):
            path = call.path.replace("{target}", target)
            response = running.client.request(call.method, path, headers={"authorization": authorization}, json={})
            assert response.status_code == 401, f"{call.method} {path}: {response.text}"
            assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.usefixtures("nothing_happened")
@pytest.mark.parametrize("role", [*ROLES, *POWERLESS])
def test_outside_its_scope_every_role_is_told_that_nothing_is_there(
    running: Running, secrets: Mapping[str, str], role: str
) -> None:
    for call in calls(running):
        for target in ("other.tenant1.x509-store", "nobody.there"):
            path = call.path.replace("{target}", target)
            response = ask(running, secrets[role], call.method, path, {"unknown!": 1})
            assert response.status_code == 404, f"{role}: {call.method} {path}: {response.text}"
