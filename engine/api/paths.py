"""Ids and the dotted paths made of them (`{organization}.{tenant}.{service}`, or deeper for a child)."""

import re

from engine.errors import MalformedRequest

ID_LIMIT = 256
ID_PATTERN = rf"[A-Za-z0-9_-]{{1,{ID_LIMIT}}}"
PATH_PATTERN = rf"{ID_PATTERN}(?:\.{ID_PATTERN}){{0,15}}"
_ID = re.compile(ID_PATTERN)
_PATH = re.compile(PATH_PATTERN)
_MAYBE_SECRET = re.compile(r"[A-Za-z0-9+_=-]{40,}")


def shown(text: str) -> str:
    """Text of a caller's as an error message may hold it: quoted, escaped and short, and without what may be a key."""
    text = masked(text)
    return ascii(text if len(text) <= 64 else text[:64] + "…")


def masked(text: str) -> str:
    """Text of a caller's with every run long enough to be a secret left out: messages go to logs.

    An API key and the private member of a P-256 JWK have 43 such characters, a UUID has 36.
    """
    return _MAYBE_SECRET.sub(lambda run: f"({len(run[0])} characters)", text)


def check_id(text: str) -> None:
    """Raises MalformedRequest unless `text` is one id: 1 to 256 of `A-Z a-z 0-9 _ -`."""
    if not _ID.fullmatch(text):
        raise MalformedRequest(f"Expected an id of 1 to {ID_LIMIT} letters, digits, '_' or '-', found {shown(text)}.")


def check_path(text: str) -> None:
    """Raises MalformedRequest unless `text` is ids joined by dots, at most sixteen of them."""
    if not _PATH.fullmatch(text):
        raise MalformedRequest(
            f"Expected ids of 1 to {ID_LIMIT} letters, digits, '_' or '-' joined by dots, found {shown(text)}."
        )
