"""What a caller gets: the shape of every answer, what is in the certificates, and where they are stored."""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtensionOID, NameOID

from engine.x509.certificate import load_certificate as load_engine_certificate
from engine.x509.pem import load_pem
from tests.api.bodies import (
    CA_EXTENSIONS,
    certificate_body,
    certification_request,
    changed,
    csr_body,
    described_jwk,
    ds_body,
    ds_csr_body,
    hosted,
    iaca_body,
    outside_certificate,
    outside_key,
    private_jwk,
    public_jwk,
    subject_key_identifier,
)
from tests.api.conftest import Running

Issue = Callable[..., Any]

STORE = "test.tenant1.x509-store-1"


def spki(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return signed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_certificate(pem: str) -> x509.Certificate:
    """Also checks the form of the text: LF, 64 columns, no trailing newline."""
    first, *middle, last = pem.split("\n")
    assert (first, last) == ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")
    assert {len(line) for line in middle[:-1]} == {64}
    return x509.load_pem_x509_certificate(pem.encode())


def stored_certificate(running: Running, path: str) -> x509.Certificate:
    response = running.client.get(f"/v1/{path}/x509-store-api/certificates")
    assert response.status_code == 200
    return load_certificate(response.json()["data"]["pem"])


def key_source(descriptor: dict[str, Any]) -> dict[str, Any]:
    return {"type": "key-descriptor", "keyDescriptor": descriptor}


def self_signed(descriptor: dict[str, Any]) -> dict[str, Any]:
    body = changed(certificate_body(), "subjectPublicKeySource", key_source(descriptor))
    return changed(body, "issuer", {"type": "self-signed"})


# Certification requests


def test_a_generic_request_has_the_documented_members_and_proves_its_key(issue: Issue) -> None:
    answer = issue("csrs", csr_body())
    request = x509.load_pem_x509_csr(answer["csrPEM"].encode())
    assert request.is_signature_valid
    jwk = answer["csrData"].pop("publicKeyJwk")
    assert answer == {
        "csrPEM": answer["csrPEM"],
        "csrData": {
            "subjectName": {"commonName": "Example Leaf", "country": "US", "organizationName": "Example Org"},
            "subjectAlternativeNames": {"dnsNames": ["leaf.example.com"]},
        },
    }
    assert list(jwk) == ["kty", "crv", "x", "y"]
    assert not answer["csrPEM"].endswith("\n")
    assert request.subject.rfc4514_string() == "CN=Example Leaf,O=Example Org,C=US"


def test_a_request_without_alternative_names_has_no_such_member(issue: Issue) -> None:
    for names in (None, {}, {"dnsNames": [], "uris": None}):
        answer = issue("csrs", changed(csr_body(), "subjectAlternativeNames", names))
        assert set(answer["csrData"]) == {"subjectName", "publicKeyJwk"}


@pytest.mark.parametrize(
    ("key_id", "members"),
    [
        ("leaf-secp256r1", {"kty", "crv", "x", "y"}),
        ("leaf-secp384r1", {"kty", "crv", "x", "y"}),
        ("leaf-rsa", {"kty", "n", "e"}),
        ("leaf-ed25519", {"kty", "crv", "x"}),
    ],
)
def test_the_public_jwk_of_every_key_type_has_nothing_but_its_members(
    issue: Issue, key_id: str, members: set[str]
) -> None:
    answer = issue("csrs", changed(csr_body(), "subjectKeyDescriptor", hosted(key_id)))
    assert x509.load_pem_x509_csr(answer["csrPEM"].encode()).is_signature_valid
    assert set(answer["csrData"]["publicKeyJwk"]) == members


def test_a_document_signer_request_asks_for_its_key_usages(issue: Issue) -> None:
    answer = issue("csrs", changed(ds_csr_body(), "certificateData.localityName", "Here"))
    request = x509.load_pem_x509_csr(answer["csrPEM"].encode())
    assert request.is_signature_valid
    assert [attribute.value for attribute in request.subject] == ["US", "Example DS", "Here"]
    usage = request.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.value.digital_signature
    purposes = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in purposes] == ["1.0.18013.5.1.2"]
    assert answer["csrData"]["subjectName"] == {"commonName": "Example DS", "country": "US", "localityName": "Here"}


def test_a_request_made_here_is_accepted_with_the_newline_that_a_shell_adds(issue: Issue) -> None:
    text = issue("csrs", csr_body())["csrPEM"]
    for spelling in (text, f"{text}\n", text.replace("\n", "\r\n"), f"\n  {text}\n\n"):
        body = changed(certificate_body(), "subjectPublicKeySource.csrPEM", spelling)
        issue("certificate", body)


