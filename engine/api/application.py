"""The ASGI application: every route, and how errors become answers."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from engine.api.accounts import account_operations, account_routes
from engine.api.documents import DOCUMENT_CALLS, document_routes
from engine.api.edge import RequestEdge
from engine.api.exchange import route, tell_unknown_call
from engine.api.health import HEALTH_CALLS, health_routes
from engine.api.json_body import BODY_LIMIT
from engine.api.kms import kms_operations
from engine.api.openapi import build_document
from engine.api.operations import Operation
from engine.api.paths import shown
from engine.api.ports import Directory
from engine.api.problems import MethodNotAllowed, render_problem
from engine.api.resources import resource_operations
from engine.api.unified import unified_operations
from engine.api.x509_service import x509_service_operations
from engine.api.x509_store import x509_store_operations
from engine.errors import EngineError, NotFound, RequestError

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def build_application(
    directory: Directory,
    *,
    body_limit: int = BODY_LIMIT,
    request_seconds: float = 15.0,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """The JSON API over `directory`. `body_limit` is in octets; `request_seconds` is how long a request may wait for
    another with its Idempotency-Key; `lifespan` opens and closes what the caller owns."""
    application = Starlette(
        routes=[
            *health_routes(directory),
            *document_routes(build_document(operations(directory), (*HEALTH_CALLS, *DOCUMENT_CALLS))),
            *account_routes(directory),
            *(route(operation, directory, body_limit, request_seconds) for operation in target_operations(directory)),
        ],
        middleware=[Middleware(RequestEdge)],
        exception_handlers={EngineError: _engine_problem, HTTPException: _http_problem(directory)},
        lifespan=lifespan,
    )
    # A redirect would send a client's credential and body to a path it did not write.
    application.router.redirect_slashes = False
    return application


def operations(directory: Directory) -> list[Operation[Any]]:
    """Every call but those about the engine's own health."""
    return [*account_operations(directory), *target_operations(directory)]


def target_operations(directory: Directory) -> list[Operation[Any]]:
    """Every call under `/v1/`."""
    return [
        *x509_service_operations(directory),
        *unified_operations(directory),
        *x509_store_operations(directory),
        *kms_operations(directory),
        *resource_operations(directory),
    ]


def _engine_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, EngineError):
        raise error
    return render_problem(error, request.state.request_id)


def _http_problem(directory: Directory) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What the router says of a path or method it does not know, in our words."""

    async def problem(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        refusal = _refusal(request, error)
        try:
            await tell_unknown_call(directory, request, refusal)
        except EngineError as fault:
            return render_problem(fault, request.state.request_id)
        return render_problem(refusal, request.state.request_id)

    return problem


def _refusal(request: Request, error: HTTPException) -> RequestError:
    if error.status_code == 404:
        return NotFound(f"There is no such call: {shown(request.url.path)}.")
    if error.status_code == 405:
        allowed = _allowed_methods(request)
        return MethodNotAllowed(f"Expected one of the methods {allowed}, found {request.method}.", allowed=allowed)
    raise error


def _allowed_methods(request: Request) -> str:
    """Of every route of the path; the router knows only those of the first."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in here for method in route.methods or ()}))
