"""What is attached to an X.509 service: in each form that clients write a path in, and never more than they may see."""

import json
from typing import Any

import httpx
import pytest

from engine.errors import PolicyRefusal
from engine.trial.quickstart import KMS_PATH, SERVICE_PATH, STORE_PATH
from tests.api.bodies import certificate_body, changed, csr_body, hosted
from tests.api.conftest import Running, operator
from tests.api.test_resources import assert_duplicate
from tests.api.tree import (
    attach,
    attached,
    certify,
    create_service,
    credential,
    detach,
    listed,
    new_services,
    new_tenant,
)


def labelled(content_type: str | None) -> dict[str, str]:
    return {} if content_type is None else {"content-type": content_type}


FORMS = [
    pytest.param(lambda path: json.dumps({"dependency": path}), "application/json", id="object"),
    pytest.param(lambda path: json.dumps(path), "application/json", id="string"),
    pytest.param(lambda path: path, "text/plain", id="plain text"),
    pytest.param(lambda path: path, "application/json", id="plain text labelled JSON"),
    pytest.param(lambda path: json.dumps({"dependency": path}), None, id="object without a label"),
    pytest.param(lambda path: json.dumps(path), None, id="string without a label"),
    pytest.param(lambda path: path, None, id="plain text without a label"),
    pytest.param(lambda path: path, "text/plain; charset=UTF-8", id="plain text with a charset"),
    pytest.param(lambda path: json.dumps(path), "text/plain", id="string labelled plain text"),
    pytest.param(lambda path: f"  {json.dumps(path)}\n", "Application/JSON", id="white space around a string"),
    pytest.param(lambda path: f"{path}\n", "text/plain", id="a line"),
    pytest.param(lambda path: json.dumps(path).replace(".", "\\u002e"), "application/json", id="escapes"),
]


@pytest.mark.parametrize(("write", "content_type"), FORMS)
def test_a_dependency_is_attached_and_detached_in_every_form(
    running: Running, write: Any, content_type: str | None
) -> None:
    service = f"{new_tenant(running)}.service"
    assert create_service(running, service, "x509-service").status_code == 201
    calls = f"/v1/{service}/x509-service-api/dependencies"
    # Text without a label, or with another's, is beyond what a document can describe.
    sent = {"content": write(KMS_PATH), "headers": labelled(content_type), "documented": False}
    for call, status, after in (("add", 201, [KMS_PATH]), ("remove", 200, [])):
        response = running.client.post(f"{calls}/{call}", **sent)
        assert (response.status_code, response.json()) == (status, {"_id": service, "dependency": KMS_PATH})
        assert attached(running, service) == after


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        ("", "application/json"),
        ("", None),
        ("{}", "application/json"),
        ('{"dependency": "a b"}', "application/json"),
        ('{"dependency": 1}', "application/json"),
        ('{"dependency": "test.tenant1.kms1", "type": "kms"}', "application/json"),
        ('{"dependency": "test.tenant1.kms1", "dependency": "test.tenant1.kms2"}', "application/json"),
        ('["test.tenant1.kms1"]', "application/json"),
        ('"test.tenant1.kms1', "application/json"),
        ('"test.tenant1.kms1" "test.tenant1.kms2"', "application/json"),
        ("test.tenant1.kms1\ntest.tenant1.kms2", "text/plain"),
        ("[]", "application/json; charset=utf-8"),
        ("1.5e-1,", "application/json"),
        ("a..b", "text/plain"),
        ("t\u00e9st.tenant1.kms1", "text/plain"),
        (b"test\xff", "text/plain"),
        ("test.tenant1.kms1", "application/x-www-form-urlencoded"),
        ("test.tenant1.kms1", "text/html"),
    ],
)
@pytest.mark.parametrize("call", ["add", "remove"])
def test_a_body_that_is_no_path_is_refused(
    running: Running, call: str, content: str | bytes, content_type: str | None
) -> None:
    url = f"/v1/{SERVICE_PATH}/x509-service-api/dependencies/{call}"
    response = running.client.post(url, content=content, headers=labelled(content_type))
    assert (response.status_code, response.json()["id"]) == (400, "MalformedRequest")


