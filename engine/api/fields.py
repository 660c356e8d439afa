"""The kinds of text a member of a request can hold: instants, ids, paths, object identifiers, key usages."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StrictBool, StrictInt
from pydantic_core import PydanticCustomError

from engine.api.paths import check_id, check_path, shown
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

_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_OBJECT_IDENTIFIER = re.compile(r"(?:[01]\.[0-3]?[0-9]|2\.(?:0|[1-9][0-9]{0,38}))(?:\.(?:0|[1-9][0-9]{0,38})){0,30}")
_HEX_OCTETS = 255
_HEX = re.compile(rf"(?:[0-9A-Fa-f]{{2}}){{1,{_HEX_OCTETS}}}")
_LEADING_ZERO = re.compile(r"\.0[0-9]")


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
    if not _OBJECT_IDENTIFIER.fullmatch(value) or _LEADING_ZERO.search(value):
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


Instant = Annotated[datetime, BeforeValidator(_load_instant)]
KeyUsageName = Annotated[str, AfterValidator(_load_key_usage)]
ObjectIdentifier = Annotated[str, AfterValidator(_check_object_identifier)]
Id = Annotated[str, AfterValidator(_check_id)]
Path = Annotated[str, AfterValidator(_check_path)]
Hex = Annotated[str, AfterValidator(_check_hex)]
Flag = StrictBool
WholeNumber = StrictInt
Strings = tuple[str, ...]
