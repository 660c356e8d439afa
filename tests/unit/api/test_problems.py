"""The table of statuses and the two shapes of an error body."""

import inspect
import json

import pytest

import engine.errors
from engine.api.problems import STATUS, MethodNotAllowed, render_problem
from engine.errors import (
    AlreadyExists,
    CredentialRequired,
    EngineBusy,
    EngineError,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PolicyRefusal,
    StoreError,
    StoreUnavailable,
    TokenBusy,
    TokenLoginRefused,
    TokenUnavailable,
)

CLASSES = [one for _, one in inspect.getmembers(engine.errors, inspect.isclass) if issubclass(one, EngineError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_class_has_a_row_of_its_own(kind: type[EngineError]) -> None:
    assert kind in STATUS


def test_the_table_names_no_class_that_is_not_in_the_tree() -> None:
    assert set(STATUS) == {*CLASSES, MethodNotAllowed}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedRequest("x"), 400),
        (PolicyRefusal("x"), 400),
        (CredentialRequired("x"), 401),
        (NotAuthorized("x"), 403),
        (NotFound("x"), 404),
        (MethodNotAllowed("x", allowed="GET"), 405),
        (AlreadyExists("x", target="a.b"), 409),
        (StoreError("x"), 500),
        (StoreUnavailable("x"), 503),
        (EngineBusy("x"), 503),
        (TokenBusy("x"), 503),
        (TokenUnavailable("x"), 503),
        (TokenLoginRefused("x"), 503),
    ],
)
def test_status_of_each_kind_of_error(error: EngineError, status: int) -> None:
    assert render_problem(error, "id").status_code == status


def test_an_error_has_the_documented_members_and_the_code_is_a_string() -> None:
    response = render_problem(PolicyRefusal("Expected a, found b.", details=["one", "two"]), "request-7")
    assert response.media_type == "application/json"
    assert json.loads(response.body) == {
        "exception": True,
        "id": "PolicyRefusal",
        "status": "Bad Request",
        "code": "400",
        "message": "Expected a, found b.",
        "requestId": "request-7",
        "details": ["one", "two"],
    }


def test_an_error_without_findings_has_no_details() -> None:
    assert "details" not in json.loads(render_problem(NotFound("x"), "id").body)


def test_a_duplicate_has_its_own_shape_and_the_status_is_a_number() -> None:
    response = render_problem(AlreadyExists("A certificate already exists at a.b.c.d.", target="a.b.c.d"), "id")
    assert json.loads(response.body) == {
        "type": "DuplicateTarget",
        "status": 409,
        "message": "A certificate already exists at a.b.c.d.",
        "target": "a.b.c.d",
    }


def test_a_missing_credential_is_told_how_to_authenticate() -> None:
    assert render_problem(CredentialRequired("x"), "id").headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (StoreUnavailable("x"), "1"),
        (TokenBusy("x"), "1"),
        (TokenUnavailable("x"), "1"),
        (TokenLoginRefused("x"), None),
        (StoreError("x"), None),
    ],
)
def test_retry_after_is_sent_only_where_trying_again_helps(error: EngineError, seconds: str | None) -> None:
    assert render_problem(error, "id").headers.get("retry-after") == seconds


def test_a_subclass_made_elsewhere_gets_the_status_of_the_class_above() -> None:
    class Special(NotFound):
        pass

    assert render_problem(Special("x"), "id").status_code == 404


def test_a_message_with_an_unpaired_surrogate_can_still_be_sent() -> None:
    assert json.loads(render_problem(MalformedRequest("found \ud800"), "id").body)["message"] == "found ?"
