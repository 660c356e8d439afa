"""Deleting keys over the API: what is destroyed, what is only unbound, what is refused, and what a crash leaves."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pkcs11.constants import Attribute
from pkcs11.types import Session

from engine.errors import NotFound, PolicyRefusal, TokenUnavailable
from engine.trial.quickstart import KMS_PATH
from tests.api.bodies import changed, csr_body, hosted
from tests.api.conftest import Running, ca_body, keys_call, operator
from tests.api.managing import Interrupted
from tests.token.interposer import answering

LEAF = f"{KMS_PATH}.leaf-secp256r1"


def generate(running: Running, key_id: str) -> Any:
    response = running.client.post(f"{keys_call(f'{KMS_PATH}.{key_id}')}/generate", json={"keyType": "secp256r1"})
    assert response.status_code == 201, response.text
    return response.json()


def delete(running: Running, key_id: str) -> Any:
    return running.client.delete(keys_call(f"{KMS_PATH}.{key_id}"))


def signs(running: Running, key_id: str) -> int:
    return running.post("csrs", changed(csr_body(), "subjectKeyDescriptor", hosted(key_id))).status_code


def test_a_deleted_key_is_gone_and_its_id_is_free(running: Running, token_objects: Callable[[str], int]) -> None:
    path = f"{KMS_PATH}.short-lived"
    first = generate(running, "short-lived")
    assert signs(running, "short-lived") == 200
    response = delete(running, "short-lived")
    assert response.status_code == 202, response.text
    assert response.json() == {
        "_id": path,
        "destroyed": True,
        "message": "The key was destroyed on its token.",
    }
    assert token_objects(path) == 0
    assert running.client.get(keys_call(path)).status_code == 404
    assert signs(running, "short-lived") == 404
    assert path not in [key["_id"] for key in running.client.get(keys_call(KMS_PATH)).json()]
    assert delete(running, "short-lived").status_code == 404
    second = generate(running, "short-lived")
    assert first["key"] != second["key"]
    assert signs(running, "short-lived") == 200


def test_a_key_of_a_certificate_authority_is_kept_unless_that_is_allowed(
    running: Running, token_objects: Callable[[str], int]
) -> None:
    path = f"{KMS_PATH}.ca-in-use"
    generate(running, "ca-in-use")
    running.post("certificate", ca_body("ca-in-use", "In use"), "no-stores").raise_for_status()
    response = delete(running, "ca-in-use")
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    message = response.json()["message"]
    assert f"The key {path} may not be deleted: a CA certificate for it, of SHA-256 " in message
    assert f"the setting allow-delete-in-use of {KMS_PATH} is off" in message
    assert signs(running, "ca-in-use") == 200
    kms = running.engine.directory.find_kms(KMS_PATH)
    with pytest.raises(PolicyRefusal):
        kms.delete_key("ca-in-use", operator(path))
    assert replace(kms, allow_delete_in_use=True).delete_key("ca-in-use", operator(path)).destroyed
    assert token_objects(path) == 0


def test_a_key_with_a_certificate_that_is_no_authoritys_is_deleted(running: Running) -> None:
    generate(running, "leaf-in-use")
    body = changed(ca_body("leaf-in-use", "A leaf"), "certificateData.isCertificateAuthority", False)
    running.post("certificate", body).raise_for_status()
    assert delete(running, "leaf-in-use").status_code == 202


def test_an_adopted_key_is_unbound_and_stays_on_its_token(
    running: Running, ceremony: Callable[..., Any], token_objects: Callable[[str], int]
) -> None:
    key_id = os.urandom(16)
    label = f"from a ceremony {key_id.hex()}"
    ceremony(label, key_id)
    adopt = f"{keys_call(f'{KMS_PATH}.from-a-ceremony')}/adopt"
    assert running.client.post(adopt, json={"label": label}).status_code == 201
    response = delete(running, "from-a-ceremony")
    assert (response.status_code, response.json()["destroyed"]) == (202, False)
    assert "stays on its token" in response.json()["message"]
    assert token_objects(label) == 2
    assert running.client.get(keys_call(f"{KMS_PATH}.from-a-ceremony")).status_code == 404
    assert running.client.post(adopt, json={"label": label}).status_code == 201


def test_a_key_that_two_paths_stand_for_is_destroyed_with_the_last(
    running: Running, token_objects: Callable[[str], int]
) -> None:
    path = f"{KMS_PATH}.first-path"
    generate(running, "first-path")
    adopt = f"{keys_call(f'{KMS_PATH}.second-path')}/adopt"
    assert running.client.post(adopt, json={"label": path}).status_code == 201
    assert delete(running, "first-path").json()["destroyed"] is False
    assert token_objects(path) == 2
    assert (signs(running, "first-path"), signs(running, "second-path")) == (404, 200)
    assert delete(running, "first-path").status_code == 404
    assert signs(running, "second-path") == 200
    assert delete(running, "second-path").json()["destroyed"] is True
    assert token_objects(path) == 0


@pytest.mark.parametrize("then", ["delete", "generate"])
def test_a_deletion_that_was_cut_off_leaves_no_path_and_is_completed_by_the_next_call(
    running: Running, then: str, token_objects: Callable[[str], int]
) -> None:
    key_id = f"cut-off-before-{then}"
    path = f"{KMS_PATH}.{key_id}"
    generate(running, key_id)
    kms = running.engine.directory.find_kms(KMS_PATH)

    class Cut:
        """The token, until it is to destroy."""

        def __getattr__(self, name: str) -> Any:
            if name == "destroy_key":
                raise Interrupted
            return getattr(kms.token, name)

    with pytest.raises(Interrupted):
        replace(kms, token=Cut()).delete_key(key_id, operator(path))
    assert token_objects(path) == 2
    assert running.client.get(keys_call(path)).status_code == 404
    if then == "delete":
        response = delete(running, key_id)
        assert (response.status_code, response.json()["destroyed"]) == (202, True)
        assert token_objects(path) == 0
        assert delete(running, key_id).status_code == 404
    else:
        generate(running, key_id)
        assert token_objects(path) == 2
        assert signs(running, key_id) == 200


def test_a_token_that_fails_to_destroy_is_said_so_and_asked_again_by_the_next_call(
    running: Running, token_objects: Callable[[str], int]
) -> None:
    generate(running, "stubborn")
    with answering(running.engine.config.tokens["trial"].module, "C_DestroyObject", 0x30):
        assert delete(running, "stubborn").status_code == 503
    assert running.client.get(keys_call(f"{KMS_PATH}.stubborn")).status_code == 404
    assert delete(running, "stubborn").json()["destroyed"] is True
    assert token_objects(f"{KMS_PATH}.stubborn") == 0


def test_a_token_that_is_away_keeps_the_path(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(running, "kept-while-away")
    token = running.engine.tokens["trial"]
    with monkeypatch.context() as away:
        away.setattr(token._recovery, "connection", _away)
        assert delete(running, "kept-while-away").status_code == 503
    assert signs(running, "kept-while-away") == 200
    assert delete(running, "kept-while-away").status_code == 202


def _away() -> object:
    raise TokenUnavailable("The token is away.")


@pytest.mark.parametrize("left", [0, 1], ids=["nothing", "half a pair"])
def test_a_key_that_other_software_has_destroyed_is_deleted(
    running: Running, left: int, raw_session: Session, token_objects: Callable[[str], int]
) -> None:
    path = f"{KMS_PATH}.gone-{left}"
    generate(running, f"gone-{left}")
    for half in list(raw_session.get_objects({Attribute.LABEL: path}))[left:]:
        half.destroy()
    response = delete(running, f"gone-{left}")
    assert (response.status_code, response.json()["destroyed"]) == (202, True)
    assert token_objects(path) == 0
    with pytest.raises(NotFound):
        running.engine.store.find_key(path)


def test_deleting_a_key_that_is_signing_disturbs_no_other(running: Running) -> None:
    generate(running, "busy")
    assert signs(running, "busy") == 200
    kms, token = running.engine.directory.find_kms(KMS_PATH), running.engine.tokens["trial"]
    connected, done, failed = token.connected(), threading.Event(), []
    busy, other = kms.signer(f"{KMS_PATH}.busy"), kms.signer(LEAF)

    def sign_with_both() -> None:
        while not done.is_set():
            try:
                other.sign("ecdsa-with-SHA256", b"message")
            except Exception as error:  # noqa: BLE001 (told below)
                failed.append(error)
            try:
                busy.sign("ecdsa-with-SHA256", b"message")
            except Exception:  # noqa: BLE001 (it is being deleted)
                continue

    threads = [threading.Thread(target=sign_with_both) for _ in range(3)]
    for thread in threads:
        thread.start()
    response = delete(running, "busy")
    done.set()
    for thread in threads:
        thread.join()
    assert (response.status_code, response.json()["destroyed"]) == (202, True)
    assert failed == []
    assert token.state() == "ready"
    assert token.connected() is connected
    assert signs(running, "leaf-secp256r1") == 200


@pytest.mark.parametrize("path", [f"{KMS_PATH}.nobody", KMS_PATH, "test.tenant1.nowhere.key", "test"])
def test_what_is_no_key_is_404(running: Running, path: str) -> None:
    response = running.client.delete(keys_call(path))
    assert (response.status_code, response.json()["id"]) == (404, "NotFound")


def test_a_key_outside_the_scope_is_404_and_stays(running: Running, narrow_key: str) -> None:
    response = running.client.delete(keys_call(LEAF), headers={"authorization": f"Bearer {narrow_key}"})
    assert response.status_code == 404
    assert signs(running, "leaf-secp256r1") == 200
