"""The edges of the application that a healthy engine cannot show: faults nobody foresaw, busy threads, sick parts.

The directory here is the smallest thing the application accepts; everything else is tested against a real token.
"""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

from engine.api import build_application
from engine.directory import NOBODY, Permission, Refusal
from engine.errors import (
    EngineError,
    MalformedRequest,
    NotFound,
    RequestUnderWay,
    StoreError,
    TokenBusy,
    TokenUnavailable,
)
from engine.issuance import Caller
from tests.in_process import InProcessClient

CALL = "/v1/test.tenant1.x509-service-1/x509-service-api/csrs"
SECRET = "c2VjcmV0"
KEY = {"type": "jwk-encoded-key-descriptor", "jwk": {"kty": "EC", "d": SECRET}}
IACA = {
    "iacaKeyDesc": KEY,
    "certificateData": {"country": "DE", "commonName": "A", "issuerAlternativeNameConf": {"uri": "https://a.example"}},
}
BODY = {"type": "generic", "subjectKeyDescriptor": KEY, "subjectName": {"commonName": "A"}}


@dataclass(frozen=True)
class KnownCredential:
    id: str = "tester"

    def may_use(self, path: str) -> bool:
        return path.startswith("test.")

    def may(self, permission: Permission) -> bool:
        return True


@dataclass
class Told:
    """What the audit trail would be told."""

    refused: list[Refusal] = field(default_factory=list)
    faults: list[Refusal] = field(default_factory=list)
    counted: list[tuple[str, str, str]] = field(default_factory=list)

    def record(self, refusal: Refusal) -> None:
        self.refused.append(refusal)

    def count_fault(self, refusal: Refusal) -> None:
        self.faults.append(refusal)

    def count(self, kind: str, caller: Caller, *, credential: str = "", call: str = "") -> None:
        self.counted.append((kind, credential, call))


@dataclass
class SmallDirectory:
    """One credential, no services, and a fault if one is set."""

    fault: Exception | None = None
    parts: dict[str, str] = field(default_factory=lambda: {"token trial": "ready", "store": "ready"})
    looked_up: list[str] = field(default_factory=list)
    refusals: Told = field(default_factory=Told)

    def find_credential(self, secret: str) -> KnownCredential | None:
        return KnownCredential() if secret == "right" else None

    def find_kept_answer(self, scope: str, key: str) -> None:
        return None

    def find_former_credential(self, secret: str) -> str | None:
        return "former" if secret == "revoked" else None

    def check_host(self, path: str, host: str) -> None:
        pass

    def x509_service(self, path: str) -> NoReturn:
        self.looked_up.append(path)
        raise self.fault or NotFound(f"There is no X.509 service at {path}.")

    def x509_store(self, path: str) -> NoReturn:
        self.looked_up.append(path)
        raise NotFound(f"There is no certificate store at {path}.")

    def states(self) -> Mapping[str, str]:
        return self.parts

    async def run(self, work: Callable[[], Any]) -> Any:
        return work()


@pytest.fixture
def directory() -> SmallDirectory:
    return SmallDirectory()


@pytest.fixture
def client(directory: SmallDirectory) -> Iterator[InProcessClient]:
    with InProcessClient(build_application(directory), {"authorization": "Bearer right"}) as client:
        yield client


def test_a_fault_nobody_foresaw_is_a_fixed_sentence_and_its_text_is_in_no_log(
    client: InProcessClient, directory: SmallDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    fault = ValueError(f"invalid literal {SECRET}")
    fault.__cause__ = KeyError(f"member {SECRET}")
    directory.fault = fault
    with caplog.at_level(logging.DEBUG):
        response = client.post(CALL, json=BODY)
    assert response.status_code == 500
    assert response.json() == {
        "exception": True,
        "id": "UnexpectedFault",
        "status": "Internal Server Error",
        "code": "500",
        "message": "The engine met an unexpected fault; its log has more under this request id.",
        "requestId": response.headers["x-request-id"],
    }
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("engine.")]
    assert len(logged) == 1
    assert response.headers["x-request-id"] in logged[0]
    assert "ValueError" in logged[0]
    assert "KeyError" in logged[0]
    assert "x509_service.py:" in logged[0]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("fault", [StoreError("The database is full."), TokenUnavailable("The token is away.")])
def test_a_failure_below_is_logged_with_its_request_id_and_without_the_text_of_its_cause(
    client: InProcessClient, directory: SmallDirectory, caplog: pytest.LogCaptureFixture, fault: EngineError
) -> None:
    fault.__cause__ = OSError(SECRET)
    directory.fault = fault
    response = client.post(CALL, json=BODY)
    assert response.json()["message"] == fault.message
    assert response.headers["x-request-id"] in caplog.text
    assert "OSError" in caplog.text
    assert SECRET not in caplog.text


