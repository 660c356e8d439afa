"""What each request may hold, how faults are named, and what orders come of it."""

import contextlib
import copy
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from engine.api.faults import load_model
from engine.api.fields import KEY_USAGES, capitalized
from engine.api.schema.x509_service import CreateRequest, IssueCertificate, IssueDocumentSigner, IssueIaca
from engine.directory import CaSigned, CsrSource, HostedKey, IacaData, IacaPem, JwkKey, KeySource, SelfSigned
from engine.errors import MalformedRequest
from engine.profiles.orders import (
    AlternativeNames,
    DocumentSignerOrder,
    DocumentSignerRequestOrder,
    GenericOrder,
    GenericRequestOrder,
    IacaOrder,
    IssuerAlternativeNameOrder,
    SubjectName,
)

CREATE: TypeAdapter[Any] = TypeAdapter(CreateRequest)
ISSUE = TypeAdapter(IssueCertificate)
IACA = TypeAdapter(IssueIaca)
DOCUMENT_SIGNER = TypeAdapter(IssueDocumentSigner)

HOSTED = {"type": "kms-hosted-key-descriptor", "keyIdPath": "test.tenant1.kms1.leaf"}
GENERIC_REQUEST: dict[str, Any] = {
    "type": "generic",
    "subjectKeyDescriptor": HOSTED,
    "subjectName": {"commonName": "Example Leaf", "country": "US", "organizationName": "Example Org"},
    "subjectAlternativeNames": {"dnsNames": ["leaf.example.com"]},
}
CERTIFICATE: dict[str, Any] = {
    "storedCertificateId": "leaf",
    "certificateData": {"subjectName": {"commonName": "Example Leaf"}, "keyUsage": ["DigitalSignature"]},
    "subjectPublicKeySource": {"type": "csr", "csrPEM": "pem"},
    "issuer": {"type": "ca-signed", "issuerKeyDescriptor": HOSTED},
}
IACA_DATA: dict[str, Any] = {
    "country": "US",
    "commonName": "Example IACA",
    "notBefore": "2025-05-28T12:23:01Z",
    "notAfter": "2040-05-24T12:23:01Z",
    "issuerAlternativeNameConf": {"uri": "https://iaca.example.com"},
}
DS: dict[str, Any] = {
    "iacaSigner": {"type": "iaca-cert-data-descriptor", "iacaKeyDesc": HOSTED, "certificateData": IACA_DATA},
    "certificateData": {"country": "US", "commonName": "DS", "crlDistributionPointUri": "https://crl.example"},
    "dsPublicKeySource": {"type": "csr", "csrPEM": "pem"},
}
IACA_ORDER = IacaOrder(
    country="US",
    common_name="Example IACA",
    issuer_alternative_name=IssuerAlternativeNameOrder(uri="https://iaca.example.com"),
    not_before=datetime(2025, 5, 28, 12, 23, 1, tzinfo=UTC),
    not_after=datetime(2040, 5, 24, 12, 23, 1, tzinfo=UTC),
)


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The document with the member at a dotted path set, or removed for Ellipsis."""
    result = copy.deepcopy(document)
    *above, last = path.split(".")
    place = result
    for name in above:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def refusal(adapter: TypeAdapter[Any], document: dict[str, Any]) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        load_model(adapter, document)
    return caught.value


def test_a_generic_request_becomes_its_order() -> None:
    members = load_model(CREATE, GENERIC_REQUEST)
    assert members.subject_key_descriptor.value() == HostedKey("test.tenant1.kms1.leaf")
    assert members.value() == GenericRequestOrder(
        SubjectName(common_name="Example Leaf", country="US", organization_name="Example Org"),
        AlternativeNames(dns_names=("leaf.example.com",)),
    )


def test_a_document_signer_request_becomes_its_order() -> None:
    members = load_model(
        CREATE,
        {
            "type": "iso-document-signer",
            "subjectKeyDescriptor": HOSTED,
            "certificateData": {"country": "US", "commonName": "DS", "localityName": "Here"},
        },
    )
    assert members.value() == DocumentSignerRequestOrder(country="US", common_name="DS", locality_name="Here")


def test_certificate_data_becomes_a_generic_order() -> None:
    members = load_model(
        ISSUE,
        changed(
            CERTIFICATE,
            "certificateData",
            {
                "subjectName": {"commonName": "A", "localityName": "B", "organizationalUnitName": "C"},
                "keyUsage": ["KeyCertSign", "cRLSign"],
                "extendedKeyUsageOids": ["1.3.6.1.5.5.7.3.2"],
                "subjectAlternativeNames": {"uris": ["a:b"], "emails": ["a@b.c"], "ipAddresses": ["::1"]},
                "notBefore": "2025-05-28T12:23:01.987+02:00",
                "notAfter": "2026-05-28T12:23:01Z",
                "isCertificateAuthority": True,
                "pathLengthConstraint": 0,
                "crlDistributionPointUri": "https://crl.example",
            },
        ),
    )
    assert members.certificate_data.value() == GenericOrder(
        subject_name=SubjectName(common_name="A", locality_name="B", organizational_unit_name="C"),
        key_usage=("keyCertSign", "cRLSign"),
        extended_key_usage=("1.3.6.1.5.5.7.3.2",),
        subject_alternative_names=AlternativeNames(uris=("a:b",), emails=("a@b.c",), ip_addresses=("::1",)),
        not_before=datetime(2025, 5, 28, 10, 23, 1, tzinfo=UTC),
        not_after=datetime(2026, 5, 28, 12, 23, 1, tzinfo=UTC),
        is_certificate_authority=True,
        path_length_constraint=0,
        crl_distribution_point_uri="https://crl.example",
    )


def test_subject_sources_and_issuers_become_choices() -> None:
    members = load_model(ISSUE, CERTIFICATE)
    assert members.subject_public_key_source.value() == CsrSource("pem")
    assert members.issuer.value() == CaSigned(HostedKey("test.tenant1.kms1.leaf"))
    document = changed(
        CERTIFICATE,
        "subjectPublicKeySource",
        {
            "type": "key-descriptor",
            "keyDescriptor": {"type": "jwk-encoded-key-descriptor", "jwk": {"kty": "EC", "other": [1]}},
        },
    )
    members = load_model(ISSUE, changed(document, "issuer", {"type": "self-signed"}))
    assert members.subject_public_key_source.value() == KeySource(JwkKey({"kty": "EC", "other": [1]}))
    assert members.issuer.value() == SelfSigned()


def test_the_issuer_certificate_may_be_given_or_named() -> None:
    document = changed(CERTIFICATE, "issuer.issuerCertificatePEM", "pem")
    document = changed(document, "issuer.issuerCertificateId", "test.tenant1.store.ca")
    assert load_model(ISSUE, document).issuer.value() == CaSigned(
        HostedKey("test.tenant1.kms1.leaf"), certificate_pem="pem", certificate_id="test.tenant1.store.ca"
    )


def test_an_iaca_keeps_its_complementary_metadata_without_nulls() -> None:
    metadata = {"docType": ["org.iso.18013.5.1.mDL"], "certificateProfile": None, "other": {"deep": [1]}}
    members = load_model(
        IACA, {"iacaKeyDesc": HOSTED, "certificateData": IACA_DATA, "vicalEntryComplementaryMetadata": metadata}
    )
    assert members.certificate_data.value() == IACA_ORDER
    assert members.vical_entry_complementary_metadata is not None
    assert members.vical_entry_complementary_metadata.value() == {
        "docType": ["org.iso.18013.5.1.mDL"],
        "other": {"deep": [1]},
    }


def test_an_iaca_signer_is_described_by_data_or_certificate() -> None:
    assert load_model(DOCUMENT_SIGNER, DS).iaca_signer.value() == IacaData(HostedKey(HOSTED["keyIdPath"]), IACA_ORDER)
    by_pem = {"type": "iaca-pem-cert-descriptor", "iacaKeyDesc": HOSTED, "iacaPemEncodedCertificate": "pem"}
    members = load_model(DOCUMENT_SIGNER, changed(DS, "iacaSigner", by_pem))
    assert members.iaca_signer.value() == IacaPem(HostedKey(HOSTED["keyIdPath"]), "pem")
    assert members.certificate_data.value() == DocumentSignerOrder(
        country="US", common_name="DS", crl_distribution_point_uri="https://crl.example"
    )


def test_a_document_signer_key_comes_in_exactly_one_of_two_ways() -> None:
    legacy = changed(changed(DS, "dsPublicKeySource", ...), "dsKeyDescriptor", HOSTED)
    assert load_model(DOCUMENT_SIGNER, legacy).source() == KeySource(HostedKey(HOSTED["keyIdPath"]))
    assert load_model(DOCUMENT_SIGNER, DS).source() == CsrSource("pem")
    with pytest.raises(MalformedRequest, match="found both"):
        load_model(DOCUMENT_SIGNER, changed(DS, "dsKeyDescriptor", HOSTED)).source()
    with pytest.raises(MalformedRequest, match="found neither"):
        load_model(DOCUMENT_SIGNER, changed(DS, "dsPublicKeySource", ...)).source()


def test_optional_members_may_be_null() -> None:
    document = changed(CERTIFICATE, "storedCertificateId", None)
    for name in ("keyUsage", "extendedKeyUsageOids", "subjectAlternativeNames", "notBefore", "isCertificateAuthority"):
        document = changed(document, f"certificateData.{name}", None)
    assert load_model(ISSUE, document).certificate_data.value() == GenericOrder(SubjectName("Example Leaf"))


@pytest.mark.parametrize(
    ("adapter", "document", "missing"),
    [
        (CREATE, {"type": "generic"}, ["subjectKeyDescriptor", "subjectName"]),
        (CREATE, {}, ["type"]),
        (CREATE, changed(GENERIC_REQUEST, "subjectName", {}), ["subjectName.commonName"]),
        (CREATE, changed(GENERIC_REQUEST, "subjectKeyDescriptor", {}), ["subjectKeyDescriptor.type"]),
        (
            CREATE,
            changed(GENERIC_REQUEST, "subjectKeyDescriptor", {"type": HOSTED["type"]}),
            ["subjectKeyDescriptor.keyIdPath"],
        ),
        (ISSUE, {}, ["certificateData", "subjectPublicKeySource", "issuer"]),
        (ISSUE, changed(CERTIFICATE, "issuer", {"type": "ca-signed"}), ["issuer.issuerKeyDescriptor"]),
        (
            DOCUMENT_SIGNER,
            changed(changed(DS, "iacaSigner.certificateData", {}), "certificateData", {}),
            [
                "iacaSigner.certificateData.country",
                "iacaSigner.certificateData.commonName",
                "iacaSigner.certificateData.issuerAlternativeNameConf",
                "iacaSigner.certificateData.notBefore",
                "iacaSigner.certificateData.notAfter",
                "certificateData.country",
                "certificateData.commonName",
                "certificateData.crlDistributionPointUri",
            ],
        ),
    ],
)
def test_every_missing_member_is_named(adapter: TypeAdapter[Any], document: dict[str, Any], missing: list[str]) -> None:
    error = refusal(adapter, document)
    assert set(error.details) == {f"missing member: {name}" for name in missing}
    for name in missing:
        assert name in error.message


@pytest.mark.parametrize(
    ("adapter", "document", "path"),
    [
        (CREATE, GENERIC_REQUEST, "extra"),
        (CREATE, GENERIC_REQUEST, "csr"),
        (CREATE, GENERIC_REQUEST, "subject_name"),
        (CREATE, GENERIC_REQUEST, "subjectName.commonname"),
        (CREATE, GENERIC_REQUEST, "subjectAlternativeNames.dnsName"),
        (CREATE, GENERIC_REQUEST, "subjectKeyDescriptor.jwk"),
        (ISSUE, CERTIFICATE, "certificateData.keyUsages"),
        (ISSUE, CERTIFICATE, "subjectPublicKeySource.csrPem"),
        (ISSUE, CERTIFICATE, "issuer.issuerCertificatePem"),
        (DOCUMENT_SIGNER, DS, "iacaSigner.certificateData.issuerAlternativeNameConf.url"),
        (DOCUMENT_SIGNER, DS, "certificateData.keyUsage"),
    ],
)
def test_an_unknown_member_is_named_by_its_dotted_path(
    adapter: TypeAdapter[Any], document: dict[str, Any], path: str
) -> None:
    error = refusal(adapter, changed(document, path, "x"))
    name = path if path != "subject_name" else "'subject_name'"
    assert error.details == (f"unknown member: {name}",)
    assert f"unknown member {name}" in error.message


@pytest.mark.parametrize(
    ("adapter", "document", "path", "known"),
    [
        (CREATE, GENERIC_REQUEST, "type", ["generic", "iso-document-signer"]),
        (
            CREATE,
            GENERIC_REQUEST,
            "subjectKeyDescriptor.type",
            ["kms-hosted-key-descriptor", "jwk-encoded-key-descriptor"],
        ),
        (ISSUE, CERTIFICATE, "subjectPublicKeySource.type", ["csr", "key-descriptor"]),
        (ISSUE, CERTIFICATE, "issuer.type", ["ca-signed", "self-signed"]),
        (DOCUMENT_SIGNER, DS, "iacaSigner.type", ["iaca-cert-data-descriptor", "iaca-pem-cert-descriptor"]),
    ],
)
@pytest.mark.parametrize("value", ["other", "", "Generic", 5, None, [], {"a": 1}])
def test_a_wrong_type_is_told_the_known_ones(
    adapter: TypeAdapter[Any], document: dict[str, Any], path: str, known: list[str], value: object
) -> None:
    error = refusal(adapter, changed(document, path, value))
    assert error.message.startswith(f"The request body does not have the expected members: {path}: expected one of ")
    for name in known:
        assert f"'{name}'" in error.message


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("certificateData", [], "certificateData: expected an object"),
        ("certificateData.subjectName", "CN=x", "certificateData.subjectName: expected an object"),
        ("certificateData.subjectName.commonName", 5, "certificateData.subjectName.commonName: expected a string"),
        ("certificateData.subjectName.commonName", None, "certificateData.subjectName.commonName: expected a string"),
        ("certificateData.keyUsage", "DigitalSignature", "certificateData.keyUsage: expected a list"),
        ("certificateData.keyUsage", ["digitalsignature"], "certificateData.keyUsage.0: expected one of Digital"),
        ("certificateData.keyUsage", [1], "certificateData.keyUsage.0: expected a string"),
        ("certificateData.isCertificateAuthority", "true", "isCertificateAuthority: expected true or false"),
        ("certificateData.isCertificateAuthority", 1, "isCertificateAuthority: expected true or false"),
        ("certificateData.pathLengthConstraint", "0", "pathLengthConstraint: expected a whole number"),
        ("certificateData.pathLengthConstraint", 0.5, "pathLengthConstraint: expected a whole number"),
        ("certificateData.pathLengthConstraint", True, "pathLengthConstraint: expected a whole number"),
        ("certificateData.notBefore", 1716898981, "notBefore: expected an instant"),
        ("certificateData.extendedKeyUsageOids", ["serverAuth"], "extendedKeyUsageOids.0: expected a dotted"),
        ("storedCertificateId", "a.b", "storedCertificateId: expected an id"),
        ("storedCertificateId", "", "storedCertificateId: expected an id"),
        ("storedCertificateId", "a\n", "storedCertificateId: expected an id"),
        ("storedCertificateId", "\u0661", "storedCertificateId: expected an id"),
        ("storedCertificateId", "a" * 257, "storedCertificateId: expected an id"),
        ("issuer.issuerKeyDescriptor.keyIdPath", "a..b", "keyIdPath: expected ids of 1 to 256"),
        ("issuer.issuerKeyDescriptor.keyIdPath", "a/b", "keyIdPath: expected ids of 1 to 256"),
        ("issuer", "ca-signed", "issuer: expected an object"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(path: str, value: object, sentence: str) -> None:
    assert sentence in refusal(ISSUE, changed(CERTIFICATE, path, value)).message


@pytest.mark.parametrize(
    "text",
    [
        "2025-05-28T12:23:01",
        "2025-05-28",
        "2025-05-28 12:23:01Z",
        "2025-02-30T12:23:01Z",
        "2025-05-28T25:23:01Z",
        "2025-05-28T12:23:60Z",
        "2025-05-28T12:23:01+0200",
        "2025-05-28T12:23:01+99:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2025-05-28T12:23:01Zx",
        "\u0662025-05-28T12:23:01Z",
        "",
    ],
)
def test_a_text_that_is_no_instant_is_refused(text: str) -> None:
    error = refusal(ISSUE, changed(CERTIFICATE, "certificateData.notBefore", text))
    assert "certificateData.notBefore: expected a" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "2025-05-28T12:23:01Z",
        "2025-05-28t12:23:01z",
        "2025-05-28T12:23:01.999999999Z",
        "2025-05-28T14:23:01+02:00",
        "2025-05-27T23:53:01.5-12:30",
    ],
)
def test_an_instant_is_whole_seconds_in_utc(text: str) -> None:
    members = load_model(ISSUE, changed(CERTIFICATE, "certificateData.notBefore", text))
    assert members.certificate_data.value().not_before == datetime(2025, 5, 28, 12, 23, 1, tzinfo=UTC)


@pytest.mark.parametrize("use", KEY_USAGES)
def test_a_key_usage_may_begin_with_either_case(use: str) -> None:
    members = load_model(ISSUE, changed(CERTIFICATE, "certificateData.keyUsage", [use, capitalized(use)]))
    assert members.certificate_data.value().key_usage == (use, use)


@pytest.mark.parametrize(
    "text",
    ["3.1", "1.40", "0.40", "1", "1.", "1.2.03", "01.2", "1.02", "1.2..3", "1.2.a", "2.999.-1", "1.2." + "9" * 99],
)
def test_a_text_that_is_no_object_identifier_is_refused(text: str) -> None:
    error = refusal(ISSUE, changed(CERTIFICATE, "certificateData.extendedKeyUsageOids", [text]))
    assert "expected a dotted object identifier" in error.message


@pytest.mark.parametrize("text", ["1.3.6.1.5.5.7.3.2", "1.0.18013.5.1.2", "2.999", "0.39.0", "2.16.840.1.113730.4.1"])
def test_an_object_identifier_is_taken_as_it_is(text: str) -> None:
    members = load_model(ISSUE, changed(CERTIFICATE, "certificateData.extendedKeyUsageOids", [text]))
    assert members.certificate_data.value().extended_key_usage == (text,)


def test_a_body_with_very_many_faults_gets_a_short_answer() -> None:
    error = refusal(ISSUE, {f"name{number}" * 40: 1 for number in range(1000)})
    assert len(error.message) < 4000
    assert len(error.details) <= 20
    assert "and 980 more" in error.message


SECRET = "c2VjcmV0LXByaXZhdGUtZXhwb25lbnQ"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "wrong"),
        ("subjectName", {}),
        ("subjectKeyDescriptor.jwk", [{"d": SECRET}]),
        ("subjectKeyDescriptor.jwk", SECRET),
        ("subjectKeyDescriptor.type", "kms-hosted-key-descriptor"),
        ("subjectKeyDescriptor.d", SECRET),
        ("subjectAlternativeNames", {"dnsNames": {"d": SECRET}}),
        ("subjectName.commonName", {"d": SECRET}),
    ],
)
def test_a_private_key_member_is_never_repeated_by_a_refusal(path: str, value: object) -> None:
    document = changed(
        GENERIC_REQUEST,
        "subjectKeyDescriptor",
        {"type": "jwk-encoded-key-descriptor", "jwk": {"kty": "EC", "d": SECRET}},
    )
    error = refusal(CREATE, changed(document, path, value))
    everything = "".join(traceback.format_exception(error)) + repr(error) + error.message + "".join(error.details)
    assert SECRET not in everything
    assert error.__context__ is None


def test_a_private_key_member_is_not_in_the_repr_of_a_model_or_descriptor() -> None:
    document = changed(
        GENERIC_REQUEST,
        "subjectKeyDescriptor",
        {"type": "jwk-encoded-key-descriptor", "jwk": {"kty": "EC", "d": SECRET}},
    )
    members = load_model(CREATE, document)
    assert SECRET not in repr(members) + str(members) + repr(members.subject_key_descriptor.value())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = [
    "type",
    "subjectKeyDescriptor",
    "subjectName",
    "certificateData",
    "issuer",
    "iacaSigner",
    "subjectPublicKeySource",
    "vicalEntryComplementaryMetadata",
]


@given(
    st.sampled_from([CREATE, ISSUE, IACA, DOCUMENT_SIGNER]),
    st.sampled_from([GENERIC_REQUEST, CERTIFICATE, DS]),
    st.dictionaries(st.sampled_from(MEMBERS), JSON),
)
def test_any_json_is_understood_or_refused_and_nothing_else(
    adapter: TypeAdapter[Any], document: dict[str, Any], others: dict[str, Any]
) -> None:
    with contextlib.suppress(MalformedRequest):
        assert load_model(adapter, {**document, **others}).model_fields_set
