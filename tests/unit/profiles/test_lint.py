"""Every lint rule, shown on a certificate that is sound but for the one thing the rule is about."""

import hashlib
import logging

import pytest

from engine.errors import PolicyRefusal
from engine.profiles.lint import RULES, check_lint, check_presented_certificate, lint_certificate
from engine.profiles.lint.rule import Rule

from . import octets as o
from .octets import extension, tlv, without


def put(**fields):
    return lambda parts: parts.update(fields)


def value(kind, new):
    def change(parts):
        extension(parts, kind)[2] = new

    return change


def critical(kind, flag):
    def change(parts):
        extension(parts, kind)[1] = flag

    return change


def drop(kind):
    return lambda parts: without(parts, kind)


def add(*new):
    return lambda parts: parts["extensions"].append(list(new))


def key(kind):
    """Another key, and the key identifier that belongs to it."""

    def change(parts):
        parts["spki"] = o.spki(kind)
        extension(parts, o.SKI)[2] = tlv(4, o.identifier(kind))

    return change


def both(*changes):
    def change(parts):
        for each in changes:
            each(parts)

    return change


def subject(*attributes):
    return put(subject=o.name(*attributes))


def rename(*attributes):
    """Another name for a self-signed certificate."""
    return put(subject=o.name(*attributes), issuer=o.name(*attributes))


US, LEAF = (o.C, o.PRINTABLE, "US"), (o.CN, o.UTF8, "Example Leaf")
DS = (o.CN, o.UTF8, "Example DS")
WEAK_RSA = tlv(
    0x30,
    bytes.fromhex("300d06092a864886f70d0101010500"),
    tlv(3, b"\x00", tlv(0x30, tlv(2, b"\x00\xc1" + b"\x5b" * 126 + b"\x5d"), tlv(2, b"\x01\x00\x01"))),
)

BASES = {"generic": o.generic_leaf, "self-signed": o.generic_ca, "iaca": o.iaca, "document-signer": o.document_signer}
ISSUERS = {"generic": o.generic_ca, "document-signer": o.iaca}

