"""`/v1/{target}/kms-service-api/keys`: the keys of a KMS and how its token holds them.

The target is a KMS, whose keys are listed as they were recorded last, or, one id deeper, a key of it: it is examined on
its token before the answer, generated, imported, adopted or deleted.
"""

from typing import Any

from engine.api.operations import NO_BODY, Call, JsonBody, Operation
from engine.api.paging import PAGE, page
from engine.api.ports import Directory, Kms
from engine.api.render import render_deleted_key, render_key
from engine.api.schema.kms import AdoptKey, DeletedKeyAnswer, GenerateKey, KeyEntry, PrivateJwk
from engine.directory import Permission
from engine.errors import MalformedRequest, NotFound


def kms_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls of a KMS."""

    def read(call: Call[None]) -> object:
        limit, offset = page(call.parameters)
        try:
            kms = directory.find_kms(call.target)
        except NotFound:
            return render_key(find_kms_of_key(call.target)[0].check_custody(call.target, call.caller))
        return [render_key(record) for record in kms.list_records(limit, offset)]

    def generate(call: Call[GenerateKey]) -> object:
        kms, key_id = find_kms_of_key(call.target)
        return render_key(kms.generate_key(key_id, call.members.key_type, call.caller))

    def import_jwk(call: Call[dict[str, object]]) -> object:
        kms, key_id = find_kms_of_key(call.target)
        return render_key(kms.import_key(key_id, call.members, call.caller, by_caller=True))

    def adopt(call: Call[AdoptKey]) -> object:
        members = call.members
        if members.label is None and members.id is None:
            raise MalformedRequest("Expected label, id or both, by which the key is found on the token; found neither.")
        kms, key_id = find_kms_of_key(call.target)
        record = kms.adopt_key(key_id, call.caller, label=members.label, token_id=members.token_id(), by_caller=True)
        return render_key(record)

    def delete(call: Call[None]) -> object:
        kms, key_id = find_kms_of_key(call.target)
        return render_deleted_key(kms.delete_key(key_id, call.caller))

    def find_kms_of_key(target: str) -> tuple[Kms, str]:
        kms_path, _, key_id = target.rpartition(".")
        try:
            return directory.find_kms(kms_path), key_id
        except NotFound:
            raise NotFound(f"There is no KMS and no key at {target}.") from None

    return [
        Operation(
            "GET",
            "/v1/{target}/kms-service-api/keys",
            "List the keys of a KMS, or examine one key on its token.",
            Permission.READ,
            read,
            NO_BODY,
            response=list[KeyEntry] | KeyEntry,
            parameters=PAGE,
        ),
        Operation(
            "POST",
            "/v1/{target}/kms-service-api/keys/generate",
            "Generate a key on the token.",
            Permission.MANAGE_KEYS,
            generate,
            JsonBody[GenerateKey](GenerateKey),
            response=KeyEntry,
            status=201,
            problems=frozenset({409}),
        ),
        Operation(
            "POST",
            "/v1/{target}/kms-service-api/keys/import/jwk",
            "Have the token take a private JWK as a key of its own, if the KMS allows it.",
            Permission.MANAGE_KEYS,
            import_jwk,
            JsonBody[dict[str, object]](PrivateJwk),
            response=KeyEntry,
            status=201,
            problems=frozenset({409}),
        ),
        Operation(
            "POST",
            "/v1/{target}/kms-service-api/keys/adopt",
            "Bind a key that is on the token already, if the KMS allows it.",
            Permission.MANAGE_KEYS,
            adopt,
            JsonBody[AdoptKey](AdoptKey),
            response=KeyEntry,
            status=201,
            problems=frozenset({409}),
        ),
        Operation(
            "DELETE",
            "/v1/{target}/kms-service-api/keys",
            "Delete a key. One that was made from here is destroyed on its token; one that was adopted is unbound.",
            Permission.MANAGE_KEYS,
            delete,
            NO_BODY,
            response=DeletedKeyAnswer,
            status=202,
        ),
    ]
