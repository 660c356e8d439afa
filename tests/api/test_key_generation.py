"""Generating keys over the API: which, where, and what is left when it fails, is raced or is cut off."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from pkcs11.constants import Attribute
from pkcs11.types import Session

from engine.directory.credentials import create_api_key
from engine.directory.proof import proving
from engine.errors import AlreadyExists, StoreError
from engine.trial.quickstart import KMS_PATH
from tests.api.bodies import changed, csr_body, hosted
from tests.api.conftest import Running, keys_call, operator
from tests.api.managing import Interrupted, meanwhile
from tests.token.interposer import Function, counted, interposed

Proofs = Callable[[str], list[tuple[str, str, str]]]


def generate(running: Running, key_id: str, **members: object) -> Any:
    return running.client.post(f"{keys_call(f'{KMS_PATH}.{key_id}')}/generate", json=members)


def signs(running: Running, key_id: str) -> bool:
    response = running.post("csrs", changed(csr_body(), "subjectKeyDescriptor", hosted(key_id)))
    return response.status_code == 200 and x509.load_pem_x509_csr(response.json()["csrPEM"].encode()).is_signature_valid


@pytest.mark.parametrize(
    ("key_type", "public"),
    [
        ("secp256r1", {"kty": "EC", "crv": "P-256"}),
        ("SECP384R1", {"kty": "EC", "crv": "P-384"}),
        ("Secp521r1", {"kty": "EC", "crv": "P-521"}),
        ("ED25519", {"kty": "OKP", "crv": "Ed25519"}),
        ("rsa", {"kty": "RSA", "e": "AQAB"}),
        ("Rsa3072", {"kty": "RSA", "e": "AQAB"}),
    ],
)
def test_a_key_is_generated_and_signs(running: Running, key_type: str, public: dict[str, str]) -> None:
    response = generate(running, f"made-{key_type}", backend="jwk", keyType=key_type)
    assert response.status_code == 201, response.text
    key = response.json()
    assert (key["_id"], key["type"]) == (f"{KMS_PATH}.made-{key_type}", "key")
    assert public.items() <= key["key"]["jwk"].items()
    assert "d" not in key["key"]["jwk"]
    assert (key["custody"]["origin"], key["custody"]["extractable"]) == ("generated", False)
    assert "shortfalls" not in key["custody"]
    assert signs(running, f"made-{key_type}")
    assert running.client.get(keys_call(key["_id"])).json()["key"] == key["key"]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"backend": None, "config": None},
        {"backend": "pkcs11", "config": {}},
        {"backend": "jwk", "config": {"extractable": False, "sensitive": True}},
    ],
)
def test_members_that_change_nothing_are_accepted(running: Running, members: dict[str, object]) -> None:
    key_id = f"accepted-{os.urandom(4).hex()}"
    response = generate(running, key_id, keyType="secp256r1", **members)
    assert response.status_code == 201, response.text


@pytest.mark.parametrize(
    ("members", "sentences"),
    [
        ({}, ["missing member keyType"]),
        ({"keyType": "P-256"}, ["expected one of secp256r1", "RSA4096", "found 'P-256'"]),
        ({"keyType": 7}, ["keyType: expected a string"]),
        ({"keyType": "secp256k1"}, ["no certificate that the engine issues may hold one", "expected one of secp256r1"]),
        ({"keyType": "secp256r1", "backend": "aws-rest-api"}, ["backend: expected pkcs11 or jwk", "'aws-rest-api'"]),
        ({"keyType": "secp256r1", "config": {"tags": {}}}, ["unknown member config.tags"]),
        ({"keyType": "secp256r1", "config": {"extractable": True}}, ["config.extractable"]),
        ({"keyType": "secp256r1", "config": {"sensitive": False}}, ["config.sensitive"]),
        ({"keyType": "secp256r1", "config": []}, ["config: expected an object"]),
        ({"keyType": "secp256r1", "extractable": False}, ["unknown member extractable"]),
    ],
)
def test_what_is_not_had_is_refused_saying_what_is(
    running: Running, members: dict[str, object], sentences: list[str], token_objects: Callable[[str], int]
) -> None:
    before = running.signatures
    response = generate(running, "never", **members)
    assert response.status_code == 400, response.text
    assert all(sentence in response.json()["message"] for sentence in sentences), response.text
    assert running.client.get(keys_call(f"{KMS_PATH}.never")).status_code == 404
    assert token_objects(f"{KMS_PATH}.never") == 0
    assert running.signatures == before


def test_a_taken_key_id_is_409_and_nothing_is_generated(running: Running) -> None:
    assert generate(running, "once", keyType="secp256r1").status_code == 201
    with counted(running.engine.config.tokens["trial"].module) as calls:
        response = generate(running, "once", keyType="Ed25519")
    assert (response.status_code, response.json()["type"]) == (409, "DuplicateTarget")
    assert response.json()["target"] == f"{KMS_PATH}.once"
    assert not calls
    assert running.client.get(keys_call(f"{KMS_PATH}.once")).json()["key"]["jwk"]["crv"] == "P-256"


def test_calls_for_one_id_at_once_leave_one_key(running: Running, token_objects: Callable[[str], int]) -> None:
    responses = running.client.post_together(
        f"{keys_call(f'{KMS_PATH}.contested')}/generate", [{"keyType": "secp256r1"}] * 6
    )
    assert sorted(response.status_code for response in responses) == [201, *[409] * 5]
    assert token_objects(f"{KMS_PATH}.contested") == 2
    assert signs(running, "contested")


def test_who_loses_a_race_to_another_replica_destroys_what_it_made_and_not_what_the_other_did(
    running: Running, token_objects: Callable[[str], int], proofs: Proofs
) -> None:
    kms, path = running.engine.directory.find_kms(KMS_PATH), f"{KMS_PATH}.raced"
    winner = []

    def win() -> None:
        winner.append(kms.generate_key("raced", "secp256r1", operator(path)))

    with pytest.raises(AlreadyExists):
        meanwhile(kms, "add_key", win).generate_key("raced", "secp384r1", operator(path))
    assert token_objects(path) == 2
    assert kms.public_key(path) == winner[0].public_key
    assert signs(running, "raced")
    assert sorted(state for state, _, _ in proofs(path)) == ["failed", "signed"]


def test_a_key_that_cannot_be_registered_is_destroyed(
    running: Running, token_objects: Callable[[str], int], proofs: Proofs
) -> None:
    kms, path = running.engine.directory.find_kms(KMS_PATH), f"{KMS_PATH}.not-registered"

    def fail() -> None:
        assert token_objects(path) == 2
        raise StoreError("The database did not commit the record.")

    with pytest.raises(StoreError):
        meanwhile(kms, "add_key", fail).generate_key("not-registered", "secp256r1", operator(path))
    assert token_objects(path) == 0
    assert [state for state, _, _ in proofs(path)] == ["failed"]
    assert generate(running, "not-registered", keyType="secp256r1").status_code == 201


def left_behind(running: Running, path: str) -> bytes:
    """A key of a call that was cut off after it, and whose intent was closed since."""
    made: list[bytes] = []

    def cut_off() -> None:
        with proving(running.engine.store, path, operator(path)) as intent_id:
            made.append(bytes.fromhex(intent_id))
            running.engine.tokens["trial"].generate_key("secp256r1", path, made[0])
            raise Interrupted

    with pytest.raises(Interrupted):
        cut_off()
    return made[0]


def test_what_a_call_that_was_cut_off_has_left_is_destroyed_by_the_next(
    running: Running, token_objects: Callable[[str], int], raw_session: Session
) -> None:
    path = f"{KMS_PATH}.cut-off"
    token_id = left_behind(running, path)
    half, *_ = raw_session.get_objects({Attribute.ID: left_behind(running, path)})
    half.destroy()
    assert token_objects(path) == 3
    assert running.client.get(keys_call(path)).status_code == 404
    assert generate(running, "cut-off", keyType="secp256r1").status_code == 201
    assert token_objects(path) == 2
    assert not list(raw_session.get_objects({Attribute.ID: token_id}))
    assert signs(running, "cut-off")


def test_keys_of_that_name_that_are_somebody_elses_or_still_being_made_are_left_alone(
    running: Running, token_objects: Callable[[str], int], ceremony: Callable[..., Any]
) -> None:
    path, token = f"{KMS_PATH}.crowded", running.engine.tokens["trial"]
    ceremony(path, os.urandom(16))
    with proving(running.engine.store, path, operator(path)) as intent_id:
        token.generate_key("secp256r1", path, bytes.fromhex(intent_id))
        assert generate(running, "crowded", keyType="secp256r1").status_code == 201
        assert token_objects(path) == 6
        running.engine.store.record_signed(intent_id=intent_id)
    assert running.client.delete(keys_call(path)).status_code == 202
    assert token_objects(path) == 4


def test_the_signature_that_proves_a_new_key_is_on_record_before_it_is_made(running: Running, proofs: Proofs) -> None:
    path, seen = f"{KMS_PATH}.on-record", []

    def look(_: str, original: Function) -> Function:
        def call(*arguments: int) -> int:
            seen.extend(proofs(path))
            return original(*arguments)

        return call

    before = running.signatures
    with interposed(running.engine.config.tokens["trial"].module, look, ["C_SignInit"]):
        assert generate(running, "on-record", keyType="secp256r1").status_code == 201
    assert running.signatures == before + 1
    assert [state for state, _, _ in seen] == ["intended"]
    assert [(state, target) for state, _, target in proofs(path)] == [("signed", path)]


@pytest.mark.parametrize("role", ["reader", "issuer", "store-manager"])
def test_only_who_may_manage_keys_generates_imports_adopts_and_deletes(running: Running, role: str) -> None:
    secret = create_api_key(running.engine.store, credential_id=f"not-a-key-manager-{role}", scope="test", roles=[role])
    headers = {"authorization": f"Bearer {secret}"}
    path = keys_call(f"{KMS_PATH}.leaf-rsa")
    for method, call in [("POST", "/generate"), ("POST", "/import/jwk"), ("POST", "/adopt"), ("DELETE", "")]:
        response = running.client.request(method, f"{path}{call}", json={}, headers=headers)
        assert response.status_code == 403, response.text
    assert running.client.get(path, headers=headers).status_code == 200
