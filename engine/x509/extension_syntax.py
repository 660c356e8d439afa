"""The syntax of extension values (RFC 5280 appendix A, RFC 7633 for TLS features), as far as DER depends on it.

`check_der` knows encodings and no schemas. With a schema at hand DER also forbids members that the syntax does not
have, DEFAULT values that are spelled out, trailing zero bits in named bit lists, and implicitly tagged values that
would be wrong under their own tag. `check_extension_value` says so for the extensions of RFC 5280; values of others
are whatever DER they are. What the values mean is not judged, nor is how many there are.
"""

from collections.abc import Callable
from typing import NamedTuple

from engine.errors import MalformedRequest
from engine.x509 import der as asn1
from engine.x509.names import load_checked_name

# Judges one element of the extension whose dotted object identifier is given; raises MalformedRequest.
Syntax = Callable[[str, asn1.Element], None]


class _Member(NamedTuple):
    """A member of a SEQUENCE: the tags it may have, its syntax, and the content that is its DEFAULT."""

    tags: tuple[int, ...]
    syntax: Syntax
    optional: bool = False
    default: bytes | None = None


def _other_shape(oid: str) -> MalformedRequest:
    return MalformedRequest(f"The value of the extension {oid} must be of its standard's syntax, found another shape.")


def _anything(oid: str, element: asn1.Element) -> None:
    """Whatever has passed `check_der`."""


def _sequence(*members: _Member) -> Syntax:
    """The members in order and nothing else; the tag of the SEQUENCE itself is its holder's business."""

    def check(oid: str, element: asn1.Element) -> None:
        children = _children(oid, element)
        position = 0
        for member in members:
            child = children[position] if position < len(children) else None
            if child is not None and child.tag in member.tags:
                if child.content == member.default:
                    raise MalformedRequest(
                        f"The value of the extension {oid} must be DER, but a DEFAULT is spelled out."
                    )
                member.syntax(oid, child)
                position += 1
            elif not member.optional:
                raise _other_shape(oid)
        if position != len(children):
            raise _other_shape(oid)

    return check


def _sequence_of(tags: tuple[int, ...], syntax: Syntax = _anything) -> Syntax:
    def check(oid: str, element: asn1.Element) -> None:
        for child in _children(oid, element):
            if child.tag not in tags:
                raise _other_shape(oid)
            syntax(oid, child)

    return check


def _children(oid: str, element: asn1.Element) -> list[asn1.Element]:
    if not element.tag & 0x20:
        raise _other_shape(oid)
    return asn1.read_children(element.content)


def _explicit(tags: tuple[int, ...], syntax: Syntax) -> Syntax:
    return _sequence(_Member(tags, syntax))


def _implicit(tag: int) -> Syntax:
    """A primitive element under a tag that hides `tag`, whose rules it has to keep."""

    def check(oid: str, element: asn1.Element) -> None:
        asn1.check_der(asn1.encode_tlv(tag, element.content), f"The value of the extension {oid}")

    return check


def _named_bits(oid: str, element: asn1.Element) -> None:
    """A BIT STRING, perhaps under another tag, whose last bit is one (X.690 section 11.2.2) and the ninth at most."""
    content = element.content
    _BIT_STRING(oid, element)
    if 8 * (len(content) - 1) - content[0] > 9:
        raise MalformedRequest(f"The value of the extension {oid} must have at most nine bits, found more.")
    if content != b"\x00" and not content[-1] >> content[0] & 1:
        raise MalformedRequest(f"The value of the extension {oid} must be DER, but its bits end with a zero.")


def _ia5(oid: str, element: asn1.Element) -> None:
    if not element.content.isascii():
        raise MalformedRequest(f"The value of the extension {oid} must be IA5String, found an octet over 7F.")


def _name(oid: str, element: asn1.Element) -> None:
    load_checked_name(element, f"The name in the extension {oid}")


def _relative_name(oid: str, element: asn1.Element) -> None:
    """A RelativeDistinguishedName under another tag."""
    rdn = asn1.encode_tlv(asn1.SET, element.content)
    asn1.check_der(rdn, f"The value of the extension {oid}")
    _name(oid, asn1.Element(asn1.SEQUENCE, rdn, asn1.encode_tlv(asn1.SEQUENCE, rdn)))


def _general_name(oid: str, element: asn1.Element) -> None:
    if element.tag == 0x87:
        if len(element.content) not in (4, 8, 16, 32):
            raise _other_shape(oid)
        return
    syntax = _GENERAL_NAMES.get(element.tag)
    if syntax is None:
        raise _other_shape(oid)
    syntax(oid, element)


