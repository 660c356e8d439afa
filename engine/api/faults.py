"""What is wrong with a body whose JSON is sound: every fault named by its dotted member, in one refusal.

Values of a caller's are never repeated from here, since the body may hold a private key; names are.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from engine.api.paths import shown
from engine.errors import MalformedRequest

Model = TypeVar("Model")

_FAULTS_SHOWN = 20

_TAGS = frozenset(
    {
        "kms-hosted-key-descriptor",
        "jwk-encoded-key-descriptor",
        "generic",
        "iso-document-signer",
        "csr",
        "key-descriptor",
        "ca-signed",
        "self-signed",
        "iaca-cert-data-descriptor",
        "iaca-pem-cert-descriptor",
        "base",
        "vical-entry",
        "kms",
        "x509-service",
        "x509-store",
    }
)
"""Values of `type`, which the validator puts between the members on the way to a fault."""

_EXPECTED: Mapping[str, str] = {
    "string_type": "expected a string",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "tuple_type": "expected a list",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
}


def load_model(adapter: TypeAdapter[Model], document: Mapping[str, object]) -> Model:
    """The model the document is. Raises MalformedRequest with every unknown, missing and wrong member."""
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
    # Outside the handler, so that the refusal does not carry the validator's error, which holds the document.
    raise _refusal(faults)


def _refusal(faults: list[ErrorDetails]) -> MalformedRequest:
    unknown = [_member(fault) for fault in faults if fault["type"] == "extra_forbidden"]
    missing = [_missing(fault) for fault in faults if fault["type"] in _MISSING]
    others = [
        f"{_member(fault)}: {_sentence(fault)}"
        for fault in faults
        if fault["type"] != "extra_forbidden" and fault["type"] not in _MISSING
    ]
    parts = []
    if unknown:
        parts.append(f"{_count(unknown, 'unknown member')} {_list(unknown)}")
    if missing:
        parts.append(f"{_count(missing, 'missing member')} {_list(missing)}")
    if others:
        parts.append(_list(others, "; "))
    details = [
        *(f"unknown member: {name}" for name in unknown),
        *(f"missing member: {name}" for name in missing),
        *others,
    ]
    return MalformedRequest(
        f"The request body does not have the expected members: {'; '.join(parts)}.",
        details=details[:_FAULTS_SHOWN],
    )


_MISSING: Mapping[str, str] = {"missing": "", "union_tag_not_found": "type"}
"""Fault → the member that is missing below the one that is named."""


def _missing(fault: ErrorDetails) -> str:
    below = _MISSING[fault["type"]]
    return ".".join(part for part in (_member(fault), below) if part)


def _sentence(fault: ErrorDetails) -> str:
    context: Mapping[str, Any] = fault.get("ctx", {})
    if fault["type"] == "union_tag_invalid":
        return f"expected one of {context['expected_tags']}, found {shown(str(context['tag']))}"
    if fault["type"] in _EXPECTED:
        return _EXPECTED[fault["type"]]
    message = fault["msg"]
    return message[0].lower() + message[1:]


def _member(fault: ErrorDetails) -> str:
    location = fault["loc"]
    if fault["type"] == "union_tag_invalid":
        location = (*location, "type")
    last = len(location) - 1
    parts = [str(part) for index, part in enumerate(location) if index == last or part not in _TAGS]
    return ".".join(_printable(part) for part in parts)


def _printable(name: str) -> str:
    return name if len(name) <= 64 and name.isascii() and name.isalnum() else shown(name)


def _count(names: list[str], what: str) -> str:
    return what if len(names) == 1 else f"{what}s"


def _list(parts: list[str], separator: str = ", ") -> str:
    more = len(parts) - _FAULTS_SHOWN
    return separator.join(parts[:_FAULTS_SHOWN]) + (f"{separator}and {more} more" if more > 0 else "")
