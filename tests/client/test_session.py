"""A client program's session, recorded call by call in `session.json`, replayed against a live engine; then once more.

Recorded are the calls that client programs of the API make; keys and the password are made anew for each run of the
test, since neither belongs into a file. The second time nothing may be made twice.
"""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from tests.api.bodies import outside_certificate, outside_key, private_jwk
from tests.client.people import add_account
from tests.page.live import LiveEngine, live_engine

CALLS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("session.json").read_text(encoding="utf-8"))
PASSWORD = "correct horse battery staple"
FOREIGN = outside_certificate(outside_key("foreign"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    folder = tmp_path_factory.mktemp("session") / "data"
    with live_engine(folder) as engine:
        add_account(folder / "engine.toml", "operator@example.com", PASSWORD, scope="test", role="administrator")
        yield engine


def replaced(value: Any, kept: dict[str, str]) -> Any:
    """The recorded value with `{name}` replaced by what was kept under that name."""
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return kept[value[1:-1]]
    if isinstance(value, dict):
        return {name: replaced(member, kept) for name, member in value.items()}
    return value


class Session:
    """One run of the recorded calls, by a client that finds the engine as `host`."""

    def __init__(self, live: LiveEngine, host: str) -> None:
        self._url = urlsplit(live.base_url)
        self._host = f"{host}:{self._url.port}"
        self.kept = {"password": PASSWORD, "foreign": FOREIGN}
        self.answers: list[tuple[int, Any]] = []

    def run(self) -> "Session":
        for call in CALLS:
            status, answer = self._send(call)
            for name, way in call.get("keep", {}).items() if status == call["status"] else ():
                value = answer
                for member in way:
                    value = value[member]
                self.kept[name] = value
            self.answers.append((status, answer))
        return self

    def _send(self, call: dict[str, Any]) -> tuple[int, Any]:
        headers = {"Host": self._host}
        if call.get("authorized", True):
            headers["Authorization"] = f"Bearer {self.kept['token']}"
        body: str | None = None
        if "jwk" in call:
            body, content_type = json.dumps(private_jwk(outside_key(call["jwk"]))), "application/json"
        elif "text" in call:
            body, content_type = call["text"], call["content-type"]
        elif "json" in call:
            body, content_type = json.dumps(replaced(call["json"], self.kept)), "application/json"
        else:
            content_type = call.get("content-type")
        if content_type is not None:
            headers["Content-Type"] = content_type
        connection = HTTPConnection(self._url.hostname or "", self._url.port, timeout=60)
        connection.request(call["method"], call["path"], body, headers)
        response = connection.getresponse()
        octets = response.read()
        connection.close()
        return response.status, json.loads(octets) if octets else None


@pytest.fixture(scope="module")
def first(live: LiveEngine) -> Session:
    return Session(live, "engine.localhost").run()


@pytest.fixture(scope="module")
def second(live: LiveEngine, first: Session) -> Session:
    return Session(live, "test.engine.localhost").run()


STEPS = pytest.mark.parametrize("step", range(len(CALLS)), ids=[call["call"].replace(" ", "-") for call in CALLS])


@STEPS
def test_every_recorded_call_is_answered_as_it_was(first: Session, step: int) -> None:
    status, answer = first.answers[step]
    assert status == CALLS[step]["status"], answer


@STEPS
def test_the_second_time_what_exists_is_a_duplicate_or_the_same(first: Session, second: Session, step: int) -> None:
    if CALLS[step]["path"].startswith("/auth/"):
        assert second.answers[step][0] == 200
        return
    (status, answer), (_, known) = second.answers[step], first.answers[step]
    if status == 409:
        assert answer["type"] == "DuplicateTarget"
        assert answer["status"] == 409
        assert "already exists" in answer["message"]
    else:
        assert (status, without_examination(answer)) == (CALLS[step]["status"], without_examination(known))


def without_examination(answer: Any) -> Any:
    """An answer without the times at which keys were examined, which differ honestly."""
    if isinstance(answer, list):
        return [without_examination(item) for item in answer]
    if isinstance(answer, dict):
        return {name: without_examination(value) for name, value in answer.items() if name != "checkedAt"}
    return answer


def test_the_session_leaves_what_it_made_and_nothing_twice(second: Session) -> None:
    answers = {call["call"]: answer for call, (_, answer) in zip(CALLS, second.answers, strict=True)}
    store, vical = "test.mobile.certificates", "test.mobile.vical"
    assert [entry["_id"] for entry in answers["list the certificates"]] == [
        f"{store}.foreign",
        f"{store}.iaca",
        f"{store}.signer",
    ]
    assert answers["list their ids"] == [f"{vical}.iaca", f"{vical}.signer"]
    assert sorted(answers["list the links"]) == [
        "test.mobile.certificates",
        "test.mobile.keys",
        "test.mobile.more-keys",
        "test.mobile.vical",
    ]
    assert [key["_id"] for key in answers["list the keys"]] == [
        f"test.mobile.keys.{key}" for key in ("iaca", "signer-1", "signer-2")
    ]
    iaca, foreign = answers["read the IACA entry"]["data"], answers["read it"]["data"]
    assert (iaca["type"], iaca["complementaryMetadata"]) == ("vical-entry", {"docType": ["org.iso.18013.5.1.mDL"]})
    assert foreign["type"] == "base"
    assert x509.load_pem_x509_certificate(foreign["pem"].encode()) == x509.load_pem_x509_certificate(
        second.kept["foreign"].encode()
    )
    signer = next(entry for entry in answers["list the certificates"] if entry["_id"].endswith(".signer"))
    x509.load_pem_x509_certificate(signer["data"]["pem"].encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(iaca["pem"].encode())
    )


def test_two_ids_share_their_key_material(first: Session) -> None:
    made = {call["call"]: answer for call, (_, answer) in zip(CALLS, first.answers, strict=True)}
    one, other = made["import a document signer key"], made["import the same key under another id"]
    assert one["key"] == other["key"]
    assert one["_id"] != other["_id"]
