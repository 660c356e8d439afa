"""What every call under `/v1/` has in common, in this order: credential, target, scope, right, body, work, answer.

The event loop reads the body and nothing else; the rest is one hop to the engine's own threads, the credential's
look-up included. A call without a presentable credential does not get that far. What lies outside the credential's
scope is not looked up, and answered like what does not exist. The repeat of an order that was answered is answered
before its body is read again, and after everything that can refuse the caller. A refusal is told to the audit trail
before it is told to the caller.
"""

import hashlib
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.api.auth import authenticate, check_right, check_scope, presented_secret, source_of
from engine.api.idempotency import HEADER, find_answer, in_turn, presented_key, request_digest
from engine.api.json_body import read_body
from engine.api.operations import Call, Operation
from engine.api.paths import check_path, masked, shown
from engine.api.ports import Credential, Directory
from engine.api.render import json_response, json_text
from engine.directory import Permission
from engine.errors import CredentialRequired, NotFound, RequestError, RequestUnderWay
from engine.issuance import Caller, Repeat

_UNKNOWN = "credential-refused"


def route(operation: Operation[Any], directory: Directory, body_limit: int, request_seconds: float) -> Route:
    """The route of a call. `body_limit` is in octets; `request_seconds` is how long a request may wait for its twin."""
    permission = operation.permission
    if permission is None:
        raise TypeError(f"Expected {operation.method} {operation.path} to need a permission.")

    async def endpoint(request: Request) -> Response:
        request_id, source = request.state.request_id, source_of(request)
        try:
            secret = presented_secret(request.headers)
        except CredentialRequired:
            tell = directory.refusals.count(_UNKNOWN, _nobody(request_id, source))
            if tell is not None:
                await directory.run(tell)
            raise
        octets = await read_body(request, body_limit) if operation.body.content() else b""
        target = request.path_params["target"]
        content_type = request.headers.get("content-type")
        host = request.headers.get("host", "")
        parameters = dict(request.query_params)
        headers = request.headers

        def work() -> Response:
            try:
                credential = authenticate(directory, secret)
            except CredentialRequired:
                tell = directory.refusals.count(_UNKNOWN, _nobody(request_id, source))
                if tell is not None:
                    tell()
                raise
            caller = Caller(
                credential_id=credential.id,
                target=target,
                request_id=request_id,
                request_digest=hashlib.sha256(octets).hexdigest(),
                source=source,
            )
            steps = ["target"]
            try:
                return answer(credential, caller, steps)
            except RequestError as error:
                if not _is_told(error, permission, steps[-1]):
                    raise
                # Whoever is refused may have put a secret where the path belongs.
                about = shown(target) if steps[-1] == "target" else masked(target)
                call = f"{operation.method} {operation.path}"
                directory.refusals.record(caller, about, error, call=call, step=steps[-1])
                raise

        def answer(credential: Credential, caller: Caller, steps: list[str]) -> Response:
            """`steps` is told what is looked at."""
            check_path(target)
            steps.append("scope")
            check_scope(credential, target)
            directory.check_host(target, host)
            steps.append("right")
            check_right(credential, permission)
            steps.append("request")
            repeat = load_repeat(credential, target)
            kept = None if repeat is None else find_answer(directory, repeat, operation.status)
            if kept is not None:
                return kept
            members = operation.body.load(content_type, octets)
            steps.append("work")
            call = Call(target, credential, replace(caller, repeat=repeat), parameters, members)
            return json_response(operation.status, operation.render(operation.answer(call)))

        def load_repeat(credential: Credential, target: str) -> Repeat | None:
            key = presented_key(headers) if operation.issues else None
            if key is None:
                return None
            path = operation.path.replace("{target}", target)
            return Repeat(
                scope=credential.id,
                key=key,
                digest=request_digest(operation.method, path, octets),
                render=lambda issued: json_text(operation.render(issued)),
            )

        if operation.issues and HEADER in headers:
            return await in_turn(lambda: directory.run(work), request_seconds)
        return await directory.run(work)

    return Route(operation.path, endpoint, methods=[operation.method])


def _nobody(request_id: str, source: str) -> Caller:
    """Who has presented no credential that is known."""
    return Caller(credential_id="", target="", request_id=request_id, request_digest="", source=source)


def _is_told(error: RequestError, permission: Permission, step: str) -> bool:
    """Whether a refusal is told of. Not that nothing is there to be read, and not what the request waits for."""
    if isinstance(error, RequestUnderWay):
        return False
    return not (permission is Permission.READ and step == "work" and isinstance(error, NotFound))
