"""The outermost layer of ours: a request id on every answer, and the one handler for faults nobody foresaw."""

import logging
import uuid

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api.problems import render_unexpected

REQUEST_ID_HEADER = "x-request-id"
_LOG = logging.getLogger(__name__)


class RequestEdge:
    """ASGI middleware. The id is always made here: one from outside could be anything, or somebody else's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            _LOG.info("request %s: the client went away before its body was read", request_id)
        except Exception as error:
            if started:
                raise
            # Logs classes and frames; the exception's own text is in nobody's hands.
            response = render_unexpected(error, request_id)
            await response(scope, receive, send_with_id)
