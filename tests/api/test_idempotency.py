"""`Idempotency-Key`: an order that is sent again gets the same answer and no second signature."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.api import build_application
from engine.app import open_engine
from engine.directory import Directory
from engine.directory.credentials import Credential, create_api_key
from engine.issuance import Repeat
from tests.api.bodies import certificate_body, csr_body, ds_body, iaca_body
from tests.api.conftest import Running
from tests.in_process import InProcessClient
from tests.token.interposer import answering

SERVICE = "/v1/test.tenant1.x509-service-1/x509-service-api"
CALLS = {"certificate": certificate_body, "iso/iacas": iaca_body, "iso/document-signers": ds_body}
FUNCTION_FAILED = 0x06


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def send(running: Running, key: str, body: Any, call: str = "certificate") -> httpx.Response:
    return running.client.post(f"{SERVICE}/{call}", json=body, headers={"idempotency-key": key})


def issued(response: httpx.Response) -> httpx.Response:
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("call", CALLS)
def test_a_repeat_gets_the_same_octets_and_no_signature(running: Running, key: str, call: str) -> None:
    body = CALLS[call]()
    first = issued(send(running, key, body, call))
    assert "idempotent-replayed" not in first.headers
    signatures, stored = running.signatures, running.stored()
    for _ in range(2):
        again = issued(send(running, key, body, call))
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert (running.signatures, running.stored()) == (signatures, stored)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_repeat_of_the_unified_call_is_no_duplicate(running: Running, key: str, method: str) -> None:
    path = f"/v1/test.tenant1.x509-service-1.{key}/x509-service-api/certificates"
    body = {
        "selfSigned": True,
        "subjectKeyRef": "test.tenant1.kms1.leaf-secp256r1",
        "subjectDn": "CN=Unified",
        "validFrom": "2026-01-01T00:00:00Z",
        "validTo": "2027-01-01T00:00:00Z",
    }
    headers = {"idempotency-key": key}
    first = issued(running.client.request(method, path, json=body, headers=headers))
    again = issued(running.client.request(method, path, json=body, headers=headers))
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    other = {"PUT": "POST", "POST": "PUT"}[method]
    assert running.client.request(other, path, json=body, headers=headers).status_code == 422
    assert running.client.request(method, path, json=body).status_code == 409


def test_without_the_header_every_order_is_a_new_one(running: Running) -> None:
    body = certificate_body()
    first, second = (issued(running.post("certificate", body)) for _ in range(2))
    assert first.json()["certificatePEM"] != second.json()["certificatePEM"]


def test_a_repeat_is_answered_although_its_stored_id_is_taken_by_now(running: Running, key: str) -> None:
    body = certificate_body() | {"storedCertificateId": key}
    first = issued(send(running, key, body))
    assert running.post("certificate", body).status_code == 409
    assert issued(send(running, key, body)).content == first.content


def test_a_key_that_came_with_another_request_is_422_and_costs_no_signature(running: Running, key: str) -> None:
    body = certificate_body()
    issued(send(running, key, body))
    signatures = running.signatures
    headers = {"idempotency-key": key}
    others = (
        send(running, key, certificate_body()),  # another certification request
        send(running, key, {}),
        send(running, key, body, "iso/document-signers"),
        running.client.post(f"{SERVICE}/certificate".replace("service-1", "service-2"), json=body, headers=headers),
    )
    for other in others:
        assert (other.status_code, other.json()["id"]) == (422, "IdempotencyConflict")
        assert key not in other.text
    assert running.signatures == signatures


def test_the_key_of_one_credential_says_nothing_to_another(running: Running, key: str) -> None:
    body = certificate_body()
    first = issued(send(running, key, body))
    other = create_api_key(running.engine.store, credential_id=f"other-{key}", scope="test", roles=["issuer"])
    headers = {"idempotency-key": key, "authorization": f"Bearer {other}"}
    theirs = issued(running.client.post(f"{SERVICE}/certificate", json=body, headers=headers))
    assert theirs.json()["certificatePEM"] != first.json()["certificatePEM"]
    assert "idempotent-replayed" not in theirs.headers
    assert issued(running.client.post(f"{SERVICE}/certificate", json=body, headers=headers)).content == theirs.content


@pytest.mark.parametrize("value", [b"", b"k" * 256, b"two words", b"caf\xc3\xa9", b"tab\there"])
def test_a_key_that_is_not_1_to_255_visible_ascii_characters_is_400(running: Running, value: bytes) -> None:
    signatures = running.signatures
    response = running.client.post(
        f"{SERVICE}/certificate", json=certificate_body(), headers={"idempotency-key": value}
    )
    assert (response.status_code, response.json()["id"]) == (400, "MalformedRequest")
    assert response.json()["message"] == (
        "Expected 1 to 255 visible ASCII characters in the Idempotency-Key header, found others."
    )
    assert running.signatures == signatures


def test_two_keys_are_400_also_when_they_are_the_same(running: Running, key: str) -> None:
    headers = [("idempotency-key", key), ("idempotency-key", key)]
    response = running.client.post(f"{SERVICE}/certificate", json=certificate_body(), headers=headers)
    assert response.status_code == 400
    assert response.json()["message"] == "Expected one Idempotency-Key header, found 2."


def test_a_key_of_255_characters_of_every_kind_is_taken(running: Running, key: str) -> None:
    value = (key + "".join(map(chr, range(0x21, 0x7F))) + "~" * 255)[:255]
    body = certificate_body()
    assert issued(send(running, value, body)).content == issued(send(running, value, body)).content


def test_a_call_that_issues_nothing_does_not_look_at_the_header(running: Running, key: str) -> None:
    first, second = (issued(send(running, key, csr_body(), "csrs")) for _ in range(2))
    assert first.json()["csrPEM"] != second.json()["csrPEM"]
    issued(send(running, key, certificate_body()))


def test_an_order_that_was_refused_leaves_its_key_free(running: Running, key: str) -> None:
    assert send(running, key, {}).status_code == 400
    body = certificate_body() | {"storedCertificateId": "ca-secp256r1"}
    assert send(running, key, body).status_code == 409
    assert send(running, key, body).status_code == 409  # and not 422, for the body before
    issued(send(running, key, certificate_body()))


def test_an_order_that_failed_leaves_its_key_free(running: Running, key: str) -> None:
    body = certificate_body() | {"storedCertificateId": key}
    module = running.engine.config.tokens["trial"].module
    with answering(module, "C_Sign", *[FUNCTION_FAILED] * 4):
        assert send(running, key, body).status_code >= 500
    first = issued(send(running, key, body))
    assert "idempotent-replayed" not in first.headers
    assert issued(send(running, key, body)).content == first.content


@dataclass
class OtherRights:
    """The running engine's directory, in which the credential is known with another right or scope."""

    directory: Directory
    change: dict[str, Any]

    def find_credential(self, secret: str) -> Credential | None:
        found = self.directory.find_credential(secret)
        return None if found is None else replace(found, **self.change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.directory, name)


