"""Rules for extensions that hold in every profile (RFC 5280 section 4.2)."""

import hashlib
from functools import lru_cache

from engine.profiles.lint import reading
from engine.profiles.lint.general_names import fault_of, is_http_uri, names_in
from engine.profiles.lint.reading import Reading
from engine.profiles.lint.rule import Layout, Rule
from engine.x509.der import load_object_identifier, read_children, read_element

_USES_BY_KEY_TYPE = {
    # RFC 3279 2.3.1; RFC 8813 3; RFC 8410 5
    "RSA": frozenset(reading.KEY_USAGE_BITS) - {"keyAgreement", "encipherOnly", "decipherOnly"},
    "secp256r1": frozenset(reading.KEY_USAGE_BITS) - {"keyEncipherment", "dataEncipherment"},
    "secp384r1": frozenset(reading.KEY_USAGE_BITS) - {"keyEncipherment", "dataEncipherment"},
    "secp521r1": frozenset(reading.KEY_USAGE_BITS) - {"keyEncipherment", "dataEncipherment"},
    "Ed25519": frozenset({"digitalSignature", "nonRepudiation", "keyCertSign", "cRLSign"}),
}


def duplicate(certificate: Reading, issuer: Reading | None) -> str | None:
    if len(certificate.values) == len(certificate.extensions):
        return None
    return "Each extension must be there once, found one twice."


def default_encoded(certificate: Reading, issuer: Reading | None) -> str | None:
    for extension in certificate.extensions:
        if extension.flag == b"\x00":
            return "critical must be absent when FALSE, found it spelt out."
    constraints = certificate.values.get(reading.BASIC_CONSTRAINTS)
    if constraints is not None and constraints[2:5] == b"\x01\x01\x00":
        return "cA must be absent when FALSE, found it spelt out."
    return None


def key_identifier_missing(certificate: Reading, issuer: Reading | None) -> str | None:
    if reading.SUBJECT_KEY_IDENTIFIER in certificate.values:
        return None
    return "There must be a SubjectKeyIdentifier, found none."


def key_identifier_other(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.SUBJECT_KEY_IDENTIFIER)
    if value is None:
        return None
    bits = read_children(certificate.spki.content)[1].content[1:]
    if value == b"\x04\x14" + hashlib.sha1(bits, usedforsecurity=False).digest():
        return None
    return "The SubjectKeyIdentifier must be the SHA-1 of the subjectPublicKey bits, found another value."


def authority_form(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.AUTHORITY_KEY_IDENTIFIER)
    return None if value is None else _fault_of_authority(value)


@lru_cache(maxsize=512)
def _fault_of_authority(value: bytes) -> str | None:
    if [member.tag for member in read_children(read_element(value).content)] == [0x80]:
        return None
    return "The AuthorityKeyIdentifier must have a keyIdentifier and nothing else, found otherwise."


def authority_other(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.AUTHORITY_KEY_IDENTIFIER)
    if value is None or issuer is None:
        return None
    return _fault_beside_issuer(value, issuer.values.get(reading.SUBJECT_KEY_IDENTIFIER))


@lru_cache(maxsize=512)
def _fault_beside_issuer(value: bytes, there: bytes | None) -> str | None:
    identifiers = [member.content for member in read_children(read_element(value).content) if member.tag == 0x80]
    if there is not None and identifiers == [read_element(there).content]:
        return None
    return "The AuthorityKeyIdentifier must be the SubjectKeyIdentifier of the issuer, found another value."