def test_any_number_of_kms_and_stores_is_attached_and_each_is_used(running: Running) -> None:
    tenant = new_services(running)
    service = f"{tenant}.service"
    assert create_service(running, f"{tenant}.more", "x509-store").status_code == 201
    before = attached(running, service)
    for dependency in (f"{tenant}.more", KMS_PATH, STORE_PATH):
        assert attach(running, service, dependency).status_code == 201
    assert attached(running, service) == sorted([*before, f"{tenant}.more", KMS_PATH, STORE_PATH])
    response = certify(running, service, "certificate", certificate_body())
    assert response.status_code == 200, response.text
    stores = [path.rpartition(".")[0] for path in response.json()["storedCertificateIds"]]
    assert sorted(stores) == sorted([f"{tenant}.store", f"{tenant}.more", STORE_PATH])


def test_what_is_detached_signs_no_more(running: Running) -> None:
    service = f"{new_tenant(running)}.service"
    assert create_service(running, service, "x509-service", dependencies=[KMS_PATH]).status_code == 201
    assert certify(running, service, "csrs", csr_body()).status_code == 200
    assert detach(running, service, KMS_PATH).status_code == 200
    before = running.signatures
    response = certify(running, service, "csrs", csr_body())
    assert response.status_code == 403
    assert f"The KMS {KMS_PATH} is not attached" in response.json()["message"]
    assert running.signatures == before


def test_what_is_attached_is_a_duplicate(running: Running) -> None:
    service = f"{new_services(running)}.service"
    for dependency in attached(running, service):
        assert_duplicate(attach(running, service, dependency), dependency)
    twice = create_service(running, f"{service}-2", "x509-service", dependencies=[KMS_PATH, KMS_PATH])
    assert (twice.status_code, twice.json()["dependencies"]) == (201, [KMS_PATH])


@pytest.mark.parametrize(
    ("dependency", "kind"), [(SERVICE_PATH, "x509-service"), ("test.tenant1", "tenant"), ("{tenant}", "tenant")]
)
def test_only_a_kms_or_a_store_is_attached(running: Running, dependency: str, kind: str) -> None:
    tenant = new_tenant(running)
    service, dependency = f"{tenant}.service", dependency.replace("{tenant}", tenant)
    assert create_service(running, service, "x509-service").status_code == 201
    for response in (
        attach(running, service, dependency),
        create_service(running, f"{service}-2", "x509-service", dependencies=[KMS_PATH, dependency]),
    ):
        assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
        assert response.json()["message"].endswith(f"found a {kind} at {dependency}.")
    assert attached(running, service) == []


def test_a_service_is_not_attached_to_itself(running: Running) -> None:
    service = f"{new_services(running)}.service"
    assert attach(running, service, service).status_code == 400


@pytest.mark.parametrize("dependency", ["test.tenant1.nowhere", "test.nowhere", f"{KMS_PATH}.leaf-secp256r1"])
def test_what_is_not_there_is_not_attached(running: Running, dependency: str) -> None:
    service = f"{new_services(running)}.service"
    for response in (
        attach(running, service, dependency),
        create_service(running, f"{service}-2", "x509-service", dependencies=[dependency]),
    ):
        assert (response.status_code, response.json()["message"]) == (404, f"There is no service at {dependency}.")
    response = detach(running, service, dependency)
    assert response.status_code == 404
    assert response.json()["message"] == f"The service {service} has no dependency {dependency}."
    assert running.client.get(f"/v1/{service}-2/resource-api/resources/list").status_code == 404


# -- what the caller may not see


def without(answer: httpx.Response, path: str) -> tuple[int, Any]:
    """An answer without the path it is about and its request's id."""
    body = answer.json()
    return answer.status_code, {**body, "message": body["message"].replace(path, "(path)"), "requestId": ""}


@pytest.mark.parametrize("hidden", [KMS_PATH, STORE_PATH, SERVICE_PATH, "test.tenant1", "other.tenant1.x509-store"])
def test_what_lies_outside_the_scope_is_answered_like_what_is_not_there(running: Running, hidden: str) -> None:
    tenant = new_services(running)
    service, headers = f"{tenant}.service", credential(running, tenant)
    nowhere = f"{hidden.rpartition('.')[0]}.nowhere"
    assert without(attach(running, service, hidden, headers=headers), hidden) == without(
        attach(running, service, nowhere, headers=headers), nowhere
    )
    for path in (hidden, nowhere, f"{tenant}.nowhere"):
        made = create_service(running, f"{tenant}.x", "x509-service", dependencies=[path], headers=headers)
        assert (made.status_code, made.json()["message"]) == (404, f"There is no service at {path}.")
        assert attach(running, service, path, headers=headers).json()["message"] == made.json()["message"]