def test_nothing_is_stored_about_a_request(running: Running, issue: Issue) -> None:
    stored = running.stored()
    issue("csrs", csr_body())
    assert running.stored() == stored


# Generic certificates


def test_a_certificate_answers_with_what_it_says(running: Running, issue: Issue) -> None:
    body = certificate_body()
    body["certificateData"] = {
        "subjectName": {
            "commonName": "Full",
            "country": "US",
            "stateOrProvinceName": "Utah",
            "localityName": "Here",
            "organizationName": "Org",
            "organizationalUnitName": "Unit",
        },
        "keyUsage": ["keyAgreement", "DigitalSignature"],
        "extendedKeyUsageOids": ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"],
        "subjectAlternativeNames": {
            "dnsNames": ["leaf.example.com"],
            "uris": ["https://example.com/a"],
            "emails": ["leaf@example.com"],
            "ipAddresses": ["192.0.2.1", "2001:db8::1"],
        },
        "notBefore": "2026-01-01T02:00:00.5+02:00",
        "notAfter": "2027-01-01T00:00:00Z",
        "crlDistributionPointUri": "https://crl.example.com/1",
    }
    body["storedCertificateId"] = "full"
    answer = issue("certificate", body)
    certificate = load_certificate(answer["certificatePEM"])
    assert set(answer) == {"certificatePEM", "certificateData", "storedCertificateIds"}
    assert answer["certificateData"] == {
        **body["certificateData"],
        "keyUsage": ["DigitalSignature", "KeyAgreement"],
        "notBefore": "2026-01-01T00:00:00Z",
        "isCertificateAuthority": False,
        "serialNumber": f"{certificate.serial_number:040x}",
        "issuerName": {"commonName": "Example CA", "country": "US"},
    }
    assert answer["storedCertificateIds"] == [f"{STORE}.full"]
    assert stored_certificate(running, f"{STORE}.full") == certificate
    assert certificate.not_valid_before_utc == datetime(2026, 1, 1, tzinfo=UTC)
    certificate.verify_directly_issued_by(stored_certificate(running, f"{STORE}.ca-secp256r1"))


def test_defaults_are_filled_in(issue: Issue) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    answer = issue("certificate", changed(certificate_body(), "certificateData.keyUsage", ...))
    certificate = load_certificate(answer["certificatePEM"])
    assert before <= certificate.not_valid_before_utc <= datetime.now(UTC)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=365)
    assert set(answer["certificateData"]) == {
        "subjectName",
        "isCertificateAuthority",
        "notBefore",
        "notAfter",
        "serialNumber",
        "issuerName",
    }


def test_nothing_but_the_public_key_is_taken_from_the_request(issue: Issue) -> None:
    body = changed(
        certificate_body(), "subjectPublicKeySource.csrPEM", certification_request(common_name="Somebody Else")
    )
    certificate = load_certificate(issue("certificate", body)["certificatePEM"])
    assert certificate.subject.rfc4514_string() == "CN=Example Leaf,C=US"
    assert spki(certificate) == outside_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_the_subject_key_may_be_hosted_or_a_public_jwk(running: Running, issue: Issue) -> None:
    hosted_answer = issue(
        "certificate", changed(certificate_body(), "subjectPublicKeySource", key_source(hosted("leaf-rsa")))
    )
    row = running.engine.store.find_key("test.tenant1.kms1.leaf-rsa")
    assert spki(load_certificate(hosted_answer["certificatePEM"])) == row.spki
    descriptor = described_jwk({**public_jwk(outside_key("other")), "kid": "1", "use": "sig"})
    jwk_answer = issue("certificate", changed(certificate_body(), "subjectPublicKeySource", key_source(descriptor)))
    assert spki(load_certificate(jwk_answer["certificatePEM"])) == outside_key("other").public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("key_id", ["leaf-secp256r1", "leaf-secp384r1", "leaf-rsa", "leaf-ed25519"])
def test_a_self_signed_certificate_verifies_under_itself(issue: Issue, key_id: str) -> None:
    certificate = load_certificate(issue("certificate", self_signed(hosted(key_id)))["certificatePEM"])
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)


def test_the_issuer_certificate_may_be_given_or_named(running: Running, issue: Issue) -> None:
    paths = [
        path for path in running.stored() if "CN=CA " in stored_certificate(running, path).subject.rfc4514_string()
    ]
    assert len(paths) == 2
    for path in paths:
        issuer = stored_certificate(running, path)
        base = changed(certificate_body(), "issuer.issuerKeyDescriptor", hosted("two-subjects"))
        pem = issuer.public_bytes(Encoding.PEM).decode()
        body = changed(base, "certificateData.notAfter", issuer.not_valid_after_utc.isoformat())
        for member, value in (("issuerCertificateId", path), ("issuerCertificatePEM", pem)):
            answer = issue("certificate", changed(body, f"issuer.{member}", value))
            certificate = load_certificate(answer["certificatePEM"])
            assert certificate.issuer == issuer.subject
            certificate.verify_directly_issued_by(issuer)


