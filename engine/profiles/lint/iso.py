"""The rules of the mdoc profiles, after ISO/IEC 18013-5 Annex B as public verifiers enforce it."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache

from engine.profiles.countries import COUNTRY_CODES
from engine.profiles.lint import fields, reading
from engine.profiles.lint.extensions import extension_rules
from engine.profiles.lint.general_names import EMAIL, URI, fault_of, names_in
from engine.profiles.lint.names import name_rules
from engine.profiles.lint.reading import Reading
from engine.profiles.lint.rule import Check, Layout, Rule
from engine.x509.der import read_children, read_element

_IACA_CLAUSE = "ISO/IEC 18013-5 Annex B, IACA root certificate"
_SIGNER_CLAUSE = "ISO/IEC 18013-5 Annex B, document signer certificate"

_DOCUMENT_SIGNER = reading.oid("1.0.18013.5.1.2")
_KEY_TYPES = ("secp256r1", "secp384r1", "secp521r1")
_NEVER = (
    reading.NAME_CONSTRAINTS,
    reading.POLICY_CONSTRAINTS,
    reading.POLICY_MAPPINGS,
    reading.INHIBIT_ANY_POLICY,
    reading.FRESHEST_CRL,
)

IACA_LAYOUT = Layout(
    attributes=(reading.COUNTRY, reading.COMMON_NAME, reading.STATE_OR_PROVINCE, reading.ORGANIZATION),
    extensions=(
        reading.SUBJECT_KEY_IDENTIFIER,
        reading.AUTHORITY_KEY_IDENTIFIER,
        reading.KEY_USAGE,
        reading.BASIC_CONSTRAINTS,
        reading.ISSUER_ALTERNATIVE_NAME,
        reading.CRL_DISTRIBUTION_POINTS,
    ),
    critical={
        reading.SUBJECT_KEY_IDENTIFIER: False,
        reading.AUTHORITY_KEY_IDENTIFIER: False,
        reading.KEY_USAGE: True,
        reading.BASIC_CONSTRAINTS: True,
        reading.ISSUER_ALTERNATIVE_NAME: False,
        reading.CRL_DISTRIBUTION_POINTS: False,
    },
)
DOCUMENT_SIGNER_LAYOUT = Layout(
    attributes=(*IACA_LAYOUT.attributes, reading.LOCALITY),
    extensions=(
        reading.SUBJECT_KEY_IDENTIFIER,
        reading.AUTHORITY_KEY_IDENTIFIER,
        reading.KEY_USAGE,
        reading.EXTENDED_KEY_USAGE,
        reading.ISSUER_ALTERNATIVE_NAME,
        reading.CRL_DISTRIBUTION_POINTS,
    ),
    critical={
        reading.SUBJECT_KEY_IDENTIFIER: False,
        reading.AUTHORITY_KEY_IDENTIFIER: False,
        reading.KEY_USAGE: True,
        reading.EXTENDED_KEY_USAGE: True,
        reading.ISSUER_ALTERNATIVE_NAME: False,
        reading.CRL_DISTRIBUTION_POINTS: False,
    },
)


def country_code(certificate: Reading, issuer: Reading | None) -> str | None:
    values = certificate.subject_values(reading.COUNTRY)
    if len(values) == 1 and values[0].decode("latin-1") in COUNTRY_CODES:
        return None
    return "The subject must have one country, an ISO 3166-1 alpha-2 code in capitals, found otherwise."


def common_name_missing(certificate: Reading, issuer: Reading | None) -> str | None:
    return (
        None if certificate.subject_values(reading.COMMON_NAME) else "The subject must have a commonName, found none."
    )


def key_type(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.public_key is None or certificate.public_key.key_type in _KEY_TYPES:
        return None
    return f"The key must be on P-256, P-384 or P-521, found {certificate.public_key.key_type}."


def forbidden(certificate: Reading, issuer: Reading | None) -> str | None:
    if any(extension_type in certificate.values for extension_type in _NEVER):
        return "There must be no name, policy or freshest-CRL extension, found one."
    return None


def contact_missing(certificate: Reading, issuer: Reading | None) -> str | None:
    if reading.ISSUER_ALTERNATIVE_NAME in certificate.values:
        return None
    return "There must be an IssuerAltName, found none."


def contact_form(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.ISSUER_ALTERNATIVE_NAME)
    if value is None:
        return None
    return _fault_of_contact(value)


@lru_cache(maxsize=512)
def _fault_of_contact(value: bytes) -> str | None:
    names = names_in(value)
    if names and all(name.tag in (EMAIL, URI) and fault_of(name) is None for name in names):
        return None
    return "IssuerAltName must hold e-mail addresses and URIs, at least one, and nothing else, found otherwise."


def lives_at_most(days: int) -> Check:
    """A life of notAfter - notBefore ≤ `days`."""

    def check(certificate: Reading, issuer: Reading | None) -> str | None:
        begin, end = certificate.begin, certificate.end
        if begin is None or end is None or end - begin <= timedelta(days=days):
            return None
        return f"notAfter must be at most {days} days after notBefore, found {end - begin}."

    return check


def uses_exactly(*uses: str) -> Check:
    """KeyUsage with these bits and no other."""

    def check(certificate: Reading, issuer: Reading | None) -> str | None:
        if certificate.key_usage == frozenset(uses):
            return None
        found = ", ".join(sorted(certificate.key_usage)) or "none"
        return f"KeyUsage must be exactly {', '.join(uses)}, found {found}."

    return check


def absent(extension_type: bytes, name: str) -> Check:
    """An extension that this profile never has."""

    def check(certificate: Reading, issuer: Reading | None) -> str | None:
        return f"There must be no {name}, found one." if extension_type in certificate.values else None

    return check


def not_self_issued(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.issuer == certificate.subject:
        return None
    return "The issuer must be the subject octet for octet, found other octets."


def iaca_constraints(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.is_ca and certificate.path_length == 0:
        return None
    return "BasicConstraints must have cA TRUE and pathLenConstraint 0, found otherwise."


def signer_purpose(certificate: Reading, issuer: Reading | None) -> str | None:
    value = certificate.values.get(reading.EXTENDED_KEY_USAGE)
    purposes = [] if value is None else [purpose.content for purpose in read_children(read_element(value).content)]
    if purposes == [_DOCUMENT_SIGNER]:
        return None
    return f"ExtendedKeyUsage must be exactly 1.0.18013.5.1.2, found {len(purposes)} purposes or another one."


def same_in_issuer(attribute_type: bytes, name: str) -> Check:
    """The subject has the attribute with the IACA's value, or neither has it."""

    def check(certificate: Reading, issuer: Reading | None) -> str | None:
        there = [attribute.value for attribute in certificate.issuer_attributes if attribute.type == attribute_type]
        if certificate.subject_values(attribute_type) == there:
            return None
        return f"The {name} must be the IACA's, or absent in both, found otherwise."

    return check


