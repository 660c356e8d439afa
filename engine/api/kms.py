"""`/v1/{target}/kms-service-api/keys`: the keys of a KMS and how its token holds them.

The target is a KMS, whose keys are listed as they were recorded last, or, one id deeper, a key of it, which is examined
on its token before the answer.
"""

from typing import Any

from engine.api.operations import NO_BODY, Call, JsonBody, Operation
from engine.api.ports import Directory, Kms
from engine.api.render import render_key
from engine.api.schema.kms import AdoptKey
from engine.directory import Permission
from engine.errors import MalformedRequest, NotFound


def kms_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls of a KMS."""

    def read(call: Call[None]) -> object:
        try:
            kms = directory.find_kms(call.target)
        except NotFound:
            return render_key(find_kms_of_key(call.target)[0].check_custody(call.target))
        return [render_key(record) for record in kms.list_records()]

    def adopt(call: Call[AdoptKey]) -> object:
        members = call.members
        if members.label is None and members.id is None:
            raise MalformedRequest("Expected label, id or both, by which the key is found on the token; found neither.")
        kms, key_id = find_kms_of_key(call.target)
        return render_key(kms.adopt_key(key_id, label=members.label, token_id=members.token_id(), by_caller=True))

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
        ),
        Operation(
            "POST",
            "/v1/{target}/kms-service-api/keys/adopt",
            "Bind a key that is on the token already.",
            Permission.MANAGE_KEYS,
            adopt,
            JsonBody[AdoptKey](AdoptKey),
            status=201,
            problems=frozenset({409}),
        ),
    ]
