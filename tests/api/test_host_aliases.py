"""The hosts an organization is served under: any, unless the configuration names some."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from engine.app import open_engine
from tests.api.conftest import Running
from tests.in_process import InProcessClient
from tests.page.live import LiveEngine, live_engine

ALIASES = 'host-aliases = ["Signing.Example.com", "[2001:db8::1]", "192.0.2.1"]'
SERVED = [
    "signing.example.com",
    "SIGNING.example.COM:8443",
    "signing.example.com.",
    "[2001:DB8:0::1]:8080",
    "[2001:db8::1]",
    "192.0.2.1",
    "192.0.2.1:80",
]
UNDER_BASE_DOMAIN = ["example.org", "test.example.org", "Test.Example.ORG:8080"]
UNKNOWN = [
    "example.com",
    "test.signing.example.com",
    "signing.example.com.evil.example",
    "signing.example.co",
    "other.example.org",
    "localhost",
    "192.0.2.2",
    "[2001:db8::2]",
    "2001:db8::1",
    "signing.example.com, localhost",
    "",
]


@pytest.fixture(scope="module", params=[False, True], ids=["without base domain", "with base domain"])
def client(request: pytest.FixtureRequest, running: Running, data_folder: Path) -> Iterator[InProcessClient]:
    """An engine on the same database under a configuration with aliases."""
    text = (data_folder / "engine.toml").read_text(encoding="utf-8")
    text = text.replace('# host-aliases = ["engine.example.com"]', ALIASES)
    if request.param:
        text = text.replace('# base-domain = "example.com"', 'base-domain = "example.org"')
    path = data_folder / "aliases.toml"
    path.write_text(text, encoding="utf-8")
    headers = {"authorization": f"Bearer {running.api_key}"}
    with open_engine(path) as engine, InProcessClient(engine.application, headers) as client:
        yield client


def has_base_domain(request: pytest.FixtureRequest) -> bool:
    return "with base domain" in request.node.name


def call(client: InProcessClient, host: str, **headers: str) -> Any:
    return client.get("/v1/test/resource-api/resources/list", headers={"host": host, **headers})


@pytest.mark.parametrize("host", SERVED)
def test_an_alias_is_served_whatever_its_port_and_its_case(client: InProcessClient, host: str) -> None:
    assert call(client, host).status_code == 200


@pytest.mark.parametrize("host", UNDER_BASE_DOMAIN)
def test_the_base_domain_is_served_where_there_is_one(
    client: InProcessClient, host: str, request: pytest.FixtureRequest
) -> None:
    assert call(client, host).status_code == (200 if has_base_domain(request) else 404)


@pytest.mark.parametrize("host", UNKNOWN)
def test_any_other_host_is_an_unknown_alias(client: InProcessClient, host: str) -> None:
    response = call(client, host)
    assert (response.status_code, response.json()["id"]) == (404, "NotFound")
    assert "Unknown host alias" in response.json()["message"]


def test_without_a_credential_a_host_learns_nothing(client: InProcessClient) -> None:
    assert call(client, UNKNOWN[0], authorization="").status_code == 401


def test_an_organization_without_aliases_is_served_under_every_host(running: Running) -> None:
    for host in (*SERVED, *UNDER_BASE_DOMAIN, *UNKNOWN):
        assert call(running.client, host).status_code == 200


# -- over HTTP


def fetch(live: LiveEngine, host: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """A call that reaches the engine under a name of the tester's choice."""
    url = urlsplit(live.base_url)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    headers = {"Host": f"{host}:{url.port}", "Authorization": f"Bearer {live.api_key}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    status, answer = response.status, json.loads(response.read())
    connection.close()
    return status, answer


def test_a_client_calls_under_its_own_host_and_finds_what_it_made_after_a_restart(tmp_path: Path) -> None:
    folder, base, organization = tmp_path / "data", "engine.localhost", "test.engine.localhost"
    with live_engine(folder) as live:
        assert fetch(live, base, "POST", "/v1/test.mobile/resource-api/tenants/create")[0] == 201
        for service, kind in (("kms", "kms"), ("store", "x509-store"), ("service", "x509-service")):
            path = f"/v1/test.mobile.{service}/resource-api/services/create"
            assert fetch(live, organization, "POST", path, {"type": kind})[0] == 201
        for host, dependency in ((base, "test.mobile.kms"), (organization, "test.mobile.store")):
            path = "/v1/test.mobile.service/x509-service-api/dependencies/add"
            assert fetch(live, host, "POST", path, dependency)[0] == 201
        listed = fetch(live, base, "GET", "/v1/test.mobile/resource-api/resources/list")
    config = folder / "engine.toml"
    text = config.read_text(encoding="utf-8")
    text = text.replace('# host-aliases = ["engine.example.com"]', 'host-aliases = ["signing.example.com"]')
    config.write_text(text.replace('# base-domain = "example.com"', f'base-domain = "{base}"'), encoding="utf-8")
    with live_engine(folder) as live:
        path = "/v1/test.mobile/resource-api/resources/list"
        assert listed[0] == 200
        for host in (base, organization, "signing.example.com"):
            assert fetch(live, host, "GET", path) == listed
        status, answer = fetch(live, "other.engine.localhost", "GET", path)
        assert status == 404
        assert "Unknown host alias" in answer["message"]
        assert fetch(live, "other.engine.localhost", "GET", "/health/ready")[0] == 200
