"""Calls on the tree of tenants and services, and credentials with other rights than the fixture's."""

from typing import Any
from uuid import uuid4

import httpx

from engine.directory.credentials import create_api_key
from tests.api.bodies import certificate_body, changed, hosted
from tests.api.conftest import Running, operator


def create_tenant(running: Running, path: str, **options: Any) -> httpx.Response:
    return running.client.post(f"/v1/{path}/resource-api/tenants/create", **options)


def create_service(running: Running, path: str, kind: str, **members: Any) -> httpx.Response:
    options = {"headers": members.pop("headers", {})}
    return running.client.post(f"/v1/{path}/resource-api/services/create", json={"type": kind, **members}, **options)


def listed(running: Running, path: str, **options: Any) -> list[dict[str, Any]]:
    response = running.client.get(f"/v1/{path}/resource-api/resources/list", **options)
    assert response.status_code == 200, response.text
    return response.json()


def delete(running: Running, path: str, **options: Any) -> httpx.Response:
    return running.client.request("DELETE", f"/v1/{path}/resource-api/resources/delete", **options)


def attach(running: Running, service: str, dependency: str, **options: Any) -> httpx.Response:
    return running.client.post(
        f"/v1/{service}/x509-service-api/dependencies/add", json={"dependency": dependency}, **options
    )


def detach(running: Running, service: str, dependency: str, **options: Any) -> httpx.Response:
    return running.client.post(
        f"/v1/{service}/x509-service-api/dependencies/remove", json={"dependency": dependency}, **options
    )


def attached(running: Running, service: str, **options: Any) -> list[str]:
    response = running.client.get(f"/v1/{service}/x509-service-api/dependencies/list", **options)
    assert response.status_code == 200, response.text
    return response.json()


def new_tenant(running: Running) -> str:
    """The path of a tenant made over the API, with nothing in it."""
    path = f"test.{uuid4()}"
    assert create_tenant(running, path).status_code == 201
    return path


def new_services(running: Running) -> str:
    """The path of a tenant made over the API with `kms`, `store` and `service`, the first two attached to the last."""
    tenant = new_tenant(running)
    for service, kind in (("kms", "kms"), ("store", "x509-store")):
        assert create_service(running, f"{tenant}.{service}", kind).status_code == 201
    dependencies = [f"{tenant}.kms", f"{tenant}.store"]
    response = create_service(running, f"{tenant}.service", "x509-service", dependencies=dependencies)
    assert response.status_code == 201, response.text
    return tenant


def credential(running: Running, scope: str, role: str = "administrator") -> dict[str, str]:
    """The header of a new API key."""
    key = create_api_key(running.engine.store, credential_id=str(uuid4()), scope=scope, roles=[role])
    return {"authorization": f"Bearer {key}"}


def certify(running: Running, service: str, call: str, body: Any) -> httpx.Response:
    return running.client.post(f"/v1/{service}/x509-service-api/{call}", json=body)


def self_signed(key_id: str, kms: str) -> dict[str, Any]:
    """A CA certificate for the key."""
    source = {"type": "key-descriptor", "keyDescriptor": hosted(key_id, kms)}
    body = changed(certificate_body(), "subjectPublicKeySource", source)
    body = changed(body, "certificateData", {"subjectName": {"commonName": key_id}, "isCertificateAuthority": True})
    return changed(body, "issuer", {"type": "self-signed"})


def new_key(running: Running, kms: str, key_id: str) -> None:
    """Generate a P-256 key."""
    running.engine.directory.find_kms(kms).generate_key(key_id, "secp256r1", operator(kms))
