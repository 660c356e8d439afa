"""`/v1/{target}/x509-store-api/certificates`: certificate stores.

The target is a store or, one id deeper, a certificate of it. Lists come in pages of `limit` from `offset`; without
them, the first thousand, which is also the most a page holds. A page that goes on `after` the last path of the one
before costs the same however long the list is.

What is put into a store is a certificate and no more: deleting an entry deletes no record of what was issued, and
where a CA certificate came from decides whether it is believed to be an issuer's. Of what was issued there is evidence.
"""

from typing import Any

from engine.api.operations import NO_BODY, Call, JsonBody, Operation
from engine.api.paging import AFTER, PAGE, after, page
from engine.api.ports import Directory, X509Store
from engine.api.render import render_entry
from engine.api.schema.x509_store import (
    BaseEntryMembers,
    DeletedEntry,
    Evidence,
    KeepCertificate,
    StoreEntry,
    VicalEntryMembers,
)
from engine.directory import Permission
from engine.errors import NotFound

_PATH = "/v1/{target}/x509-store-api/certificates"
_Keep = BaseEntryMembers | VicalEntryMembers


def x509_store_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls of a certificate store."""

    def read(call: Call[None]) -> object:
        limit, offset = page(call.parameters)
        behind = after(call.parameters)
        store, entry_id = find_store(call.target)
        if entry_id is not None:
            return render_entry(store.find_entry(entry_id))
        return [render_entry(entry) for entry in store.list_entries(limit, offset, behind)]

    def read_paths(call: Call[None]) -> object:
        limit, offset = page(call.parameters)
        return list(directory.x509_store(call.target).list_entry_paths(limit, offset, after(call.parameters)))

    def read_evidence(call: Call[None]) -> object:
        store, entry_id = find_store_of_entry(call.target)
        return store.find_evidence(entry_id)

    def add(call: Call[_Keep]) -> object:
        store, entry_id = find_store(call.target)
        return render_entry(store.add_entry(entry_id, call.members.value(), call.credential.issues_below, call.caller))

    def replace(call: Call[_Keep]) -> object:
        store, entry_id = find_store_of_entry(call.target)
        return render_entry(
            store.replace_entry(entry_id, call.members.value(), call.credential.issues_below, call.caller)
        )

    def delete(call: Call[None]) -> object:
        store, entry_id = find_store_of_entry(call.target)
        store.delete_entry(entry_id, call.caller)
        return {"_id": call.target}

    def find_store(target: str) -> tuple[X509Store, str | None]:
        """The store that the target is, or that it is an entry of."""
        try:
            return directory.x509_store(target), None
        except NotFound:
            return find_store_of_entry(target)

    def find_store_of_entry(target: str) -> tuple[X509Store, str]:
        store_path, _, entry_id = target.rpartition(".")
        try:
            return directory.x509_store(store_path), entry_id
        except NotFound:
            raise NotFound(f"There is no certificate store and no certificate at {target}.") from None

    return [
        Operation(
            "GET",
            _PATH,
            "List the entries of a store, or read one entry.",
            Permission.READ,
            read,
            NO_BODY,
            response=list[StoreEntry] | StoreEntry,
            parameters=(*PAGE, AFTER),
        ),
        Operation(
            "GET",
            f"{_PATH}/ids",
            "List the full paths of a store's entries.",
            Permission.READ,
            read_paths,
            NO_BODY,
            response=list[str],
            parameters=(*PAGE, AFTER),
        ),
        Operation(
            "GET",
            f"{_PATH}/evidence",
            "Read evidence of how a certificate came about that was issued into a store.",
            Permission.READ,
            read_evidence,
            NO_BODY,
            response=Evidence,
        ),
        Operation(
            "POST",
            _PATH,
            "Keep a certificate in a store, under the id of the target or under a new one.",
            Permission.STORE,
            add,
            JsonBody[_Keep](KeepCertificate),
            status=201,
            response=StoreEntry,
            problems=frozenset({409}),
        ),
        Operation(
            "PUT",
            _PATH,
            "Replace what an entry holds.",
            Permission.STORE,
            replace,
            JsonBody[_Keep](KeepCertificate),
            response=StoreEntry,
        ),
        Operation(
            "DELETE",
            _PATH,
            "Take an entry out of a store.",
            Permission.STORE,
            delete,
            NO_BODY,
            status=202,
            response=DeletedEntry,
        ),
    ]
