"""The kinds of text a member of a request can hold: instants, ids, paths, object identifiers, key usages.

Each says its JSON Schema beside its check: a text that passes the check satisfies the schema, and what a pattern can
refuse, it does. Patterns are of the common part of Python's and ECMA 262's languages.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StrictBool, StrictInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from engine.api.paths import ID_PATTERN, PATH_PATTERN, check_id, check_path, shown
from engine.errors import MalformedRequest

KEY_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
"""RFC 5280 section 4.2.1.3, in the order of the bits. The API writes them with a capital first letter."""

_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_OFFSET = r"[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_ARC = r"(?:0|[1-9][0-9]{0,38})"
_HEX_OCTETS = 255
INSTANT_PATTERN = rf"({_DATE}[Tt]{_TIME})(?:\.[0-9]{{1,9}})?({_OFFSET})"
OBJECT_IDENTIFIER_PATTERN = rf"(?:[01]\.[1-3]?[0-9]|2\.{_ARC})(?:\.{_ARC}){{0,30}}"
HEX_PATTERN = rf"(?:[0-9A-Fa-f]{{2}}){{1,{_HEX_OCTETS}}}"
_PRINTABLE = r"[^\u0000-\u001f\u007f-\u009f]*"
_INSTANT = re.compile(INSTANT_PATTERN)
_OBJECT_IDENTIFIER = re.compile(OBJECT_IDENTIFIER_PATTERN)
_HEX = re.compile(HEX_PATTERN)


def capitalized(use: str) -> str:
    """A key usage as the API writes it: `DigitalSignature`."""
    return use[0].upper() + use[1:]


_USE_BY_SPELLING = {spelling: use for use in KEY_USAGES for spelling in (use, capitalized(use))}


def _fault(sentence: str) -> PydanticCustomError:
    # Braces would be read as a template.
    return PydanticCustomError("value", "{sentence}", {"sentence": sentence})


def _load_instant(value: object) -> datetime:
    """An ISO 8601 instant in whole seconds UTC; a fraction of a second is cut off."""
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        found = shown(value) if isinstance(value, str) else "no string"
        raise _fault(f"expected an instant such as '2025-05-28T12:23:01Z', found {found}")
    try:
        return datetime.fromisoformat(match[1].upper() + match[2].upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _fault(f"expected a date and time that exist, found {shown(match[0])}") from None


def _load_key_usage(value: str) -> str:
    use = _USE_BY_SPELLING.get(value)
    if use is None:
        known = ", ".join(capitalized(name) for name in KEY_USAGES)
        raise _fault(f"expected one of {known}, found {shown(value)}")
    return use


def _check_object_identifier(value: str) -> str:
    if not _OBJECT_IDENTIFIER.fullmatch(value):
        raise _fault(f"expected a dotted object identifier such as '1.3.6.1.5.5.7.3.2', found {shown(value)}")
    return value


def _check_hex(value: str) -> str:
    if not _HEX.fullmatch(value):
        raise _fault(f"expected 1 to {_HEX_OCTETS} octets in hex, found {shown(value)}")
    return value


def _check_id(value: str) -> str:
    try:
        check_id(value)
    except MalformedRequest as error:
        raise _fault(error.message[0].lower() + error.message[1:-1]) from None
    return value


def _check_path(value: str) -> str:
    try:
        check_path(value)
    except MalformedRequest as error:
        raise _fault(error.message[0].lower() + error.message[1:-1]) from None
    return value


def _text(pattern: str, **more: object) -> WithJsonSchema:
    """A string that is the pattern from end to end."""
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", **more})


Instant = Annotated[datetime, BeforeValidator(_load_instant), _text(INSTANT_PATTERN, format="date-time")]
KeyUsageName = Annotated[
    str, AfterValidator(_load_key_usage), WithJsonSchema({"type": "string", "enum": sorted(_USE_BY_SPELLING)})
]
ObjectIdentifier = Annotated[str, AfterValidator(_check_object_identifier), _text(OBJECT_IDENTIFIER_PATTERN)]
Id = Annotated[str, AfterValidator(_check_id), _text(ID_PATTERN)]
Path = Annotated[str, AfterValidator(_check_path), _text(PATH_PATTERN)]
Hex = Annotated[str, AfterValidator(_check_hex), _text(HEX_PATTERN)]
Flag = StrictBool
WholeNumber = StrictInt
Strings = tuple[str, ...]

# What the profiles check; said here so that the document says it too.
Country = Annotated[str, _text("[A-Za-z]{2}")]
IsoCountry = Annotated[str, _text("[A-Z]{2}")]
ShortName = Annotated[str, _text(_PRINTABLE, minLength=1, maxLength=64)]
LongName = Annotated[str, _text(_PRINTABLE, minLength=1, maxLength=128)]
WebAddress = Annotated[str, _text("[Hh][Tt][Tt][Pp][Ss]?://.*")]
PathLength = Annotated[StrictInt, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 255})]
