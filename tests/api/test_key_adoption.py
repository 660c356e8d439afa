"""Adopting keys over the API: found by label or id, proven, and none that somebody else has."""

import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute

from engine.directory.proof import proving
from engine.token import load_private_jwk
from engine.trial.quickstart import KMS_PATH
from engine.x509.spki import load_public_jwk
from tests.api.bodies import (
    changed,
    csr_body,
    hosted,
    outside_key,
    private_jwk,
)
from tests.api.conftest import Running, keys_call, operator
from tests.token.interposer import Function, counted, interposed

P384 = bytes.fromhex("06052b81040022")
LEAF = f"{KMS_PATH}.leaf-secp256r1"


def adopt(running: Running, path: str, **members: str) -> httpx.Response:
    return running.client.post(f"{keys_call(path)}/adopt", json=members)


def public_octets(document: Any) -> bytes:
    """SubjectPublicKeyInfo of the key in an answer."""
    return load_public_jwk(document["key"]["jwk"]).spki


def request_by(key_id: str) -> dict[str, Any]:
    return changed(csr_body(), "subjectKeyDescriptor", hosted(key_id))


@pytest.mark.parametrize("by", ["label", "id", "both"])
def test_a_key_made_in_a_ceremony_is_adopted_and_signs(
    by: str, running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    key_id = os.urandom(16)
    label = f"ceremony {key_id.hex()}"
    ceremony(label, key_id)
    names = {"label": {"label": label}, "id": {"id": key_id.hex()}, "both": {"label": label, "id": key_id.hex()}}
    response = adopt(running, f"{KMS_PATH}.adopted-{by}", **names[by])
    assert response.status_code == 201, response.text
    key = response.json()
    assert (key["_id"], key["custody"]["origin"]) == (f"{KMS_PATH}.adopted-{by}", "adopted")
    issued = running.post("csrs", request_by(f"adopted-{by}")).json()
    request = x509.load_pem_x509_csr(issued["csrPEM"].encode())
    assert request.is_signature_valid
    spki = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki == public_octets(key)
    assert running.client.get(keys_call(key["_id"])).json()["key"] == key["key"]


def test_a_taken_key_id_is_409_and_keeps_its_key(running: Running, ceremony: Callable[..., tuple[Any, Any]]) -> None:
    key_id = os.urandom(16)
    ceremony("for a taken id", key_id)
    before = running.client.get(keys_call(LEAF)).json()["key"]
    response = adopt(running, LEAF, id=key_id.hex())
    assert (response.status_code, response.json()["target"]) == (409, LEAF)
    assert running.client.get(keys_call(LEAF)).json()["key"] == before


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Expected label, id or both"),
        ({"label": None}, "Expected label, id or both"),
        ({"id": "xyz"}, "1 to 255 octets in hex"),
        ({"id": "abc"}, "1 to 255 octets in hex"),
        ({"id": ""}, "1 to 255 octets in hex"),
        ({"id": "00" * 256}, "1 to 255 octets in hex"),
        ({"label": ""}, "1 to 4096 characters"),
        ({"label": "a", "slot": 3}, "slot"),
        ({"label": 7}, "label: expected a string"),
    ],
)
def test_a_body_that_names_no_key_is_refused(running: Running, body: Any, sentence: str) -> None:
    response = running.client.post(f"{keys_call(f'{KMS_PATH}.never')}/adopt", json=body)
    assert response.status_code == 400, response.text
    assert sentence in response.text
    assert running.client.get(keys_call(f"{KMS_PATH}.never")).status_code == 404


def test_a_key_that_is_not_on_the_token_is_404(running: Running) -> None:
    response = adopt(running, f"{KMS_PATH}.never", label="no such label")
    assert response.status_code == 404
    assert "no private key with label 'no such label'" in response.json()["message"]


