"""String representation of distinguished names (RFC 4514): reading one.

Strict: no space around a separator, no quotation, one attribute in each RelativeDistinguishedName, each type once.
A value in hexadecimal DER (`#0c02…`) is refused, since it would bring its own string type along.
"""

import re

from engine.errors import MalformedRequest
from engine.x509.names import Name

_WHAT = "A distinguished name"

# RFC 4514 section 3 and RFC 4519 section 2; types may also be written as their dotted object identifiers.
_TYPES = {
    "C": ("2.5.4.6", "country"),
    "ST": ("2.5.4.8", "state_or_province_name"),
    "L": ("2.5.4.7", "locality_name"),
    "O": ("2.5.4.10", "organization_name"),
    "OU": ("2.5.4.11", "organizational_unit_name"),
    "CN": ("2.5.4.3", "common_name"),
}
_KIND = {**{name: kind for name, (_, kind) in _TYPES.items()}, **dict(_TYPES.values())}

_TYPE = re.compile(r"([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)=")
# One step of a value: characters that stand for themselves, octets in pairs of hexadecimal digits, or one character
# behind a backslash. NUL and the specials of section 2.4 stand for themselves nowhere.
_STEP = re.compile(
    r"(?P<text>[^\x00\"+,;<>\\]+)|(?P<octets>(?:\\[0-9A-Fa-f]{2})+)|\\(?P<escaped>[ \"#+,;<=>\\])", re.DOTALL
)


def load_distinguished_name(text: str) -> Name:
    """Return the attributes that `text` names, in the order it names them, which is the encoding's in reverse.

    MalformedRequest for text that is not of RFC 4514's grammar, for several attributes in one
    RelativeDistinguishedName, and for a type that is not one of C, ST, L, O, OU and CN or is there twice.
    """
    attributes: list[tuple[str, str]] = []
    position = 0
    while True:
        kind, position = _load_type(text, position)
        value, position = _load_value(text, position)
        if kind in dict(attributes):
            raise MalformedRequest(f"{_WHAT} must have each attribute once, found a {kind.replace('_', ' ')} twice.")
        attributes.append((kind, value))
        if position == len(text):
            return Name(tuple(attributes))
        if text[position] == "+":
            raise MalformedRequest(f"{_WHAT} must have one attribute in each part, found several joined by '+'.")
        if text[position] == "\\":
            raise MalformedRequest(
                f"{_WHAT} must have a special character or two hexadecimal digits behind a backslash, "
                f"found neither at character {position + 1}."
            )
        if text[position] != ",":
            raise MalformedRequest(
                f"{_WHAT} must have a backslash before {text[position]!r} in a value, "
                f"found none at character {position + 1}."
            )
        position += 1


def _load_type(text: str, position: int) -> tuple[str, int]:
    match = _TYPE.match(text, position)
    if match is None:
        raise MalformedRequest(
            f"{_WHAT} must be parts such as CN=Example joined by ',' without spaces (RFC 4514), "
            f"found other text at character {position + 1}."
        )
    kind = _KIND.get(match[1].upper())
    if kind is None:
        known = ", ".join(_TYPES)
        raise MalformedRequest(f"{_WHAT} must have attributes of the types {known}, found {match[1][:40]!r}.")
    return kind, match.end()


def _load_value(text: str, position: int) -> tuple[str, int]:
    """The value that begins here, and the position behind it."""
    begin = position
    octets = bytearray()
    while match := _STEP.match(text, position):
        if match["octets"]:
            octets += bytes.fromhex(match["octets"].replace("\\", ""))
        else:
            octets += (match["text"] or match["escaped"]).encode("utf-8", "surrogatepass")
        position = match.end()
    written = text[begin:position]
    if written.startswith("#"):
        raise MalformedRequest(f"{_WHAT} must have values as text, found one in hexadecimal at character {begin + 1}.")
    # A space that ends the value stands for itself only behind a backslash.
    if written.startswith(" ") or (written.endswith(" ") and not _ends_escaped(written)):
        raise MalformedRequest(
            f"{_WHAT} must have a backslash before a space that begins or ends a value, "
            f"found none in the value at character {begin + 1}."
        )
    try:
        return octets.decode("utf-8"), position
    except UnicodeDecodeError:
        raise MalformedRequest(f"{_WHAT} must be UTF-8, found octets that are not at character {begin + 1}.") from None


def _ends_escaped(written: str) -> bool:
    """Whether the last character has a backslash before it that is not itself behind one."""
    before = written[:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1
