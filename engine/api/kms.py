"""`/v1/{target}/kms-service-api/keys`: the keys of a KMS and how its token holds them.

The target is a KMS, whose keys are listed as they were recorded last, or, one id deeper, a key of it, which is examined
on its token before the answer.
"""

from collections.abc import Mapping

from pydantic import TypeAdapter
from starlette.routing import Route

from engine.api.exchange import get_endpoint, post_endpoint
from engine.api.faults import load_model
from engine.api.ports import Directory, Kms
from engine.api.render import render_key
from engine.api.schema import AdoptKey
from engine.errors import MalformedRequest, NotFound
from engine.issuance import Caller

_ADOPT_KEY = TypeAdapter(AdoptKey)


def kms_routes(directory: Directory, body_limit: int) -> list[Route]:
    """The calls of a KMS."""

    def read(target: str, parameters: Mapping[str, str]) -> object:
        try:
            kms = directory.find_kms(target)
        except NotFound:
            return render_key(find_kms_of_key(target)[0].check_custody(target))
        return [render_key(record) for record in kms.list_records()]

    def adopt(target: str, document: Mapping[str, object], caller: Caller) -> object:
        members = load_model(_ADOPT_KEY, document)
        if members.label is None and members.id is None:
            raise MalformedRequest("Expected label, id or both, by which the key is found on the token; found neither.")
        kms, key_id = find_kms_of_key(target)
        return render_key(kms.adopt_key(key_id, label=members.label, token_id=members.token_id(), by_caller=True))

    def find_kms_of_key(target: str) -> tuple[Kms, str]:
        kms_path, _, key_id = target.rpartition(".")
        try:
            return directory.find_kms(kms_path), key_id
        except NotFound:
            raise NotFound(f"There is no KMS and no key at {target}.") from None

    return [
        Route("/v1/{target}/kms-service-api/keys", get_endpoint(directory, read), methods=["GET"]),
        Route(
            "/v1/{target}/kms-service-api/keys/adopt",
            post_endpoint(directory, body_limit, adopt, status=201),
            methods=["POST"],
        ),
    ]