BROKEN = [
    ("version.not_v3", "generic", put(version=b"")),
    ("version.not_v3", "generic", put(version=tlv(0xA0, b"\x02\x01\x01"))),
    ("unique_identifiers.present", "generic", put(rest=tlv(0x81, b"\x00\x01"))),
    ("serial_number.not_positive", "generic", put(serial=tlv(2, b"\xc1" * 20))),
    ("serial_number.not_positive", "generic", put(serial=tlv(2, b"\x00"))),
    ("serial_number.too_long", "generic", put(serial=tlv(2, b"\x00\xc1" + b"\x41" * 19))),
    ("serial_number.not_twenty_octets", "generic", put(serial=tlv(2, b"\x41" * 19))),
    ("serial_number.not_twenty_octets", "generic", put(serial=tlv(2, b"\x3f" * 20))),
    ("signature.unknown_algorithm", "generic", put(algorithm=o.ECDSA_SHA1)),
    ("signature.does_not_fit_issuer_key", "generic", put(algorithm=o.RSA_SHA256)),
    ("signature.other_hash_than_for_issuer_key", "generic", put(algorithm=o.ECDSA_SHA384)),
    ("validity.encoding", "generic", put(not_after=tlv(0x18, b"20270301120000Z"))),
    ("validity.encoding", "self-signed", put(not_after=tlv(0x18, b"20551301120000Z"))),
    ("validity.encoding", "self-signed", put(not_after=tlv(0x18, b"20550301120000.5Z"))),
    ("validity.not_before_not_earlier", "generic", put(not_after=tlv(0x17, b"260301120000Z"))),
    ("validity.outside_issuer", "generic", put(not_after=tlv(0x17, b"400301120001Z"))),
    ("validity.outside_issuer", "generic", put(not_before=tlv(0x17, b"260301115959Z"))),
    ("subject_public_key_info.not_acceptable", "generic", put(spki=o.spki("P-256")[:-1] + b"\x00")),
    ("subject_public_key_info.weak", "generic", put(spki=WEAK_RSA)),
    ("issuer.not_subject_of_issuer", "generic", put(issuer=o.name((o.CN, o.PRINTABLE, "Example CA")))),
    ("issuer.empty", "self-signed", put(issuer=b"\x30\x00")),
    ("subject.is_issuer", "generic", put(subject=o.generic_ca()["subject"])),
    ("subject.blank_value", "generic", subject(US, (o.CN, o.UTF8, ""))),
    ("subject.blank_value", "generic", subject(US, (o.CN, o.UTF8, " \u2003"))),
    ("subject.control_character", "generic", subject(US, (o.CN, o.UTF8, "a\x00b"))),
    ("subject.value_too_long", "generic", subject(US, (o.CN, o.UTF8, "\u00e4" * 65))),
    ("subject.string_type", "generic", subject(US, (o.CN, o.PRINTABLE, "Example Leaf"))),
    ("subject.country", "generic", subject((o.C, o.PRINTABLE, "USA"), LEAF)),
    ("subject.country", "generic", subject((o.C, o.UTF8, "US"), LEAF)),
    ("subject.multi_valued", "generic", put(subject=tlv(0x30, o.rdn(US, LEAF)))),
    ("subject.order", "generic", subject(LEAF, US)),
    ("subject.order", "generic", subject(US, US, LEAF)),
    ("subject.empty", "generic", both(put(subject=b"\x30\x00"), drop(o.SAN))),
    ("extensions.duplicate", "generic", add(o.CRLDP, False, o.crl_point())),
    ("extensions.default_encoded", "generic", critical(o.CRLDP, b"\x01\x01\x00")),
    ("extensions.default_encoded", "generic", value(o.BC, b"\x30\x03\x01\x01\x00")),
    ("extensions.unexpected", "generic", add(o.IAN, False, o.CONTACT)),
    ("extensions.unknown_critical", "generic", add(bytes((0x2A, 3, 4)), True, b"\x05\x00")),
    ("extensions.order", "generic", lambda parts: parts["extensions"].reverse()),
    ("extensions.criticality", "generic", critical(o.BC, False)),
    ("extensions.criticality", "generic", critical(o.SKI, True)),
    ("extensions.criticality", "generic", put(subject=b"\x30\x00")),
    ("extensions.criticality", "document-signer", critical(o.EKU, False)),
    ("subject_key_identifier.missing", "generic", drop(o.SKI)),
    ("subject_key_identifier.not_sha1_of_key", "generic", value(o.SKI, tlv(4, bytes(20)))),
    ("authority_key_identifier.missing", "generic", drop(o.AKI)),
    ("authority_key_identifier.form", "generic", value(o.AKI, tlv(0x30, tlv(0x82, b"\x01")))),
    ("authority_key_identifier.not_of_issuer", "generic", value(o.AKI, tlv(0x30, tlv(0x80, bytes(20))))),
    ("authority_key_identifier.not_of_issuer", "self-signed", value(o.AKI, tlv(0x30, tlv(0x80, bytes(20))))),
    ("basic_constraints.missing", "generic", drop(o.BC)),
    ("basic_constraints.path_length", "generic", value(o.BC, b"\x30\x03\x02\x01\x00")),
    ("basic_constraints.path_length", "self-signed", value(o.BC, bytes.fromhex("30060101ff0201ff"))),
    ("basic_constraints.issuer", "generic", value(o.BC, bytes.fromhex("30060101ff020101"))),
    ("key_usage.bits", "generic", value(o.KU, b"\x03\x02\x06\x80")),
    ("key_usage.bits", "generic", value(o.KU, b"\x03\x03\x07\x80\x00")),
    ("key_usage.bits", "generic", value(o.KU, b"\x03\x01\x00")),
    ("key_usage.key_cert_sign_and_ca", "generic", value(o.KU, b"\x03\x02\x02\x84")),
    ("key_usage.key_cert_sign_and_ca", "self-signed", value(o.KU, b"\x03\x02\x01\x02")),
    ("key_usage.does_not_fit_key", "generic", value(o.KU, b"\x03\x02\x05\xa0")),
    ("key_usage.does_not_fit_key", "generic", both(key("RSA"), value(o.KU, b"\x03\x02\x03\x88"))),
    ("key_usage.does_not_fit_key", "generic", value(o.KU, b"\x03\x02\x00\x01")),
    ("extended_key_usage.form", "generic", value(o.EKU, b"\x30\x00")),
    ("extended_key_usage.form", "generic", value(o.EKU, tlv(0x30, tlv(6, o.READER), tlv(6, o.READER)))),
    ("subject_alternative_name.form", "generic", value(o.SAN, b"\x30\x00")),
    ("subject_alternative_name.form", "generic", value(o.SAN, tlv(0x30, tlv(0x82, b"a.*.example")))),
    ("subject_alternative_name.form", "generic", value(o.SAN, tlv(0x30, tlv(0x87, bytes(5))))),
    ("subject_alternative_name.form", "generic", value(o.SAN, tlv(0x30, tlv(0x86, b"no-scheme")))),
    ("subject_alternative_name.form", "generic", value(o.SAN, tlv(0x30, tlv(0x81, b"nobody")))),
    ("subject_alternative_name.form", "generic", value(o.SAN, tlv(0x30, tlv(0x88, b"\x2a\x03")))),
    ("crl_distribution_points.form", "generic", value(o.CRLDP, o.crl_point("ldap://crl.example"))),
    (
        "crl_distribution_points.form",
        "generic",
        value(o.CRLDP, o.crl_point("http://a.example", tlv(0x81, b"\x07\x80"))),
    ),
    ("crl_distribution_points.form", "generic", value(o.CRLDP, b"\x30\x00")),
    ("iso.subject.country_code", "iaca", rename((o.C, o.PRINTABLE, "us"), (o.CN, o.UTF8, "A"))),
    ("iso.subject.country_code", "iaca", rename((o.C, o.PRINTABLE, "XX"), (o.CN, o.UTF8, "A"))),
    ("iso.subject.country_code", "document-signer", subject(DS)),
    ("iso.subject.common_name_missing", "iaca", rename(US)),
    ("iso.subject.common_name_missing", "document-signer", subject(US)),
    ("iso.subject_public_key_info.key_type", "iaca", key("RSA")),
    ("iso.subject_public_key_info.key_type", "document-signer", key("Ed25519")),
    ("iso.extensions.forbidden", "iaca", add(o.NAME_CONSTRAINTS, True, b"\x30\x00")),
    ("iso.extensions.forbidden", "document-signer", add(o.NAME_CONSTRAINTS, True, b"\x30\x00")),
    ("iso.issuer_alternative_name.missing", "iaca", drop(o.IAN)),
    ("iso.issuer_alternative_name.missing", "document-signer", drop(o.IAN)),
    ("iso.issuer_alternative_name.form", "iaca", value(o.IAN, tlv(0x30, tlv(0x82, b"iaca.example")))),
    ("iso.issuer_alternative_name.form", "document-signer", value(o.IAN, b"\x30\x00")),
    ("iso.iaca.not_self_issued", "iaca", subject(US, (o.CN, o.UTF8, "Another"))),
    ("iso.iaca.validity_too_long", "iaca", put(not_after=tlv(0x17, b"460224120001Z"))),
    ("iso.iaca.key_usage", "iaca", value(o.KU, b"\x03\x02\x01\x86")),
    ("iso.iaca.key_usage", "iaca", value(o.KU, b"\x03\x02\x02\x04")),
    ("iso.iaca.basic_constraints", "iaca", value(o.BC, bytes.fromhex("30030101ff"))),
    ("iso.iaca.extended_key_usage", "iaca", add(o.EKU, True, tlv(0x30, tlv(6, o.DOCUMENT_SIGNER)))),
    ("iso.document_signer.validity_too_long", "document-signer", put(not_after=tlv(0x17, b"270601120001Z"))),
    ("iso.document_signer.key_usage", "document-signer", value(o.KU, b"\x03\x02\x06\xc0")),
    ("iso.document_signer.extended_key_usage", "document-signer", value(o.EKU, tlv(0x30, tlv(6, o.READER)))),
    (
        "iso.document_signer.extended_key_usage",
        "document-signer",
        value(o.EKU, tlv(0x30, tlv(6, o.DOCUMENT_SIGNER), tlv(6, o.READER))),
    ),
    ("iso.document_signer.extended_key_usage", "document-signer", drop(o.EKU)),
    ("iso.document_signer.basic_constraints", "document-signer", add(o.BC, True, b"\x30\x00")),
    ("iso.document_signer.authority_key_identifier_missing", "document-signer", drop(o.AKI)),
    ("iso.document_signer.crl_distribution_points_missing", "document-signer", drop(o.CRLDP)),
    ("iso.document_signer.country_differs", "document-signer", subject((o.C, o.PRINTABLE, "DE"), DS)),
    (
        "iso.document_signer.state_or_province_differs",
        "document-signer",
        subject(US, DS, (o.ST, o.UTF8, "US-NY")),
    ),
    (
        "iso.document_signer.issuer_alternative_name_differs",
        "document-signer",
        value(o.IAN, tlv(0x30, tlv(0x86, b"https://iaca.example.com/"))),
    ),
]