def test_what_fails_is_told_of_by_its_class_alone(client: InProcessClient, directory: SmallDirectory) -> None:
    for fault, outcome in ((KeyError(SECRET), "failure"), (TokenUnavailable("It is away."), "refused")):
        directory.fault = fault
        client.post(CALL, json=BODY)
        told = directory.refusals.faults.pop()
        assert (told.by.credential_id, told.target, told.step, told.outcome) == (
            "tester",
            "test.tenant1.x509-service-1",
            "work",
            outcome,
        )
        assert told.details()["error"] == type(fault).__name__
        assert SECRET not in str(told.details())
    assert directory.refusals.refused == []


def test_what_there_was_no_thread_for_is_told_of_though_nobody_has_looked_who_sent_it(
    client: InProcessClient, directory: SmallDirectory
) -> None:
    async def refuse(work: Callable[[], Any]) -> Any:
        raise TokenBusy("512 requests wait already.")

    directory.run = refuse  # type: ignore[method-assign]
    client.post(CALL, json=BODY)
    (told,) = directory.refusals.faults
    assert (told.by.credential_id, told.step, type(told.error)) == (NOBODY, "credential", TokenBusy)


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "one"}])
def test_what_takes_too_long_is_told_of_while_it_is_under_way(
    directory: SmallDirectory, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    """Also where the patience with an Idempotency-Key ends before that of the threads."""
    begun, over = threading.Event(), threading.Event()

    def wait(self: SmallDirectory, path: str) -> NoReturn:
        begun.set()
        over.wait(30)
        raise NotFound("It is over.")

    async def run(work: Callable[[], Any]) -> Any:
        threading.Thread(target=_silent, args=[work], daemon=True).start()
        assert begun.wait(30)
        if headers:
            await asyncio.sleep(30)
        raise TokenUnavailable("It did not answer in time.")

    monkeypatch.setattr(SmallDirectory, "x509_service", wait)
    directory.run = run  # type: ignore[method-assign]
    application = build_application(directory, request_seconds=0.2)
    with InProcessClient(application, {"authorization": "Bearer right", **headers}) as client:
        assert client.post(CALL.replace("csrs", "iso/iacas"), json=IACA).status_code == 503
    over.set()
    (told,) = directory.refusals.faults
    assert (told.by.credential_id, told.step, told.outcome) == ("tester", "work", "refused")
    assert type(told.error) is (RequestUnderWay if headers else TokenUnavailable)
    assert directory.refusals.refused == []


def _silent(work: Callable[[], Any]) -> None:
    with suppress(NotFound):
        work()


def test_busy_threads_are_503_with_retry_after(client: InProcessClient, directory: SmallDirectory) -> None:
    async def refuse(work: Callable[[], Any]) -> Any:
        raise TokenBusy("512 requests wait already.")

    directory.run = refuse  # type: ignore[method-assign]
    response = client.post(CALL, json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["id"] == "TokenBusy"


def test_every_answer_has_its_own_request_id_and_none_from_outside(client: InProcessClient) -> None:
    paths = ["/health/live", "/nowhere", CALL, "/v1/test.a.b/x509-store-api/certificates"]
    ids = [client.get(path, headers={"x-request-id": "mine"}).headers["x-request-id"] for path in paths * 2]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in ids)


def test_live_says_alive_without_a_credential(client: InProcessClient, directory: SmallDirectory) -> None:
    directory.parts["token trial"] = "gone"
    response = client.get("/health/live", headers={"authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_ready_is_200_only_while_every_part_is_ready(client: InProcessClient, directory: SmallDirectory) -> None:
    response = client.get("/health/ready", headers={"authorization": ""})
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "parts": {"token trial": "ready", "store": "ready"}}
    directory.parts["token trial"] = "login refused"
    response = client.get("/health/ready", headers={"authorization": ""})
    assert response.status_code == 503
    assert response.json() == {"status": "not ready", "parts": {"token trial": "login refused", "store": "ready"}}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic cmlnaHQ=",
        "right",
        "Bearer wrong",
        "Bearer right right",
        "Bearer r\u00efght",
        "Bearer=right",
    ],
)
def test_a_credential_that_is_not_a_known_bearer_key_is_401(
    client: InProcessClient, directory: SmallDirectory, header: str
) -> None:
    response = client.post(CALL, json=BODY, headers={"authorization": header.encode("latin-1")})
    assert (response.status_code, response.json()["id"]) == (401, "CredentialRequired")
    assert "ght" not in response.json()["message"]
    assert directory.looked_up == []


def test_two_authorization_headers_are_401(client: InProcessClient) -> None:
    # httpx joins its own default header with this one as a second field of the same name.
    headers = [("authorization", "Bearer right"), ("authorization", "Bearer right")]
    response = client.post(CALL, json=BODY, headers=headers)
    assert response.status_code == 401
    assert response.json()["message"] == "Expected one 'Authorization: Bearer' header, found 2."


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_case_insensitive(client: InProcessClient, scheme: str) -> None:
    assert client.post(CALL, json=BODY, headers={"authorization": f"{scheme} right"}).status_code == 404