def test_what_somebody_wider_attached_is_neither_listed_nor_detached_nor_a_duplicate(running: Running) -> None:
    tenant = new_services(running)
    service, headers = f"{tenant}.service", credential(running, tenant)
    assert attach(running, service, STORE_PATH).status_code == 201
    assert attached(running, service, headers=headers) == [f"{tenant}.kms", f"{tenant}.store"]
    assert attach(running, service, STORE_PATH, headers=headers).status_code == 404
    nobody = detach(running, service, "test.tenant1.nowhere", headers=headers)
    answer = detach(running, service, STORE_PATH, headers=headers)
    assert without(answer, STORE_PATH) == without(nobody, "test.tenant1.nowhere")
    assert answer.status_code == 404
    assert STORE_PATH in attached(running, service)
    [found] = listed(running, service)
    assert found["dependencies"] == attached(running, service)


def test_another_organization_is_never_attached_whoever_asks(running: Running) -> None:
    service = f"{new_services(running)}.service"
    dependency = "other.tenant1.x509-store"
    with pytest.raises(PolicyRefusal, match="Expected a service of the same organization"):
        running.engine.directory.add_dependency(service, dependency, lambda path: True, operator(service))
    with pytest.raises(PolicyRefusal, match="Expected a service of the same organization"):
        running.engine.directory.create_service(
            f"{service}-2",
            type="x509-service",
            name=None,
            dependencies=[dependency],
            by=operator(service),
            may_see=lambda path: True,
        )
    assert dependency not in attached(running, service)


# -- declared services, and what is no service


def test_what_a_declared_service_has_is_listed_and_not_changed(running: Running) -> None:
    assert attached(running, SERVICE_PATH) == [KMS_PATH, STORE_PATH]
    assert_duplicate(attach(running, SERVICE_PATH, KMS_PATH), KMS_PATH)
    for response in (
        attach(running, SERVICE_PATH, "test.tenant1.x509-store-2"),
        detach(running, SERVICE_PATH, STORE_PATH),
    ):
        assert (response.status_code, response.json()["id"]) == (403, "NotAuthorized")
        assert "is declared in the configuration file" in response.json()["message"]
    assert detach(running, SERVICE_PATH, "test.tenant1.x509-store-2").status_code == 404
    narrow = credential(running, SERVICE_PATH)
    assert attached(running, SERVICE_PATH, headers=narrow) == []
    assert attach(running, SERVICE_PATH, KMS_PATH, headers=narrow).status_code == 404
    assert attached(running, SERVICE_PATH) == [KMS_PATH, STORE_PATH]


@pytest.mark.parametrize("path", [KMS_PATH, STORE_PATH, "test.tenant1", "test.tenant1.nowhere", f"{SERVICE_PATH}.leaf"])
def test_only_an_x509_service_has_dependencies(running: Running, path: str) -> None:
    for response in (
        attach(running, path, "test.tenant1.x509-store-2"),
        running.client.get(f"/v1/{path}/x509-service-api/dependencies/list"),
    ):
        assert response.status_code == 404
        assert response.json()["message"] == f"There is no X.509 service at {path}."
    assert detach(running, path, STORE_PATH).status_code == 404


@pytest.mark.parametrize("role", ["reader", "issuer", "key-manager", "store-manager"])
def test_only_who_manages_resources_links_them_and_who_reads_lists_links(running: Running, role: str) -> None:
    service, headers = f"{new_services(running)}.service", credential(running, "test", role)
    assert attach(running, service, KMS_PATH, headers=headers).status_code == 403
    assert detach(running, service, f"{service[:-8]}.kms", headers=headers).status_code == 403
    assert len(attached(running, service, headers=headers)) == 2


def test_a_key_is_only_used_by_the_service_that_its_kms_is_attached_to(running: Running) -> None:
    tenant, stranger = new_services(running), new_services(running)
    body = changed(csr_body(), "subjectKeyDescriptor", hosted("any", f"{tenant}.kms"))
    response = certify(running, f"{stranger}.service", "csrs", body)
    assert response.status_code == 403
    assert response.json()["message"] == f"The KMS {tenant}.kms is not attached to the service {stranger}.service."