def lint(base, parts):
    profile = "generic" if base == "self-signed" else base
    issuer = o.certificate(ISSUERS[base]()) if base in ISSUERS else None
    return lint_certificate(o.join(parts), profile, issuer)


@pytest.mark.parametrize("base", BASES)
def test_a_sound_certificate_has_no_findings(base):
    assert lint(base, BASES[base]()) == ()


@pytest.mark.parametrize(("code", "base", "change"), BROKEN, ids=lambda each: each if isinstance(each, str) else "")
def test_the_fault_is_found_under_its_code(code, base, change):
    findings = lint(base, o.broken(BASES[base], change))
    assert code in {finding.code for finding in findings}


def test_every_rule_of_every_profile_has_a_certificate_that_breaks_it():
    assert {rule.code for rules in RULES.values() for rule in rules} == {code for code, _, _ in BROKEN}


def test_every_rule_names_its_clause_and_its_messages_are_single_sentences():
    for code, base, change in BROKEN:
        for finding in lint(base, o.broken(BASES[base], change)):
            assert finding.clause, code
            assert finding.severity == "error"
            assert ", found " in finding.message
            assert finding.message.endswith(".")


def test_a_ca_under_an_issuer_with_path_length_zero_is_found():
    ca = o.broken(o.generic_ca, both(put(subject=o.name(LEAF)), value(o.BC, bytes.fromhex("30060101ff020100"))))
    issuer = o.broken(o.generic_ca, value(o.BC, bytes.fromhex("30060101ff020100")))
    findings = lint_certificate(o.join(ca), "generic", o.certificate(issuer))
    assert [finding.code for finding in findings] == ["basic_constraints.issuer"]


