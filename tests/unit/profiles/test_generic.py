"""The generic profile: what it puts into certificates, what it refuses, and that outside readers agree."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from engine.errors import PolicyRefusal
from engine.profiles.generic import draft_generic, draft_generic_request
from engine.profiles.issuer import issuer_from_certificate
from engine.profiles.orders import AlternativeNames, GenericOrder, GenericRequestOrder, SubjectName
from engine.x509.certificate import build_tbs_certificate
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
)
from tests.conforms import assert_conforms

from .workshop import NOW, SERIAL, ca, ca_issuer, public_key, sign

FULL = GenericOrder(
    subject_name=SubjectName("Example Leaf", "US", "Example Org", "US-CA", "San Francisco", "Unit"),
    key_usage=("digitalSignature", "keyAgreement"),
    extended_key_usage=("1.3.6.1.5.5.7.3.1", "2.999.1"),
    subject_alternative_names=AlternativeNames(
        dns_names=("Leaf.Example.com", "*.bücher.example"),
        uris=("https://leaf.example.com/x",),
        emails=("leaf@example.com",),
        ip_addresses=("192.0.2.1", "2001:DB8::1"),
    ),
    crl_distribution_point_uri="http://crl.example.com/ca.crl",
)
PLAIN = GenericOrder(SubjectName("Example Leaf"))


def draft(order=PLAIN, key="P-256/leaf", issuer="default", now=NOW):
    issuer = ca_issuer() if issuer == "default" else issuer
    return draft_generic(order, public_key(key), issuer, serial_number=SERIAL, now=now)


def refusal_of(order=PLAIN, **context):
    with pytest.raises(PolicyRefusal) as refusal:
        draft(order, **context)
    assert refusal.value.message == refusal.value.details[0]
    return refusal.value


def test_extensions_and_names_come_in_the_fixed_order():
    drafted = draft(FULL)
    assert [type(extension) for extension in drafted.extensions] == [
        SubjectKeyIdentifier,
        AuthorityKeyIdentifier,
        BasicConstraints,
        KeyUsage,
        ExtendedKeyUsage,
        SubjectAlternativeName,
        CRLDistributionPoints,
    ]
    assert [kind for kind, _ in drafted.subject.attributes] == [
        "country",
        "state_or_province_name",
        "locality_name",
        "organization_name",
        "organizational_unit_name",
        "common_name",
    ]


def test_the_same_order_gives_the_same_octets():
    assert build_tbs_certificate(draft(FULL)) == build_tbs_certificate(draft(FULL))


@pytest.mark.parametrize("issuer_kind", ["P-256/ca", "P-384/ca", "P-521/ca", "RSA", "Ed25519"])
@pytest.mark.parametrize("order", [PLAIN, FULL], ids=["plain", "full"])
def test_outside_readers_accept_a_leaf_under_every_kind_of_ca(order, issuer_kind):
    authority = ca(issuer_kind)
    certificate = sign(draft(order, issuer=ca_issuer(issuer_kind)), issuer_kind, "generic", authority.der)
    assert_conforms(certificate, authority.der)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
def test_outside_readers_accept_a_leaf_of_every_kind(kind):
    order = replace(PLAIN, key_usage=("digitalSignature",))
    assert_conforms(sign(draft(order, key=kind), "P-256/ca", "generic", ca().der), ca().der)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
@pytest.mark.parametrize("authority", [False, True], ids=["leaf", "ca"])
def test_outside_readers_accept_self_signed_certificates(authority, kind):
    order = replace(PLAIN, is_certificate_authority=authority, key_usage=() if authority else ("digitalSignature",))
    assert_conforms(sign(draft(order, key=kind, issuer=None), kind, "generic"))


def test_outside_readers_accept_an_intermediate_ca_and_a_life_past_2049():
    order = replace(PLAIN, is_certificate_authority=True, path_length_constraint=0)
    assert_conforms(
        sign(draft(order, issuer=ca_issuer(path_length=1)), "P-256/ca", "generic", ca(path_length=1).der),
        ca(path_length=1).der,
    )
    long_lived = replace(PLAIN, is_certificate_authority=True, not_after=datetime(2060, 1, 1, tzinfo=UTC))
    assert_conforms(sign(draft(long_lived, issuer=None), "P-256/leaf", "generic"))


def test_issuer_and_authority_key_identifier_are_copied_from_the_issuer_certificate():
    drafted = draft()
    assert drafted.issuer == ca().subject
    assert drafted.extensions[1] == AuthorityKeyIdentifier(ca().subject_key_identifier)


def test_a_self_signed_certificate_has_its_own_key_identifier_as_authority():
    drafted = draft(issuer=None)
    identifier = public_key("P-256/leaf").key_identifier
    assert drafted.extensions[:2] == (SubjectKeyIdentifier(identifier), AuthorityKeyIdentifier(identifier))


# Validity


def test_a_life_is_365_days_from_now_in_whole_seconds():
    drafted = draft(now=NOW + timedelta(microseconds=999_999))
    assert (drafted.not_before, drafted.not_after) == (NOW, NOW + timedelta(days=365))


def test_the_default_end_is_cut_to_the_issuers():
    late = ca().not_after - timedelta(days=3)
    assert draft(now=late).not_after == ca().not_after


def test_an_explicit_end_after_the_issuers_is_refused():
    refusal = refusal_of(replace(PLAIN, not_after=ca().not_after + timedelta(seconds=1)))
    assert refusal.message == (
        "The notAfter must not be after the issuer's, 2036-03-01T12:00:00Z, found '2036-03-01T12:00:01Z'."
    )


def test_an_explicit_end_at_the_issuers_own_is_accepted():
    assert draft(replace(PLAIN, not_after=ca().not_after)).not_after == ca().not_after


def test_a_beginning_before_the_issuers_is_refused():
    assert "not be before the issuer's" in refusal_of(replace(PLAIN, not_before=NOW - timedelta(seconds=1))).message


def test_nothing_is_issued_under_an_issuer_that_has_expired():
    assert "be before the issuer's notAfter" in refusal_of(now=ca().not_after).message


@pytest.mark.parametrize("length", [timedelta(0), timedelta(microseconds=900_000), timedelta(days=-1)])
def test_an_end_that_is_not_later_than_the_beginning_is_refused(length):
    assert "be later than notBefore" in refusal_of(replace(PLAIN, not_before=NOW, not_after=NOW + length)).message


def test_times_of_other_zones_become_utc():
    there = timezone(timedelta(hours=5, minutes=30))
    assert draft(replace(PLAIN, not_before=NOW.astimezone(there))).not_before.isoformat() == NOW.isoformat()


@pytest.mark.parametrize(
    ("moment", "sentence"),
    [
        (datetime(2026, 3, 1, 12), "have a time zone"),
        (datetime(1949, 12, 31, 23, 59, 59, tzinfo=UTC), "be from 1950 to 9999"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "be from 1950 to 9999"),
    ],
)
def test_times_that_a_certificate_cannot_name_are_refused(moment, sentence):
    assert sentence in refusal_of(replace(PLAIN, not_before=moment), issuer=None).message


def test_a_default_end_past_the_year_9999_is_cut_to_its_last_second():
    moment = datetime(9999, 6, 1, tzinfo=UTC)
    assert draft(replace(PLAIN, not_before=moment), issuer=None).not_after.isoformat() == "9999-12-31T23:59:59+00:00"


# Certification authorities


def test_a_ca_without_key_usage_gets_cert_and_crl_signing():
    drafted = draft(replace(PLAIN, is_certificate_authority=True))
    assert drafted.extensions[2:] == (BasicConstraints(True), KeyUsage(frozenset({"keyCertSign", "cRLSign"})))


def test_a_ca_keeps_the_key_usage_it_names():
    uses = ("keyCertSign", "digitalSignature")
    drafted = draft(replace(PLAIN, is_certificate_authority=True, key_usage=uses))
    assert drafted.extensions[3] == KeyUsage(frozenset(uses))


def test_a_ca_whose_key_usage_lacks_cert_signing_is_refused():
    refusal = refusal_of(replace(PLAIN, is_certificate_authority=True, key_usage=("cRLSign",)))
    assert refusal.message == "The keyUsage must have keyCertSign, since this is a CA, found 'cRLSign'."


def test_cert_signing_without_being_a_ca_is_refused():
    assert "keyCertSign only in a CA" in refusal_of(replace(PLAIN, key_usage=("keyCertSign",))).message


def test_an_issuer_with_path_length_zero_issues_no_ca():
    order = replace(PLAIN, is_certificate_authority=True)
    assert "must issue no CA" in refusal_of(order, issuer=ca_issuer(path_length=0)).message
    assert draft(issuer=ca_issuer(path_length=0)).extensions[2] == BasicConstraints(False)


@pytest.mark.parametrize(("length", "accepted"), [(0, True), (1, True), (2, False), (3, False), (None, True)])
def test_path_lengths_grow_smaller_down_the_chain(length, accepted):
    order = replace(PLAIN, is_certificate_authority=True, path_length_constraint=length)
    if accepted:
        assert draft(order, issuer=ca_issuer(path_length=2)).extensions[2] == BasicConstraints(True, length)
    else:
        assert "be less than the issuer's, 2" in refusal_of(order, issuer=ca_issuer(path_length=2)).message


@pytest.mark.parametrize(("length", "authority"), [(0, False), (-1, True), (256, True)])
def test_path_lengths_that_make_no_sense_are_refused(length, authority):
    order = replace(PLAIN, is_certificate_authority=authority, path_length_constraint=length)
    assert "pathLengthConstraint" in refusal_of(order).message


# Names, usages, purposes, alternative names


@pytest.mark.parametrize(
    "subject",
    [
        SubjectName(""),
        SubjectName("  "),
        SubjectName("x" * 65),
        SubjectName("a\x00b"),
        SubjectName("ok", country="USA"),
        SubjectName("ok", country="U1"),
        SubjectName("ok", organization_name=""),
        SubjectName("ok", locality_name="x" * 129),
    ],
)
def test_subjects_outside_rfc_5280_are_refused(subject):
    refusal_of(replace(PLAIN, subject_name=subject))


def test_every_fault_of_an_order_is_listed_at_once():
    order = GenericOrder(
        SubjectName("", country="USA", organization_name=" "),
        key_usage=("signing", "keyEncipherment"),
        extended_key_usage=("1.2.x", "2.999", "2.999"),
        subject_alternative_names=AlternativeNames(
            dns_names=("a.*.example", "a.example", "A.example"), ip_addresses=("1",)
        ),
        not_before=NOW,
        not_after=NOW,
        path_length_constraint=1,
        crl_distribution_point_uri="ldap://crl.example.com",
    )
    details = refusal_of(order).details
    assert len(details) == 13
    assert all(detail.endswith(".") for detail in details)


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("P-256", "keyEncipherment"),
        ("P-256", "dataEncipherment"),
        ("RSA", "keyAgreement"),
        ("Ed25519", "keyAgreement"),
        ("Ed25519", "keyEncipherment"),
    ],
)
def test_a_use_that_the_key_cannot_have_is_refused(kind, use):
    assert f"found '{use}'" in refusal_of(replace(PLAIN, key_usage=(use,)), key=kind).message


def test_encipher_only_without_key_agreement_is_refused():
    assert "keyAgreement beside" in refusal_of(replace(PLAIN, key_usage=("encipherOnly",))).message
    draft(replace(PLAIN, key_usage=("encipherOnly", "keyAgreement")))


def test_an_unknown_use_is_refused_with_the_known_ones():
    assert "digitalSignature, nonRepudiation" in refusal_of(replace(PLAIN, key_usage=("DigitalSignature",))).message


@pytest.mark.parametrize("purpose", ["", "1", "3.1.2", "1.40.1", "1.02.3", "1.2.", "serverAuth"])
def test_a_purpose_that_is_no_object_identifier_is_refused(purpose):
    assert "object identifier" in refusal_of(replace(PLAIN, extended_key_usage=(purpose,))).message


@pytest.mark.parametrize("uri", ["ldap://crl.example.com", "crl.example.com", "http:", "http://", "ftp://x/y", ""])
def test_a_distribution_point_that_is_not_http_is_refused(uri):
    refusal_of(replace(PLAIN, crl_distribution_point_uri=uri))


def test_alternative_names_are_normalised():
    names = next(each for each in draft(FULL).extensions if isinstance(each, SubjectAlternativeName)).names
    assert [name.value for name in names] == [
        "leaf.example.com",
        "*.xn--bcher-kva.example",
        "https://leaf.example.com/x",
        "leaf@example.com",
        "192.0.2.1",
        "2001:db8::1",
    ]


# Issuers


def test_the_issuers_own_key_gets_no_certificate_under_itself():
    assert "found the key of the issuer" in refusal_of(key="P-256/ca").message


def test_a_leaf_with_the_name_of_its_issuer_is_refused():
    with pytest.raises(PolicyRefusal, match="another name than the issuer"):
        draft(GenericOrder(SubjectName("Example CA")))


def test_an_issuer_certificate_of_another_key_is_refused():
    with pytest.raises(PolicyRefusal, match="must carry the signing key"):
        issuer_from_certificate(ca(), public_key("P-256/leaf"))


def test_an_end_entity_is_no_issuer():
    with pytest.raises(PolicyRefusal, match="found one without cA TRUE"):
        issuer_from_certificate(replace(ca(), is_ca=False), public_key("P-256/ca"))


def test_an_issuer_without_cert_signing_is_refused():
    with pytest.raises(PolicyRefusal, match="must allow keyCertSign, found cRLSign"):
        issuer_from_certificate(replace(ca(), key_usage=frozenset({"cRLSign"})), public_key("P-256/ca"))


def test_an_issuer_without_key_identifier_is_refused():
    with pytest.raises(PolicyRefusal, match="must have a SubjectKeyIdentifier"):
        issuer_from_certificate(replace(ca(), subject_key_identifier=None), public_key("P-256/ca"))


# Requests


def test_a_request_asks_for_alternative_names_and_nothing_else():
    names = AlternativeNames(dns_names=("leaf.example.com",))
    drafted = draft_generic_request(GenericRequestOrder(SubjectName("Example Leaf", "US"), names))
    assert [type(extension) for extension in drafted.extensions] == [SubjectAlternativeName]
    assert drafted.subject.attributes == (("country", "US"), ("common_name", "Example Leaf"))


def test_a_request_without_alternative_names_asks_for_nothing():
    assert draft_generic_request(GenericRequestOrder(SubjectName("Example Leaf"))).extensions == ()


def test_a_request_lists_every_fault():
    order = GenericRequestOrder(SubjectName("", "USA"), AlternativeNames(ip_addresses=("1",)))
    with pytest.raises(PolicyRefusal) as refusal:
        draft_generic_request(order)
    assert len(refusal.value.details) == 3