def test_a_path_outside_the_scope_is_404_and_nothing_is_looked_up_there(
    client: InProcessClient, directory: SmallDirectory
) -> None:
    for path in (CALL, "/v1/test.tenant1.store/x509-store-api/certificates"):
        other = path.replace("/v1/test.", "/v1/other.")
        response = client.post(other, json=BODY) if path == CALL else client.get(other)
        assert response.status_code == 404
        assert response.json()["id"] == "NotFound"
    assert directory.looked_up == []


def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_so(client: InProcessClient) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 1000

    for content in (b" " * 300_000, unannounced()):
        response = client.post(CALL, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert response.json()["message"] == "Expected a request body of at most 262144 octets."


def test_a_body_over_the_limit_is_told_of_and_only_to_who_may_be_here(
    client: InProcessClient, directory: SmallDirectory
) -> None:
    content, headers = b" " * 300_000, {"content-type": "application/json"}
    assert client.post(CALL, content=content, headers=headers).status_code == 400
    (told,) = directory.refusals.refused
    assert (type(told.error), told.step, told.request_sha256) == (MalformedRequest, "request", None)
    assert client.post(CALL.replace("test.", "other."), content=content, headers=headers).status_code == 404
    wrong = {**headers, "authorization": "Bearer wrong"}
    assert client.post(CALL, content=content, headers=wrong).status_code == 401


def test_a_body_of_exactly_the_limit_is_read(directory: SmallDirectory) -> None:
    headers = {"authorization": "Bearer right", "content-type": "application/json"}
    with InProcessClient(build_application(directory, body_limit=2), headers) as client:
        assert "missing member" in client.post(CALL, content=b"{}").json()["message"]
        assert "at most 2 octets" in client.post(CALL, content=b"{} ").json()["message"]


def test_a_trailing_slash_is_another_path_and_not_a_redirect(client: InProcessClient) -> None:
    assert client.post(f"{CALL}/", json=BODY).status_code == 404


def test_a_method_that_is_not_there_is_405_and_told_which_are(client: InProcessClient) -> None:
    response = client.get(CALL)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["message"] == "Expected one of the methods POST, found GET."
    assert client.request("PUT", "/health/live").status_code == 405


def test_a_call_that_there_is_not_is_told_of_if_a_known_credential_comes_with_it(
    client: InProcessClient, directory: SmallDirectory
) -> None:
    secret = "s" * 43
    assert client.post(f"/v1/{secret}").status_code == 404
    assert client.get(CALL).status_code == 405
    for authorization in ("", "Bearer wrong"):
        assert client.get("/nowhere", headers={"authorization": authorization}).status_code == 404
    told = [(one.by.credential_id, type(one.error).__name__, one.call, one.step) for one in directory.refusals.refused]
    assert told == [
        ("tester", "NotFound", "POST /v1/(43 characters)", "call"),
        ("tester", "MethodNotAllowed", f"GET {CALL}", "call"),
    ]


def test_a_call_that_there_is_not_is_answered_only_when_that_is_told(
    client: InProcessClient, directory: SmallDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Told, refusal: Refusal) -> NoReturn:
        raise StoreError("The database is full.")

    monkeypatch.setattr(Told, "record", fail)
    assert client.request("GET", "/nowhere", documented=False).json()["id"] == "StoreError"


def test_a_credential_that_was_one_is_named_where_it_is_refused(
    client: InProcessClient, directory: SmallDirectory
) -> None:
    for secret in ("revoked", "wrong"):
        assert client.post(CALL, json=BODY, headers={"authorization": f"Bearer {secret}"}).status_code == 401
    call = "POST /v1/{target}/x509-service-api/csrs"
    assert directory.refusals.counted == [("credential-refused", "former", call), ("credential-refused", "", call)]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/a/b", "/openapi", "/v1//x509-service-api/csrs"])
def test_an_unknown_path_has_the_same_error_body(client: InProcessClient, path: str) -> None:
    response = client.post(path)
    assert response.status_code == 404
    assert response.json()["exception"] is True
    assert response.json()["requestId"] == response.headers["x-request-id"]


@pytest.mark.parametrize("target", ["te st", "a..b", ".a", "a.", "a" * 257, "t%C3%A9st", "a%0A", ".".join("a" * 17)])
def test_a_target_that_is_not_ids_joined_by_dots_is_400(client: InProcessClient, target: str) -> None:
    response = client.post(f"/v1/{target}/x509-service-api/csrs", json=BODY)
    assert response.status_code == 400
    assert response.json()["message"].startswith("Expected ids of 1 to 256 letters, digits, '_' or '-' joined by dots")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "offset=-1", "offset=1e3", "limit="])
def test_a_page_that_cannot_be_is_refused(client: InProcessClient, query: str) -> None:
    response = client.get(f"/v1/test.tenant1.store/x509-store-api/certificates?{query}")
    assert response.status_code == 400
    assert query.split("=")[0] in response.json()["message"]
