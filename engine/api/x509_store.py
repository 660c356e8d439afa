"""`/v1/{target}/x509-store-api/certificates`: reading certificate stores.

The target is a store or, one id deeper, a certificate of it. Lists come in pages of `limit` from `offset`; without
them, the first thousand, which is also the most a page holds.
"""

from collections.abc import Mapping

from starlette.routing import Route

from engine.api.exchange import GetAnswer, get_endpoint
from engine.api.paths import shown
from engine.api.ports import Directory
from engine.api.render import render_entry
from engine.errors import MalformedRequest, NotFound

PAGE_LIMIT = 1000
_OFFSET_LIMIT = 2**31


def x509_store_routes(directory: Directory) -> list[Route]:
    """The reading calls of a certificate store."""

    def read(target: str, parameters: Mapping[str, str]) -> object:
        limit, offset = _page(parameters)
        try:
            store = directory.x509_store(target)
        except NotFound:
            return read_one(target)
        return [render_entry(entry) for entry in store.list_entries(limit, offset)]

    def read_one(target: str) -> object:
        store_path, _, entry_id = target.rpartition(".")
        try:
            store = directory.x509_store(store_path)
        except NotFound:
            raise NotFound(f"There is no certificate store and no certificate at {target}.") from None
        return render_entry(store.find_entry(entry_id))

    def read_paths(target: str, parameters: Mapping[str, str]) -> object:
        limit, offset = _page(parameters)
        return list(directory.x509_store(target).list_entry_paths(limit, offset))

    def route(call: str, answer: GetAnswer) -> Route:
        return Route(f"/v1/{{target}}/x509-store-api/{call}", get_endpoint(directory, answer), methods=["GET"])

    return [route("certificates", read), route("certificates/ids", read_paths)]


def _page(parameters: Mapping[str, str]) -> tuple[int, int]:
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