def store(running: Running, entry_id: str, pem: str) -> None:
    """Put a certificate of an outside CA into the first store."""
    certificate = load_engine_certificate(load_pem(pem, "CERTIFICATE"))
    running.engine.store.add_entry(
        path=f"test.tenant1.x509-store-1.{entry_id}",
        type="base",
        certificate=certificate.der,
        sha256=certificate.sha256,
        subject=certificate.subject,
        issuer=certificate.issuer,
        serial_number=certificate.serial_number,
        spki_sha256=certificate.public_key.sha256,
        is_ca=certificate.is_ca,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        vouched_below="test",
    )


def test_an_issuer_with_attributes_that_are_repeated_or_not_ours_is_named_in_full(
    running: Running, issue: Issue
) -> None:
    attributes = [
        (NameOID.DOMAIN_COMPONENT, "example"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "a"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
        (NameOID.COMMON_NAME, "Cross-certified"),
    ]
    hosted_key = load_der_public_key(running.engine.store.find_key("test.tenant1.kms1.without-certificate").spki)
    cross = outside_certificate(
        outside_key("ca"),
        [*CA_EXTENSIONS, subject_key_identifier(hosted_key)],
        public_key=hosted_key,
        subject=attributes,
    )
    store(running, "outside-ca", outside_certificate(outside_key("ca"), CA_EXTENSIONS, subject=attributes))
    issuer = {"type": "ca-signed", "issuerKeyDescriptor": hosted("without-certificate"), "issuerCertificatePEM": cross}
    answer = issue("certificate", changed(certificate_body(), "issuer", issuer))
    assert answer["certificateData"]["issuerName"] == {
        "commonName": "Cross-certified",
        "organizationalUnitName": ["a", "b"],
        "0.9.2342.19200300.100.1.25": "example",
    }
    certificate = load_certificate(answer["certificatePEM"])
    assert certificate.issuer.public_bytes() == x509.load_pem_x509_certificate(cross.encode()).subject.public_bytes()


def test_an_issuer_certificate_that_no_known_authority_signed_is_refused(running: Running) -> None:
    """Anybody can write another name, or a longer life, around the public key of a CA."""
    hosted_key = load_der_public_key(running.engine.store.find_key("test.tenant1.kms1.ca-secp256r1").spki)
    forged = outside_certificate(
        outside_key("forger"), [*CA_EXTENSIONS, subject_key_identifier(hosted_key)], public_key=hosted_key
    )
    signatures, stored = running.signatures, running.stored()
    answer = running.post("certificate", changed(certificate_body(), "issuer.issuerCertificatePEM", forged))
    assert answer.status_code == 400
    assert "must be self-signed, or a trusted CA certificate or signed by one" in answer.json()["message"]
    assert (running.signatures, running.stored()) == (signatures, stored)


# Private JWKs


def test_a_private_jwk_signs_in_the_token_and_appears_nowhere(
    running: Running, issue: Issue, caplog: pytest.LogCaptureFixture
) -> None:
    jwk = private_jwk(outside_key("brought"))
    signatures = running.signatures
    with caplog.at_level(logging.DEBUG):
        answer = issue("csrs", changed(csr_body(), "subjectKeyDescriptor", described_jwk(jwk)))
        certificate = issue("certificate", self_signed(described_jwk(jwk)))
    assert answer["csrData"]["publicKeyJwk"] == public_jwk(outside_key("brought"))
    assert running.signatures == signatures + 2
    assert jwk["d"] not in json.dumps([answer, certificate]) + caplog.text


# ISO 18013-5


def test_an_iaca_answers_with_what_it_says(running: Running, issue: Issue) -> None:
    body = changed(iaca_body(), "storedCertificateId", "another-iaca")
    metadata = {"docType": ["org.iso.18013.5.1.mDL"], "certificateProfile": ["1.0.18013.5.1.8"], "note": {"a": [1]}}
    answer = issue("iso/iacas", changed(body, "vicalEntryComplementaryMetadata", metadata))
    certificate = load_certificate(answer["certificatePEM"])
    data = answer["certificateData"]
    assert data == {
        "commonName": "Another IACA",
        "country": "DE",
        "issuerAlternativeNameConf": {"email": "iaca@example.com", "uri": "https://iaca.example.com"},
        "notBefore": data["notBefore"],
        "notAfter": data["notAfter"],
        "serialNumber": f"{certificate.serial_number:040x}",
        "issuerName": {"commonName": "Another IACA", "country": "DE"},
    }
    certificate.verify_directly_issued_by(certificate)
    entry = running.client.get(f"/v1/{STORE}.another-iaca/x509-store-api/certificates").json()
    assert entry == {
        "_id": f"{STORE}.another-iaca",
        "data": {"type": "vical-entry", "pem": answer["certificatePEM"], "complementaryMetadata": metadata},
    }


def test_a_document_signer_answers_with_what_it_says_and_copies_its_iaca(running: Running, issue: Issue) -> None:
    answer = issue("iso/document-signers", changed(ds_body(), "storedCertificateId", "ds-1"))
    certificate = load_certificate(answer["certificatePEM"])
    iaca = stored_certificate(running, f"{STORE}.iaca-secp256r1")
    data = answer["certificateData"]
    assert data == {
        "commonName": "Example DS",
        "country": "US",
        "crlDistributionPointUri": "https://crl-example.com",
        "notBefore": data["notBefore"],
        "notAfter": data["notAfter"],
        "serialNumber": f"{certificate.serial_number:040x}",
        "issuerName": {"commonName": "Example IACA", "country": "US"},
    }
    assert answer["storedCertificateIds"] == [f"{STORE}.ds-1"]
    assert certificate.issuer.public_bytes() == iaca.subject.public_bytes()
    for read in (certificate, iaca):
        assert read.extensions.get_extension_for_oid(ExtensionOID.ISSUER_ALTERNATIVE_NAME)
    certificate.verify_directly_issued_by(iaca)


def test_the_older_way_to_name_a_document_signer_key_still_works(issue: Issue) -> None:
    body = changed(changed(ds_body(), "dsPublicKeySource", ...), "dsKeyDescriptor", hosted("leaf-secp384r1"))
    certificate = load_certificate(issue("iso/document-signers", body)["certificatePEM"])
    assert certificate.public_key().key_size == 384  # type: ignore[union-attr]


def test_an_iaca_may_be_presented_as_a_certificate(running: Running, issue: Issue) -> None:
    iaca = stored_certificate(running, f"{STORE}.iaca-secp256r1")
    signer = {
        "type": "iaca-pem-cert-descriptor",
        "iacaKeyDesc": hosted("iaca-secp256r1"),
        "iacaPemEncodedCertificate": iaca.public_bytes(Encoding.PEM).decode(),
    }
    answer = issue("iso/document-signers", changed(ds_body(), "iacaSigner", signer), "no-stores")
    load_certificate(answer["certificatePEM"]).verify_directly_issued_by(iaca)


def test_an_iaca_known_only_by_its_data_is_named_after_it(issue: Issue) -> None:
    body = changed(ds_body(), "iacaSigner.certificateData.commonName", "Described IACA")
    answer = issue("iso/document-signers", body, "no-stores")
    assert answer["certificateData"]["issuerName"] == {"commonName": "Described IACA", "country": "US"}


# Stores


def test_a_service_without_stores_ignores_the_id_and_stores_nothing(running: Running, issue: Issue) -> None:
    stored = running.stored()
    body = changed(self_signed(hosted("leaf-secp256r1")), "storedCertificateId", "ca-secp256r1")
    assert "storedCertificateIds" not in issue("certificate", body, "no-stores")
    assert running.stored() == stored


def test_one_id_is_shared_by_every_attached_store_and_made_up_when_absent(running: Running, issue: Issue) -> None:
    answer = issue("certificate", certificate_body(), "two-stores")
    first, second = answer["storedCertificateIds"]
    entry_id = first.removeprefix("test.tenant1.x509-store-1.")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", entry_id)
    assert second == f"test.tenant1.x509-store-2.{entry_id}"
    assert stored_certificate(running, first) == stored_certificate(running, second)


def test_of_many_requests_for_one_id_at_once_one_is_signed_and_the_others_are_409(running: Running) -> None:
    signatures = running.signatures
    body = changed(certificate_body(), "storedCertificateId", "wanted-by-many")
    responses = running.client.post_together("/v1/test.tenant1.two-stores/x509-service-api/certificate", [body] * 20)
    assert Counter(response.status_code for response in responses) == {200: 1, 409: 19}
    assert running.signatures == signatures + 1


def test_many_certificates_at_once_have_serial_numbers_of_their_own(running: Running) -> None:
    responses = running.client.post_together(
        "/v1/test.tenant1.no-stores/x509-service-api/certificate", [self_signed(hosted("leaf-secp256r1"))] * 40
    )
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["certificateData"]["serialNumber"] for response in responses}) == 40
