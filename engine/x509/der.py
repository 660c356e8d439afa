"""The Distinguished Encoding Rules of ITU-T X.690 (section 8 for BER, sections 10 and 11 for what DER adds).

`check_der` is the gate: one pass over the tag-length-value triples of received octets. It knows encodings and no
schemas. What depends on the schema is checked where the structure is read (`request`, `certificate`,
`received_extensions`, `extension_syntax`): members the syntax does not have, DEFAULT values that are spelled out,
named bit lists, the order of an implicitly tagged SET OF, and the DER inside the OCTET STRING of an extension. What
passes both is what asn1crypto encodes to the same octets again, text that asn1crypto normalises (URIs, domains) aside.

The gate is stricter than asn1crypto where X.509 has no use for the freedom: tag numbers of 31 and more, universal
types that no X.509 structure holds, nesting deeper than 32, invalid UTF-8, times other than whole or fractional seconds
with Z, and BER inside the values of extensions and attributes that asn1crypto does not know.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from engine.errors import MalformedRequest

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
TELETEX_STRING = 0x14
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
UNIVERSAL_STRING = 0x1C
BMP_STRING = 0x1E
SEQUENCE = 0x30
SET = 0x31

_MAXIMUM_DEPTH = 32
_UTC_TIME = re.compile(rb"[0-9]{12}Z")
_GENERALIZED_TIME = re.compile(rb"[0-9]{14}(\.[0-9]*[1-9])?Z")
_DOTTED = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,63}")


class _NotDER(Exception):
    """Carries the fault and the octet where it was found up to `check_der`, which names the structure."""

    def __init__(self, fault: str, position: int = 0) -> None:
        super().__init__(fault)
        self.fault = fault
        self.position = position


class Element(NamedTuple):
    """One tag-length-value triple: its tag octet, its content octets and its whole encoding."""

    tag: int
    content: bytes
    encoding: bytes


_new = tuple.__new__


def check_der(octets: bytes, what: str) -> None:
    """Raise MalformedRequest unless `octets` are exactly one DER element.

    `what` names the structure at the start of the sentence, such as "The certification request". Constructed
    elements are descended into; the content of OCTET STRING and BIT STRING is opaque. The sentence holds a
    position and never the octets themselves, which may be secret.
    """
    try:
        if not octets:
            raise _NotDER("there are no octets")
        end = len(octets)
        content, length = _read_header(octets, 0)
        if content + length < end:
            raise _NotDER("octets follow the element", content + length)
        _check_elements(octets, 0, end, 0, False)
    except _NotDER as error:
        raise MalformedRequest(f"{what} must be DER, but {error.fault} at octet {error.position}.") from None
    except IndexError:
        raise MalformedRequest(f"{what} must be DER, but it is cut short at octet {len(octets)}.") from None


def _read_header(octets: bytes, position: int) -> tuple[int, int]:
    """Return where the content of the element at `position` begins, and its length."""
    length = octets[position + 1]
    content = position + 2
    if length > 127:
        count = length & 0x7F
        length = int.from_bytes(octets[content : content + count], "big")
        if not 0 < count < 5:
            fault = "an indefinite length" if count == 0 else "a length of more than four octets"
            raise _NotDER(f"there is {fault}", position)
        if length < 128 or octets[content] == 0:
            raise _NotDER("there is a length that is not minimal", position)
        content += count
    return content, length


def _check_elements(octets: bytes, position: int, end: int, depth: int, ascending: bool) -> None:
    """Check the elements that fill the octets from `position` to `end`, in ascending order if they have to be.

    A header may be read past `end`, but what it announces then ends past `end` too and is refused. Reading
    past the last octet of all is the caller's IndexError.
    """
    previous = b""
    while position < end:
        tag = octets[position]
        length = octets[position + 1]
        content = position + 2
        if length > 127:
            content, length = _read_header(octets, position)
        stop = content + length
        if stop > end:
            raise _NotDER("there is an element longer than what holds it", position)
        rule = _RULES[tag]
        if rule is not None:
            try:
                rule(octets[content:stop])
            except _NotDER as error:
                raise _NotDER(error.fault, position) from None
        elif tag & 0x20:
            if depth >= _MAXIMUM_DEPTH:
                raise _NotDER(f"elements are nested deeper than {_MAXIMUM_DEPTH}", position)
            _check_elements(octets, content, stop, depth + 1, tag == SET)
        if ascending:
            encoding = octets[position:stop]
            if encoding < previous:
                raise _NotDER("there is a SET OF that is not in ascending order", position)
            previous = encoding
        position = stop


def _check_boolean(content: bytes) -> None:
    if content not in (b"\x00", b"\xff"):
        raise _NotDER("there is a BOOLEAN that is neither 00 nor FF")


def _check_integer(content: bytes) -> None:
    if not content:
        raise _NotDER("there is an INTEGER without octets")
    if len(content) > 1 and ((content[0] == 0 and content[1] < 0x80) or (content[0] == 0xFF and content[1] >= 0x80)):
        raise _NotDER("there is an INTEGER that is not minimal")


def _check_bit_string(content: bytes) -> None:
    if not content:
        raise _NotDER("there is a BIT STRING without octets")
    unused = content[0]
    if unused and (unused > 7 or len(content) == 1 or content[-1] & ((1 << unused) - 1)):
        raise _NotDER("there is a BIT STRING whose unused bits are not zero")


def _check_null(content: bytes) -> None:
    if content:
        raise _NotDER("there is a NULL with octets")


@lru_cache(maxsize=1024)
def _check_object_identifier(content: bytes) -> None:
    if not content or content[-1] >= 0x80:
        raise _NotDER("there is an OBJECT IDENTIFIER that is cut short")
    previous = 0
    for octet in content:
        if octet == 0x80 and previous < 0x80:
            raise _NotDER("there is an OBJECT IDENTIFIER with an arc that is not minimal")
        previous = octet


def _check_utf8_string(content: bytes) -> None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        raise _NotDER("there is a UTF8String that is not UTF-8") from None


def _check_utc_time(content: bytes) -> None:
    if not _UTC_TIME.fullmatch(content):
        raise _NotDER("there is a UTCTime that is not of the form YYMMDDHHMMSSZ")


def _check_generalized_time(content: bytes) -> None:
    if not _GENERALIZED_TIME.fullmatch(content):
        raise _NotDER("there is a GeneralizedTime that is not of the form YYYYMMDDHHMMSSZ")


def _check_universal_string(content: bytes) -> None:
    if len(content) % 4:
        raise _NotDER("there is a UniversalString that is not a multiple of four octets")


def _check_bmp_string(content: bytes) -> None:
    if len(content) % 2:
        raise _NotDER("there is a BMPString that is not a multiple of two octets")


_Rule = Callable[[bytes], None]


def _refuse(tag: int) -> _Rule:
    kind = "constructed tag" if tag & 0x20 else "tag"

    def check(content: bytes) -> None:
        raise _NotDER(f"there is the {kind} 0x{tag:02x}")

    return check


def _rules() -> tuple[_Rule | None, ...]:
    """Return what to check for each tag octet: None where any content will do, which is then descended into if the tag
    is constructed."""
    known: dict[int, _Rule | None] = {
        BOOLEAN: _check_boolean,
        INTEGER: _check_integer,
        BIT_STRING: _check_bit_string,
        NULL: _check_null,
        OBJECT_IDENTIFIER: _check_object_identifier,
        0x0A: _check_integer,  # ENUMERATED, X.690 section 8.4
        UTF8_STRING: _check_utf8_string,
        UTC_TIME: _check_utc_time,
        GENERALIZED_TIME: _check_generalized_time,
        UNIVERSAL_STRING: _check_universal_string,
        BMP_STRING: _check_bmp_string,
        **dict.fromkeys((SEQUENCE, SET)),
        # Any octets: OCTET STRING and the one-octet character strings.
        **dict.fromkeys((OCTET_STRING, PRINTABLE_STRING, TELETEX_STRING, IA5_STRING, 0x12, 0x1A, 0x1B)),
        # The application, context and private classes, where the schema knows the type; no tag numbers of 31 or more.
        **dict.fromkeys(tag for tag in range(0x40, 0x100) if tag & 0x1F != 0x1F),
    }
    return tuple(known[tag] if tag in known else _refuse(tag) for tag in range(0x100))


_RULES = _rules()


def read_element(octets: bytes) -> Element:
    """Return the one element that `octets` are, a part of what has passed `check_der`.

    ValueError if they are several elements, IndexError if they are none.
    """
    length = octets[1]
    start = 2
    if length > 127:
        start += length & 0x7F
        length = int.from_bytes(octets[2:start], "big")
    if start + length != len(octets):
        raise ValueError("Exactly one element was expected, found more.")
    return Element(octets[0], octets[start:], octets)


def read_children(content: bytes) -> list[Element]:
    """Return the elements that `content` consists of, such as the content of a constructed element.

    It must be a part of what has passed `check_der`: lengths are believed here.
    """
    children = []
    position = 0
    end = len(content)
    while position < end:
        length = content[position + 1]
        start = position + 2
        if length > 127:
            start += length & 0x7F
            length = int.from_bytes(content[position + 2 : start], "big")
        stop = start + length
        # What Element() does, without the call of a Python function for each element of a request.
        children.append(_new(Element, (content[position], content[start:stop], content[position:stop])))
        position = stop
    return children


def encode_tlv(tag: int, *contents: bytes) -> bytes:
    """Return the element with this tag octet and the joined contents, its length in the minimal form."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    if length < 0x100:
        return bytes((tag, 0x81, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def encode_integer(value: int) -> bytes:
    """Return `value` as INTEGER in the least number of octets (X.690 section 8.3)."""
    length = ((value if value >= 0 else ~value).bit_length() >> 3) + 1
    return encode_tlv(INTEGER, value.to_bytes(length, "big", signed=True))


@lru_cache(maxsize=1024)
def encode_object_identifier(dotted: str) -> bytes:
    """Return a dotted object identifier as OBJECT IDENTIFIER; MalformedRequest if it is not one."""
    if not _DOTTED.fullmatch(dotted):
        raise MalformedRequest(f"An object identifier must be dotted decimal, found {dotted[:80]!r}.")
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    if first < 2 and second > 39:
        raise MalformedRequest(f"The second arc of an object identifier under {first} ends at 39, found {second}.")
    return encode_tlv(OBJECT_IDENTIFIER, *map(_encode_arc, (40 * first + second, *rest)))


def _encode_arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | (arc & 0x7F))
    return bytes(reversed(octets))


@lru_cache(maxsize=1024)
def load_object_identifier(content: bytes) -> str:
    """Return the dotted form of the content of an OBJECT IDENTIFIER that has passed `check_der`."""
    arcs = []
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
