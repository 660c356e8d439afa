"""The keys of a KMS over the API: listed and examined; and services that require custody."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.types import Session

from engine.directory.custody import CustodyWatch
from engine.errors import PolicyRefusal
from engine.token import Token
from engine.trial.quickstart import KMS_PATH
from engine.x509.spki import load_public_jwk
from tests.api.bodies import (
    certificate_body,
    certification_request,
    changed,
    csr_body,
    described_jwk,
    hosted,
    outside_key,
    private_jwk,
)
from tests.api.conftest import Running, keys_call
from tests.api.test_key_adoption import adopt, request_by
from tests.token.interposer import answering, counted

LEAF = f"{KMS_PATH}.leaf-secp256r1"


def wait_until_ready(token: Token) -> None:
    """Back on its feet, each of the many keys that this package has used examined."""
    deadline = time.monotonic() + 60
    while token.state() != "ready":
        assert time.monotonic() < deadline, token.state()
        time.sleep(0.05)


def test_a_key_is_examined_and_answered_with_its_custody_record(running: Running) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    response = running.client.get(keys_call(LEAF), headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    key = response.json()
    assert set(key) == {"_id", "type", "key", "custody"}
    assert (key["_id"], key["type"], key["key"]["type"]) == (LEAF, "key", "jwk")
    assert set(key["key"]["jwk"]) == {"kty", "crv", "x", "y"}
    custody = key["custody"]
    said = {name: custody[name] for name in ("private", "sensitive", "alwaysSensitive", "neverExtractable", "local")}
    assert set(said.values()) == {True}
    assert not any(custody[name] for name in ("extractable", "decrypt", "unwrap", "derive", "signRecover"))
    assert set(custody["token"]) == {"label", "manufacturer", "model", "serial", "firmware"}
    assert {name: test["result"] for name, test in custody["negativeTests"].items()} == {
        "read": "refused",
        "wrap": "refused",
        "copy": "refused",
    }
    assert custody["spkiSha256"] == load_public_jwk(key["key"]["jwk"]).sha256
    assert custody["keyType"] == "CKK_EC"
    assert "shortfalls" not in custody
    assert datetime.fromisoformat(custody["checkedAt"]) >= before


def test_the_list_says_what_was_recorded_and_asks_the_token_nothing(running: Running) -> None:
    live = running.client.get(keys_call(LEAF)).json()
    token = running.engine.config.tokens["trial"]
    with counted(token.module) as calls:
        response = running.client.get(keys_call(KMS_PATH))
    assert response.status_code == 200, response.text
    assert not calls
    keys = response.json()
    assert live in keys
    paths = [key["_id"] for key in keys]
    assert paths == sorted(paths)
    assert all(path.startswith(f"{KMS_PATH}.") for path in paths)


def test_the_list_comes_in_pages(running: Running) -> None:
    every = [key["_id"] for key in running.client.get(keys_call(KMS_PATH)).json()]
    page = running.client.get(keys_call(KMS_PATH), params={"limit": 2, "offset": 1}).json()
    assert [key["_id"] for key in page] == every[1:3]
    assert running.client.get(keys_call(KMS_PATH), params={"offset": len(every)}).json() == []
    refused = running.client.get(keys_call(KMS_PATH), params={"limit": 0})
    assert (refused.status_code, "limit" in refused.json()["message"]) == (400, True)


def test_an_examination_is_kept(running: Running) -> None:
    kms = running.engine.directory.find_kms(KMS_PATH)
    running.client.get(keys_call(LEAF)).raise_for_status()
    row = kms.find_key(LEAF)
    assert (datetime.now(UTC) - row.checked_at).total_seconds() < 30
    assert row.custody["negative_tests"]["wrap"]["answer"] == "CKR_KEY_UNEXTRACTABLE"


@pytest.mark.parametrize("path", [f"{KMS_PATH}.nobody", "test.tenant1.nowhere", f"{KMS_PATH}.leaf.deeper", "test"])
def test_a_key_that_is_not_there_is_404(running: Running, path: str) -> None:
    response = running.client.get(keys_call(path))
    assert (response.status_code, response.json()["id"]) == (404, "NotFound")


def test_a_credential_reads_and_adopts_in_its_scope_only(running: Running, narrow_key: str) -> None:
    narrow = {"authorization": f"Bearer {narrow_key}"}
    assert running.client.get(keys_call(LEAF), headers=narrow).status_code == 404
    assert running.client.get(keys_call(LEAF), headers={"authorization": ""}).status_code == 401
    response = running.client.post(f"{keys_call(LEAF)}/adopt", json={"label": "any"}, headers=narrow)
    assert response.status_code == 404


def test_a_token_that_fails_meanwhile_is_503_and_the_record_stays(running: Running) -> None:
    kms = running.engine.directory.find_kms(KMS_PATH)
    running.client.get(keys_call(LEAF)).raise_for_status()
    before = kms.find_key(LEAF)
    with answering(running.engine.config.tokens["trial"].module, "C_WrapKey", 0x30):
        response = running.client.get(keys_call(LEAF))
    assert response.status_code == 503, response.text
    assert kms.find_key(LEAF) == before


# -- require-custody


@pytest.fixture
def extractable(running: Running, ceremony: Callable[..., tuple[Any, Any]]) -> str:
    """The id of an adopted key that can leave its token."""
    key_id = os.urandom(8)
    ceremony("extractable", key_id, extractable=True, sensitive=False)
    response = adopt(running, f"{KMS_PATH}.extractable-{key_id.hex()}", id=key_id.hex())
    assert response.status_code == 201, response.text
    return f"extractable-{key_id.hex()}"


def test_the_record_of_an_extractable_key_says_so(running: Running, extractable: str) -> None:
    custody = running.client.get(keys_call(f"{KMS_PATH}.{extractable}")).json()["custody"]
    assert (custody["extractable"], custody["sensitive"]) == (True, False)
    assert custody["negativeTests"]["read"] == {"attribute": "CKA_VALUE", "result": "readable", "answer": "CKR_OK"}
    assert "extractable is True, expected False" in custody["shortfalls"]


def test_a_service_that_requires_custody_does_not_sign_with_an_extractable_key(
    running: Running, extractable: str
) -> None:
    before = running.signatures
    for call, body in (
        ("csrs", request_by(extractable)),
        ("certificate", changed(certificate_body(), "issuer.issuerKeyDescriptor", hosted(extractable))),
    ):
        response = running.post(call, body, "custody")
        assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
        details = response.json()["details"]
        assert {"sensitive is False, expected True", "extractable is True, expected False"} <= set(details)
        assert all(detail in response.json()["message"] for detail in details)
    assert running.signatures == before
    assert running.post("csrs", request_by(extractable)).status_code == 200


def test_a_service_that_requires_custody_signs_with_a_generated_key(running: Running) -> None:
    body = changed(certificate_body(), "subjectPublicKeySource.csrPEM", certification_request())
    ca = running.client.get("/v1/test.tenant1.x509-store-1.ca-secp256r1/x509-store-api/certificates").json()
    body = changed(body, "issuer.issuerCertificatePEM", ca["data"]["pem"])
    with counted(running.engine.config.tokens["trial"].module) as calls:
        for _ in range(3):
            response = running.post("certificate", body, "custody")
            assert response.status_code == 200, response.text
    assert calls["C_GenerateKey"] <= 1  # one examination, or none if one is recent


def test_a_private_jwk_never_satisfies_custody(running: Running) -> None:
    body = changed(csr_body(), "subjectKeyDescriptor", described_jwk(private_jwk(outside_key())))
    before = running.signatures
    response = running.post("csrs", body, "custody")
    assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal")
    assert "requires custody" in response.json()["message"]
    assert running.signatures == before
    assert running.post("csrs", body).status_code == 200


def test_a_token_that_cannot_be_examined_does_not_sign(running: Running) -> None:
    """Nor does what was found before count when the token has been away since."""
    body = request_by("leaf-secp256r1")
    assert running.post("csrs", body, "custody").status_code == 200
    token = running.engine.tokens["trial"]
    token._recovery.lost(token._connection, "a test says so")
    wait_until_ready(token)
    before = running.signatures
    with answering(running.engine.config.tokens["trial"].module, "C_WrapKey", 0x30):
        response = running.post("csrs", body, "custody")
    assert response.status_code == 503, response.text
    assert running.signatures == before
    assert running.post("csrs", body, "custody").status_code == 200


def test_an_examination_counts_for_its_minutes_and_not_beyond_a_reconnect(running: Running) -> None:
    now = 0.0
    kms = replace(running.engine.directory.find_kms(KMS_PATH), watch=CustodyWatch(lambda: now))
    module = running.engine.config.tokens["trial"].module

    def examinations(minutes: float) -> int:
        with counted(module) as calls:
            kms.require_custody(LEAF, minutes)
        return calls["C_GenerateKey"]

    assert examinations(60) == 1
    now = 3599.0
    assert examinations(60) == 0
    assert examinations(1) == 1
    now += 3600
    assert examinations(60) == 1
    assert examinations(60) == 0
    assert examinations(0) == 1
    token = running.engine.tokens["trial"]
    token._recovery.lost(token._connection, "a test says so")
    wait_until_ready(token)
    assert examinations(60) == 1
    assert examinations(60) == 0


def test_a_key_that_falls_short_is_examined_every_time(running: Running, extractable: str) -> None:
    kms = running.engine.directory.find_kms(KMS_PATH)
    module = running.engine.config.tokens["trial"].module
    for _ in range(2):
        with counted(module) as calls, pytest.raises(PolicyRefusal):
            kms.require_custody(f"{KMS_PATH}.{extractable}", 60)
        assert calls["C_GenerateKey"] == 1


def test_nothing_that_an_examination_makes_stays_on_the_token(running: Running, raw_session: Session) -> None:
    secret = {Attribute.CLASS: ObjectClass.SECRET_KEY}
    running.client.get(keys_call(LEAF)).raise_for_status()
    assert list(raw_session.get_objects(secret)) == []