def test_an_issuer_that_is_no_ca_is_found():
    findings = lint_certificate(o.join(o.generic_leaf()), "generic", o.certificate(o.generic_leaf()))
    assert "basic_constraints.issuer" in {finding.code for finding in findings}


def test_a_document_signer_without_an_iaca_certificate_is_judged_by_what_it_says_itself():
    assert lint_certificate(o.join(o.document_signer()), "document-signer", None) == ()
    stray = o.broken(o.document_signer, subject((o.C, o.PRINTABLE, "DE"), DS))
    findings = lint_certificate(o.join(stray), "document-signer", None)
    assert [finding.code for finding in findings] == ["iso.document_signer.country_differs"]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda tbs: tbs[:-1], "encoding.not_der"),
        (lambda tbs: tbs + b"\x00", "encoding.not_der"),
        (
            lambda tbs: b"\x30\x82" + len(tbs[4:] + b"\x05\x00").to_bytes(2, "big") + tbs[4:] + b"\x05\x00",
            "encoding.unreadable",
        ),
        (lambda tbs: b"\x30\x00", "encoding.unreadable"),
        (lambda tbs: b"\x05\x00", "encoding.unreadable"),
        (lambda tbs: b"", "encoding.not_der"),
    ],
)
def test_octets_that_are_no_tbs_certificate_are_one_finding(damage, code):
    tbs_certificate = damage(o.join(o.generic_leaf()))
    findings = lint_certificate(tbs_certificate, "generic", o.certificate(o.generic_ca()))
    assert [finding.code for finding in findings] == [code]


