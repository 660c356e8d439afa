"""Pages of a list: `limit` entries from `offset` on. Without them the first thousand, which is also the most.

Of a list in the order of paths, a page can also begin behind a path: `after`.
"""

from collections.abc import Mapping

from engine.api.operations import Parameter
from engine.api.paths import PATH_PATTERN, check_path, shown
from engine.errors import MalformedRequest

PAGE_LIMIT = 1000
_OFFSET_LIMIT = 2**31

PAGE = (
    Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT}),
    Parameter("offset", "How many to leave out first.", {"type": "integer", "minimum": 0, "maximum": _OFFSET_LIMIT}),
)

AFTER = Parameter(
    "after",
    "The path behind which the page begins: the last one of the page before.",
    {"type": "string", "pattern": f"^{PATH_PATTERN}$"},
)


def after(parameters: Mapping[str, str]) -> str:
    """`after`, empty if it is not given. Raises MalformedRequest."""
    path = parameters.get("after")
    if path is None:
        return ""
    check_path(path)
    return path


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