@pytest.mark.parametrize(
    ("change", "status"), [({"roles": ("reader",)}, 403), ({"scope": "test.tenant2"}, 404), ({"id": "reissued"}, 200)]
)
def test_a_repeat_needs_the_right_to_ask_as_the_first_did(
    running: Running, key: str, change: dict[str, Any], status: int
) -> None:
    body = certificate_body()
    first = issued(send(running, key, body))
    application = build_application(OtherRights(running.engine.directory, change))
    headers = {"authorization": f"Bearer {running.api_key}", "idempotency-key": key}
    with InProcessClient(application, headers) as client:
        response = client.post(f"{SERVICE}/certificate", json=body)
    assert response.status_code == status
    assert response.content != first.content


def test_orders_sent_at_once_with_one_key_get_one_certificate(running: Running, key: str) -> None:
    body = certificate_body() | {"storedCertificateId": key}
    signatures = running.signatures
    with InProcessClient(
        running.engine.application, {"authorization": f"Bearer {running.api_key}", "idempotency-key": key}
    ) as client:
        answers = client.post_together(f"{SERVICE}/certificate", [body] * 32)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert running.signatures == signatures + 1


@contextmanager
def under_way(running: Running, key: str, body: Any) -> Iterator[Callable[[], None]]:
    """The order with this key is at work, as on another replica; call what is given to let it fail."""
    request = httpx.Request("POST", "http://engine.test/", json=body)
    digest = digest_of(f"{SERVICE}/certificate", request.read())
    store, intent_id = running.engine.store, uuid.uuid4().hex
    credential = running.engine.directory.find_credential(running.api_key)
    assert credential is not None
    store.record_intent(
        intent_id=intent_id,
        kind="certificate",
        profile="generic",
        issuer=b"issuer",
        serial_number=uuid.uuid4().int,
        tbs=b"tbs",
        tbs_sha256="0" * 64,
        signing_key="key",
        caller=credential.id,
        target="test.tenant1.x509-service-1",
        request_id="request",
        request_digest="",
        entries=(),
        repeat=Repeat(credential.id, key, digest, str),
    )
    is_open = True

    def fail() -> None:
        nonlocal is_open
        if is_open:
            is_open = False
            store.record_failure(intent_id=intent_id, reason="SigningFailed")

    try:
        yield fail
    finally:
        fail()


