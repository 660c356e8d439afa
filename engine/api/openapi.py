"""The OpenAPI 3.1 document of the API, made from the operations that are routed and the models that validate."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from engine.api.examples import BODIES, TARGETS
from engine.api.idempotency import HEADER as IDEMPOTENCY_HEADER
from engine.api.idempotency import KEY_PATTERN as IDEMPOTENCY_KEY_PATTERN
from engine.api.idempotency import REPLAYED_HEADER
from engine.api.operations import Operation, Parameter
from engine.api.paths import PATH_PATTERN
from engine.api.schema.problems import DuplicateTarget, Problem

JSON = "application/json"
TAGS: Mapping[str, str] = {
    "x509-service-api": "Certification requests and certificates",
    "x509-store-api": "Certificate stores",
    "kms-service-api": "Keys on PKCS#11 tokens",
    "resource-api": "Tenants and services",
    "auth": "Accounts",
    "health": "Whether the engine lives and could sign",
    "documents": "This document and its page",
}
"""By the first segment after the target; what is not here is described by its name alone."""

REFUSALS: Mapping[int, str] = {
    400: "The request is malformed, or what it asks for is against the profile or the policy.",
    401: "No credential, or one that is not known.",
    403: "The credential has no role for this, or a setting forbids it.",
    404: "Nothing there that the credential may use.",
    409: "What was to be made exists already.",
    422: "The Idempotency-Key was sent with another request before.",
    500: "The engine or its token failed.",
    503: "The engine or its token cannot do this now.",
}
_EVERY_CALL = (400, 500, 503)
_WITH_CREDENTIAL = (401, 403, 404)
"""How calls can end beside their success, without saying so themselves."""

_REFERENCE = "#/components/schemas/{model}"
_TARGET = "{target}"
_ROOM = re.compile(r"/(?:v1/\{target\}/)?([^/{}]+)")
_WORD = re.compile(r"[A-Za-z0-9]+")

Schema = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """An answer of an open call."""

    description: str
    model: Any = None
    """Of a JSON answer; None: any content of the media type."""
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that is no operation: it has no target, wants no credential and is refused to nobody."""

    method: str
    path: str
    tag: str
    summary: str
    answers: Mapping[int, OpenAnswer]


def build_document(operations: Sequence[Operation[Any]], open_calls: Iterable[OpenCall]) -> dict[str, object]:
    """The document, ready for JSON."""
    open_calls = tuple(open_calls)
    schemas = _Schemas(operations, open_calls)
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    for call in open_calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _open_call(call, schemas)
    used = {_tag(operation.path) for operation in operations} | {call.tag for call in open_calls}
    statuses = sorted({status for operation in operations for status in _problems(operation)})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Signing engine",
            "version": version("hsm-signing-engine"),
            "description": "X.509 certificates signed by keys in PKCS#11 tokens.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [_described_tag(name) for name in sorted(used, key=_tag_order)],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {_component(status): _refusal(status, schemas) for status in statuses},
            "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or the token of a session.",
                }
            },
        },
    }


class _Schemas:
    """The JSON Schema of everything that is sent and answered, in one set of components."""

    def __init__(self, operations: Sequence[Operation[Any]], open_calls: Sequence[OpenCall]) -> None:
        adapters = _adapters(operations, open_calls)
        found, shared = TypeAdapter.json_schemas(
            [(key, "validation", adapter) for key, adapter in adapters.items()],
            ref_template=_REFERENCE,
            schema_generator=_Plain,
        )
        self._found = {key: schema for (key, _), schema in found.items()}
        self.components: dict[str, object] = dict(sorted(shared.get("$defs", {}).items()))

    def of(self, *key: object) -> Schema:
        return self._found[key]

    def answer(self, method: str, path: str, status: int) -> Schema:
        """Anything, if there is no model of it."""
        return self._found.get(("answer", method, path, status), {})


