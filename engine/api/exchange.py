"""What every call under `/v1/` has in common, in this order: credential, target, scope, right, body, work, answer.

The event loop reads the body and nothing else; the rest is one hop to the engine's own threads, the credential's
look-up included. A call without a presentable credential does not get that far. What lies outside the credential's
scope is not looked up, and answered like what does not exist. The repeat of an order that was answered is answered
before its body is read again, and after everything that can refuse the caller. A refusal is told to the audit trail
before it is told to the caller; what the engine, a token or the database could not do is told there with a count.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
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
from engine.directory import NOBODY, Permission, Refusal
from engine.errors import (
    CredentialRequired,
    MalformedRequest,
    NotFound,
    RequestError,
    RequestUnderWay,
    StoreError,
    TokenBusy,
    TokenUnavailable,
)
from engine.issuance import Caller, Repeat

_UNKNOWN = "credential-refused"


@dataclass(slots=True)
class _Progress:
    """How far a request has come, in the thread that works on it."""

    caller: Caller
    """NOBODY until the credential is known."""
    step: str = "credential"
    """What is looked at."""
    signing_key: str | None = None
    is_over: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the credential is."""
        return self.caller.credential_id != NOBODY


def route(operation: Operation[Any], directory: Directory, body_limit: int, request_seconds: float) -> Route:
    """The route of a call. `body_limit` is in octets; `request_seconds` is how long a request may wait for its twin."""
    permission = operation.permission
    if permission is None:
        raise TypeError(f"Expected {operation.method} {operation.path} to need a permission.")
    called, has_body = f"{operation.method} {operation.path}", bool(operation.body.content())

    def count_unknown(request_id: str, source: str, credential: str = "") -> Callable[[], None] | None:
        nobody = Caller(credential_id="", target="", request_id=request_id, request_digest="", source=source)
        return directory.refusals.count(_UNKNOWN, nobody, credential=credential, call=called)

    async def endpoint(request: Request) -> Response:
        request_id, source = request.state.request_id, source_of(request)
        try:
            secret = presented_secret(request.headers)
        except CredentialRequired:
            tell = count_unknown(request_id, source)
            if tell is not None:
                await directory.run(tell)
            raise
        octets, too_long = b"", None
        try:
            octets = await read_body(request, body_limit) if has_body else b""
        except MalformedRequest as error:
            too_long = error  # which is for a caller to know who may be here
        target = request.path_params["target"]
        content_type = request.headers.get("content-type")
        host = request.headers.get("host", "")
        parameters = dict(request.query_params)
        headers = request.headers

        def refusal(progress: _Progress, error: Exception) -> Refusal:
            # Whoever is refused may have put a secret where the path belongs.
            about = shown(target) if progress.step in ("credential", "target") else masked(target)
            return Refusal(
                by=progress.caller,
                target=about,
                error=error,
                call=called,
                step=progress.step,
                request_sha256=progress.caller.request_digest if has_body and too_long is None else None,
                signing_key=progress.signing_key,
            )

        def work(progress: _Progress) -> Response:
            try:
                return authenticated(progress)
            except RequestError as error:
                if progress.is_known and _is_told(error, permission, progress.step):
                    directory.refusals.record(refusal(progress, error))
                raise
            except Exception as error:
                # What the database did not do it would not write either; that is told of once it is well again.
                tell = directory.refusals.count_fault(refusal(progress, error))
                if tell is not None and not isinstance(error, StoreError):
                    with suppress(StoreError):
                        tell()
                raise
            finally:
                progress.is_over = True

        def authenticated(progress: _Progress) -> Response:
            try:
                credential = authenticate(directory, secret)
            except CredentialRequired:
                tell = count_unknown(request_id, source, directory.find_former_credential(secret) or "")
                if tell is not None:
                    tell()
                raise
            progress.caller = replace(progress.caller, credential_id=credential.id)
            progress.step = "target"
            check_path(target)
            progress.step = "scope"
            check_scope(credential, target)
            directory.check_host(target, host)
            progress.step = "right"
            check_right(credential, permission)
            progress.step = "request"
            if too_long is not None:
                raise too_long
            repeat = load_repeat(credential, target)
            kept = None if repeat is None else find_answer(directory, repeat, operation.status)
            if kept is not None:
                return kept
            members = operation.body.load(content_type, octets)
            if operation.signing_key is not None and (key := operation.signing_key(members)) is not None:
                progress.signing_key = masked(key)
            progress.step = "work"
            call = Call(target, credential, replace(progress.caller, repeat=repeat), parameters, members)
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

        nobody = Caller(
            credential_id=NOBODY,
            target=target,
            request_id=request_id,
            request_digest=hashlib.sha256(octets).hexdigest(),
            source=source,
        )
        latest = _Progress(nobody)

        async def attempt() -> Response:
            nonlocal latest
            latest = progress = _Progress(nobody)
            return await directory.run(lambda: work(progress))

        try:
            if operation.issues and HEADER in headers:
                return await in_turn(attempt, request_seconds)
            return await attempt()
        except (RequestUnderWay, TokenBusy, TokenUnavailable) as error:
            if not latest.is_over:  # there was no thread for it, or it is still at work in one
                directory.refusals.count_fault(refusal(latest, error))
            raise

    return Route(operation.path, endpoint, methods=[operation.method])


async def tell_unknown_call(directory: Directory, request: Request, error: RequestError) -> None:
    """Have the audit trail told that a known credential was presented with a call that there is not.

    Raises TokenBusy, TokenUnavailable, StoreError.
    """
    try:
        secret = presented_secret(request.headers)
    except CredentialRequired:
        return
    call, request_id, source = _shown_call(request), request.state.request_id, source_of(request)

    def work() -> None:
        credential = directory.find_credential(secret)
        if credential is not None:
            by = Caller(credential.id, target="", request_id=request_id, request_digest="", source=source)
            directory.refusals.record(Refusal(by, "", error, call, "call"))

    await directory.run(work)


def _shown_call(request: Request) -> str:
    return f"{ascii(request.method[:16])[1:-1]} {shown(request.url.path)[1:-1]}"


def _is_told(error: RequestError, permission: Permission, step: str) -> bool:
    """Whether a refusal is told of. Not that nothing is there to be read, and not what the request waits for."""
    if isinstance(error, RequestUnderWay):
        return False
    return not (permission is Permission.READ and step == "work" and isinstance(error, NotFound))