def test_an_ambiguous_label_is_refused_saying_what_to_name(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    ids = os.urandom(8), os.urandom(8)
    for key_id in ids:
        ceremony("twins", key_id)
    response = adopt(running, f"{KMS_PATH}.never", label="twins")
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    assert response.json()["message"].endswith("2 private keys with label 'twins'; name the id as well.")


def test_a_label_of_one_key_and_an_id_of_another_are_refused_saying_so(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    one, other = os.urandom(8), os.urandom(8)
    ceremony("the one", one)
    ceremony("the other", other)
    response = adopt(running, f"{KMS_PATH}.never", label="the one", id=other.hex())
    assert response.status_code == 404
    assert "but 1 with that label and 1 with that id; name one of them" in response.json()["message"]


def test_a_private_key_without_its_public_half_is_refused_saying_what_to_do(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    key_id = os.urandom(8)
    public_key, _ = ceremony("half", key_id)
    public_key.destroy()
    response = adopt(running, f"{KMS_PATH}.never", id=key_id.hex())
    assert response.status_code == 404
    assert "has no public key with the same id on the token; give its public key that CKA_ID" in response.text


def test_halves_that_do_not_belong_together_are_refused_and_nothing_is_kept_of_them(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    one, other = os.urandom(8), os.urandom(8)
    public_key, _ = ceremony("mismatched", one)
    public_key.destroy()
    stranger, _ = ceremony("mismatched", other)
    stranger[Attribute.ID] = one
    response = adopt(running, f"{KMS_PATH}.never", id=one.hex())
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    assert "makes no signature that verifies under the public key with that id" in response.json()["message"]
    assert running.client.get(keys_call(f"{KMS_PATH}.never")).status_code == 404
    token = running.engine.tokens["trial"]
    assert all(key.id != one for key in token._keys._keys)


def test_halves_on_different_curves_are_refused_saying_what_to_change(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    one, other = os.urandom(8), os.urandom(8)
    public_key, _ = ceremony("P-256 half", one)
    public_key.destroy()
    stranger, _ = ceremony("P-384 half", other, P384)
    stranger[Attribute.ID] = one
    before = running.signatures
    response = adopt(running, f"{KMS_PATH}.never", id=one.hex())
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    assert "has another CKA_EC_PARAMS than the public key with that id; give the public" in response.json()["message"]
    assert running.signatures == before


def test_a_key_that_wants_the_pin_for_every_signature_is_adopted_and_signs_where_custody_is_required(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    key_id = os.urandom(8)
    ceremony("wants the PIN", key_id, always_authenticate=True, sensitive=True, extractable=False)
    response = adopt(running, f"{KMS_PATH}.always-{key_id.hex()}", id=key_id.hex())
    assert response.status_code == 201, response.text
    assert response.json()["custody"]["alwaysAuthenticate"] is True
    for _ in range(2):
        with counted(running.engine.config.tokens["trial"].module) as calls:
            response = running.post("csrs", request_by(f"always-{key_id.hex()}"), "custody")
        assert response.status_code == 200, response.text
        assert x509.load_pem_x509_csr(response.json()["csrPEM"].encode()).is_signature_valid
        assert (calls["C_SignInit"], calls["C_Login"]) == (1, 1)


def test_adopting_over_the_api_is_off_unless_the_kms_allows_it(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    key_id = os.urandom(8)
    ceremony("not for callers", key_id)
    before = running.signatures
    response = adopt(running, "test.tenant1.kms2.never", id=key_id.hex())
    assert response.status_code == 403
    assert "the setting allow-adopt of test.tenant1.kms2 is off" in response.json()["message"]
    assert running.signatures == before


HIDDEN = "test.tenant1.kms2.elsewhere"


def answers_alike(running: Running, theirs: dict[str, str], nobodys: dict[str, str]) -> None:
    """Adopting what another KMS has, and what nobody has, is answered alike but for the names that were given."""
    before = running.signatures
    answers = []
    for members in (theirs, nobodys):
        response = adopt(running, f"{KMS_PATH}.never", **members)
        assert response.status_code == 404, response.text
        message = response.json()["message"]
        for member, value in members.items():
            message = message.replace(value, member)
        answers.append(message)
    assert answers[0] == answers[1]
    assert running.signatures == before


def test_a_key_of_another_kms_is_to_a_caller_as_if_it_were_not_there(running: Running) -> None:
    token_id = running.engine.store.find_key(HIDDEN).key_id.hex()
    other_label, other_id = HIDDEN.replace("elsewhere", "not-there"), os.urandom(16).hex()
    answers_alike(running, {"label": HIDDEN}, {"label": other_label})
    answers_alike(running, {"id": token_id}, {"id": other_id})
    answers_alike(running, {"label": HIDDEN, "id": token_id}, {"label": other_label, "id": other_id})
    answers_alike(running, {"label": HIDDEN, "id": other_id}, {"label": other_label, "id": other_id})
    answers_alike(running, {"label": other_label, "id": token_id}, {"label": other_label, "id": other_id})


def test_a_key_that_another_kms_has_does_not_make_a_callers_own_ambiguous(
    running: Running, ceremony: Callable[..., tuple[Any, Any]]
) -> None:
    key_id = os.urandom(16)
    ceremony(HIDDEN, key_id)
    response = adopt(running, f"{KMS_PATH}.like-a-hidden-one", label=HIDDEN)
    assert response.status_code == 201, response.text
    assert running.engine.store.find_key(f"{KMS_PATH}.like-a-hidden-one").key_id == key_id


def test_a_key_that_is_being_made_for_another_kms_is_to_a_caller_as_if_it_were_not_there(running: Running) -> None:
    path = "test.tenant1.kms2.under-way"
    token = running.engine.tokens["trial"]
    with proving(running.engine.store, path, operator(path)) as intent_id:
        token.generate_key("secp256r1", path, bytes.fromhex(intent_id))
        answers_alike(running, {"label": path}, {"label": path.replace("under-way", "nowhere-x")})
        token.destroy_leftovers(path, bytes.fromhex(intent_id))
        running.engine.store.record_signed(intent_id=intent_id)


def test_the_same_key_elsewhere_on_the_token_is_to_a_caller_as_if_it_were_not_there(running: Running) -> None:
    jwk = private_jwk(outside_key("of another KMS"))
    kms2 = running.engine.directory.find_kms("test.tenant1.kms2")
    kms2.import_key("same-key", jwk, operator(f"{kms2.path}.same-key"))
    label, token_id = "the same, elsewhere", os.urandom(16)
    running.engine.tokens["trial"].import_key(load_private_jwk(jwk), label, token_id)
    answers_alike(running, {"label": label}, {"label": "the same, nowhere.."})
    answers_alike(running, {"id": token_id.hex()}, {"id": os.urandom(16).hex()})


def test_the_operator_can_share_a_key_and_its_kms_can_have_it_twice(running: Running) -> None:
    kms1, path = running.engine.directory.find_kms(KMS_PATH), f"{KMS_PATH}.shared"
    kms1.adopt_key("shared", operator(path), label=HIDDEN, token_id=running.engine.store.find_key(HIDDEN).key_id)
    members = {"label": HIDDEN, "id": running.engine.store.find_key(HIDDEN).key_id.hex()}
    assert adopt(running, f"{KMS_PATH}.shared-again", **members).status_code == 201


def test_adopting_records_the_signature_that_proves_the_key(
    running: Running, ceremony: Callable[..., tuple[Any, Any]], proofs: Callable[[str], list[tuple[str, str, str]]]
) -> None:
    key_id, path = os.urandom(16), f"{KMS_PATH}.adopted-on-record"
    ceremony("on record", key_id)
    open_while_signing = []

    def look(_: str, original: Function) -> Function:
        def call(*arguments: int) -> int:
            open_while_signing.extend(proofs(path))
            return original(*arguments)

        return call

    with interposed(running.engine.config.tokens["trial"].module, look, ["C_SignInit"]):
        assert adopt(running, path, id=key_id.hex()).status_code == 201
    assert [state for state, _, _ in open_while_signing] == ["intended"]
    [(state, caller, target)] = proofs(path)
    assert (state, caller.partition("-")[0], target) == ("signed", "quickstart", path)
