"""Deleting what was made over the API: only what is empty, and never from under something that is being made."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from engine.app import Engine
from engine.directory import EntryOrder, HostedKey, SelfSigned
from engine.directory.descriptors import KeySource
from engine.errors import NotFound, PolicyRefusal
from engine.profiles.orders import GenericOrder, SubjectName
from engine.store import ENGINE
from engine.trial.quickstart import KMS_PATH, SERVICE_PATH, STORE_PATH
from tests.api.bodies import outside_certificate, outside_key
from tests.api.conftest import Running, operator
from tests.api.tree import (
    certify,
    create_service,
    create_tenant,
    credential,
    delete,
    new_key,
    new_services,
    new_tenant,
    self_signed,
)


def test_a_tenant_is_taken_down_from_below(running: Running) -> None:
    tenant = new_services(running)
    for path, reason in (
        (tenant, f"There is still something below {tenant}, such as {tenant}."),
        (f"{tenant}.kms", f"{tenant}.kms is attached to X.509 services; take it from their dependencies first."),
        (f"{tenant}.store", f"{tenant}.store is attached to X.509 services; take it from their dependencies first."),
    ):
        response = delete(running, path)
        assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
        assert response.json()["message"].startswith(reason)
    assert response.json()["details"] == [f"{tenant}.service"]
    for path in (f"{tenant}.service", f"{tenant}.kms", f"{tenant}.store", tenant):
        response = delete(running, path)
        assert (response.status_code, response.json()) == (202, {"_id": path})
        assert delete(running, path).status_code == 404
    assert create_tenant(running, tenant).status_code == 201


def test_a_kms_with_keys_is_not_deleted(running: Running) -> None:
    tenant = new_tenant(running)
    assert create_service(running, f"{tenant}.kms", "kms").status_code == 201
    new_key(running, f"{tenant}.kms", "key")
    response = delete(running, f"{tenant}.kms")
    assert response.status_code == 400
    assert f"such as {tenant}.kms.key; delete that first" in response.json()["message"]


def test_a_store_with_entries_is_not_deleted(running: Running) -> None:
    tenant = new_tenant(running)
    service, store = f"{tenant}.service", f"{tenant}.store"
    assert create_service(running, store, "x509-store").status_code == 201
    assert create_service(running, service, "x509-service", dependencies=[KMS_PATH, store]).status_code == 201
    stored = {**self_signed("ca-secp256r1", KMS_PATH), "storedCertificateId": "root"}
    assert certify(running, service, "certificate", stored).status_code == 200
    assert delete(running, service).status_code == 202
    response = delete(running, store)
    assert response.status_code == 400
    assert f"such as {store}.root; delete that first" in response.json()["message"]


def test_whose_services_use_it_is_told_only_to_who_may_know(running: Running) -> None:
    tenant, elsewhere = new_tenant(running), new_tenant(running)
    assert create_service(running, f"{tenant}.store", "x509-store").status_code == 201
    for place in (tenant, elsewhere):
        created = create_service(running, f"{place}.user", "x509-service", dependencies=[f"{tenant}.store"])
        assert created.status_code == 201
    wide, narrow = delete(running, f"{tenant}.store"), credential(running, tenant)
    assert wide.json()["details"] == sorted([f"{tenant}.user", f"{elsewhere}.user"])
    told = delete(running, f"{tenant}.store", headers=narrow)
    assert told.status_code == 400
    assert told.json()["details"] == [f"{tenant}.user"]
    assert elsewhere not in told.text
    assert delete(running, f"{tenant}.user").status_code == 202
    told = delete(running, f"{tenant}.store", headers=narrow)
    assert told.status_code == 400
    assert "details" not in told.json()
    assert elsewhere not in told.text


@pytest.mark.parametrize("path", ["test", "test.tenant1", KMS_PATH, SERVICE_PATH, STORE_PATH])
def test_what_is_declared_is_not_deleted(running: Running, path: str) -> None:
    response = delete(running, path)
    assert (response.status_code, response.json()["id"]) == (403, "NotAuthorized")
    assert response.json()["message"] == f"{path} is declared in the configuration file and can be deleted only there."


@pytest.mark.parametrize("path", ["test.nowhere", "test.tenant1.nowhere", f"{KMS_PATH}.leaf-secp256r1"])
def test_what_is_not_there_is_not_deleted(running: Running, path: str) -> None:
    response = delete(running, path)
    assert (response.status_code, response.json()["message"]) == (404, f"There is no resource at {path}.")


# -- two at once


def test_no_key_is_registered_below_a_kms_that_was_deleted_meanwhile(running: Running) -> None:
    tenant = new_tenant(running)
    assert create_service(running, f"{tenant}.kms", "kms").status_code == 201
    kms = running.engine.directory.find_kms(f"{tenant}.kms")
    assert delete(running, f"{tenant}.kms").status_code == 202
    with pytest.raises(NotFound, match=r"There is no service at .*\.kms\."):
        kms.generate_key("key", "secp256r1", operator(kms.path))
    assert running.engine.store.list_keys(f"{tenant}.kms") == ()


def test_no_certificate_is_kept_in_a_store_that_was_deleted_meanwhile(running: Running) -> None:
    path = f"{new_tenant(running)}.store"
    assert create_service(running, path, "x509-store").status_code == 201
    store = running.engine.directory.x509_store(path)
    order = EntryOrder("base", outside_certificate(outside_key()))
    assert store.add_entry("one", order, None, ENGINE)
    store.delete_entry("one", ENGINE)
    assert delete(running, path).status_code == 202
    with pytest.raises(NotFound, match=r"There is no service at .*\.store\."):
        store.add_entry("one", order, None, ENGINE)
    assert create_service(running, path, "x509-store").status_code == 201
    assert running.client.get(f"/v1/{path}/x509-store-api/certificates").json() == []


def test_nothing_is_signed_for_a_store_that_was_deleted_meanwhile(running: Running) -> None:
    tenant = new_tenant(running)
    service_path, store = f"{tenant}.service", f"{tenant}.store"
    assert create_service(running, store, "x509-store").status_code == 201
    assert create_service(running, service_path, "x509-service", dependencies=[KMS_PATH, store]).status_code == 201
    service = running.engine.directory.x509_service(service_path)
    assert delete(running, service_path).status_code == 202
    assert delete(running, store).status_code == 202
    before, key = running.signatures, HostedKey(f"{KMS_PATH}.ca-secp256r1")
    order = GenericOrder(subject_name=SubjectName(common_name="Orphan"), is_certificate_authority=True)
    with pytest.raises(NotFound, match=r"There is no service at .*\.store\."):
        service.issue_certificate(order, KeySource(key), SelfSigned(), None, operator(service_path))
    assert running.signatures == before
    assert running.engine.store.list_entry_paths(store, 10, 0) == ()


def test_a_service_and_the_end_of_its_tenant_never_both_succeed(running: Running, other_engine: Engine) -> None:
    """Nor do a link and the end of what it leads to; the two engines share nothing but the database."""

    def outcomes(*works: Callable[[], Any]) -> list[bool]:
        barrier = threading.Barrier(len(works))

        def attempt(work: Callable[[], Any]) -> bool:
            barrier.wait()
            try:
                work()
            except (NotFound, PolicyRefusal):
                return False
            return True

        with ThreadPoolExecutor(len(works)) as pool:
            return list(pool.map(attempt, works))

    def everything(path: str) -> bool:
        return True

    one, other = running.engine.directory, other_engine.directory
    service = f"{new_tenant(running)}.service"
    assert create_service(running, service, "x509-service").status_code == 201
    members = {"type": "x509-store", "name": None, "by": ENGINE, "may_see": everything}
    for _ in range(15):
        tenant = new_tenant(running)
        store = f"{tenant}.store"
        created, deleted = outcomes(
            partial(one.create_service, store, **members), partial(other.delete_resource, tenant, everything, ENGINE)
        )
        assert created is not deleted
        if deleted:
            continue
        linked, deleted = outcomes(
            partial(other.add_dependency, service, store, everything, ENGINE),
            partial(one.delete_resource, store, everything, ENGINE),
        )
        assert linked is not deleted
        assert (store in one.list_dependencies(service, everything)) is linked
