"""Pages of a list: `limit` entries from `offset` on. Without them the first thousand, which is also the most."""

from collections.abc import Mapping

from engine.api.operations import Parameter
from engine.api.paths import shown
from engine.errors import MalformedRequest

PAGE_LIMIT = 1000
_OFFSET_LIMIT = 2**31

PAGE = (
    Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT}),
    Parameter("offset", "How many to leave out first.", {"type": "integer", "minimum": 0, "maximum": _OFFSET_LIMIT}),
)


def page(parameters: Mapping[str, str]) -> tuple[int, int]:
    """`limit` and `offset`. Raises MalformedRequest."""
    return _whole(parameters, "limit", PAGE_LIMIT, 1, PAGE_LIMIT), _whole(parameters, "offset", 0, 0, _OFFSET_LIMIT)


def _whole(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise MalformedRequest(
            f"Expected the query parameter {name} to be a whole number from {least} to {most}, found {shown(text)}."
        )
    return int(text)
