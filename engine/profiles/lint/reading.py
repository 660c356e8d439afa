"""The linter's own reading of certificate octets, made for judging and not for building.

Everything is kept as it was found: contents as octets, tags as numbers. `x509.der` supplies the two functions that cut
octets into elements; the structure of RFC 5280 section 4.1 is spelt out here a second time on purpose.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from engine.errors import MalformedRequest, RequestError
from engine.x509.der import Element, check_der, encode_object_identifier, read_children, read_element
from engine.x509.spki import PublicKey, load_checked_spki


def oid(dotted: str) -> bytes:
    """The content octets of an OBJECT IDENTIFIER."""
    return read_element(encode_object_identifier(dotted)).content


SUBJECT_KEY_IDENTIFIER = oid("2.5.29.14")
KEY_USAGE = oid("2.5.29.15")
SUBJECT_ALTERNATIVE_NAME = oid("2.5.29.17")
ISSUER_ALTERNATIVE_NAME = oid("2.5.29.18")
BASIC_CONSTRAINTS = oid("2.5.29.19")
NAME_CONSTRAINTS = oid("2.5.29.30")
CRL_DISTRIBUTION_POINTS = oid("2.5.29.31")
POLICY_MAPPINGS = oid("2.5.29.33")
AUTHORITY_KEY_IDENTIFIER = oid("2.5.29.35")
POLICY_CONSTRAINTS = oid("2.5.29.36")
EXTENDED_KEY_USAGE = oid("2.5.29.37")
FRESHEST_CRL = oid("2.5.29.46")
INHIBIT_ANY_POLICY = oid("2.5.29.54")

COMMON_NAME = oid("2.5.4.3")
SERIAL_NUMBER = oid("2.5.4.5")
COUNTRY = oid("2.5.4.6")
LOCALITY = oid("2.5.4.7")
STATE_OR_PROVINCE = oid("2.5.4.8")
ORGANIZATION = oid("2.5.4.10")
ORGANIZATIONAL_UNIT = oid("2.5.4.11")
EMAIL_ADDRESS = oid("1.2.840.113549.1.9.1")

KEY_USAGE_BITS = (
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


class Attribute(NamedTuple):
    """One AttributeTypeAndValue; `rdn_size` is how many its RelativeDistinguishedName has.

    `text` is the value as text; string types this engine does not write are read octet by octet, to be measured only.
    """

    type: bytes
    tag: int
    value: bytes
    text: str
    rdn_size: int


class FoundExtension(NamedTuple):
    """One Extension; `value` is the content of extnValue, `flag` that of the critical BOOLEAN, if any.

    `critical` is critical with its DEFAULT FALSE.
    """

    type: bytes
    flag: bytes | None
    critical: bool
    value: bytes


class Reading(NamedTuple):
    """A tbsCertificate taken apart.

    `begin` and `end` are the moments that notBefore and notAfter name, None for a form that RFC 5280 does not have.
    `values` has the value of each extension by its type.
    """

    tbs_certificate: bytes
    version: bytes | None
    serial_number: bytes
    algorithm: bytes
    issuer: bytes
    issuer_attributes: tuple[Attribute, ...]
    not_before: Element
    not_after: Element
    begin: datetime | None
    end: datetime | None
    subject: bytes
    subject_attributes: tuple[Attribute, ...]
    spki: Element
    public_key: PublicKey | None
    key_fault: str
    unique_identifiers: int
    extensions: tuple[FoundExtension, ...]
    values: Mapping[bytes, bytes]
    is_ca: bool
    path_length: int | None
    key_usage: frozenset[str]

    def subject_values(self, attribute_type: bytes) -> list[bytes]:
        """The values that the subject has for an attribute type."""
        return [attribute.value for attribute in self.subject_attributes if attribute.type == attribute_type]


def read_tbs_certificate(tbs_certificate: bytes) -> Reading:
    """Take octets apart that `check_der` has passed. MalformedRequest, in one sentence, if they have another shape."""
    outer = read_element(tbs_certificate)
    members = read_children(outer.content) if outer.tag == 0x30 else []
    version = members.pop(0) if members and members[0].tag == 0xA0 else None
    tags = [member.tag for member in members[:6]]
    if tags != [0x02, 0x30, 0x30, 0x30, 0x30, 0x30]:
        raise MalformedRequest("A TBSCertificate must have the members of RFC 5280 section 4.1, found another shape.")
    serial_number, algorithm, issuer, validity, subject, spki = members[:6]
    rest = members[6:]
    extensions = rest.pop() if rest and rest[-1].tag == 0xA3 else None
    if rest and any(member.tag not in (0x81, 0x82) for member in rest):
        raise MalformedRequest("A TBSCertificate must end with its extensions, found another member.")
    not_before, not_after = _read_validity(validity)
    found = _read_extensions(extensions)
    values = {extension.type: extension.value for extension in found}
    is_ca, path_length = _read_basic_constraints(values.get(BASIC_CONSTRAINTS))
    public_key, key_fault = _read_key(spki)
    return Reading(
        tbs_certificate=tbs_certificate,
        version=None if version is None else version.content,
        serial_number=serial_number.content,
        algorithm=algorithm.encoding,
        issuer=issuer.encoding,
        issuer_attributes=_read_issuer(issuer.content),
        not_before=not_before,
        not_after=not_after,
        begin=_read_moment(not_before),
        end=_read_moment(not_after),
        subject=subject.encoding,
        subject_attributes=_read_name(subject.content),
        spki=spki,
        public_key=public_key,
        key_fault=key_fault,
        unique_identifiers=len(rest),
        extensions=found,
        values=values,
        is_ca=is_ca,
        path_length=path_length,
        key_usage=_read_key_usage(values.get(KEY_USAGE)),
    )


@lru_cache(maxsize=256)
def read_certificate(der: bytes) -> Reading:
    """The reading of a whole certificate's tbsCertificate; remembered, since one issuer signs many."""
    check_der(der, "The issuer certificate")
    return read_tbs_certificate(read_children(read_element(der).content)[0].encoding)


