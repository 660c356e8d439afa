"""The ISO/IEC 18013-5 profiles: IACA roots, document signers, and the judgement of IACAs that are presented."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import PolicyRefusal
from engine.profiles.generic import draft_generic
from engine.profiles.issuer import issuer_from_certificate, issuer_from_iaca_order
from engine.profiles.mdoc import (
    check_iaca,
    check_iaca_matches,
    draft_document_signer,
    draft_document_signer_request,
    draft_iaca,
)
from engine.profiles.orders import (
    DocumentSignerOrder,
    DocumentSignerRequestOrder,
    GenericOrder,
    IacaOrder,
    IssuerAlternativeNameOrder,
    SubjectName,
)
from engine.x509.certificate import build_tbs_certificate, load_certificate
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CopiedExtension,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    IssuerAlternativeName,
    KeyUsage,
    SubjectKeyIdentifier,
)
from tests.conforms import assert_conforms

from . import octets
from .workshop import CONTACT, IACA_ORDER, NOW, SERIAL, ca, ca_issuer, iaca, iaca_issuer, public_key, sign

SIGNER_ORDER = DocumentSignerOrder("US", "Example DS", "https://crl.example.com/iaca.crl")
FULL_IACA = replace(
    IACA_ORDER,
    state_or_province_name="US-NY",
    organization_name="Example Agency",
    issuer_alternative_name=IssuerAlternativeNameOrder(email="iaca@example.com", uri="https://iaca.example.com"),
    crl_distribution_point_uri="http://crl.example.com/iaca.crl",
)
FULL_SIGNER = replace(
    SIGNER_ORDER, state_or_province_name="US-NY", organization_name="Example Agency", locality_name="Albany"
)


def draft_ca(order=IACA_ORDER, key="P-256/ca"):
    return draft_iaca(order, public_key(key), serial_number=SERIAL, now=NOW)


def draft(order=SIGNER_ORDER, key="P-256/leaf", issuer=None, now=NOW):
    return draft_document_signer(order, public_key(key), issuer or iaca_issuer(), serial_number=SERIAL, now=now)


def refusal_of(call, *arguments, **context):
    with pytest.raises(PolicyRefusal) as refusal:
        call(*arguments, **context)
    return refusal.value


# IACA


def test_an_iaca_has_the_extensions_of_the_profile_in_order():
    assert draft_ca(FULL_IACA).extensions == (
        SubjectKeyIdentifier(public_key("P-256/ca").key_identifier),
        KeyUsage(frozenset({"keyCertSign", "cRLSign"})),
        BasicConstraints(True, 0),
        draft_ca(FULL_IACA).extensions[3],
        CRLDistributionPoints("http://crl.example.com/iaca.crl"),
    )
    contact = draft_ca(FULL_IACA).extensions[3]
    assert isinstance(contact, IssuerAlternativeName)
    assert [name.value for name in contact.names] == ["iaca@example.com", "https://iaca.example.com"]


def test_the_name_of_an_iaca_is_country_common_name_state_organization():
    assert draft_ca(FULL_IACA).subject.attributes == (
        ("country", "US"),
        ("common_name", "Example IACA"),
        ("state_or_province_name", "US-NY"),
        ("organization_name", "Example Agency"),
    )


@pytest.mark.parametrize("kind", ["P-256/ca", "P-384/ca", "P-521/ca"])
@pytest.mark.parametrize(("order", "signer"), [(IACA_ORDER, SIGNER_ORDER), (FULL_IACA, FULL_SIGNER)])
def test_outside_readers_accept_iaca_and_document_signer(order, signer, kind):
    root = iaca(order, kind)
    assert_conforms(root.der)
    certificate = sign(draft(signer, issuer=iaca_issuer(order, kind)), kind, "document-signer", root.der)
    assert_conforms(certificate, root.der)


def test_an_iaca_lives_nine_calendar_years_by_default():
    assert draft_ca().not_after == datetime(2035, 3, 1, 12, tzinfo=UTC)
    leap_day = replace(IACA_ORDER, not_before=datetime(2028, 2, 29, tzinfo=UTC))
    assert draft_ca(leap_day).not_after == datetime(2037, 2, 28, tzinfo=UTC)


def test_an_iaca_may_live_7300_days_and_not_a_second_more():
    end = NOW + timedelta(days=7300)
    assert draft_ca(replace(IACA_ORDER, not_after=end)).not_after == end
    refusal = refusal_of(draft_ca, replace(IACA_ORDER, not_after=end + timedelta(seconds=1)))
    assert "at most 7300 days after notBefore" in refusal.message


@pytest.mark.parametrize("kind", ["RSA", "Ed25519"])
def test_only_the_nist_curves_are_keys_of_the_iso_profiles(kind):
    sentence = "be one of secp256r1, secp384r1, secp521r1"
    assert sentence in refusal_of(draft_ca, key=kind).message
    assert sentence in refusal_of(draft, key=kind).message
    assert sentence in refusal_of(draft, issuer=ca_issuer_with_key(kind)).message
    request = DocumentSignerRequestOrder("US", "Example DS")
    assert sentence in refusal_of(draft_document_signer_request, request, public_key(kind)).message


def ca_issuer_with_key(kind):
    return replace(iaca_issuer(), public_key=public_key(kind), certificate=None)


@pytest.mark.parametrize("country", ["us", "USA", "XX", "", "U", "UK", "EU"])
def test_a_country_that_iso_3166_has_not_assigned_is_refused(country):
    assert "ISO 3166-1 alpha-2" in refusal_of(draft_ca, replace(IACA_ORDER, country=country)).message


def test_an_iaca_without_contact_is_refused():
    order = replace(IACA_ORDER, issuer_alternative_name=IssuerAlternativeNameOrder())
    assert "must have an email, a uri or both" in refusal_of(draft_ca, order).message


def test_an_iaca_order_lists_every_fault():
    order = IacaOrder(
        "xx", "", IssuerAlternativeNameOrder(email="nobody", uri="nowhere"), not_before=NOW, not_after=NOW
    )
    assert len(refusal_of(draft_ca, order, key="RSA").details) == 6


# Document signer


def test_a_document_signer_has_the_extensions_of_the_profile_in_order():
    signer = draft(FULL_SIGNER, issuer=iaca_issuer(FULL_IACA))
    contact = CopiedExtension("2.5.29.18", *iaca(FULL_IACA).extensions["2.5.29.18"])
    assert signer.extensions == (
        SubjectKeyIdentifier(public_key("P-256/leaf").key_identifier),
        AuthorityKeyIdentifier(iaca().subject_key_identifier),
        KeyUsage(frozenset({"digitalSignature"})),
        ExtendedKeyUsage(("1.0.18013.5.1.2",), critical=True),
        contact,
        CRLDistributionPoints("https://crl.example.com/iaca.crl"),
    )
    assert signer.issuer == iaca(FULL_IACA).subject
    assert [kind for kind, _ in signer.subject.attributes] == [
        "country",
        "common_name",
        "state_or_province_name",
        "organization_name",
        "locality_name",
    ]


def test_a_document_signer_lives_457_days_less_one_second_by_default():
    assert draft().not_after - draft().not_before == timedelta(days=457, seconds=-1)


def test_a_document_signer_may_live_457_days_and_not_a_second_more():
    end = NOW + timedelta(days=457)
    assert draft(replace(SIGNER_ORDER, not_after=end)).not_after == end
    refusal = refusal_of(draft, replace(SIGNER_ORDER, not_after=end + timedelta(seconds=1)))
    assert "at most 457 days after notBefore" in refusal.message


def test_the_default_end_of_a_document_signer_is_cut_to_its_iacas():
    late = iaca().not_after - timedelta(days=10)
    assert draft(now=late).not_after == iaca().not_after


def test_a_document_signer_outliving_its_iaca_is_refused():
    late = iaca().not_after - timedelta(days=10)
    order = replace(SIGNER_ORDER, not_after=iaca().not_after + timedelta(seconds=1))
    assert "not be after the issuer's" in refusal_of(draft, order, now=late).message


def test_a_document_signer_older_than_its_iaca_is_refused():
    order = replace(SIGNER_ORDER, not_before=NOW - timedelta(seconds=1))
    assert "not be before the issuer's" in refusal_of(draft, order).message


def test_country_and_state_must_be_the_iacas():
    assert refusal_of(draft, replace(SIGNER_ORDER, country="DE")).message == (
        "The country must be 'US', as in the IACA, found 'DE'."
    )
    assert refusal_of(draft, replace(SIGNER_ORDER, state_or_province_name="US-NY")).message == (
        "The stateOrProvinceName must be absent, as in the IACA, found 'US-NY'."
    )
    assert refusal_of(draft, SIGNER_ORDER, issuer=iaca_issuer(FULL_IACA)).message == (
        "The stateOrProvinceName must be 'US-NY', as in the IACA, found none."
    )


@pytest.mark.parametrize("uri", ["ldap://crl.example.com", "crl.example.com", ""])
def test_a_document_signers_distribution_point_must_be_http(uri):
    refusal_of(draft, replace(SIGNER_ORDER, crl_distribution_point_uri=uri))


def test_the_iacas_own_key_signs_no_documents():
    assert "found the key of the IACA" in refusal_of(draft, key="P-256/ca").message


def test_a_document_signer_with_the_name_of_its_iaca_is_refused():
    order = replace(SIGNER_ORDER, common_name="Example IACA")
    assert "another name than the IACA" in refusal_of(draft, order).message


def test_a_generic_ca_issues_no_document_signer():
    refusal = refusal_of(draft, issuer=ca_issuer())
    assert "The presented IACA certificate must keep its profile" in refusal.message
    assert any("iso.issuer_alternative_name.missing" in detail for detail in refusal.details)


def test_an_issuer_without_contact_issues_no_document_signer():
    issuer = replace(iaca_issuer(), certificate=None, issuer_alternative_name=None)
    assert "must have an IssuerAltName to copy" in refusal_of(draft, issuer=issuer).message


def test_a_document_signer_order_lists_every_fault():
    order = DocumentSignerOrder("DE", " ", "crl", state_or_province_name="X", not_before=NOW, not_after=NOW)
    assert len(refusal_of(draft, order, key="RSA").details) == 6


def test_a_generic_leaf_under_an_iaca_conforms_and_a_ca_is_refused():
    leaf = GenericOrder(SubjectName("Example Leaf From CSR", country="US"), key_usage=("digitalSignature",))
    context = {"serial_number": SERIAL, "now": NOW}
    drafted = draft_generic(leaf, public_key("P-256/leaf"), iaca_issuer(), **context)
    assert_conforms(sign(drafted, "P-256/ca", "generic", iaca().der), iaca().der)
    authority = replace(leaf, is_certificate_authority=True, key_usage=())
    with pytest.raises(PolicyRefusal, match="must issue no CA"):
        draft_generic(authority, public_key("P-256/leaf"), iaca_issuer(), **context)


# An IACA that is known by its data alone


def test_data_alone_give_the_same_document_signer_as_the_certificate():
    described = issuer_from_iaca_order(FULL_IACA, public_key("P-256/ca"), NOW)
    from_data, from_certificate = (
        draft(FULL_SIGNER, issuer=described),
        draft(FULL_SIGNER, issuer=iaca_issuer(FULL_IACA)),
    )
    assert build_tbs_certificate(from_data) == build_tbs_certificate(from_certificate)
    assert_conforms(sign(from_data, "P-256/ca", "document-signer", iaca(FULL_IACA).der), iaca(FULL_IACA).der)


def test_a_description_with_faults_lists_them_all():
    order = IacaOrder("xx", "", IssuerAlternativeNameOrder())
    with pytest.raises(PolicyRefusal) as refusal:
        issuer_from_iaca_order(order, public_key("RSA"), NOW)
    assert len(refusal.value.details) == 4


# An IACA that is presented


def test_an_iaca_of_this_engine_passes():
    check_iaca(iaca(FULL_IACA))


def test_a_generic_ca_is_no_iaca():
    with pytest.raises(PolicyRefusal, match="must keep its profile") as refusal:
        check_iaca(ca())
    assert any(detail.startswith("iso.iaca.basic_constraints: ") for detail in refusal.value.details)


def test_an_iaca_whose_signature_is_another_ones_is_refused():
    forged = load_certificate(iaca().der[:-3] + bytes(each ^ 1 for each in iaca().der[-3:]))
    with pytest.raises(PolicyRefusal, match="must be signed by its own key"):
        check_iaca(forged)


def test_an_iaca_made_elsewhere_with_its_own_habits_passes():
    parts = octets.iaca()
    parts["serial"] = b"\x02\x01\x07"
    parts["extensions"].reverse()
    check_iaca(load_certificate(octets.signed(parts, "P-256/ca")))


def test_an_issuer_from_a_presented_iaca_copies_its_octets():
    parts = octets.iaca()
    parts["subject"] = parts["issuer"] = octets.name(
        (octets.C, octets.PRINTABLE, "US"), (octets.CN, octets.PRINTABLE, "Printable IACA")
    )
    presented = load_certificate(octets.signed(parts, "P-256/ca"))
    issuer = issuer_from_certificate(presented, public_key("P-256/ca"))
    certificate = sign(draft(issuer=issuer), "P-256/ca", "document-signer", presented.der)
    assert load_certificate(certificate).issuer == parts["subject"]
    assert_conforms(certificate, presented.der)


@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"country": "DE"}, "country"),
        ({"common_name": "Another"}, "commonName"),
        ({"state_or_province_name": None}, "stateOrProvinceName"),
        ({"organization_name": "Another"}, "organizationName"),
        ({"not_before": NOW + timedelta(seconds=1)}, "notBefore"),
        ({"not_after": NOW}, "notAfter"),
        ({"issuer_alternative_name": CONTACT}, "issuerAlternativeNameConf"),
        ({"crl_distribution_point_uri": "http://other.example.com"}, "crlDistributionPointUri"),
    ],
)
def test_data_that_contradict_the_iaca_are_refused_by_member(change, member):
    with pytest.raises(PolicyRefusal, match=f"The IACA's {member} must be what its certificate says"):
        check_iaca_matches(iaca(FULL_IACA), replace(FULL_IACA, **change))


def test_data_that_describe_the_iaca_match_with_and_without_its_times():
    check_iaca_matches(iaca(FULL_IACA), FULL_IACA)
    check_iaca_matches(iaca(FULL_IACA), replace(FULL_IACA, crl_distribution_point_uri=None))
    check_iaca_matches(iaca(FULL_IACA), replace(FULL_IACA, not_before=iaca().not_before, not_after=iaca().not_after))


def test_contacts_in_another_order_are_no_contradiction():
    parts = octets.iaca()
    mail = octets.tlv(0x81, b"iaca@example.com")
    web = octets.tlv(0x86, b"https://iaca.example.com")
    octets.extension(parts, octets.IAN)[2] = octets.tlv(0x30, web, mail)
    presented = load_certificate(octets.signed(parts, "P-256/ca"))
    order = replace(IACA_ORDER, issuer_alternative_name=FULL_IACA.issuer_alternative_name)
    check_iaca_matches(presented, order)


# Requests


def test_a_document_signer_request_asks_for_its_two_usages():
    order = DocumentSignerRequestOrder("US", "Example DS", "US-NY", "Example Agency", "Albany")
    drafted = draft_document_signer_request(order, public_key("P-256/leaf"))
    assert drafted.extensions == (
        KeyUsage(frozenset({"digitalSignature"})),
        ExtendedKeyUsage(("1.0.18013.5.1.2",), critical=True),
    )
    assert [value for _, value in drafted.subject.attributes] == [
        "US",
        "Example DS",
        "US-NY",
        "Example Agency",
        "Albany",
    ]
