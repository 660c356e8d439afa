"""Rules for issuer and subject (RFC 5280 sections 4.1.2.4 and 4.1.2.6, upper bounds of appendix A.1)."""

from engine.profiles.lint.reading import (
    COMMON_NAME,
    COUNTRY,
    EMAIL_ADDRESS,
    LOCALITY,
    ORGANIZATION,
    ORGANIZATIONAL_UNIT,
    SERIAL_NUMBER,
    STATE_OR_PROVINCE,
    Reading,
)
from engine.profiles.lint.rule import Layout, Rule

_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16
_STRING_TYPES = {COUNTRY: _PRINTABLE, SERIAL_NUMBER: _PRINTABLE, EMAIL_ADDRESS: _IA5}
_UPPER_BOUNDS = {
    COMMON_NAME: 64,
    SERIAL_NUMBER: 64,
    COUNTRY: 2,
    LOCALITY: 128,
    STATE_OR_PROVINCE: 128,
    ORGANIZATION: 64,
    ORGANIZATIONAL_UNIT: 64,
    EMAIL_ADDRESS: 255,
}
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def issuer_differs(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is None or certificate.issuer == issuer.subject:
        return None
    return "The issuer must be the subject of the issuer certificate octet for octet, found other octets."


def issuer_empty(certificate: Reading, issuer: Reading | None) -> str | None:
    return "The issuer must not be empty, found an empty sequence." if certificate.issuer == b"\x30\x00" else None


def subject_is_issuer(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is certificate or certificate.is_ca or certificate.subject != certificate.issuer:
        return None
    return "An end entity under a CA must have another name than the CA, found the same one."


def value_blank(certificate: Reading, issuer: Reading | None) -> str | None:
    for attribute in certificate.subject_attributes:
        if not attribute.text.strip():
            return "A subject attribute must have a value, found an empty or blank one."
    return None


def value_control(certificate: Reading, issuer: Reading | None) -> str | None:
    for attribute in certificate.subject_attributes:
        text = attribute.text
        if not text.isprintable() and any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text):
            return "A subject attribute must be printable text, found a control character."
    return None


def value_too_long(certificate: Reading, issuer: Reading | None) -> str | None:
    for attribute in certificate.subject_attributes:
        bound = _UPPER_BOUNDS.get(attribute.type)
        if bound is not None and len(attribute.text) > bound:
            return f"A subject attribute must keep its upper bound of {bound} characters, found more."
    return None


def string_type(certificate: Reading, issuer: Reading | None) -> str | None:
    for attribute in certificate.subject_attributes:
        expected = _STRING_TYPES.get(attribute.type, _UTF8)
        if attribute.tag != expected:
            return f"A subject attribute must have the string type 0x{expected:02x}, found 0x{attribute.tag:02x}."
    return None


def country(certificate: Reading, issuer: Reading | None) -> str | None:
    for attribute in certificate.subject_attributes:
        if attribute.type == COUNTRY and not (
            attribute.tag == _PRINTABLE and len(attribute.value) == 2 and _LETTERS.issuperset(attribute.value)
        ):
            return "The country must be two letters in a PrintableString, found something else."
    return None


def multi_valued(certificate: Reading, issuer: Reading | None) -> str | None:
    for attribute in certificate.subject_attributes:
        if attribute.rdn_size != 1:
            return "Each RelativeDistinguishedName must have one attribute, found several in one."
    return None


def name_rules(layout: Layout) -> tuple[Rule, ...]:
    """The rules for names in a profile of this layout."""
    places = {attribute_type: place for place, attribute_type in enumerate(layout.attributes)}

    def order(certificate: Reading, issuer: Reading | None) -> str | None:
        before = -1
        for attribute in certificate.subject_attributes:
            place = places.get(attribute.type, -1)
            if place <= before:
                return "The subject must have the profile's attributes once each and in its order, found otherwise."
            before = place
        return None

    return (
        Rule("issuer.not_subject_of_issuer", "RFC 5280 4.1.2.4", issuer_differs),
        Rule("issuer.empty", "RFC 5280 4.1.2.4", issuer_empty),
        Rule("subject.is_issuer", "engine", subject_is_issuer),
        Rule("subject.blank_value", "RFC 5280 A.1", value_blank),
        Rule("subject.control_character", "engine", value_control),
        Rule("subject.value_too_long", "RFC 5280 A.1", value_too_long),
        Rule("subject.string_type", "RFC 5280 4.1.2.4", string_type, house=True),
        Rule("subject.country", "RFC 5280 A.1", country),
        Rule("subject.multi_valued", "engine", multi_valued, house=True),
        Rule("subject.order", "engine", order, house=True),
    )
