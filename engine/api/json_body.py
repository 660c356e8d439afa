"""A request body as a JSON object (RFC 8259), read strictly.

Refused as MalformedRequest, status 400 like every other fault of a body: another Content-Type, more octets than the
limit, invalid UTF-8, a control character that is neither line break nor tab, a byte order mark, a member named twice,
NaN and Infinity, a number Python would not read, an unpaired surrogate, more than 32 levels, anything but an object.
Each of these is something two readers of the same octets could understand differently, or a way to make a reader work
too hard.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import NoReturn

from starlette.requests import Request

from engine.api.paths import shown
from engine.errors import MalformedRequest

BODY_LIMIT = 256 * 1024
"""Octets. A certification request may take 64 KiB of PEM, which JSON escapes make longer."""
DEPTH_LIMIT = 32

# A string literal is one match, whatever brackets it holds; one that never ends is a match to the end, so that no
# octet is looked at twice.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
# The API's own documentation prints PEM inside a JSON string with its line breaks as they are, and people paste it so.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


async def read_body(request: Request, limit: int) -> bytes:
    """The octets of the body. Stops reading, and raises MalformedRequest, at the first octet over `limit`."""
    too_long = MalformedRequest(f"Expected a request body of at most {limit} octets.")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise too_long
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_long
    return bytes(body)


def check_content_type(content_type: str | None) -> None:
    """Raises MalformedRequest unless the body is labelled `application/json`, parameters aside."""
    if content_type is None:
        raise MalformedRequest("Expected Content-Type application/json, found none.")
    media_type = content_type.partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise MalformedRequest(f"Expected Content-Type application/json, found {shown(media_type)}.")


def load_json_object(octets: bytes) -> dict[str, object]:
    """The one JSON object that `octets` are. Raises MalformedRequest."""
    _check_depth(octets)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(
            f"Expected the request body in UTF-8, found an octet that is not at offset {error.start}."
        ) from None
    if _CONTROL.search(octets):
        raise MalformedRequest("Expected no control character but line breaks and tabs in the request body, found one.")
    try:
        document: object = json.loads(
            text, strict=False, object_pairs_hook=_members, parse_constant=_refuse_constant, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise MalformedRequest(
            f"Expected the request body to be JSON; it stops being so at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:
        raise MalformedRequest("Expected numbers of ordinary length in the request body, found a longer one.") from None
    if not isinstance(document, dict):
        raise MalformedRequest("Expected the request body to be a JSON object, found another JSON value.")
    # Only an escape can bring one: UTF-8 decoding has refused the octets of a surrogate.
    if b"\\u" in octets and any(_SURROGATE.search(part) for part in _strings(document)):
        raise MalformedRequest("Expected Unicode text in the request body, found an unpaired surrogate.")
    return document


def _check_depth(octets: bytes) -> None:
    """Before the parser, which is recursive. Octets that are not JSON may pass; the parser refuses those."""
    if octets.count(b"{") + octets.count(b"[") <= DEPTH_LIMIT:
        return
    depth = 0
    for token in _STRUCTURE.finditer(octets):
        octet = octets[token.start()]
        if octet in b"{[":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise MalformedRequest(f"Expected at most {DEPTH_LIMIT} levels of JSON, found more.")
        elif octet in b"}]":
            depth -= 1


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedRequest(f"Expected each member of a JSON object once, found {shown(twice)} twice.")
    return members


def _refuse_constant(word: str) -> NoReturn:
    raise MalformedRequest(f"Expected JSON numbers, found {word}.")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise MalformedRequest("Expected numbers a double can hold, found a larger one.")
    return number


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _strings(member)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
