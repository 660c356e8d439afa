"""What every model has in common."""

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Model(BaseModel):
    """Frozen, strict about members, and silent about values: a key may be among them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class Answer(BaseModel):
    """An answer, for the OpenAPI document only: `render` makes it, and a test holds one against the other.

    A member that may be None may be left out; null is never sent.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=False,
        use_attribute_docstrings=True,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        referring = handler(core_schema)
        schema = handler.resolve_ref_schema(referring)
        schema["properties"] = {
            name: _without_null(member) if member.get("default", ...) is None else member
            for name, member in schema.get("properties", {}).items()
        }
        return referring


def _without_null(member: JsonSchemaValue) -> JsonSchemaValue:
    described = {key: value for key, value in member.items() if key not in {"default", "anyOf"}}
    kinds = [kind for kind in member.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return {**kinds[0], **described}
    return {"anyOf": kinds, **described} if kinds else described
