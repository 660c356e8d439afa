"""The tree of tenants and services over the API: made, answered and listed, refused with a reason."""

from typing import Any

import pytest

from engine.trial.quickstart import KMS_PATH, SERVICE_PATH, STORE_PATH
from tests.api.conftest import Running
from tests.api.tree import (
    create_service,
    create_tenant,
    credential,
    delete,
    listed,
    new_services,
    new_tenant,
)

KINDS = ("kms", "x509-service", "x509-store")


def test_what_is_created_is_answered_and_listed_alike(running: Running) -> None:
    tenant = f"test.{new_tenant(running).partition('.')[2]}-named"
    answers = [
        create_tenant(running, tenant, json={"name": "Führerscheine"}),
        create_service(running, f"{tenant}.kms", "kms", name="Keys", token="trial"),
        create_service(running, f"{tenant}.store", "x509-store"),
        create_service(running, f"{tenant}.x", "x509-service", dependencies=[f"{tenant}.store", f"{tenant}.kms"]),
    ]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert [answer.json() for answer in answers] == [
        {"_id": tenant, "type": "tenant", "parent": "test", "name": "Führerscheine", "declared": False},
        {
            "_id": f"{tenant}.kms",
            "type": "kms",
            "parent": tenant,
            "name": "Keys",
            "token": "trial",
            "declared": False,
        },
        {"_id": f"{tenant}.store", "type": "x509-store", "parent": tenant, "declared": False},
        {
            "_id": f"{tenant}.x",
            "type": "x509-service",
            "parent": tenant,
            "dependencies": [f"{tenant}.kms", f"{tenant}.store"],
            "declared": False,
        },
    ]
    assert listed(running, tenant) == [answer.json() for answer in answers]
    assert listed(running, f"{tenant}.kms") == [answers[1].json()]


def test_the_list_of_an_organization_has_declared_and_created_in_the_order_of_paths(running: Running) -> None:
    tenant = new_services(running)
    everything = listed(running, "test")
    paths = [one["_id"] for one in everything]
    assert paths == sorted(paths)
    assert everything[0] == {"_id": "test", "type": "organization", "declared": True}
    assert {tenant, f"{tenant}.service", "test.tenant1", SERVICE_PATH} <= set(paths)
    assert not any(path.startswith("other") for path in paths)
    by_path = {one["_id"]: one for one in everything}
    assert by_path["test.tenant1"] == {"_id": "test.tenant1", "type": "tenant", "parent": "test", "declared": True}
    assert by_path[KMS_PATH]["token"] == "trial"
    assert by_path[SERVICE_PATH]["dependencies"] == [KMS_PATH, STORE_PATH]
    declared = [one["_id"] for one in everything if one["declared"]]
    created = [one["_id"] for one in everything if not one["declared"]]
    assert set(declared) == {"test", "test.tenant1", *(p for p in running.engine.config.services if p[:5] == "test.")}
    assert {tenant, f"{tenant}.kms", f"{tenant}.store", f"{tenant}.service"} <= set(created)
    pages = [listed(running, "test", params={"limit": 3, "offset": at}) for at in range(0, len(paths) + 3, 3)]
    assert [one for page in pages for one in page] == everything
    assert pages[-1] == []


def test_a_list_at_a_path_has_nothing_of_a_path_that_begins_alike(running: Running) -> None:
    tenant = new_tenant(running)
    for path in (f"{tenant}-2", f"{tenant}_2"):
        assert create_tenant(running, path).status_code == 201
        assert create_service(running, f"{path}.store", "x509-store").status_code == 201
    assert create_service(running, f"{tenant}.store", "x509-store").status_code == 201
    assert [one["_id"] for one in listed(running, tenant)] == [tenant, f"{tenant}.store"]
    underscore, dash = f"{tenant}_2", f"{tenant}-2"
    assert [one["_id"] for one in listed(running, underscore)] == [underscore, f"{underscore}.store"]
    assert [one["_id"] for one in listed(running, dash)] == [dash, f"{dash}.store"]


@pytest.mark.parametrize("path", ["test.nowhere", "test.tenant1.nowhere", f"{KMS_PATH}.leaf-secp256r1"])
def test_a_list_where_nothing_is_is_404(running: Running, path: str) -> None:
    response = running.client.get(f"/v1/{path}/resource-api/resources/list")
    assert (response.status_code, response.json()["message"]) == (404, f"There is no resource at {path}.")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"content": b""},
        {"content": b"  \n"},
        {"json": {}},
        {"content": b"{}", "documented": False},
        {"content": b"", "headers": {"content-type": "application/json"}},
        {"content": b"", "headers": {"content-type": "text/plain"}},
        {"json": {"name": None}},
        {"json": {"name": "A name"}},
        {"content": b'{"name": "A name"}', "documented": False},
    ],
)
def test_a_tenant_needs_no_body_and_no_label_on_it(running: Running, options: dict[str, Any]) -> None:
    path = f"test.{new_tenant(running).partition('.')[2]}-x"
    response = create_tenant(running, path, **options)
    assert response.status_code == 201, response.text


@pytest.mark.parametrize(
    "options",
    [
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"[]"},
        {"json": {"nmae": "A"}},
        {"json": {"name": ""}},
        {"json": {"name": "a" * 257}},
        {"json": {"name": "a\x00b"}},
        {"json": {"name": "a\nb"}},
        {"json": {"name": 1}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
    ],
)
def test_a_body_that_is_none_of_a_tenant_is_400(running: Running, options: dict[str, Any]) -> None:
    response = create_tenant(running, "test.never", **options)
    assert (response.status_code, response.json()["id"]) == (400, "MalformedRequest")


# -- refusals