_BIT_STRING = _implicit(asn1.BIT_STRING)
_INTEGER = _implicit(asn1.INTEGER)
_OID = _Member((asn1.OBJECT_IDENTIFIER,), _anything)
_GENERAL_NAMES: dict[int, Syntax] = {
    0xA0: _sequence(_OID, _Member((0xA0,), _anything)),
    0x81: _ia5,
    0x82: _ia5,
    0xA3: _anything,
    0xA4: _explicit((asn1.SEQUENCE,), _name),
    0xA5: _sequence(_Member((0xA0,), _anything, True), _Member((0xA1,), _anything)),
    0x86: _ia5,
    0x88: _implicit(asn1.OBJECT_IDENTIFIER),
}
_general_names = _sequence_of((*_GENERAL_NAMES, 0x87), _general_name)
_distribution_points = _sequence_of(
    (asn1.SEQUENCE,),
    _sequence(
        _Member(
            (0xA0,),
            _sequence(_Member((0xA0,), _general_names, True), _Member((0xA1,), _relative_name, True)),
            True,
        ),
        _Member((0x81,), _named_bits, True),
        _Member((0xA2,), _general_names, True),
    ),
)
_subtrees = _sequence_of(
    (asn1.SEQUENCE,),
    _sequence(
        _Member((*_GENERAL_NAMES, 0x87), _general_name),
        _Member((0x80,), _INTEGER, True, b"\x00"),
        _Member((0x81,), _INTEGER, True),
    ),
)
_user_notice = _sequence(
    _Member(
        (asn1.SEQUENCE,),
        _sequence(
            _Member((asn1.IA5_STRING, 0x1A, asn1.BMP_STRING, asn1.UTF8_STRING), _anything),
            _Member((asn1.SEQUENCE,), _sequence_of((asn1.INTEGER,))),
        ),
        True,
    ),
    _Member((asn1.IA5_STRING, 0x1A, asn1.BMP_STRING, asn1.UTF8_STRING), _anything, True),
)


def _policy_qualifier(oid: str, element: asn1.Element) -> None:
    """A PolicyQualifierInfo; the qualifier is a CPSuri or a UserNotice by the members before it."""
    members = asn1.read_children(element.content)
    if len(members) != 2 or members[0].tag != asn1.OBJECT_IDENTIFIER:
        raise _other_shape(oid)
    if asn1.load_object_identifier(members[0].content) == "1.3.6.1.5.5.7.2.2":
        if members[1].tag != asn1.SEQUENCE:
            raise _other_shape(oid)
        _user_notice(oid, members[1])


_access_descriptions = _sequence_of((asn1.SEQUENCE,), _sequence(_OID, _Member((*_GENERAL_NAMES, 0x87), _general_name)))

# The tag of the value and its syntax.
_SYNTAXES: dict[str, tuple[int, Syntax]] = {
    "2.5.29.14": (asn1.OCTET_STRING, _anything),  # subjectKeyIdentifier
    "2.5.29.15": (asn1.BIT_STRING, _named_bits),  # keyUsage
    "2.5.29.16": (  # privateKeyUsagePeriod
        asn1.SEQUENCE,
        _sequence(
            _Member((0x80,), _implicit(asn1.GENERALIZED_TIME), True),
            _Member((0x81,), _implicit(asn1.GENERALIZED_TIME), True),
        ),
    ),
    "2.5.29.17": (asn1.SEQUENCE, _general_names),  # subjectAltName
    "2.5.29.18": (asn1.SEQUENCE, _general_names),  # issuerAltName
    "2.5.29.19": (  # basicConstraints
        asn1.SEQUENCE,
        _sequence(_Member((asn1.BOOLEAN,), _anything, True, b"\x00"), _Member((asn1.INTEGER,), _anything, True)),
    ),
    "2.5.29.30": (  # nameConstraints
        asn1.SEQUENCE,
        _sequence(_Member((0xA0,), _subtrees, True), _Member((0xA1,), _subtrees, True)),
    ),
    "2.5.29.31": (asn1.SEQUENCE, _distribution_points),  # cRLDistributionPoints
    "2.5.29.32": (  # certificatePolicies
        asn1.SEQUENCE,
        _sequence_of(
            (asn1.SEQUENCE,),
            _sequence(_OID, _Member((asn1.SEQUENCE,), _sequence_of((asn1.SEQUENCE,), _policy_qualifier), True)),
        ),
    ),
    "2.5.29.33": (asn1.SEQUENCE, _sequence_of((asn1.SEQUENCE,), _sequence(_OID, _OID))),  # policyMappings
    "2.5.29.35": (  # authorityKeyIdentifier
        asn1.SEQUENCE,
        _sequence(
            _Member((0x80,), _anything, True),
            _Member((0xA1,), _general_names, True),
            _Member((0x82,), _INTEGER, True),
        ),
    ),
    "2.5.29.36": (  # policyConstraints
        asn1.SEQUENCE,
        _sequence(_Member((0x80,), _INTEGER, True), _Member((0x81,), _INTEGER, True)),
    ),
    "2.5.29.37": (asn1.SEQUENCE, _sequence_of((asn1.OBJECT_IDENTIFIER,))),  # extKeyUsage
    "2.5.29.46": (asn1.SEQUENCE, _distribution_points),  # freshestCRL
    "2.5.29.54": (asn1.INTEGER, _anything),  # inhibitAnyPolicy
    "1.3.6.1.5.5.7.1.1": (asn1.SEQUENCE, _access_descriptions),  # authorityInfoAccess
    "1.3.6.1.5.5.7.1.11": (asn1.SEQUENCE, _access_descriptions),  # subjectInfoAccess
    "1.3.6.1.5.5.7.1.24": (asn1.SEQUENCE, _sequence_of((asn1.INTEGER,))),  # tlsFeature
    "1.3.6.1.5.5.7.48.1.5": (asn1.NULL, _anything),  # ocspNoCheck
    "2.16.840.1.113730.1.1": (asn1.BIT_STRING, _named_bits),  # Netscape certificate type
}


def check_extension_value(oid: str, value: bytes) -> None:
    """Raise MalformedRequest unless `value`, the content of an extnValue, is DER and of its extension's syntax."""
    asn1.check_der(value, f"The value of the extension {oid}")
    known = _SYNTAXES.get(oid)
    if known is not None:
        tag, syntax = known
        element = asn1.read_element(value)
        if element.tag != tag:
            raise _other_shape(oid)
        syntax(oid, element)
