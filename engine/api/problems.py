"""Errors as HTTP answers: the one table from error class to status, and the two body shapes.

Nothing below this room knows a status code. A message of an EngineError is written for the caller and goes out as it
is; an exception that is not one of ours becomes a 500 with a fixed sentence, and its text goes nowhere, since nobody
has promised that it holds no secret: the log gets the classes and the frames.
"""

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from http import HTTPStatus

from starlette.responses import Response

from engine.errors import (
    AlreadyExists,
    ConfigError,
    CredentialRequired,
    EngineBusy,
    EngineError,
    IdempotencyConflict,
    IssuanceDefect,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PolicyRefusal,
    ProofOfPossessionError,
    RequestError,
    RequestUnderWay,
    SigningFailed,
    StoreError,
    StoreUnavailable,
    TokenBusy,
    TokenError,
    TokenKeyAmbiguous,
    TokenKeyNotFound,
    TokenLoginRefused,
    TokenUnavailable,
    UnsupportedRequest,
)

_LOG = logging.getLogger(__name__)


class MethodNotAllowed(RequestError):
    """The path exists, the method does not; `allowed` lists those that do. A matter of HTTP only."""

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


STATUS: Mapping[type[EngineError], HTTPStatus] = {
    EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
    ConfigError: HTTPStatus.INTERNAL_SERVER_ERROR,
    RequestError: HTTPStatus.BAD_REQUEST,
    MalformedRequest: HTTPStatus.BAD_REQUEST,
    ProofOfPossessionError: HTTPStatus.BAD_REQUEST,
    UnsupportedRequest: HTTPStatus.BAD_REQUEST,
    PolicyRefusal: HTTPStatus.BAD_REQUEST,
    CredentialRequired: HTTPStatus.UNAUTHORIZED,
    NotAuthorized: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    AlreadyExists: HTTPStatus.CONFLICT,
    IdempotencyConflict: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestUnderWay: HTTPStatus.SERVICE_UNAVAILABLE,
    # A refused login needs the operator before another try can help.
    TokenUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    TokenBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    TokenLoginRefused: HTTPStatus.SERVICE_UNAVAILABLE,
    TokenError: HTTPStatus.INTERNAL_SERVER_ERROR,
    TokenKeyNotFound: HTTPStatus.INTERNAL_SERVER_ERROR,
    TokenKeyAmbiguous: HTTPStatus.INTERNAL_SERVER_ERROR,
    SigningFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    IssuanceDefect: HTTPStatus.INTERNAL_SERVER_ERROR,
    EngineBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""One row per class, subclasses not implied: a new class without a row fails a test."""

_RETRY_AFTER: Mapping[type[EngineError], str] = {
    EngineBusy: "1",
    RequestUnderWay: "1",
    StoreUnavailable: "1",
    TokenBusy: "1",
    TokenUnavailable: "1",
}
"""Seconds."""


def status_of(error: EngineError) -> HTTPStatus:
    """The status of an error: its class's row, or that of the nearest class above."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def render_problem(error: EngineError, request_id: str) -> Response:
    """The answer to a request that ended in `error`; also writes the log line."""
    status = status_of(error)
    headers = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if type(error) in _RETRY_AFTER:
        headers["retry-after"] = _RETRY_AFTER[type(error)]
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    _log(error, status, request_id)
    if isinstance(error, AlreadyExists):
        return _json(status, _duplicate(error, status), headers)
    return _json(status, _problem(type(error).__name__, status, error.message, request_id, error.details), headers)


def render_unexpected(error: Exception, request_id: str) -> Response:
    """The answer to a request that met a fault nobody foresaw: a fixed sentence and the request id."""
    _LOG.error("request %s met an unexpected fault: %s", request_id, " <- ".join(_causes(error)))
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    message = "The engine met an unexpected fault; its log has more under this request id."
    return _json(status, _problem("UnexpectedFault", status, message, request_id, ()), {})


def _problem(
    kind: str, status: HTTPStatus, message: str, request_id: str, details: tuple[str, ...]
) -> dict[str, object]:
    body: dict[str, object] = {
        "exception": True,
        "id": kind,
        "status": status.phrase,
        "code": str(status.value),
        "message": message,
        "requestId": request_id,
    }
    if details:
        body["details"] = list(details)
    return body


def _duplicate(error: AlreadyExists, status: HTTPStatus) -> dict[str, object]:
    """Its own shape, to the letter: clients compare `status` as a number and look for "already exists"."""
    return {
        "type": "DuplicateTarget",
        "status": status.value,
        "message": error.message,
        "target": error.target,
    }


def _json(status: HTTPStatus, body: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    octets = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(octets, status.value, headers, "application/json")


def _log(error: EngineError, status: HTTPStatus, request_id: str) -> None:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _LOG.error("request %s failed: %s; %s", request_id, error.message, " <- ".join(_causes(error)))
    else:
        _LOG.info("request %s refused: %s %a", request_id, type(error).__name__, error.message)


def _causes(error: BaseException | None) -> Iterator[str]:
    """Each exception of the chain as its class and the frames it went through, innermost last, without its text."""
    while error is not None:
        frames = (f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__))
        yield f"{type(error).__module__}.{type(error).__qualname__} [{' '.join(frames)}]"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