@pytest.mark.parametrize("path", ["test.tenant1", KMS_PATH, SERVICE_PATH, STORE_PATH])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_declared_is_a_duplicate(running: Running, path: str, kind: str) -> None:
    is_tenant = path.count(".") == 1
    response = create_tenant(running, path) if is_tenant else create_service(running, path, kind)
    assert_duplicate(response, path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_created_is_a_duplicate(running: Running, kind: str) -> None:
    tenant = new_services(running)
    assert_duplicate(create_tenant(running, tenant), tenant)
    for service in ("kms", "store", "service"):
        assert_duplicate(create_service(running, f"{tenant}.{service}", kind), f"{tenant}.{service}")


def assert_duplicate(response: Any, path: str) -> None:
    assert response.status_code == 409, response.text
    body = response.json()
    assert (body["type"], body["status"], body["target"]) == ("DuplicateTarget", 409, path)
    assert "already exists" in body["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_in_a_tenant_that_is_not_there_is_404(running: Running, kind: str) -> None:
    response = create_service(running, "test.nowhere.service", kind)
    assert response.status_code == 404
    assert response.json()["message"] == "There is no tenant test.nowhere; create it first."


@pytest.mark.parametrize("path", ["test", "test.a.b", "test.a.b.c"])
def test_a_tenant_at_a_path_of_another_depth_is_400(running: Running, path: str) -> None:
    response = create_tenant(running, path)
    assert (response.status_code, response.json()["id"]) == (400, "MalformedRequest")
    assert response.json()["message"].startswith("Expected a path {organization}.{tenant} here, found ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["test", "test.a", "test.a.b.c"])
def test_a_service_at_a_path_of_another_depth_is_400(running: Running, path: str, kind: str) -> None:
    response = create_service(running, path, kind)
    assert (response.status_code, response.json()["id"]) == (400, "MalformedRequest")
    assert response.json()["message"].startswith("Expected a path {organization}.{tenant}.{service} here, found ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "missing member type"),
        ({"type": "issuer"}, "expected one of 'kms', 'x509-service', 'x509-store', found 'issuer'"),
        ({"type": "kms", "tokens": "trial"}, "unknown member tokens"),
        ({"type": "x509-store", "token": "trial"}, "unknown member token"),
        ({"type": "x509-service", "dependencies": "test.tenant1.kms1"}, "dependencies: expected a list"),
        ({"type": "x509-service", "dependencies": ["a b"]}, "dependencies.0: expected ids"),
        ({"type": "kms", "name": ""}, "name: "),
    ],
)
def test_a_body_that_is_none_of_a_service_is_400(running: Running, body: Any, words: str) -> None:
    response = running.client.post("/v1/test.tenant1.never/resource-api/services/create", json=body)
    assert response.status_code == 400
    assert words in response.json()["message"]


def test_a_kms_lives_on_a_token_that_the_organization_may_use(running: Running) -> None:
    tenant = new_tenant(running)
    response = create_service(running, f"{tenant}.kms", "kms", token="another")
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    assert "Expected one of the tokens trial" in response.json()["message"]


def test_without_a_token_for_the_organization_no_kms_is_created_and_the_rest_is(running: Running) -> None:
    headers = credential(running, "other")
    response = create_service(running, "other.tenant1.created-kms", "kms", headers=headers)
    assert (response.status_code, response.json()["id"]) == (403, "NotAuthorized")
    assert "the setting tokens of its created-services names none" in response.json()["message"]
    assert create_service(running, "other.tenant1.created", "x509-store", headers=headers).status_code == 201
    assert delete(running, "other.tenant1.created", headers=headers).status_code == 202


def test_an_organization_is_never_created(running: Running) -> None:
    response = create_tenant(running, "undeclared.tenant", headers=credential(running, "undeclared"))
    assert (response.status_code, response.json()["message"]) == (404, "There is no organization undeclared.")


@pytest.mark.parametrize("role", ["reader", "issuer", "key-manager", "store-manager"])
def test_only_who_manages_resources_changes_them_and_who_reads_lists_them(running: Running, role: str) -> None:
    headers = credential(running, "test", role)
    tenant = new_tenant(running)
    for response in (
        create_tenant(running, f"{tenant}-x", headers=headers),
        create_service(running, f"{tenant}.kms", "kms", headers=headers),
        delete(running, tenant, headers=headers),
    ):
        assert response.status_code == 403
        assert "no role with the permission 'manage-resources'" in response.json()["message"]
    assert [one["_id"] for one in listed(running, tenant, headers=headers)] == [tenant]


def test_outside_its_scope_a_credential_finds_nothing(running: Running) -> None:
    tenant = new_tenant(running)
    headers = credential(running, "test.elsewhere")
    answers = [
        create_tenant(running, tenant, headers=headers),
        create_service(running, f"{tenant}.kms", "kms", headers=headers),
        running.client.get(f"/v1/{tenant}/resource-api/resources/list", headers=headers),
        delete(running, tenant, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len(listed(running, tenant)) == 1


def test_a_list_names_no_dependency_outside_the_scope(running: Running) -> None:
    tenant = new_tenant(running)
    service = f"{tenant}.service"
    assert create_service(running, f"{tenant}.store", "x509-store").status_code == 201
    dependencies = [KMS_PATH, f"{tenant}.store"]
    assert create_service(running, service, "x509-service", dependencies=dependencies).status_code == 201
    narrow = credential(running, tenant)
    [found] = [one for one in listed(running, tenant, headers=narrow) if one["_id"] == service]
    assert found["dependencies"] == [f"{tenant}.store"]
    [found] = listed(running, service, headers=credential(running, service))
    assert "dependencies" not in found
