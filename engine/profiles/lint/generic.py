"""The rules of the generic profile: those of every certificate, and which extensions must be there."""

from engine.profiles.lint import fields, reading
from engine.profiles.lint.extensions import extension_rules
from engine.profiles.lint.names import name_rules
from engine.profiles.lint.reading import Reading
from engine.profiles.lint.rule import Layout, Rule

LAYOUT = Layout(
    attributes=(
        reading.COUNTRY,
        reading.STATE_OR_PROVINCE,
        reading.LOCALITY,
        reading.ORGANIZATION,
        reading.ORGANIZATIONAL_UNIT,
        reading.COMMON_NAME,
    ),
    extensions=(
        reading.SUBJECT_KEY_IDENTIFIER,
        reading.AUTHORITY_KEY_IDENTIFIER,
        reading.BASIC_CONSTRAINTS,
        reading.KEY_USAGE,
        reading.EXTENDED_KEY_USAGE,
        reading.SUBJECT_ALTERNATIVE_NAME,
        reading.CRL_DISTRIBUTION_POINTS,
    ),
    critical={
        reading.SUBJECT_KEY_IDENTIFIER: False,
        reading.AUTHORITY_KEY_IDENTIFIER: False,
        reading.BASIC_CONSTRAINTS: True,
        reading.KEY_USAGE: True,
        reading.EXTENDED_KEY_USAGE: False,
        reading.CRL_DISTRIBUTION_POINTS: False,
    },
)


def authority_missing(certificate: Reading, issuer: Reading | None) -> str | None:
    if reading.AUTHORITY_KEY_IDENTIFIER in certificate.values:
        return None
    return "There must be an AuthorityKeyIdentifier, found none."


def constraints_missing(certificate: Reading, issuer: Reading | None) -> str | None:
    if reading.BASIC_CONSTRAINTS in certificate.values:
        return None
    return "There must be BasicConstraints, found none."


def nameless(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.subject_attributes or reading.SUBJECT_ALTERNATIVE_NAME in certificate.values:
        return None
    return "An empty subject must have a SubjectAltName beside it, found neither."


RULES = (
    *fields.RULES,
    *name_rules(LAYOUT),
    *extension_rules(LAYOUT),
    Rule("subject.empty", "RFC 5280 4.1.2.6", nameless),
    Rule("authority_key_identifier.missing", "RFC 5280 4.2.1.1", authority_missing),
    Rule("basic_constraints.missing", "engine", constraints_missing),
)
