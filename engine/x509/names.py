"""Distinguished names (RFC 5280 sections 4.1.2.4 and 4.1.2.6, upper bounds of appendix A.1).

A name that is built has one attribute in each RelativeDistinguishedName; country and serialNumber are
PrintableString, emailAddress is IA5String, the rest UTF8String.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import starmap

from engine.errors import MalformedRequest
from engine.x509 import der as asn1


@dataclass(frozen=True, slots=True)
class Name:
    """Attributes in the order of the encoding, each a type and a value.

    Types are "country", "common_name" and so on as in RFC 5280's words; a loaded name may also hold dotted
    object identifiers, and "#" with hexadecimal DER for a value that is not text (RFC 4514 section 2.4).
    """

    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _AttributeType:
    title: str
    oid: str
    upper_bound: int
    tag: int = asn1.UTF8_STRING


_TYPES = {
    "country": _AttributeType("country", "2.5.4.6", 2, asn1.PRINTABLE_STRING),
    "state_or_province_name": _AttributeType("stateOrProvinceName", "2.5.4.8", 128),
    "locality_name": _AttributeType("localityName", "2.5.4.7", 128),
    "organization_name": _AttributeType("organizationName", "2.5.4.10", 64),
    "organizational_unit_name": _AttributeType("organizationalUnitName", "2.5.4.11", 64),
    "common_name": _AttributeType("commonName", "2.5.4.3", 64),
    "serial_number": _AttributeType("serialNumber", "2.5.4.5", 64, asn1.PRINTABLE_STRING),
    "email_address": _AttributeType("emailAddress", "1.2.840.113549.1.9.1", 255, asn1.IA5_STRING),
}
_TYPE_OF_OID = {attribute.oid: name for name, attribute in _TYPES.items()}
_ENCODED_OID = {name: asn1.encode_object_identifier(attribute.oid) for name, attribute in _TYPES.items()}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")


@lru_cache(maxsize=1024)
def build_name(name: Name) -> bytes:
    """Return `name` as DER Name; no attributes give the empty sequence.

    MalformedRequest for an unknown type, a value that is empty, blank, over RFC 5280's upper bound, outside
    its character string, or that holds control characters or lone surrogates.
    """
    return asn1.encode_tlv(asn1.SEQUENCE, *starmap(_build_rdn, name.attributes))


@lru_cache(maxsize=1024)  # Many subjects differ in their commonName only.
def _build_rdn(kind: str, value: str) -> bytes:
    attribute = _TYPES.get(kind)
    if attribute is None:
        raise MalformedRequest(f"A name must have attributes of {', '.join(_TYPES)}, found {kind[:40]!r}.")
    title = attribute.title
    if not value or value.isspace():
        raise MalformedRequest(f"The {title} must have a value, found an empty or blank one.")
    if kind == "country":
        if not _COUNTRY.fullmatch(value):
            raise MalformedRequest(f"The country must be two letters, found {value[:40]!r}.")
    elif len(value) > attribute.upper_bound:
        raise MalformedRequest(f"The {title} must have at most {attribute.upper_bound} characters, found {len(value)}.")
    if _CONTROL.search(value):
        raise MalformedRequest(f"The {title} must be printable text, found a control character.")
    if attribute.tag == asn1.PRINTABLE_STRING and not _PRINTABLE.fullmatch(value):
        raise MalformedRequest(f"The {title} must be a PrintableString, found another character.")
    try:
        content = value.encode("ascii" if attribute.tag == asn1.IA5_STRING else "utf-8")
    except UnicodeEncodeError:
        expected = "ASCII" if attribute.tag == asn1.IA5_STRING else "Unicode without surrogates"
        raise MalformedRequest(f"The {title} must be {expected} text, found another character.") from None
    encoded = asn1.encode_tlv(asn1.SEQUENCE, _ENCODED_OID[kind], asn1.encode_tlv(attribute.tag, content))
    return asn1.encode_tlv(asn1.SET, encoded)


_DECODERS: dict[int, Callable[[bytes], str]] = {
    asn1.UTF8_STRING: lambda content: content.decode("utf-8"),
    asn1.BMP_STRING: lambda content: content.decode("utf-16-be"),
    asn1.UNIVERSAL_STRING: lambda content: content.decode("utf-32-be"),
    **{
        tag: lambda content: content.decode("latin-1")
        for tag in (asn1.PRINTABLE_STRING, asn1.TELETEX_STRING, asn1.IA5_STRING, 0x12, 0x1A)
    },
}


@lru_cache(maxsize=1024)
def load_name(der: bytes) -> Name:
    """Return the attributes of a DER Name, those of a multi-valued RelativeDistinguishedName one after another.

    Types that are not in RFC 5280's words keep their dotted object identifier. MalformedRequest for octets
    that are no Name. To compare names compare their octets: loading forgets string types.
    """
    asn1.check_der(der, "A name")
    attributes = []
    for oid, value in load_checked_name(asn1.read_element(der), "A name"):
        decode = _DECODERS.get(value.tag)
        try:
            text = decode(value.content) if decode else f"#{value.encoding.hex()}"
        except UnicodeDecodeError:
            text = f"#{value.encoding.hex()}"
        attributes.append((_TYPE_OF_OID.get(oid, oid), text))
    return Name(tuple(attributes))


def load_checked_name(outer: asn1.Element, what: str) -> list[tuple[str, asn1.Element]]:
    """Return the dotted types and value elements of a Name that has passed `check_der` as a part of `what`."""
    if outer.tag != asn1.SEQUENCE:
        raise MalformedRequest(f"{what} must be a SEQUENCE, found the tag 0x{outer.tag:02x}.")
    attributes = []
    for rdn in asn1.read_children(outer.content):
        members = asn1.read_children(rdn.content) if rdn.tag == asn1.SET else []
        for member in members:
            pair = asn1.read_children(member.content) if member.tag == asn1.SEQUENCE else []
            if len(pair) != 2 or pair[0].tag != asn1.OBJECT_IDENTIFIER:
                members = []
                break
            attributes.append((asn1.load_object_identifier(pair[0].content), pair[1]))
        if not members:
            raise MalformedRequest(
                f"{what} must be a SEQUENCE of SETs of an attribute type and value, found another shape."
            )
    return attributes