def digest_of(path: str, octets: bytes) -> str:
    """Written down here once more: a key has to mean the same to the next version of the engine."""
    return hashlib.sha256(b"POST " + path.encode() + b"\n" + octets).hexdigest()


def test_the_twin_of_an_order_that_fails_goes_through_itself(running: Running, key: str) -> None:
    body = certificate_body()
    with under_way(running, key, body) as fail, ThreadPoolExecutor(1) as thread:
        twin = thread.submit(send, running, key, body)
        with pytest.raises(TimeoutError):
            twin.result(timeout=0.3)
        fail()
        answer = issued(twin.result(timeout=10))
    assert "idempotent-replayed" not in answer.headers


def test_an_order_under_way_is_not_waited_for_by_another_request_with_its_key(running: Running, key: str) -> None:
    with under_way(running, key, certificate_body()):
        assert send(running, key, certificate_body()).status_code == 422


def test_waiting_twins_hold_no_thread(running: Running, key: str) -> None:
    body = certificate_body()
    waiting = 2 * running.engine.config.threads()
    application = running.engine.application
    headers = {"authorization": f"Bearer {running.api_key}"}

    async def together() -> None:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine.test", headers=headers) as client:
            with under_way(running, key, body) as fail:
                repeated = {"idempotency-key": key}
                twins = [
                    asyncio.create_task(client.post(f"{SERVICE}/certificate", json=body, headers=repeated))
                    for _ in range(waiting)
                ]
                for _ in range(waiting):
                    issued(await client.post(f"{SERVICE}/certificate", json=body))
                assert not any(twin.done() for twin in twins)
                fail()
                assert len({issued(await twin).content for twin in twins}) == 1

    asyncio.run(together())


def test_a_twin_waits_no_longer_than_a_request_may(running: Running, key: str) -> None:
    body = certificate_body()
    headers = {"authorization": f"Bearer {running.api_key}", "idempotency-key": key}
    application = build_application(running.engine.directory, request_seconds=0.2)
    with under_way(running, key, body), InProcessClient(application, headers) as client:
        response = client.post(f"{SERVICE}/certificate", json=body)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["id"] == "RequestUnderWay"
    assert response.json()["message"] == (
        "The request with this Idempotency-Key was not finished within 0.2 seconds; send it again later."
    )


def test_a_repeat_gets_the_same_octets_after_a_restart(data_folder: Path, running: Running, key: str) -> None:
    """Of which all that matters is that nothing is kept in memory."""
    body = certificate_body()
    first = issued(send(running, key, body))
    with (
        open_engine(data_folder / "engine.toml") as engine,
        InProcessClient(
            engine.application, {"authorization": f"Bearer {running.api_key}", "idempotency-key": key}
        ) as client,
    ):
        assert issued(client.post(f"{SERVICE}/certificate", json=body)).content == first.content
        assert engine.tokens["trial"].signatures == 0
