"""PKCS#11 URIs, RFC 7512, read strictly.

Refused although the RFC would let a reader ignore them: an attribute given twice or with no value, an attribute that
the RFC does not define, `pin-value`, and a `pin-source` that is a command. A URI may be pasted from anywhere, so no
message repeats more of it than an attribute's name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from engine.errors import ConfigError

_OBJECT_TYPES = ("public", "private", "cert", "secret-key", "data")

# RFC 7512 section 2.3, pk11-pchar and pk11-qchar.
_PATH_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """The attributes of a PKCS#11 URI, percent-decoded; one that is not in the URI is None.

    `pin_source` is an absolute path. `slot_id` is decimal in the URI. `id` is CKA_ID, octets; all others are text.
    """

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_version: str | None = None
    library_description: str | None = None
    object: str | None = None
    type: str | None = None
    id: bytes | None = None
    slot_description: str | None = None
    slot_manufacturer: str | None = None
    slot_id: int | None = None
    pin_source: str | None = None
    module_name: str | None = None
    module_path: str | None = None


def load_uri(text: str) -> Pkcs11Uri:
    """Read a PKCS#11 URI (RFC 7512 section 2.3). Raises ConfigError naming the attribute at fault."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme != "pkcs11":
        raise ConfigError("A PKCS#11 URI was expected, beginning with 'pkcs11:'; the text begins otherwise.")
    path, question_mark, query = rest.partition("?")
    values: dict[str, Any] = {}  # each reader in the tables returns the type of its field
    _read(path, ";", _PATH_VALUE, _PATH_ATTRIBUTES, values)
    if question_mark:
        _read(query, "&", _QUERY_VALUE, _QUERY_ATTRIBUTES, values)
    return Pkcs11Uri(**values)


def _read(
    part: str,
    separator: str,
    allowed: re.Pattern[str],
    attributes: Mapping[str, Callable[[str, bytes], str | int | bytes]],
    values: dict[str, Any],
) -> None:
    for item in part.split(separator) if part else ():
        name, equals, encoded = item.partition("=")
        if name not in attributes:
            known = re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name)
            raise ConfigError(
                f"The PKCS#11 URI has an attribute {name!r}, which is not one that RFC 7512 defines here."
                if known
                else "The PKCS#11 URI has an attribute without a name of its own."
            )
        if not equals or not encoded:
            raise ConfigError(f"The PKCS#11 URI attribute {name!r} has no value.")
        field = name.replace("-", "_")
        if field in values:
            raise ConfigError(f"The PKCS#11 URI attribute {name!r} is given more than once.")
        if not allowed.fullmatch(encoded):
            raise ConfigError(f"The PKCS#11 URI attribute {name!r} has a character that must be percent-encoded.")
        values[field] = attributes[name](name, unquote_to_bytes(encoded))


def _text(octets_at_most: int) -> Callable[[str, bytes], str]:
    """A reader of text that fits the field the standard has for it (CK_TOKEN_INFO, CK_SLOT_INFO, CK_INFO)."""

    def read(name: str, octets: bytes) -> str:
        if len(octets) > octets_at_most:
            raise ConfigError(
                f"The PKCS#11 URI attribute {name!r} is {len(octets)} bytes long, expected at most {octets_at_most}."
            )
        try:
            value = octets.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"The PKCS#11 URI attribute {name!r} is not UTF-8.") from None
        if "\x00" in value:
            raise ConfigError(f"The PKCS#11 URI attribute {name!r} holds a zero byte.")
        return value

    return read


def _id(name: str, octets: bytes) -> bytes:
    if len(octets) > 255:
        raise ConfigError(f"The PKCS#11 URI attribute {name!r} is longer than 255 bytes.")
    return octets


def _type(name: str, octets: bytes) -> str:
    value = _text(16)(name, octets)
    if value not in _OBJECT_TYPES:
        raise ConfigError(f"The PKCS#11 URI attribute {name!r} must be one of {', '.join(_OBJECT_TYPES)}.")
    return value


def _version(name: str, octets: bytes) -> str:
    value = re.fullmatch(rb"([0-9]{1,3})(?:\.([0-9]{1,3}))?", octets)
    if not value or any(int(number) > 255 for number in value.groups(b"0")):
        raise ConfigError(f"The PKCS#11 URI attribute {name!r} must be a version such as 2 or 2.40.")
    return octets.decode("ascii")


def _slot_id(name: str, octets: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,19}", octets):
        raise ConfigError(f"The PKCS#11 URI attribute {name!r} must be a decimal number.")
    return int(octets)


def _pin_source(name: str, octets: bytes) -> str:
    """An absolute path, given as such or as a file: URI (RFC 8089) that names no other host."""
    value = _text(4096)(name, octets)
    if value.startswith("|"):
        raise ConfigError(f"The PKCS#11 URI attribute {name!r} is a command, which is not run; expected a file.")
    if value.startswith("file:"):
        location = re.fullmatch(r"file:(?://(?:localhost)?)?(/[^?#]*)", value)
        if not location or location[1].startswith("//"):
            raise ConfigError(f"The PKCS#11 URI attribute {name!r} must be a file on this machine.")
        value = _text(4096)(name, unquote_to_bytes(location[1]))
    if not value.startswith("/"):
        raise ConfigError(f"The PKCS#11 URI attribute {name!r} must be an absolute path or a file: URI.")
    return value


def _refused_pin(name: str, octets: bytes) -> str:
    raise ConfigError(f"The PKCS#11 URI holds a PIN in {name!r}; keep it in a file and name that in 'pin-source'.")


_PATH_ATTRIBUTES: Mapping[str, Callable[[str, bytes], str | int | bytes]] = {
    "token": _text(32),
    "manufacturer": _text(32),
    "serial": _text(16),
    "model": _text(16),
    "library-manufacturer": _text(32),
    "library-version": _version,
    "library-description": _text(32),
    "object": _text(255),
    "type": _type,
    "id": _id,
    "slot-description": _text(64),
    "slot-manufacturer": _text(32),
    "slot-id": _slot_id,
}
_QUERY_ATTRIBUTES: Mapping[str, Callable[[str, bytes], str | int | bytes]] = {
    "pin-source": _pin_source,
    "pin-value": _refused_pin,
    "module-name": _text(255),
    "module-path": _text(4096),
}
