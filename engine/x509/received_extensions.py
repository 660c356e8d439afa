"""Reading Extensions out of certificates and requests (RFC 5280 sections 4.1.2.9 and 4.2), strict about DER.

The functions that read one value take what `load_extensions` has let through: its syntax is known to be right.
"""

from collections.abc import Mapping
from types import MappingProxyType

from engine.errors import MalformedRequest
from engine.x509 import der as asn1
from engine.x509.extension_syntax import check_extension_value

KEY_USAGE = "2.5.29.15"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
BASIC_CONSTRAINTS = "2.5.29.19"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"

_USES = (
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

Extensions = Mapping[str, tuple[bool, bytes]]


def load_extensions(outer: asn1.Element, what: str) -> Extensions:
    """Return criticality and value (the content of extnValue) by dotted object identifier, in order.

    `outer` is Extensions that has passed `check_der` as a part of `what`. MalformedRequest for another shape, an
    extension that is there twice, `critical` spelled out as FALSE, or a value that is not DER.
    """
    members = asn1.read_children(outer.content) if outer.tag == asn1.SEQUENCE else []
    if not members:
        raise MalformedRequest(f"{what} must hold a SEQUENCE of at least one extension, found another shape.")
    extensions: dict[str, tuple[bool, bytes]] = {}
    for member in members:
        parts = asn1.read_children(member.content) if member.tag == asn1.SEQUENCE else []
        tags = [part.tag for part in parts]
        critical = tags == [asn1.OBJECT_IDENTIFIER, asn1.BOOLEAN, asn1.OCTET_STRING]
        if not critical and tags != [asn1.OBJECT_IDENTIFIER, asn1.OCTET_STRING]:
            raise MalformedRequest(
                f"{what} must hold extensions of an OBJECT IDENTIFIER, an optional BOOLEAN and an OCTET STRING, "
                "found another shape."
            )
        oid = asn1.load_object_identifier(parts[0].content)
        if critical and parts[1].content == b"\x00":
            raise MalformedRequest(f"{what} must be DER, but critical is spelled out as FALSE in {oid}.")
        if oid in extensions:
            raise MalformedRequest(f"{what} must hold each extension once, found {oid} twice.")
        value = parts[-1].content
        check_extension_value(oid, value)
        extensions[oid] = (critical, value)
    return MappingProxyType(extensions)


def load_key_usage(value: bytes) -> frozenset[str]:
    """Return RFC 5280's names of the bits that are set in a KeyUsage (section 4.2.1.3)."""
    octets = asn1.read_element(value).content[1:]
    return frozenset(
        use for index, use in enumerate(_USES) if index < 8 * len(octets) and octets[index // 8] << index % 8 & 0x80
    )


def load_basic_constraints(value: bytes) -> tuple[bool, int | None]:
    """Return cA and pathLenConstraint of a BasicConstraints (section 4.2.1.9)."""
    members = asn1.read_children(asn1.read_element(value).content)
    ca = bool(members) and members[0].tag == asn1.BOOLEAN
    if not members or members[-1].tag != asn1.INTEGER:
        return ca, None
    length = int.from_bytes(members[-1].content, "big", signed=True)
    if length < 0:
        raise MalformedRequest(f"A pathLenConstraint must be zero or more, found {length}.")
    return ca, length


def load_subject_key_identifier(value: bytes) -> bytes:
    """Return the octets of a SubjectKeyIdentifier (section 4.2.1.2)."""
    return asn1.read_element(value).content


def load_authority_key_identifier(value: bytes) -> bytes | None:
    """Return the keyIdentifier of an AuthorityKeyIdentifier (section 4.2.1.1), None if it has none."""
    members = asn1.read_children(asn1.read_element(value).content)
    return members[0].content if members and members[0].tag == 0x80 else None