def contact_differs(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is None:
        return None
    there = issuer.values.get(reading.ISSUER_ALTERNATIVE_NAME)
    if certificate.values.get(reading.ISSUER_ALTERNATIVE_NAME) == there:
        return None
    return "IssuerAltName must be the IACA's octet for octet, found other octets."


def must_have(extension_type: bytes, name: str) -> Check:
    """An extension that this profile always has."""

    def check(certificate: Reading, issuer: Reading | None) -> str | None:
        return None if extension_type in certificate.values else f"There must be {name}, found none."

    return check


def _common_rules(clause: str) -> tuple[Rule, ...]:
    checks: tuple[tuple[str, Callable[[Reading, Reading | None], str | None]], ...] = (
        ("subject.country_code", country_code),
        ("subject.common_name_missing", common_name_missing),
        ("subject_public_key_info.key_type", key_type),
        ("extensions.forbidden", forbidden),
        ("issuer_alternative_name.missing", contact_missing),
        ("issuer_alternative_name.form", contact_form),
    )
    return tuple(Rule(f"iso.{code}", clause, check) for code, check in checks)


IACA_RULES = (
    *fields.RULES,
    *name_rules(IACA_LAYOUT),
    *extension_rules(IACA_LAYOUT),
    *_common_rules(_IACA_CLAUSE),
    Rule("iso.iaca.not_self_issued", _IACA_CLAUSE, not_self_issued),
    Rule("iso.iaca.validity_too_long", _IACA_CLAUSE, lives_at_most(7300)),
    Rule("iso.iaca.key_usage", _IACA_CLAUSE, uses_exactly("keyCertSign", "cRLSign")),
    Rule("iso.iaca.basic_constraints", _IACA_CLAUSE, iaca_constraints),
    Rule("iso.iaca.extended_key_usage", _IACA_CLAUSE, absent(reading.EXTENDED_KEY_USAGE, "ExtendedKeyUsage")),
)

DOCUMENT_SIGNER_RULES = (
    *fields.RULES,
    *name_rules(DOCUMENT_SIGNER_LAYOUT),
    *extension_rules(DOCUMENT_SIGNER_LAYOUT),
    *_common_rules(_SIGNER_CLAUSE),
    Rule("iso.document_signer.validity_too_long", _SIGNER_CLAUSE, lives_at_most(457)),
    Rule("iso.document_signer.key_usage", _SIGNER_CLAUSE, uses_exactly("digitalSignature")),
    Rule("iso.document_signer.extended_key_usage", _SIGNER_CLAUSE, signer_purpose),
    Rule(
        "iso.document_signer.basic_constraints", _SIGNER_CLAUSE, absent(reading.BASIC_CONSTRAINTS, "BasicConstraints")
    ),
    Rule(
        "iso.document_signer.authority_key_identifier_missing",
        _SIGNER_CLAUSE,
        must_have(reading.AUTHORITY_KEY_IDENTIFIER, "an AuthorityKeyIdentifier"),
    ),
    Rule(
        "iso.document_signer.crl_distribution_points_missing",
        _SIGNER_CLAUSE,
        must_have(reading.CRL_DISTRIBUTION_POINTS, "CRLDistributionPoints"),
    ),
    Rule("iso.document_signer.country_differs", _SIGNER_CLAUSE, same_in_issuer(reading.COUNTRY, "country")),
    Rule(
        "iso.document_signer.state_or_province_differs",
        _SIGNER_CLAUSE,
        same_in_issuer(reading.STATE_OR_PROVINCE, "stateOrProvinceName"),
    ),
    Rule("iso.document_signer.issuer_alternative_name_differs", _SIGNER_CLAUSE, contact_differs),
)