class _Plain(GenerateJsonSchema):
    """Members have no titles, which would say their names once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


_Key = tuple[object, ...]


def _adapters(operations: Sequence[Operation[Any]], open_calls: Sequence[OpenCall]) -> dict[_Key, TypeAdapter[Any]]:
    adapters: dict[_Key, TypeAdapter[Any]] = {
        ("problem",): TypeAdapter(Problem),
        ("duplicate",): TypeAdapter(DuplicateTarget),
    }
    for operation in operations:
        for media_type, adapter in operation.body.content().items():
            adapters["body", operation.method, operation.path, media_type] = adapter
        if operation.response is not None:
            adapters["answer", operation.method, operation.path, operation.status] = TypeAdapter(operation.response)
    for call in open_calls:
        for status, answer in call.answers.items():
            if answer.model is not None:
                adapters["answer", call.method, call.path, status] = TypeAdapter(answer.model)
    return adapters


def _operation(operation: Operation[Any], schemas: _Schemas) -> Schema:
    method, path = operation.method, operation.path
    parameters = [_target(method, path)] if _TARGET in path else []
    parameters += [_query(parameter) for parameter in operation.parameters]
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if operation.issues:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
        headers[REPLAYED_HEADER] = {"$ref": f"#/components/headers/{REPLAYED_HEADER}"}
    return {
        "tags": [_tag(path)],
        "summary": operation.summary,
        "operationId": _operation_id(method, path),
        **({"security": []} if operation.permission is None else {}),
        "parameters": parameters,
        **_body(operation, schemas),
        "responses": {
            str(operation.status): {
                "description": HTTPStatus(operation.status).phrase,
                "headers": headers,
                "content": {JSON: {"schema": schemas.answer(method, path, operation.status)}},
            },
            **{
                str(status): {"$ref": f"#/components/responses/{_component(status)}"} for status in _problems(operation)
            },
        },
    }


def _open_call(call: OpenCall, schemas: _Schemas) -> Schema:
    return {
        "tags": [call.tag],
        "summary": call.summary,
        "operationId": _operation_id(call.method, call.path),
        "security": [],
        "responses": {
            str(status): {
                "description": answer.description,
                "content": {answer.media_type: {"schema": schemas.answer(call.method, call.path, status)}},
            }
            for status, answer in call.answers.items()
        },
    }


def _body(operation: Operation[Any], schemas: _Schemas) -> Schema:
    method, path, content = operation.method, operation.path, operation.body.content()
    if not content:
        return {}
    examples = BODIES.get((method, path), {})
    media_types: dict[str, object] = {}
    for media_type in content:
        described: dict[str, object] = {"schema": schemas.of("body", method, path, media_type)}
        if examples and media_type == JSON:
            described["examples"] = {
                _identifier(summary): {"summary": summary, "value": value} for summary, value in examples.items()
            }
        media_types[media_type] = described
    return {"requestBody": {"required": operation.body.is_required, "content": media_types}}


def _target(method: str, path: str) -> Schema:
    target: dict[str, object] = {
        "name": "target",
        "in": "path",
        "required": True,
        "description": "The dotted path of what the call is about: `{organization}.{tenant}.{service}`, or deeper.",
        "schema": {"type": "string", "pattern": f"^{PATH_PATTERN}$"},
    }
    example = TARGETS.get((method, path)) or TARGETS.get(_tag(path))
    if example is not None:
        target["example"] = example
    return target


def _query(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


_IDEMPOTENCY_KEY: Schema = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": False,
    "description": "The same key with the same request gets the first one's answer and no second certificate.",
    "schema": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY_PATTERN}$"},
}

_HEADERS: Schema = {
    "X-Request-Id": {
        "description": "By which the engine's log knows the request.",
        "required": True,
        "schema": {"type": "string"},
    },
    REPLAYED_HEADER: {
        "description": "Present if the answer is that to an earlier request with this Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "Seconds after which another try may succeed; absent where time alone does not help.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string"}},
}


def _problems(operation: Operation[Any]) -> list[int]:
    """Every status of refusal and failure."""
    statuses = {*_EVERY_CALL, *operation.problems}
    if operation.permission is not None:
        statuses.update(_WITH_CREDENTIAL)
    if operation.issues:
        statuses.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    return sorted(statuses)


def _refusal(status: int, schemas: _Schemas) -> Schema:
    headers = ["X-Request-Id"]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append("WWW-Authenticate")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append("Retry-After")
    return {
        "description": REFUSALS.get(status, HTTPStatus(status).phrase),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {JSON: {"schema": schemas.of("duplicate" if status == HTTPStatus.CONFLICT else "problem")}},
    }


def _component(status: int) -> str:
    return "".join(_WORD.findall(HTTPStatus(status).phrase))


def _tag(path: str) -> str:
    match = _ROOM.match(path)
    return "" if match is None else match[1]


def _described_tag(name: str) -> Schema:
    return {"name": name, "description": TAGS[name]} if name in TAGS else {"name": name}


def _tag_order(name: str) -> tuple[int, str]:
    known = list(TAGS)
    return (known.index(name) if name in TAGS else len(known), name)


def _operation_id(method: str, path: str) -> str:
    words = _WORD.findall(path.removeprefix(f"/v1/{_TARGET}"))
    return method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _identifier(text: str) -> str:
    return "-".join(_WORD.findall(text.lower()))
