"""`POST /auth/account/emailpass`: people log in. The one call that comes without a credential, since it gives one.

It is worked on in a thread that is there for it, so that no number of log-ins keeps the engine from signing.
"""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.api.auth import source_of
from engine.api.json_body import read_body
from engine.api.operations import Call, JsonBody, Operation
from engine.api.ports import Directory
from engine.api.render import json_response
from engine.api.schema.accounts import LogIn, OpenedSession
from engine.directory import Permission
from engine.issuance import Caller

LOG_IN_LIMIT = 4096
"""Octets of the body: the longest email and password, however JSON writes them."""


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Who has presented nothing and may do nothing."""

    id: str = "nobody"

    def may_use(self, path: str) -> bool:
        return False

    def may(self, permission: Permission) -> bool:
        return False

    @property
    def issues_below(self) -> str | None:
        return None


def account_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls about accounts."""
    return [_log_in(directory)]


def account_routes(directory: Directory) -> list[Route]:
    """Their routes."""
    operation = _log_in(directory)

    async def endpoint(request: Request) -> Response:
        octets = await read_body(request, LOG_IN_LIMIT)
        members = operation.body.load(request.headers.get("content-type"), octets)
        nobody = _Nobody()
        caller = Caller(
            credential_id=nobody.id,
            target="",
            request_id=request.state.request_id,
            request_digest="",
            source=source_of(request),
        )
        call = Call(target="", credential=nobody, caller=caller, parameters={}, members=members)
        answer = await directory.accounts.run(lambda: operation.answer(call))
        response = json_response(operation.status, answer)
        response.headers["cache-control"] = "no-store"  # RFC 6749 section 5.1: the answer is a secret
        return response

    return [Route(operation.path, endpoint, methods=[operation.method])]


def _log_in(directory: Directory) -> Operation[LogIn]:
    def answer(call: Call[LogIn]) -> object:
        password = call.members.password.get_secret_value()
        session = directory.accounts.log_in(call.members.email, password, call.caller)
        return {"session_id": session.id, "status": "OK", "token": session.token}

    return Operation(
        "POST",
        "/auth/account/emailpass",
        "Log in: open a session, whose token is presented like an API key.",
        None,
        answer,
        JsonBody[LogIn](LogIn),
        response=OpenedSession,
        problems=frozenset({401}),
    )
