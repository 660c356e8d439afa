"""The OpenAPI document and the page that shows it.

That every answer satisfies its schema, and every body that is taken too, is checked wherever the tests of the API send
one: see tests/documented.py.
"""

import copy
import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import TypeAdapter, ValidationError

import engine.api.documents
from engine.api import fields
from engine.api.application import operations
from engine.api.examples import BODIES, TARGETS
from engine.api.operations import Operation
from engine.app import Engine
from tests.api.bodies import csr_body
from tests.api.conftest import Running
from tests.documented import JSON, Documented

FOLDER = Path(engine.api.documents.__file__).parent
PAGE = ("/swagger/", "/swagger/start.js", "/swagger/swagger-ui-bundle.js", "/swagger/swagger-ui.css")
ALSO_ROUTED = {"/swagger", "/swagger/{name}"}
"""Parts of the page, whose own path is in the document."""


@pytest.fixture
def document(running: Running) -> dict[str, Any]:
    """As somebody without a credential gets it."""
    response = running.client.get("/openapi.json", headers={"authorization": ""})
    assert response.status_code == 200
    return response.json()


def described(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def all_operations(engine: Engine) -> list[Operation[Any]]:
    return operations(engine.directory)


def test_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_document_has_the_version_of_the_package(document: dict[str, Any]) -> None:
    assert document["info"]["version"] == version("hsm-signing-engine")


def test_document_describes_every_route_and_no_other(running: Running, document: dict[str, Any]) -> None:
    routed = {
        (method, route.path)
        for route in running.engine.application.routes
        for method in route.methods - {"HEAD"}
        if route.path not in ALSO_ROUTED
    }
    assert set(described(document)) == routed


def test_every_operation_says_what_it_answers(running: Running) -> None:
    assert [f"{each.method} {each.path}" for each in all_operations(running.engine) if each.response is None] == []


def test_every_operation_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in described(document).values()]
    assert len(set(ids)) == len(ids)


def test_a_credential_is_wanted_under_v1_and_nowhere_else(document: dict[str, Any]) -> None:
    open_paths = {path for (_, path), operation in described(document).items() if operation.get("security") == []}
    assert open_paths == {path for path in document["paths"] if not path.startswith("/v1/")}
    assert document["security"] == [{"bearer": []}]


def test_idempotency_key_is_described_where_certificates_are_issued(running: Running, document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/parameters/IdempotencyKey"}
    issuing = {(each.method, each.path) for each in all_operations(running.engine) if each.issues}
    assert issuing
    assert {call for call, each in described(document).items() if reference in each.get("parameters", ())} == issuing
    assert all("422" in described(document)[call]["responses"] for call in issuing)


def test_every_example_is_of_an_operation_and_satisfies_its_schema(document: dict[str, Any]) -> None:
    for call, examples in BODIES.items():
        schema = described(document)[call]["requestBody"]["content"][JSON]["schema"]
        judge = jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})
        for body in examples.values():
            judge.validate(body)


def test_every_example_target_is_of_an_operation_or_a_tag(document: dict[str, Any]) -> None:
    assert set(TARGETS) <= {tag["name"] for tag in document["tags"]} | set(described(document))


def test_every_operation_has_an_example(document: dict[str, Any]) -> None:
    without = {
        call
        for call, operation in described(document).items()
        if any("example" not in each for each in operation.get("parameters", ()) if each.get("name") == "target")
        or "examples" not in operation.get("requestBody", {"content": {JSON: {"examples": ()}}})["content"][JSON]
    }
    assert without == set()


ISSUING = [
    pytest.param(path, body, id=f"{path.rpartition('/')[2]}: {summary}")
    for (_, path), examples in BODIES.items()
    if path in {f"/v1/{{target}}/x509-service-api/{call}" for call in ("csrs", "certificate", "iso/iacas")}
    or path.endswith("iso/document-signers")
    for summary, body in examples.items()
]


@pytest.mark.parametrize(("path", "body"), ISSUING)
def test_examples_can_be_sent_as_they_are(running: Running, path: str, body: dict[str, Any]) -> None:
    response = running.client.post(path.replace("{target}", TARGETS["x509-service-api"]), json=body)
    assert response.status_code == 200, response.text


