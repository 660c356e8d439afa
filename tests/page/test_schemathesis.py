"""Requests that nobody thought of, made from the OpenAPI document and beside it, to a live engine of their own.

Whatever is sent, the engine answers with a status, headers and a body that the document describes, and never fails.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.page.live import LiveEngine, live_engine

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
    "ignored_auth",
)
SETTINGS = """\
headers = { Authorization = "Bearer ${ENGINE_API_KEY}" }
continue-on-failure = true
"""
AT = """
[[operations]]
include-operation-id = "{operation_id}"
parameters = {{ "path.target" = "{target}" }}
"""
DETERMINISTIC = ("--generation-deterministic", "--seed", "1")
CSRS = b"/v1/test.tenant1.x509-service-1/x509-service-api/csrs"
KEYS = b"/v1/test.tenant1.kms1/kms-service-api/keys"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    """With a data folder of its own, since what is in it may be deleted."""
    with live_engine(tmp_path_factory.mktemp("fuzzed") / "data") as engine:
        yield engine


def run(engine: LiveEngine, folder: Path, settings: str, *options: str) -> None:
    """Run schemathesis. The API key comes in the environment, which no list of processes shows."""
    (folder / "schemathesis.toml").write_text(settings)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run"]
    done = subprocess.run(
        [*command, f"{engine.base_url}/openapi.json", "--checks", ",".join(CHECKS), "--no-color", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"ENGINE_API_KEY": engine.api_key},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def at_what_there_is(engine: LiveEngine) -> str:
    """Settings in which every call is about the target of its example, so that it gets past the look-up."""
    with urlopen(f"{engine.base_url}/openapi.json", timeout=30) as answer:
        paths = json.load(answer)["paths"]
    operations = [operation for item in paths.values() for operation in item.values()]
    return SETTINGS + "".join(
        AT.format(operation_id=operation["operationId"], target=parameter["example"])
        for operation in operations
        for parameter in operation.get("parameters", ())
        if "example" in parameter
    )


def test_every_call_keeps_to_the_document(fuzzed: LiveEngine, tmp_path: Path) -> None:
    run(fuzzed, tmp_path, SETTINGS, *DETERMINISTIC, "--phases", "examples,coverage")


def test_every_call_keeps_to_the_document_at_what_there_is(fuzzed: LiveEngine, tmp_path: Path) -> None:
    settings = at_what_there_is(fuzzed)
    run(fuzzed, tmp_path, settings, *DETERMINISTIC, "--phases", "fuzzing", "--max-examples", "15")


@pytest.mark.soak
def test_every_call_keeps_to_the_document_for_long(fuzzed: LiveEngine, tmp_path: Path) -> None:
    run(fuzzed, tmp_path, SETTINGS, "--max-examples", "200")
    run(fuzzed, tmp_path, at_what_there_is(fuzzed), "--max-examples", "200")


def exchange(engine: LiveEngine, octets: bytes) -> HTTPResponse:
    """Send octets as they are, with the API key where they say KEY; the answer, read."""
    url = urlsplit(engine.base_url)
    octets = octets.replace(b"KEY", engine.api_key.encode())
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(octets)
        response = HTTPResponse(connection)
        response.begin()
        response.octets = response.read()
    return response


def message(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """An HTTP/1.1 request with a good credential, and a length if it has a body."""
    length = (b"Content-Length: %d" % len(body),) if body else ()
    credential = () if any(header.lower().startswith(b"authorization") for header in headers) else (BEARER,)
    return b"\r\n".join([line, b"Host: 127.0.0.1", *credential, *headers, *length, b"", body])


BEARER = b"Authorization: Bearer KEY"
TYPE = b"Content-Type: application/json"
GET, POST = b"GET " + KEYS + b" HTTP/1.1", b"POST " + CSRS + b" HTTP/1.1"
ODD = {
    "a GET with a body": (message(GET, TYPE, body=b"{}"), 200),
    "a GET with a body that is not UTF-8": (message(GET, TYPE, body=b"\xff\xfe"), 200),
    "a body that is not UTF-8": (message(POST, TYPE, body=b'{"type": "\xff"}'), 400),
    "a body that is empty": (message(POST, TYPE, b"Content-Length: 0"), 400),
    "a body in a coding that nobody asked for": (message(POST, TYPE, b"Content-Encoding: gzip", body=b"{}"), 400),
    "a chunked body": (message(POST, TYPE, b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n", 400),
    "a body of another type": (message(POST, b"Content-Type: text/xml", body=b"<a/>"), 400),
    "a type that is not UTF-8": (message(POST, b"Content-Type: \xff\xfe", body=b"{}"), 400),
    "two types": (message(POST, TYPE, b"Content-Type: text/xml", body=b"{}"), 400),
    "a credential that is not UTF-8": (message(GET, b"Authorization: Bearer \xff"), 401),
    "two credentials": (message(GET, BEARER, BEARER), 401),
    "a header of 40 kB": (message(GET, b"X: " + b"a" * 40000), 200),
    "a header that is not UTF-8": (message(GET, b"X: \xc3\x28"), 200),
    "an Idempotency-Key that is not ASCII": (
        message(POST.replace(b"csrs", b"certificate"), b"Idempotency-Key: \xff"),
        400,
    ),
    "a host that is not UTF-8": (message(GET).replace(b"Host: 127.0.0.1", b"Host: \xff"), 200),
    "no host": (message(GET).replace(b"Host: 127.0.0.1\r\n", b""), 200),
    "a path that is not UTF-8": (message(GET.replace(b"kms1", b"%ff")), 400),
    "a path with a slash that is escaped": (message(GET.replace(b"kms1", b"..%2f")), 404),
    "a path with a null": (message(GET.replace(b"kms1", b"%00")), 400),
    "a path with a line break": (message(GET.replace(b"kms1", b"kms1%0a")), 400),
    "a path of 40 kB": (message(GET.replace(b"kms1", b"a" * 40000)), 400),
    "a query that is not UTF-8": (message(GET.replace(b"keys", b"keys?other=%ff&%fe=1")), 200),
    "a query of an entry list that is not UTF-8": (
        message(b"GET /v1/test.tenant1.x509-store-1/x509-store-api/certificates?limit=%ff HTTP/1.1"),
        400,
    ),
    "an absolute URL": (message(GET.replace(b"/v1", b"http://127.0.0.1/v1", 1)), 200),
    "a method nobody knows": (message(GET.replace(b"GET", b"BREW")), None),
    "TRACE": (message(GET.replace(b"GET", b"TRACE")), 405),
    "OPTIONS *": (message(b"OPTIONS * HTTP/1.1"), 404),
    "HTTP/1.0": (message(GET.replace(b"1.1", b"1.0")), 200),
    "an upgrade": (message(GET, b"Connection: Upgrade", b"Upgrade: websocket"), 200),
}


@pytest.mark.parametrize(("octets", "status"), ODD.values(), ids=ODD)
def test_odd_request_has_an_answer_that_is_no_fault(fuzzed: LiveEngine, octets: bytes, status: int | None) -> None:
    """None: what is no HTTP to the parser is refused by it, in its own words."""
    response = exchange(fuzzed, octets)
    assert response.status == (status or 400), response.octets
    if status is not None:
        assert response.headers["content-type"] == "application/json"
        assert re.fullmatch("[0-9a-f-]{36}", response.headers["x-request-id"])
        json.loads(response.octets)
