"""`Idempotency-Key`: an order for a certificate that is sent again gets the first one's answer and no second signature.

A key belongs to the credential that sent it and stands for one request: its method, its path and its body. What it is
sent with is kept with the intent in the database, so that it holds after a restart and on every replica:

    nothing kept                 the order is carried out, and its answer kept with the certificate
    the same request, answered   that answer again, octet for octet
    the same request, under way  wait for its end
    another request              IdempotencyConflict

An order that is refused before its intent leaves nothing, and one that fails gives its key back: either may be sent
again with the same key and is judged anew.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.responses import Response

from engine.api.ports import Directory
from engine.errors import IdempotencyConflict, MalformedRequest, RequestUnderWay
from engine.issuance import Repeat

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
KEY_PATTERN = r"[!-~]{1,255}"
_KEY = re.compile(KEY_PATTERN)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks for the answer of a request that is under way."""


def presented_key(headers: Headers) -> str | None:
    """The key in the one such header, or None without one. Raises MalformedRequest; the message never quotes it."""
    values = headers.getlist(HEADER)
    if not values:
        return None
    if len(values) > 1:
        raise MalformedRequest(f"Expected one {HEADER} header, found {len(values)}.")
    if not _KEY.fullmatch(values[0]):
        raise MalformedRequest(f"Expected 1 to 255 visible ASCII characters in the {HEADER} header, found others.")
    return values[0]


def request_digest(method: str, path: str, octets: bytes) -> str:
    """What a key stands for: SHA-256, lower-case hex. Neither method nor path has a space or a line break in it."""
    return hashlib.sha256(f"{method} {path}\n".encode() + octets).hexdigest()


def find_answer(directory: Directory, repeat: Repeat, status: int) -> Response | None:
    """The answer that is kept for this request, None if there was none yet.

    Raises RequestUnderWay while the first is not finished, IdempotencyConflict if the key came with another request.
    """
    kept = directory.find_kept_answer(repeat.scope, repeat.key)
    if kept is None:
        return None
    if kept.digest != repeat.digest:
        raise IdempotencyConflict(f"The {HEADER} was sent with another request before; expected a key of its own.")
    if kept.answer is None:
        raise RequestUnderWay(f"The request that was sent with this {HEADER} first is not finished.")
    headers = {REPLAYED_HEADER: "true"}
    return Response(kept.answer.encode("utf-8"), status, headers, "application/json")


async def in_turn(attempt: Callable[[], Awaitable[Response]], seconds: float) -> Response:
    """The response of `attempt`, made again as long as it raises RequestUnderWay.

    Between two attempts it holds nothing but this coroutine. After `seconds` in all it raises RequestUnderWay itself.
    """
    pause = _FIRST_PAUSE
    patience = asyncio.timeout(seconds)
    try:
        async with patience:
            while True:
                try:
                    return await attempt()
                except RequestUnderWay:
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, _LONGEST_PAUSE)
    except TimeoutError:
        if not patience.expired():
            raise
        raise RequestUnderWay(
            f"The request with this {HEADER} was not finished within {seconds:g} seconds; send it again later."
        ) from None
