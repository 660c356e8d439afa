"""What every call under `/v1/` has in common, in this order: credential, target, scope, body, work, answer.

The event loop reads the body and nothing else; the rest is one hop to the engine's own threads, the credential's
look-up included. A call without a presentable credential does not get that far. The scope is checked before anything
is looked up, so that an answer does not tell what exists outside it.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from engine.api.auth import authenticate, check_scope, presented_secret
from engine.api.json_body import check_content_type, load_json_object, read_body
from engine.api.paths import check_path
from engine.api.ports import Directory
from engine.api.render import json_response
from engine.issuance import Caller

Endpoint = Callable[[Request], Awaitable[Response]]
PostAnswer = Callable[[str, Mapping[str, object], Caller], object]
"""Target path, JSON object and caller → the JSON value of the answer."""
GetAnswer = Callable[[str, Mapping[str, str]], object]
"""Target path and query parameters → the JSON value of a 200."""


def post_endpoint(directory: Directory, body_limit: int, answer: PostAnswer, status: int = 200) -> Endpoint:
    """The endpoint of a call with a JSON object as its body; `status` is that of success."""

    async def endpoint(request: Request) -> Response:
        secret = presented_secret(request.headers)
        octets = await read_body(request, body_limit)
        target = request.path_params["target"]
        content_type = request.headers.get("content-type")
        request_id = request.state.request_id

        def work() -> Response:
            credential = authenticate(directory, secret)
            check_path(target)
            check_scope(credential, target)
            check_content_type(content_type)
            document = load_json_object(octets)
            caller = Caller(
                credential_id=credential.id,
                request_id=request_id,
                request_digest=hashlib.sha256(octets).hexdigest(),
            )
            return json_response(status, answer(target, document, caller))

        return await directory.run(work)

    return endpoint


def get_endpoint(directory: Directory, answer: GetAnswer) -> Endpoint:
    """The endpoint of a call that reads. A body and its Content-Type, which some clients send, are not looked at."""

    async def endpoint(request: Request) -> Response:
        secret = presented_secret(request.headers)
        target = request.path_params["target"]
        parameters = dict(request.query_params)

        def work() -> Response:
            credential = authenticate(directory, secret)
            check_path(target)
            check_scope(credential, target)
            return json_response(200, answer(target, parameters))

        return await directory.run(work)

    return endpoint