def _read_validity(validity: Element) -> tuple[Element, Element]:
    times = read_children(validity.content)
    if len(times) == 2 and times[0].tag in (0x17, 0x18) and times[1].tag in (0x17, 0x18):
        return times[0], times[1]
    raise MalformedRequest("A validity must be two times, found another shape.")


def _read_key(spki: Element) -> tuple[PublicKey | None, str]:
    try:
        return load_checked_spki(spki), ""
    except RequestError as error:
        return None, error.message


def _read_name(content: bytes) -> tuple[Attribute, ...]:
    attributes: list[Attribute] = []
    for rdn in read_children(content):
        attributes += _read_rdn(rdn)
    return tuple(attributes)


_read_issuer = lru_cache(maxsize=512)(_read_name)


# Many subjects differ in their last attribute only, and the extensions of one issuer's certificates are mostly the
# same, so what was read in one is remembered for the next.
@lru_cache(maxsize=1024)
def _read_rdn(rdn: Element) -> tuple[Attribute, ...]:
    members = read_children(rdn.content)
    if not members:
        raise MalformedRequest("A RelativeDistinguishedName must have an attribute, found an empty set.")
    attributes = []
    for member in members:
        pair = read_children(member.content)
        if rdn.tag != 0x31 or member.tag != 0x30 or len(pair) != 2:
            raise MalformedRequest("A Name must be a SEQUENCE of SETs of attributes, found another shape.")
        kind, value = pair
        text = value.content.decode("utf-8" if value.tag == 0x0C else "latin-1")
        attributes.append(Attribute(kind.content, value.tag, value.content, text, len(members)))
    return tuple(attributes)


def _read_extensions(explicit: Element | None) -> tuple[FoundExtension, ...]:
    if explicit is None:
        return ()
    return tuple(map(_read_extension, read_children(read_element(explicit.content).content)))


@lru_cache(maxsize=1024)
def _read_extension(extension: Element) -> FoundExtension:
    members = read_children(extension.content)
    flag = members.pop(1).content if len(members) == 3 and members[1].tag == 0x01 else None
    if len(members) != 2 or members[0].tag != 0x06 or members[1].tag != 0x04:
        raise MalformedRequest("An Extension must be extnID, critical and extnValue, found another shape.")
    kind, value = members
    check_der(value.content, "An extension value")
    return FoundExtension(kind.content, flag, flag == b"\xff", value.content)


@lru_cache(maxsize=512)
def _read_basic_constraints(value: bytes | None) -> tuple[bool, int | None]:
    members = [] if value is None else read_children(read_element(value).content)
    is_ca = bool(members) and members[0].tag == 0x01 and members[0].content == b"\xff"
    lengths = [int.from_bytes(member.content, "big", signed=True) for member in members if member.tag == 0x02]
    return is_ca, lengths[0] if lengths else None


@lru_cache(maxsize=512)
def _read_key_usage(value: bytes | None) -> frozenset[str]:
    if value is None:
        return frozenset()
    bits = "".join(f"{octet:08b}" for octet in read_element(value).content[1:])
    return frozenset(name for name, bit in zip(KEY_USAGE_BITS, bits, strict=False) if bit == "1")


@lru_cache(maxsize=1024)
def _read_moment(time: Element) -> datetime | None:
    """The moment a UTCTime or GeneralizedTime of RFC 5280 section 4.1.2.5 names, or None if it has another form."""
    text = time.content.decode("latin-1")
    if time.tag == 0x17:
        text = ("20" if text[:2] < "50" else "19") + text
    if len(text) != 15 or text[14] != "Z" or not text[:14].isdecimal():
        return None
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    try:
        return datetime(year, month, day, int(text[8:10]), int(text[10:12]), int(text[12:14]), tzinfo=UTC)
    except ValueError:
        return None