def test_document_is_not_sent_again_to_a_client_that_has_it(running: Running) -> None:
    first = running.client.get("/openapi.json")
    again = running.client.get("/openapi.json", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert running.client.get("/openapi.json", headers={"if-none-match": '"other"'}).content == first.content


@pytest.mark.parametrize("path", ["/openapi.json", *PAGE])
def test_documents_need_no_credential_and_load_nothing_from_elsewhere(running: Running, path: str) -> None:
    response = running.client.get(path, headers={"authorization": ""})
    assert response.status_code == 200
    policy = dict(part.split(maxsplit=1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "connect-src")} == {"'self'"}
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["etag"]
    head = running.client.request("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(response.content))


def test_page_has_no_script_of_its_own_inside() -> None:
    page = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == ["", ""]
    assert "://" not in page + (FOLDER / "start.js").read_text()


def test_page_is_found_without_its_slash(running: Running) -> None:
    response = running.client.get("/swagger")
    assert response.status_code == 308
    assert response.headers["location"] == "swagger/"


@pytest.mark.parametrize(
    "name", ["../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "__init__.py", "README.md", "/etc/passwd"]
)
def test_page_gives_no_other_file(running: Running, name: str) -> None:
    url = httpx.URL("http://engine.test", raw_path=f"/swagger/{name}".encode())
    assert running.client.get(url).status_code == 404


def test_files_of_swagger_ui_are_those_that_its_readme_names() -> None:
    folder = FOLDER / "swagger-ui"
    named = dict(
        reversed(line.split()) for line in re.findall(r"^[0-9a-f]{64}  .+$", (folder / "README.md").read_text(), re.M)
    )
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del found["README.md"]
    assert found == named


NEAR = {
    "Instant": r"[0-9]{4}-[0-3][0-9]-[0-3][0-9][Tt ]([0-2][0-9]:){2}[0-6][0-9](\.[0-9]{1,10})?"
    "([Zz]|[+-][0-2][0-9]:[0-6][0-9])?",
    "KeyUsageName": "[DdCc](igitalSignature|RLSign|rLSign)|[A-Za-z]{3,10}",
    "ObjectIdentifier": r"[0-3](\.[0-9]{1,3}){0,5}",
    "Id": r"[A-Za-z0-9_.\n-]{0,9}",
    "Path": r"[a-z0-9_-]{1,2}(\.[a-z0-9_-]{0,2}){0,17}",
    "Hex": r"[0-9A-Fa-fg]{0,6}",
}
"""Texts of which some pass and some do not."""


@pytest.mark.parametrize("name", NEAR)
def test_schema_of_a_field_says_what_the_field_takes(name: str) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(getattr(fields, name))
    schema = adapter.json_schema()
    judge = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    right = st.sampled_from(schema["enum"]) if "enum" in schema else st.from_regex(schema["pattern"])

    @given(
        st.from_regex(NEAR[name], fullmatch=True) | right | right.map(lambda text: f"{text}\n") | st.text(max_size=9)
    )
    def check(text: str) -> None:
        fault = _fault(adapter, text)
        # A pattern does not know how many days a month has, nor where the years end.
        assert judge.is_valid(text) == (fault is None) or "date and time that exist" in str(fault)

    check()


def _fault(adapter: TypeAdapter[object], value: object) -> ValidationError | None:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return error
    return None


def test_null_may_be_sent_and_is_never_answered(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"type": "null"} in schemas["GenericRequestMembers"]["properties"]["subjectAlternativeNames"]["anyOf"]
    answered = json.dumps([schemas[name] for name in ("RequestData", "GenericData", "KeyEntry", "Custody", "Problem")])
    assert "null" not in answered


DAMAGE = {
    "a member that is not described": ("GenericRequestMembers", "subjectName", "the body"),
    "an answer with a member that is not described": ("RequestData", "publicKeyJwk", "the answer"),
}


@pytest.mark.parametrize(("schema", "member", "what"), DAMAGE.values(), ids=DAMAGE)
def test_these_tests_see_when_the_document_is_wrong(
    running: Running, document: dict[str, Any], schema: str, member: str, what: str
) -> None:
    response = running.post("csrs", csr_body())
    Documented(document).check(response)
    wrong = copy.deepcopy(document)
    del wrong["components"]["schemas"][schema]["properties"][member]
    with pytest.raises(AssertionError, match=f"{what} .* does not satisfy its schema"):
        Documented(wrong).check(response)


def test_these_tests_see_when_a_status_is_not_documented(running: Running, document: dict[str, Any]) -> None:
    response = running.post("csrs", {})
    assert response.status_code == 400
    del document["paths"]["/v1/{target}/x509-service-api/csrs"]["post"]["responses"]["400"]
    with pytest.raises(AssertionError, match="answered 400, which is not documented"):
        Documented(document).check(response)
