"""The ASGI application: every route, and how errors become answers."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from engine.api.edge import RequestEdge
from engine.api.exchange import route
from engine.api.health import health_routes
from engine.api.json_body import BODY_LIMIT
from engine.api.kms import kms_operations
from engine.api.operations import Operation
from engine.api.paths import shown
from engine.api.ports import Directory
from engine.api.problems import MethodNotAllowed, render_problem
from engine.api.x509_service import x509_service_operations
from engine.api.x509_store import x509_store_operations
from engine.errors import EngineError, NotFound, RequestError

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def build_application(
    directory: Directory, *, body_limit: int = BODY_LIMIT, lifespan: Lifespan | None = None
) -> Starlette:
    """The JSON API over `directory`. `body_limit` is in octets; `lifespan` opens and closes what the caller owns."""
    application = Starlette(
        routes=[
            *health_routes(directory),
            *(route(operation, directory, body_limit) for operation in operations(directory)),
        ],
        middleware=[Middleware(RequestEdge)],
        exception_handlers={EngineError: _engine_problem, HTTPException: _http_problem},
        lifespan=lifespan,
    )
    # A redirect would send a client's credential and body to a path it did not write.
    application.router.redirect_slashes = False
    return application


def operations(directory: Directory) -> list[Operation[Any]]:
    """Every call under `/v1/`."""
    return [*x509_service_operations(directory), *x509_store_operations(directory), *kms_operations(directory)]


def _engine_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, EngineError):
        raise error
    return render_problem(error, request.state.request_id)


def _http_problem(request: Request, error: Exception) -> Response:
    """What the router says of a path or method it does not know, in our words."""
    if not isinstance(error, HTTPException):
        raise error
    return render_problem(_refusal(request, error), request.state.request_id)


def _refusal(request: Request, error: HTTPException) -> RequestError:
    if error.status_code == 404:
        return NotFound(f"There is no such call: {shown(request.url.path)}.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"Expected one of the methods {allowed}, found {request.method}.", allowed=allowed)
    raise error
