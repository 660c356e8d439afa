"""Refusals and faults."""

from typing import Literal

from engine.api.fields import Path
from engine.api.schema.model import Answer


class Problem(Answer):
    """Why a request was refused or failed."""

    exception: Literal[True]
    id: str
    """The kind of problem, such as `MalformedRequest`."""
    status: str
    """The phrase of the HTTP status."""
    code: str
    """The HTTP status, as a string."""
    message: str
    """One sentence: what was expected, what was found."""
    request_id: str
    """As in the header X-Request-Id and in the log of the engine."""
    details: list[str] | None = None
    """A list where there is more than one fault."""


class DuplicateTarget(Answer):
    """What was to be made exists already."""

    type: Literal["DuplicateTarget"]
    status: Literal[409]
    message: str
    target: Path
    """The full path of what exists."""
