"""`/v1/{target}/x509-store-api/certificates`: reading certificate stores.

The target is a store or, one id deeper, a certificate of it. Lists come in pages of `limit` from `offset`; without
them, the first thousand, which is also the most a page holds.
"""

from typing import Any

from engine.api.operations import NO_BODY, Call, Operation
from engine.api.paging import PAGE, page
from engine.api.ports import Directory
from engine.api.render import render_entry
from engine.directory import Permission
from engine.errors import NotFound


def x509_store_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls of a certificate store."""

    def read(call: Call[None]) -> object:
        limit, offset = page(call.parameters)
        try:
            store = directory.x509_store(call.target)
        except NotFound:
            return read_one(call.target)
        return [render_entry(entry) for entry in store.list_entries(limit, offset)]

    def read_one(target: str) -> object:
        store_path, _, entry_id = target.rpartition(".")
        try:
            store = directory.x509_store(store_path)
        except NotFound:
            raise NotFound(f"There is no certificate store and no certificate at {target}.") from None
        return render_entry(store.find_entry(entry_id))

    def read_paths(call: Call[None]) -> object:
        limit, offset = page(call.parameters)
        return list(directory.x509_store(call.target).list_entry_paths(limit, offset))

    return [
        Operation(
            "GET",
            "/v1/{target}/x509-store-api/certificates",
            "List the entries of a store, or read one entry.",
            Permission.READ,
            read,
            NO_BODY,
            parameters=PAGE,
        ),
        Operation(
            "GET",
            "/v1/{target}/x509-store-api/certificates/ids",
            "List the full paths of a store's entries.",
            Permission.READ,
            read_paths,
            NO_BODY,
            parameters=PAGE,
        ),
    ]
