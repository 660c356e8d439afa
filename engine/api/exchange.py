"""What every call under `/v1/` has in common, in this order: credential, target, scope, right, body, work, answer.

The event loop reads the body and nothing else; the rest is one hop to the engine's own threads, the credential's
look-up included. A call without a presentable credential does not get that far. What lies outside the credential's
scope is not looked up, and answered like what does not exist.
"""

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.api.auth import authenticate, check_right, check_scope, presented_secret
from engine.api.json_body import read_body
from engine.api.operations import Call, Operation
from engine.api.paths import check_path
from engine.api.ports import Directory
from engine.api.render import json_response
from engine.issuance import Caller


def route(operation: Operation[Any], directory: Directory, body_limit: int) -> Route:
    """The route of a call. `body_limit` is in octets."""

    async def endpoint(request: Request) -> Response:
        secret = presented_secret(request.headers)
        octets = await read_body(request, body_limit) if operation.body.content() else b""
        target = request.path_params["target"]
        content_type = request.headers.get("content-type")
        host = request.headers.get("host", "")
        parameters = dict(request.query_params)
        request_id = request.state.request_id

        def work() -> Response:
            credential = authenticate(directory, secret)
            check_path(target)
            check_scope(credential, target)
            directory.check_host(target, host)
            check_right(credential, operation.permission)
            caller = Caller(
                credential_id=credential.id,
                target=target,
                request_id=request_id,
                request_digest=hashlib.sha256(octets).hexdigest(),
            )
            members = operation.body.load(content_type, octets)
            return json_response(
                operation.status, operation.answer(Call(target, credential, caller, parameters, members))
            )

        return await directory.run(work)

    return Route(operation.path, endpoint, methods=[operation.method])