def test_ber_inside_an_extension_value_is_found():
    parts = o.broken(o.generic_leaf, value(o.BC, b"\x30\x81\x00"))
    assert [finding.code for finding in lint("generic", parts)] == ["encoding.unreadable"]


def test_an_empty_relative_distinguished_name_is_found():
    parts = o.broken(o.generic_leaf, put(subject=tlv(0x30, o.rdn(US), o.rdn(), o.rdn(LEAF))))
    assert [finding.code for finding in lint("generic", parts)] == ["encoding.unreadable"]


def test_what_no_rule_objects_to_the_second_reader_still_may():
    parts = o.broken(o.generic_leaf, value(o.BC, bytes.fromhex("3003040101")))
    assert [finding.code for finding in lint("generic", parts)] == ["encoding.refused_by_second_reader"]


def test_a_rule_that_fails_is_itself_a_finding(monkeypatch, caplog):
    def stumble(certificate, issuer):
        raise ZeroDivisionError

    monkeypatch.setitem(RULES, "generic", (Rule("stumbling.rule", "engine", stumble),))
    with caplog.at_level(logging.ERROR):
        findings = lint("generic", o.generic_leaf())
    assert [(finding.severity, finding.code) for finding in findings] == [("error", "stumbling.rule")]
    assert "stumbling.rule" in caplog.text


def test_check_lint_refuses_with_every_finding():
    parts = o.broken(o.document_signer, both(drop(o.CRLDP), subject((o.C, o.PRINTABLE, "DE"), DS)))
    with pytest.raises(PolicyRefusal, match=r"crl_distribution_points_missing: There must be") as refusal:
        check_lint(o.join(parts), "document-signer", o.certificate(o.iaca()))
    assert len(refusal.value.details) == 2
    report = check_lint(o.join(o.document_signer()), "document-signer", o.certificate(o.iaca()))
    assert (report.rules, report.findings) == (len(RULES["document-signer"]), ())


def test_the_report_tells_which_rules_were_applied():
    reports = [
        check_lint(o.join(o.document_signer()), "document-signer", None),
        check_lint(o.join(o.iaca()), "iaca", None),
        check_lint(o.join(o.generic_ca()), "generic", None),
    ]
    assert len({report.rules_sha256 for report in reports}) == 3
    rules = "".join(f"{rule.severity} {rule.code} {rule.clause}\n" for rule in RULES["generic"])
    assert reports[2].rules_sha256 == hashlib.sha256(rules.encode()).hexdigest()


def test_an_iaca_made_elsewhere_need_not_have_this_engines_own_habits():
    def elsewhere(parts):
        parts["serial"] = tlv(2, b"\x01")
        parts["extensions"].reverse()
        parts["subject"] = parts["issuer"] = o.name((o.CN, o.PRINTABLE, "Elsewhere"), US)
        extension(parts, o.SKI)[2] = tlv(4, b"chosen")

    tbs_certificate = o.join(o.broken(o.iaca, elsewhere))
    check_presented_certificate(tbs_certificate, "iaca")
    assert {finding.code for finding in lint_certificate(tbs_certificate, "iaca", None)} == {
        "serial_number.not_twenty_octets",
        "subject.string_type",
        "subject.order",
        "extensions.order",
        "subject_key_identifier.not_sha1_of_key",
    }


def test_a_presented_iaca_with_a_path_for_other_cas_is_refused():
    parts = o.broken(o.iaca, value(o.BC, bytes.fromhex("30060101ff020101")))
    with pytest.raises(PolicyRefusal, match=r"iso\.iaca\.basic_constraints"):
        check_presented_certificate(o.join(parts), "iaca")


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80, 0xFF])
@pytest.mark.parametrize("base", BASES)
def test_no_damage_to_any_octet_makes_the_linter_fail(base, flip, caplog):
    tbs_certificate = o.join(BASES[base]())
    profile = "generic" if base == "self-signed" else base
    issuer = o.certificate(ISSUERS[base]()) if base in ISSUERS else None
    for position in range(len(tbs_certificate)):
        damaged = bytearray(tbs_certificate)
        damaged[position] ^= flip
        assert isinstance(lint_certificate(bytes(damaged), profile, issuer), tuple)
    assert not caplog.records, "a rule stumbled over what it read"