def constraints_form(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.path_length is None:
        return None
    if not certificate.is_ca:
        return "pathLenConstraint must be absent unless cA is TRUE, found one."
    return None if certificate.path_length >= 0 else "pathLenConstraint must not be negative, found it is."


def constraints_of_issuer(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is None or issuer is certificate:
        return None
    if not issuer.is_ca or "keyCertSign" not in issuer.key_usage:
        return "The issuer must be a CA with keyCertSign, found one that is not."
    if not certificate.is_ca or issuer.path_length is None:
        return None
    if issuer.path_length == 0:
        return "An issuer whose pathLenConstraint is 0 must issue no CA certificate, found one."
    if certificate.path_length is not None and certificate.path_length >= issuer.path_length:
        return (
            f"pathLenConstraint must be less than the issuer's, {issuer.path_length}, found {certificate.path_length}."
        )
    return None


def usage_bits(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.KEY_USAGE)
    return None if value is None else _fault_of_bits(value)


@lru_cache(maxsize=512)
def _fault_of_bits(value: bytes) -> str | None:
    bits = read_element(value)
    if bits.tag != 0x03:
        return "KeyUsage must be a BIT STRING, found another type."
    unused, octets = bits.content[0], bits.content[1:]
    if not octets:
        return "KeyUsage must have at least one bit set, found none."
    if len(octets) > 2 or not octets[-1] >> unused & 1:
        return "KeyUsage must have no trailing zero bits, found some."
    return None


def usage_and_ca(certificate: Reading, issuer: Reading | None) -> str | None:
    signs = "keyCertSign" in certificate.key_usage
    if signs == certificate.is_ca:
        return None
    found = "only keyCertSign" if signs else "only cA"
    return f"keyCertSign must be there if and only if cA is TRUE, found {found}."


def usage_and_key(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.public_key is None:
        return None
    key_type = certificate.public_key.key_type
    misfits = certificate.key_usage - _USES_BY_KEY_TYPE[key_type]
    if not misfits and certificate.key_usage & {"encipherOnly", "decipherOnly"}:
        misfits = (
            frozenset() if "keyAgreement" in certificate.key_usage else frozenset({"encipherOnly without keyAgreement"})
        )
    return f"KeyUsage must fit the {key_type} key, found {', '.join(sorted(misfits))}." if misfits else None


def purposes_form(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.EXTENDED_KEY_USAGE)
    return None if value is None else _fault_of_purposes(value)


@lru_cache(maxsize=512)
def _fault_of_purposes(value: bytes) -> str | None:
    purposes = read_children(read_element(value).content)
    if not purposes or any(purpose.tag != 0x06 for purpose in purposes):
        return "ExtendedKeyUsage must be object identifiers, at least one, found otherwise."
    return None if len(set(purposes)) == len(purposes) else "Each key purpose must be there once, found one twice."


def alternative_names(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.SUBJECT_ALTERNATIVE_NAME)
    if value is None:
        return None
    names = names_in(value)
    if not names:
        return "SubjectAltName must have at least one name, found none."
    for name in names:
        if fault := fault_of(name):
            return f"SubjectAltName must hold sound names, found {fault}."
    return None


def distribution_points(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.CRL_DISTRIBUTION_POINTS)
    return None if value is None else _fault_of_points(value)


@lru_cache(maxsize=512)
def _fault_of_points(value: bytes) -> str | None:
    points = read_children(read_element(value).content)
    if not points:
        return "CRLDistributionPoints must have at least one point, found none."
    for point in points:
        members = read_children(point.content)
        if [member.tag for member in members] != [0xA0]:
            return "A distribution point must have a name and neither reasons nor a CRL issuer, found otherwise."
        choice = read_element(members[0].content)
        if choice.tag != 0xA0 or not all(is_http_uri(name) for name in read_children(choice.content)):
            return "A distribution point must be named by http or https URIs, found otherwise."
    return None


def extension_rules(layout: Layout) -> tuple[Rule, ...]:
    """The rules for extensions in a profile of this layout."""
    places = {extension_type: place for place, extension_type in enumerate(layout.extensions)}

    def unexpected(certificate: Reading, issuer: Reading | None) -> str | None:
        for extension_type in certificate.values:
            if extension_type not in places:
                return f"There must be only extensions of the profile, found {load_object_identifier(extension_type)}."
        return None

    def unknown_critical(certificate: Reading, issuer: Reading | None) -> str | None:
        for extension in certificate.extensions:
            if extension.critical and extension.type not in places:
                return f"A critical extension must be known, found {load_object_identifier(extension.type)}."
        return None

    def order(certificate: Reading, issuer: Reading | None) -> str | None:
        before = -1
        for extension in certificate.extensions:
            place = places.get(extension.type, before)
            if place < before:
                return "The extensions must be in the profile's order, found another."
            before = place
        return None

    def criticality(certificate: Reading, issuer: Reading | None) -> str | None:
        for extension in certificate.extensions:
            critical = layout.critical.get(extension.type)
            if extension.type == reading.SUBJECT_ALTERNATIVE_NAME:
                critical = not certificate.subject_attributes
            if critical is not None and critical != extension.critical:
                name = load_object_identifier(extension.type)
                return f"The extension {name} must be {'' if critical else 'not '}critical, found the opposite."
        return None

    return (
        Rule("extensions.duplicate", "RFC 5280 4.2", duplicate),
        Rule("extensions.default_encoded", "X.690 11.5", default_encoded),
        Rule("extensions.unexpected", "engine", unexpected, house=True),
        Rule("extensions.unknown_critical", "RFC 5280 4.2", unknown_critical),
        Rule("extensions.order", "engine", order, house=True),
        Rule("extensions.criticality", "RFC 5280 4.2.1", criticality),
        Rule("subject_key_identifier.missing", "RFC 5280 4.2.1.2", key_identifier_missing),
        Rule("subject_key_identifier.not_sha1_of_key", "RFC 5280 4.2.1.2", key_identifier_other, house=True),
        Rule("authority_key_identifier.form", "RFC 5280 4.2.1.1", authority_form, house=True),
        Rule("authority_key_identifier.not_of_issuer", "RFC 5280 4.2.1.1", authority_other),
        Rule("basic_constraints.path_length", "RFC 5280 4.2.1.9", constraints_form),
        Rule("basic_constraints.issuer", "RFC 5280 4.2.1.9", constraints_of_issuer),
        Rule("key_usage.bits", "RFC 5280 4.2.1.3", usage_bits),
        Rule("key_usage.key_cert_sign_and_ca", "RFC 5280 4.2.1.3", usage_and_ca),
        Rule("key_usage.does_not_fit_key", "RFC 8813 3", usage_and_key),
        Rule("extended_key_usage.form", "RFC 5280 4.2.1.12", purposes_form),
        Rule("subject_alternative_name.form", "RFC 5280 4.2.1.6", alternative_names),
        Rule("crl_distribution_points.form", "RFC 5280 4.2.1.13", distribution_points),
    )
