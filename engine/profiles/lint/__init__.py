"""Lint: the bytes of a tbsCertificate are read again and judged by rules, before anything is signed.

The rules are written against the profiles and the standards, and share nothing with the code that builds: a rule and
the builder have to be wrong together for a fault to pass. One that stumbles over what it reads is a finding too, so
that an unforeseen certificate is never signed by accident.
"""

import hashlib
import logging
from dataclasses import replace

from cryptography import x509

from engine.errors import MalformedRequest, PolicyRefusal
from engine.profiles.lint import generic, iso
from engine.profiles.lint.reading import Reading, read_certificate, read_tbs_certificate
from engine.profiles.lint.rule import Finding, LintReport, Rule
from engine.x509.der import check_der, encode_tlv

__all__ = ["RULES", "Finding", "LintReport", "check_lint", "check_presented_certificate", "lint_certificate"]

_LOGGER = logging.getLogger(__name__)

RULES: dict[str, tuple[Rule, ...]] = {
    "generic": generic.RULES,
    "iaca": iso.IACA_RULES,
    "document-signer": iso.DOCUMENT_SIGNER_RULES,
}
"""Profile: its rules, in the order in which their findings are reported."""

_OTHERS_RULES = {profile: tuple(rule for rule in rules if not rule.house) for profile, rules in RULES.items()}

_CLEAN = {
    profile: LintReport(
        rules=len(rules),
        rules_sha256=hashlib.sha256(
            "".join(f"{rule.severity} {rule.code} {rule.clause}\n" for rule in rules).encode()
        ).hexdigest(),
    )
    for profile, rules in RULES.items()
}
"""Profile: the report of a certificate with which all is well."""

_SELF_SIGNED = ("generic", "iaca")


def lint_certificate(tbs_certificate: bytes, profile: str, issuer_certificate: bytes | None) -> tuple[Finding, ...]:
    """What is wrong with these octets as a certificate of the profile, the worst first; nothing if all is well.

    `issuer_certificate` is the DER certificate of the issuer. Without one, a generic certificate or an IACA is judged
    as self-signed, and a document signer as under an IACA that is known by its data alone.
    """
    return _lint(tbs_certificate, profile, issuer_certificate, RULES[profile])


def lint_without_issuer(tbs_certificate: bytes, profile: str) -> tuple[Finding, ...]:
    """As `lint_certificate`, of a certificate whose issuer's is not at hand: what is asked of the two beside each other
    is left out."""
    return _lint(tbs_certificate, profile, None, RULES[profile], is_alone=True)


def check_lint(tbs_certificate: bytes, profile: str, issuer_certificate: bytes | None) -> LintReport:
    """Raise PolicyRefusal, with the findings as its details, if `lint_certificate` finds an error.

    The report says which rules were applied, and what they found that is no error.
    """
    findings = lint_certificate(tbs_certificate, profile, issuer_certificate)
    _check(findings, "The certificate to be signed")
    return replace(_CLEAN[profile], findings=findings) if findings else _CLEAN[profile]


def check_presented_certificate(tbs_certificate: bytes, profile: str) -> None:
    """Raise PolicyRefusal if a self-signed certificate that somebody else may have made breaks the profile.

    The rules that only this engine has for its own certificates (the serial number's form, the order of extensions
    and the like) are left out.
    """
    _check(
        _lint(tbs_certificate, profile, None, _OTHERS_RULES[profile]), f"The presented {profile.upper()} certificate"
    )


def _check(findings: tuple[Finding, ...], what: str) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise PolicyRefusal(
            f"{what} must keep its profile, but {errors[0].code}: {errors[0].message}",
            details=[f"{finding.code}: {finding.message} ({finding.clause})" for finding in errors],
            codes=sorted({finding.code for finding in errors}),
        )


def _lint(
    tbs_certificate: bytes,
    profile: str,
    issuer_certificate: bytes | None,
    rules: tuple[Rule, ...],
    *,
    is_alone: bool = False,
) -> tuple[Finding, ...]:
    try:
        check_der(tbs_certificate, "The tbsCertificate")
    except MalformedRequest as error:
        return (Finding("error", "encoding.not_der", error.message, "RFC 5280 4.1"),)
    try:
        certificate = read_tbs_certificate(tbs_certificate)
    except (MalformedRequest, IndexError, ValueError) as error:
        return (
            Finding("error", "encoding.unreadable", f"The tbsCertificate must be readable: {error}", "RFC 5280 4.1"),
        )
    if issuer_certificate is not None:
        issuer: Reading | None = read_certificate(issuer_certificate)
    else:
        issuer = certificate if profile in _SELF_SIGNED and not is_alone else None
    return _judge(certificate, issuer, rules) or _second_reading(certificate)


def _judge(certificate: Reading, issuer: Reading | None, rules: tuple[Rule, ...]) -> tuple[Finding, ...]:
    """Apply every rule; what one raises is a finding, since nothing may be signed that a rule could not judge."""
    findings = []
    for rule in rules:
        try:
            message = rule.check(certificate, issuer)
        except Exception:
            _LOGGER.exception("The lint rule %s failed.", rule.code)
            message = "The certificate must be one that the rule can judge, found one over which it stumbled."
        if message is not None:
            findings.append(Finding(rule.severity, rule.code, message, rule.clause))
    return tuple(findings)


def _second_reading(certificate: Reading) -> tuple[Finding, ...]:
    """What pyca/cryptography says of octets that no rule objects to, with an empty signature put beside them."""
    whole = encode_tlv(0x30, certificate.tbs_certificate, certificate.algorithm, b"\x03\x01\x00")
    try:
        _ = x509.load_der_x509_certificate(whole).extensions
    except ValueError:
        message = "The tbsCertificate must be readable by pyca/cryptography too, found octets that it refuses."
        return (Finding("error", "encoding.refused_by_second_reader", message, "RFC 5280 4.1"),)
    return ()
