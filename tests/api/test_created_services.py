"""Services made over the API at work: at once, in every engine on the database, with the rights of the file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import Engine as DatabaseEngine
from sqlalchemy import event

from engine.__main__ import main
from engine.app import Engine, open_engine
from engine.directory import HostedKey
from engine.directory.created import CreatedServices
from engine.directory.organizations import CreatedServicePolicy, Organization
from engine.errors import NotAuthorized, NotFound
from engine.profiles.orders import AlternativeNames, GenericRequestOrder, SubjectName
from engine.trial.quickstart import KMS_PATH, STORE_PATH
from tests.api.bodies import certificate_body, changed, csr_body, described_jwk, hosted, outside_key, private_jwk
from tests.api.conftest import Running, operator
from tests.api.tree import (
    certify,
    create_service,
    delete,
    listed,
    new_key,
    new_services,
    new_tenant,
    self_signed,
)
from tests.in_process import InProcessClient
from tests.token.interposer import counted


def test_a_created_tenant_kms_store_and_service_are_used_at_once(running: Running) -> None:
    tenant = new_services(running)
    kms, service = f"{tenant}.kms", f"{tenant}.service"
    for key_id in ("ca", "leaf"):
        new_key(running, kms, key_id)
    issued = certify(running, service, "certificate", {**self_signed("ca", kms), "storedCertificateId": "root"})
    assert issued.status_code == 200, issued.text
    assert issued.json()["storedCertificateIds"] == [f"{tenant}.store.root"]
    request = certify(running, service, "csrs", changed(csr_body(), "subjectKeyDescriptor", hosted("leaf", kms)))
    assert request.status_code == 200, request.text
    body = changed(certificate_body(), "issuer.issuerKeyDescriptor", hosted("ca", kms))
    body = changed(body, "subjectPublicKeySource.csrPEM", request.json()["csrPEM"])
    leaf = certify(running, service, "certificate", {**body, "storedCertificateId": "leaf"})
    assert leaf.status_code == 200, leaf.text
    stored = running.client.get(f"/v1/{tenant}.store/x509-store-api/certificates").json()
    assert [entry["_id"] for entry in stored] == [f"{tenant}.store.leaf", f"{tenant}.store.root"]
    root, issued_leaf = (
        x509.load_pem_x509_certificate(one.json()["certificatePEM"].encode()) for one in (issued, leaf)
    )
    issued_leaf.verify_directly_issued_by(root)


def test_what_one_engine_creates_and_deletes_another_on_the_database_serves_and_misses(
    running: Running, other_engine: Engine
) -> None:
    tenant = new_services(running)
    new_key(running, f"{tenant}.kms", "key")
    headers = {"authorization": f"Bearer {running.api_key}"}
    with InProcessClient(other_engine.application, headers) as client:
        body = changed(csr_body(), "subjectKeyDescriptor", hosted("key", f"{tenant}.kms"))
        response = client.post(f"/v1/{tenant}.service/x509-service-api/csrs", json=body)
        assert response.status_code == 200, response.text
        assert listed(replace(running, client=client), tenant) == listed(running, tenant)
        assert delete(running, f"{tenant}.service").status_code == 202
        assert client.post(f"/v1/{tenant}.service/x509-service-api/csrs", json=body).status_code == 404
        assert delete(replace(running, client=client), f"{tenant}.store").status_code == 202
    assert [one["_id"] for one in listed(running, tenant)] == [tenant, f"{tenant}.kms"]


def test_a_created_service_uses_what_is_declared_too(running: Running) -> None:
    service = f"{new_tenant(running)}.service"
    assert create_service(running, service, "x509-service", dependencies=[KMS_PATH, STORE_PATH]).status_code == 201
    response = certify(running, service, "certificate", certificate_body())
    assert response.status_code == 200, response.text
    [stored] = response.json()["storedCertificateIds"]
    assert stored.startswith(f"{STORE_PATH}.")


def test_a_created_service_uses_nothing_that_is_not_attached(running: Running) -> None:
    tenant = new_tenant(running)
    assert create_service(running, f"{tenant}.service", "x509-service").status_code == 201
    before = running.signatures
    for kms in (KMS_PATH, f"{tenant}.kms"):
        body = changed(csr_body(), "subjectKeyDescriptor", hosted("leaf-secp256r1", kms))
        response = certify(running, f"{tenant}.service", "csrs", body)
        assert response.status_code == 403
        assert response.json()["message"] == f"The KMS {kms} is not attached to the service {tenant}.service."
    assert running.signatures == before


def test_a_created_service_is_found_with_one_query_more_than_a_declared_one(running: Running) -> None:
    tenant = new_services(running)
    for key_id in ("key", "other"):
        new_key(running, f"{tenant}.kms", key_id)
    statements: list[str] = []

    def record(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    def selects(call: Callable[[], Any]) -> int:
        statements.clear()
        assert call().status_code == 200
        return sum(statement.startswith("SELECT") for statement in statements)

    created = changed(csr_body(), "subjectKeyDescriptor", hosted("key", f"{tenant}.kms"))
    event.listen(DatabaseEngine, "before_cursor_execute", record)
    try:
        declared = selects(lambda: running.post("csrs", csr_body()))
        assert selects(lambda: certify(running, f"{tenant}.service", "csrs", created)) == declared + 1
    finally:
        event.remove(DatabaseEngine, "before_cursor_execute", record)


# -- what the configuration allows created services


def created_under(running: Running, **policy: Any) -> CreatedServices:
    """Created services of the organization under another policy."""
    organization = Organization("test", created_services=CreatedServicePolicy(**policy))
    return replace(running.engine.directory.created, organizations={"test": organization})


def request_order() -> GenericRequestOrder:
    return GenericRequestOrder(SubjectName(common_name="Policy"), AlternativeNames())


def test_a_created_kms_may_do_what_the_configuration_says_of_created_services(running: Running) -> None:
    tenant = new_services(running)
    kms = created_under(running, tokens=("trial",)).find_kms(f"{tenant}.kms")
    assert kms is not None
    assert (kms.allow_adopt, kms.allow_import, kms.allow_delete_in_use) == (False, False, False)
    switches = {"allow_adopt": True, "allow_import": True, "allow_delete_in_use": True}
    kms = created_under(running, tokens=("trial",), **switches).find_kms(f"{tenant}.kms")
    assert kms is not None
    assert (kms.allow_adopt, kms.allow_import, kms.allow_delete_in_use) == (True, True, True)
    kms = running.engine.directory.find_kms(f"{tenant}.kms")
    assert (kms.allow_adopt, kms.allow_import, kms.allow_delete_in_use) == (True, True, False)


def test_a_private_jwk_signs_for_a_created_service_only_where_that_is_allowed(running: Running) -> None:
    path = f"{new_services(running)}.service"
    body = changed(csr_body(), "subjectKeyDescriptor", described_jwk(private_jwk(outside_key())))
    assert certify(running, path, "csrs", body).status_code == 200
    for policy in ({"tokens": ("trial",)}, {"allow_jwk_signing_keys": True}):
        service = created_under(running, **policy).find_x509_service(path)
        assert service is not None
        assert service.jwk_token is None


def test_a_token_that_is_no_longer_named_cuts_its_created_kms_off_and_nothing_else(running: Running) -> None:
    tenant = new_services(running)
    new_key(running, f"{tenant}.kms", "key")
    created = created_under(running)
    with pytest.raises(NotAuthorized, match="has its keys on the token trial, which the setting tokens"):
        created.find_kms(f"{tenant}.kms")
    service = created.find_x509_service(f"{tenant}.service")
    assert service is not None
    assert service.stores == (f"{tenant}.store",)
    before = running.signatures
    with pytest.raises(NotAuthorized, match="has its keys on the token trial"):
        service.create_request(HostedKey(f"{tenant}.kms.key"), request_order(), operator(service.path))
    assert running.signatures == before


def test_a_created_service_that_requires_custody_examines_a_key_once_for_many_requests(running: Running) -> None:
    tenant = new_services(running)
    new_key(running, f"{tenant}.kms", "key")
    created = created_under(running, tokens=("trial",), custody_minutes=60)
    module = running.engine.config.tokens["trial"].module

    def examinations() -> int:
        service = created.find_x509_service(f"{tenant}.service")
        assert service is not None
        with counted(module) as calls:
            service.create_request(HostedKey(f"{tenant}.kms.key"), request_order(), operator(service.path))
        return calls["C_GenerateKey"]

    assert [examinations() for _ in range(3)] == [1, 0, 0]


def test_what_the_file_declares_hides_what_was_created_at_its_path(running: Running, data_folder: Path) -> None:
    tenant = new_services(running)
    text = (data_folder / "engine.toml").read_text(encoding="utf-8")
    declared = f'{text}\n[services."{tenant}.store"]\ntype = "x509-store"\n'
    name = tenant.partition(".")[2]
    path = data_folder / "declaring.toml"
    path.write_text(declared.replace('tenants = ["tenant1"]', f'tenants = ["tenant1", "{name}"]', 1), encoding="utf-8")
    with open_engine(path) as engine:
        found = engine.directory.list_resources(tenant, 10, 0, lambda path: True)
        assert {one.path: one.is_declared for one in found} == {
            tenant: True,
            f"{tenant}.kms": False,
            f"{tenant}.service": False,
            f"{tenant}.store": True,
        }
        service = engine.directory.x509_service(f"{tenant}.service")
        assert (list(service.kms), service.stores) == ([f"{tenant}.kms"], (f"{tenant}.store",))
        with pytest.raises(NotAuthorized):
            engine.directory.delete_resource(f"{tenant}.store", lambda path: True, operator(tenant))
    path.unlink()


def test_the_path_of_a_kms_that_was_declared_is_not_used_again_while_it_has_keys(running: Running) -> None:
    tenant = new_tenant(running)
    store = running.engine.store
    row = running.engine.directory.find_kms(KMS_PATH).find_key(f"{KMS_PATH}.leaf-secp256r1")
    kept = running.engine.directory.declared_types()
    store.declare({**kept, f"{tenant}.kms": "kms"})
    store.add_key(
        path=f"{tenant}.kms.old",
        **{name: getattr(row, name) for name in ("token", "label", "key_id", "key_type", "spki", "spki_sha256")},
        **{name: getattr(row, name) for name in ("origin", "custody", "checked_at")},
    )
    store.declare(kept)
    response = create_service(running, f"{tenant}.kms", "kms")
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    assert "What an earlier service had is still below" in response.json()["message"]
    with pytest.raises(NotFound):
        running.engine.directory.find_kms(f"{tenant}.kms")


def test_a_link_to_a_kms_that_was_declared_does_not_lead_to_one_that_is_created_at_its_path(running: Running) -> None:
    tenant, stranger = new_tenant(running), new_tenant(running)
    service, store = f"{tenant}.service", running.engine.store
    assert create_service(running, service, "x509-service").status_code == 201
    kept = running.engine.directory.declared_types()
    store.declare({**kept, f"{stranger}.kms": "kms"})
    store.add_dependency(service, f"{stranger}.kms")
    store.declare(kept)
    assert list(running.engine.directory.x509_service(service).kms) == []
    assert create_service(running, f"{stranger}.kms", "kms").status_code == 201
    assert list(running.engine.directory.x509_service(service).kms) == []
    assert running.engine.directory.list_dependencies(service, lambda path: True) == ()


def test_check_examines_and_prints_what_was_created_too(
    running: Running, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = new_services(running)
    new_key(running, f"{tenant}.kms", "key")
    assert main(["check", "--config", str(data_folder / "engine.toml")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"tenant {tenant}, created over the API" in printed
    at = printed.index(f"kms {tenant}.kms on token trial, created over the API")
    assert printed[at + 1].startswith(f"  key {tenant}.kms.key: secp256r1, generated, SPKI SHA-256 ")
    assert f"x509-service {tenant}.service: kms {tenant}.kms; stores {tenant}.store, created over the API" in printed
    assert f"x509-store {tenant}.store, created over the API" in printed
    assert f"x509-store {STORE_PATH}" in printed
    assert f"kms {KMS_PATH} on token trial" in printed
