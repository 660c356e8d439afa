"""The one call of newer clients: every profile through it, and everything it refuses."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.api.bodies import (
    CA_EXTENSIONS,
    certificate_body,
    certification_request,
    changed,
    hosted,
    outside_certificate,
    outside_key,
    tampered_request,
)
from tests.api.conftest import Running
from tests.conforms import assert_conforms

SERVICE = "test.tenant1.x509-service-1"
STORE = "test.tenant1.x509-store-1"
OTHER_STORE = "test.tenant1.x509-store-2"
KMS = "test.tenant1.kms1"
REACH = [{"type": "uri", "name": "https://iaca.example.com"}]
NUMBERS = itertools.count(1)


def new_id() -> str:
    return f"unified-{next(NUMBERS)}"


def send(
    running: Running, body: dict[str, Any], certificate_id: str, *, service: str = SERVICE, method: str = "PUT"
) -> httpx.Response:
    return running.client.request(method, f"/v1/{service}.{certificate_id}/x509-service-api/certificates", json=body)


def issued(running: Running, body: dict[str, Any], certificate_id: str | None = None, **more: str) -> dict[str, Any]:
    """What is in `certificate` of the answer."""
    response = send(running, body, certificate_id or new_id(), **more)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert set(answer) == {"certificate"}
    return answer["certificate"]


def load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def assert_conforming(certificate: dict[str, Any], issuer_pem: str | None = None) -> x509.Certificate:
    der = load(certificate["certificatePem"]).public_bytes(Encoding.DER)
    assert_conforms(der, None if issuer_pem is None else load(issuer_pem).public_bytes(Encoding.DER))
    return load(certificate["certificatePem"])


def stored(running: Running, path: str) -> dict[str, Any]:
    response = running.client.get(f"/v1/{path}/x509-store-api/certificates")
    assert response.status_code == 200, response.text
    return response.json()["data"]


def window(days: int, begin: datetime | None = None) -> dict[str, str]:
    """As a client writes it: with milliseconds."""
    begin = begin or datetime.now(UTC)
    times = {"validFrom": begin, "validTo": begin + timedelta(days=days)}
    return {name: time.isoformat(timespec="milliseconds").replace("+00:00", "Z") for name, time in times.items()}


def iaca_body(key_id: str = "unified-iaca") -> dict[str, Any]:
    return {
        "storeRef": STORE,
        "selfSigned": True,
        "certificateProfile": "iso-iaca-root",
        "subjectKeyRef": f"{KMS}.{key_id}",
        "subjectDn": "C=US,CN=Unified IACA",
        **window(3650),
        "issuerAlternativeNames": REACH,
        "metadata": {"vicalDocType": ["org.iso.18013.5.1.mDL", "eu.europa.ec.eudi.pid.1"]},
    }


def ds_body() -> dict[str, Any]:
    return {
        "storeRef": STORE,
        "certificateProfile": "iso-document-signer",
        "issuerCertificateRef": f"{STORE}.unified-root",
        "issuerKeyRef": f"{KMS}.unified-iaca",
        "subjectKeyRef": f"{KMS}.unified-leaf",
        "subjectDn": "C=US,CN=Unified document signer",
        **window(365),
        "issuerAlternativeNames": REACH,
        "crlDistributionPointUri": "https://crl.example.com/iaca",
    }


def leaf_body() -> dict[str, Any]:
    return {
        "storeRef": STORE,
        "issuerCertificateRef": f"{STORE}.unified-root",
        "issuerKeyRef": f"{KMS}.unified-iaca",
        "subjectKeyRef": f"{KMS}.unified-leaf",
        "subjectDn": "C=US,CN=Unified request signer",
        **window(90),
        "basicConstraintsCa": False,
        "keyUsage": ["digitalSignature"],
        "extendedKeyUsageOids": ["1.3.6.1.5.5.7.3.2"],
    }


def self_signed_body() -> dict[str, Any]:
    return {
        "selfSigned": True,
        "subjectKeyRef": f"{KMS}.unified-ca",
        "subjectDn": r"CN=Unified CA\, generic,O=Org,OU=Unit,L=Here,ST=Utah,C=US",
        "basicConstraintsCa": True,
        **window(3650),
    }


@pytest.fixture(scope="module", autouse=True)
def root(running: Running) -> str:
    """The IACA certificate that the others of this file are under, PEM."""
    return str(issued(running, iaca_body(), "unified-root")["certificatePem"])


@pytest.fixture(scope="module", autouse=True)
def generic_ca(running: Running, root: str) -> str:
    """A CA certificate of the generic profile in every attached store, PEM."""
    return str(issued(running, self_signed_body(), "unified-ca")["certificatePem"])


# What clients send


def test_an_iaca_is_a_vical_entry_of_the_one_store(running: Running, root: str) -> None:
    certificate = assert_conforming({"certificatePem": root})
    assert certificate.subject.rfc4514_string() == "CN=Unified IACA,C=US"
    entry = stored(running, f"{STORE}.unified-root")
    assert entry == {
        "type": "vical-entry",
        "pem": root,
        "complementaryMetadata": {"docType": ["org.iso.18013.5.1.mDL", "eu.europa.ec.eudi.pid.1"]},
    }


def test_a_document_signer_is_signed_by_the_stored_iaca(running: Running, root: str) -> None:
    certificate_id = new_id()
    answer = issued(running, ds_body(), certificate_id)
    certificate = assert_conforming(answer, root)
    path = f"{STORE}.{certificate_id}"
    assert set(answer) == {"_id", "certificatePem", "certificateData", "storedCertificateIds"}
    assert (answer["_id"], answer["storedCertificateIds"]) == (path, [path])
    assert stored(running, path) == {"type": "base", "pem": answer["certificatePem"]}
    data = answer["certificateData"]
    assert data == {
        "subjectName": {"commonName": "Unified document signer", "country": "US"},
        "keyUsage": ["DigitalSignature"],
        "extendedKeyUsageOids": ["1.0.18013.5.1.2"],
        "isCertificateAuthority": False,
        "crlDistributionPointUri": "https://crl.example.com/iaca",
        "notBefore": data["notBefore"],
        "notAfter": data["notAfter"],
        "serialNumber": f"{certificate.serial_number:040x}",
        "issuerName": {"commonName": "Unified IACA", "country": "US"},
    }
    for oid in (x509.OID_ISSUER_ALTERNATIVE_NAME, x509.OID_AUTHORITY_KEY_IDENTIFIER):
        assert certificate.extensions.get_extension_for_oid(oid)
    assert certificate.issuer.public_bytes() == load(root).subject.public_bytes()


def test_without_a_profile_a_certificate_is_generic(running: Running, root: str) -> None:
    certificate = assert_conforming(issued(running, leaf_body()), root)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in purposes] == ["1.3.6.1.5.5.7.3.2"]


def test_a_generic_ca_signs_itself_under_the_name_in_the_order_of_the_profile(generic_ca: str) -> None:
    certificate = assert_conforming({"certificatePem": generic_ca})
    assert [attribute.value for attribute in certificate.subject] == [
        "US",
        "Utah",
        "Here",
        "Org",
        "Unit",
        "Unified CA, generic",
    ]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is True


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_either_method_issues(running: Running, root: str, method: str) -> None:
    assert_conforming(issued(running, ds_body(), method=method), root)


def test_the_subject_key_may_come_in_a_proven_request(running: Running, generic_ca: str) -> None:
    body = {
        "issuerKeyRef": f"{KMS}.unified-ca",
        "csrPem": certification_request(common_name="Somebody Else"),
        "subjectDn": "CN=From a request",
        "subjectAlternativeNames": [
            {"type": "ipAddress", "name": "192.0.2.1"},
            {"type": "dnsName", "name": "example.com"},
            {"type": "email", "name": "leaf@example.com"},
            {"type": "uri", "name": "https://example.com/a"},
        ],
    }
    answer = issued(running, body)
    certificate = assert_conforming(answer, generic_ca)
    assert certificate.subject.rfc4514_string() == "CN=From a request"
    expected = outside_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == expected
    assert answer["certificateData"]["subjectAlternativeNames"] == {
        "dnsNames": ["example.com"],
        "uris": ["https://example.com/a"],
        "emails": ["leaf@example.com"],
        "ipAddresses": ["192.0.2.1"],
    }
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=365)


@pytest.mark.parametrize("body", [ds_body, leaf_body])
@pytest.mark.parametrize("by", ["issuerCertificateRef", "issuerCertificatePem", "issuerKeyRef"])
def test_the_issuer_may_be_stored_brought_or_found(
    running: Running, root: str, body: Callable[[], dict[str, Any]], by: str
) -> None:
    order = changed(body(), "issuerCertificateRef", ...)
    named = {"issuerCertificateRef": f"{STORE}.unified-root", "issuerCertificatePem": root}
    if by in named:
        order[by] = named[by]
    assert_conforming(issued(running, order), root)


@pytest.mark.parametrize(
    ("body", "member", "value"),
    [
        (iaca_body, "basicConstraintsCa", True),
        (iaca_body, "keyUsage", ["cRLSign", "keyCertSign"]),
        (iaca_body, "extendedKeyUsageOids", []),
        (iaca_body, "issuerKeyRef", f"{KMS}.unified-iaca"),
        (iaca_body, "selfSigned", ...),
        (ds_body, "basicConstraintsCa", False),
        (ds_body, "keyUsage", ["DigitalSignature"]),
        (ds_body, "extendedKeyUsageOids", ["1.0.18013.5.1.2"]),
        (ds_body, "selfSigned", False),
        (ds_body, "issuerAlternativeNames", ...),
        (ds_body, "issuerAlternativeNames", None),
    ],
)
def test_what_a_profile_says_itself_may_be_said_or_left_out(
    running: Running, root: str, body: Callable[[], dict[str, Any]], member: str, value: object
) -> None:
    answer = issued(running, changed(body(), member, value))
    assert_conforming(answer, None if body is iaca_body else root)


# Where it is kept


def test_without_a_store_reference_every_attached_store_keeps_it(running: Running) -> None:
    certificate_id, service = new_id(), "test.tenant1.two-stores"
    answer = issued(running, changed(leaf_body(), "storeRef", ...), certificate_id, service=service)
    paths = [f"{STORE}.{certificate_id}", f"{OTHER_STORE}.{certificate_id}"]
    assert (answer["_id"], answer["storedCertificateIds"]) == (paths[0], paths)
    assert [stored(running, path)["pem"] for path in paths] == [answer["certificatePem"]] * 2


def test_with_a_store_reference_no_other_store_keeps_it(running: Running) -> None:
    certificate_id, service = new_id(), "test.tenant1.two-stores"
    answer = issued(running, changed(leaf_body(), "storeRef", OTHER_STORE), certificate_id, service=service)
    assert answer["storedCertificateIds"] == [f"{OTHER_STORE}.{certificate_id}"]
    assert [path for path in running.stored() if path.endswith(f".{certificate_id}")] == answer["storedCertificateIds"]


def test_without_a_store_the_certificate_is_only_answered(running: Running, root: str) -> None:
    body = changed(changed(ds_body(), "storeRef", ...), "issuerCertificateRef", ...) | {"issuerCertificatePem": root}
    before = running.stored()
    answer = issued(running, body, service="test.tenant1.no-stores")
    assert set(answer) == {"certificatePem", "certificateData"}
    assert_conforming(answer, root)
    assert running.stored() == before


def test_an_id_that_is_taken_is_409_and_nothing_is_replaced(running: Running) -> None:
    certificate_id = new_id()
    first = issued(running, leaf_body(), certificate_id)
    signatures, path = running.signatures, f"{STORE}.{certificate_id}"
    for method in ("PUT", "POST"):
        response = send(running, leaf_body(), certificate_id, method=method)
        assert (response.status_code, response.json()) == (
            409,
            {
                "type": "DuplicateTarget",
                "status": 409,
                "message": f"A certificate already exists at {path}.",
                "target": path,
            },
        )
    assert running.signatures == signatures
    assert stored(running, path)["pem"] == first["certificatePem"]


def test_a_repeat_with_the_same_idempotency_key_is_answered_alike(running: Running) -> None:
    path = f"/v1/{SERVICE}.{new_id()}/x509-service-api/certificates"
    body, signatures = leaf_body(), running.signatures
    first, second = (
        running.client.request("PUT", path, json=body, headers={"idempotency-key": "unified"}) for _ in range(2)
    )
    assert running.signatures == signatures + 1
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content


# Refusals

Row = tuple[Callable[[], dict[str, Any]], dict[str, object], int, str]

ROWS: dict[str, Row] = {
    "an unknown profile": (
        ds_body, {"certificateProfile": "iso-reader"}, 400, "certificateProfile: ",
    ),
    "an unknown member": (leaf_body, {"createStrategy": "CREATE_ONE"}, 400, "unknown member createStrategy"),
    "an alternative name of another type": (
        leaf_body, {"subjectAlternativeNames": [{"type": "directoryName", "name": "x"}]}, 400,
        "subjectAlternativeNames.0.type: ",
    ),
    "an alternative name without a name": (
        leaf_body, {"subjectAlternativeNames": [{"type": "uri"}]}, 400,
        "missing member subjectAlternativeNames.0.name",
    ),
    "unknown metadata": (iaca_body, {"metadata": {"docType": []}}, 400, "unknown member metadata.docType"),
    # The store
    "a store that is not attached": (
        leaf_body, {"storeRef": OTHER_STORE}, 403, f"The store {OTHER_STORE} is not attached to the service {SERVICE}",
    ),
    "a store that does not exist": (leaf_body, {"storeRef": "test.tenant1.nowhere"}, 403, "test.tenant1.nowhere"),
    "a store of another organization": (leaf_body, {"storeRef": "other.tenant1.x509-store"}, 403, "is not attached"),
    # The subject's key
    "both subject keys": (
        leaf_body, {"csrPem": certification_request()}, 400,
        "Expected exactly one of subjectKeyRef and csrPem, found both.",
    ),
    "neither subject key": (
        leaf_body, {"subjectKeyRef": ...}, 400, "Expected exactly one of subjectKeyRef and csrPem, found neither.",
    ),
    "a document signer with both": (ds_body, {"csrPem": certification_request()}, 400, "found both"),
    "a document signer with neither": (ds_body, {"subjectKeyRef": ...}, 400, "found neither"),
    "a request that was tampered with": (
        leaf_body, {"subjectKeyRef": ..., "csrPem": tampered_request()}, 400, "signature",
    ),
    "a document signer from a request that was tampered with": (
        ds_body, {"subjectKeyRef": ..., "csrPem": tampered_request()}, 400, "signature",
    ),
    "a key of a KMS that is not attached": (
        leaf_body, {"subjectKeyRef": "test.tenant1.kms2.elsewhere"}, 403, "The KMS test.tenant1.kms2 is not attached",
    ),
    "a key that does not exist": (leaf_body, {"subjectKeyRef": f"{KMS}.nobody"}, 404, f"{KMS}.nobody"),
    "the key of a CA": (leaf_body, {"subjectKeyRef": f"{KMS}.ca-secp256r1"}, 400, "key of a certificate authority"),
    # The subject's name
    "no subject": (
        leaf_body, {"subjectDn": ..., "subjectKeyRef": ..., "csrPem": certification_request()}, 400,
        "Expected subjectDn",
    ),
    "a subject that is no name": (leaf_body, {"subjectDn": "Example"}, 400, "RFC 4514"),
    "a subject with spaces after commas": (leaf_body, {"subjectDn": "CN=a, C=US"}, 400, "without spaces"),
    "an attribute that is not known": (leaf_body, {"subjectDn": "CN=a,DC=b"}, 400, "of the types C, ST, L, O, OU, CN"),
    "several attributes in one part": (leaf_body, {"subjectDn": "CN=a+C=US"}, 400, "one attribute in each part"),
    "no common name": (leaf_body, {"subjectDn": "C=US"}, 400, "Expected CN in the subjectDn of the profile generic"),
    "an empty common name": (leaf_body, {"subjectDn": "CN="}, 400, "commonName"),
    "a country of three letters": (leaf_body, {"subjectDn": "CN=a,C=USA"}, 400, "country"),
    "an IACA without a country": (iaca_body, {"subjectDn": "CN=a"}, 400, "Expected C in the subjectDn"),
    "an IACA with a locality": (
        iaca_body, {"subjectDn": "C=US,CN=a,L=b"}, 400, "Expected no L in the subjectDn of the profile iso-iaca-root",
    ),
    "a document signer with a unit": (
        ds_body, {"subjectDn": "C=US,CN=a,OU=b"}, 400,
        "Expected no OU in the subjectDn of the profile iso-document-signer",
    ),
    "a document signer of another country": (ds_body, {"subjectDn": "C=DE,CN=a"}, 400, "country"),
    # Self-signed
    "self-signed from a request": (
        self_signed_body, {"subjectKeyRef": ..., "csrPem": certification_request()}, 400,
        "Self-signed certificates cannot use CSR input.",
    ),
    "self-signed without a key": (self_signed_body, {"subjectKeyRef": ...}, 400, "Expected subjectKeyRef"),
    "self-signed by another key": (
        self_signed_body, {"issuerKeyRef": f"{KMS}.ca-secp256r1"}, 400, "Expected no issuerKeyRef but the",
    ),
    "self-signed under a certificate": (
        self_signed_body, {"issuerCertificateRef": f"{STORE}.ca-secp256r1"}, 400,
        "Expected no issuerCertificateRef or issuerCertificatePem",
    ),
    # The issuer
    "no issuer": (
        leaf_body, {"issuerKeyRef": ..., "issuerCertificateRef": ...}, 400, "Expected issuerKeyRef, or selfSigned true",
    ),
    "an issuer certificate without a key": (leaf_body, {"issuerKeyRef": ...}, 400, "Expected issuerKeyRef"),
    "two issuer certificates": (
        leaf_body, {"issuerCertificatePem": outside_certificate(outside_key("ca"))}, 400,
        "Expected issuerCertificateRef or issuerCertificatePem, found both.",
    ),
    "an issuer certificate of another key": (
        leaf_body, {"issuerCertificateRef": f"{STORE}.ca-secp256r1"}, 400, "must carry the signing key",
    ),
    "an issuer certificate from elsewhere": (
        leaf_body,
        {"issuerCertificateRef": ..., "issuerCertificatePem": outside_certificate(outside_key("ca"), CA_EXTENSIONS)},
        400, "must carry the signing key",
    ),
    "an issuer certificate in a store that is not attached": (
        leaf_body, {"issuerCertificateRef": f"{OTHER_STORE}.unified-root"}, 403, "is not attached",
    ),
    "an issuer certificate that is not there": (leaf_body, {"issuerCertificateRef": f"{STORE}.nobody"}, 404, "nobody"),
    "an issuer key without a certificate": (
        leaf_body, {"issuerKeyRef": f"{KMS}.without-certificate", "issuerCertificateRef": ...}, 400,
        "name one by issuerCertificateRef or issuerCertificatePem",
    ),
    "an issuer key with two subjects": (
        leaf_body, {"issuerKeyRef": f"{KMS}.two-subjects", "issuerCertificateRef": ...}, 400,
        "name one by issuerCertificateRef or issuerCertificatePem",
    ),
    "a document signer under a plain CA": (
        ds_body,
        {
            "issuerKeyRef": f"{KMS}.unified-ca",
            "issuerCertificateRef": f"{STORE}.unified-ca",
            "issuerAlternativeNames": ...,
        },
        400, "IACA",
    ),
    # What a profile says itself
    "an IACA that is not self-signed": (iaca_body, {"selfSigned": False}, 400, "Expected no selfSigned but that of"),
    "an IACA under another key": (
        iaca_body, {"issuerKeyRef": f"{KMS}.ca-secp256r1"}, 400, "Expected no issuerKeyRef but the subjectKeyRef",
    ),
    "an IACA under a certificate": (
        iaca_body, {"issuerCertificateRef": f"{STORE}.unified-root"}, 400, "for a self-signed certificate",
    ),
    "an IACA from a request": (
        iaca_body, {"subjectKeyRef": ..., "csrPem": certification_request()}, 400, "cannot use CSR input",
    ),
    "an IACA that is no CA": (iaca_body, {"basicConstraintsCa": False}, 400, "Expected no basicConstraintsCa but"),
    "an IACA with another key usage": (iaca_body, {"keyUsage": ["digitalSignature"]}, 400, "Expected no keyUsage but"),
    "an IACA with a purpose": (
        iaca_body, {"extendedKeyUsageOids": ["1.3.6.1.5.5.7.3.2"]}, 400, "Expected no extendedKeyUsageOids but",
    ),
    "an IACA with alternative names": (
        iaca_body, {"subjectAlternativeNames": REACH}, 400, "Expected no subjectAlternativeNames but",
    ),
    "an IACA that cannot be reached": (
        iaca_body, {"issuerAlternativeNames": ...}, 400, "Expected issuerAlternativeNames with the certificateProfile",
    ),
    "an IACA reached in another way": (
        iaca_body, {"issuerAlternativeNames": [{"type": "dnsName", "name": "example.com"}]}, 400,
        "Expected one email, one uri or both in issuerAlternativeNames",
    ),
    "an IACA with two addresses of a kind": (
        iaca_body, {"issuerAlternativeNames": REACH * 2}, 400, "Expected one email, one uri or both",
    ),
    "an IACA for more than 7300 days": (iaca_body, window(7301), 400, "7300 days"),
    "a self-signed document signer": (ds_body, {"selfSigned": True}, 400, "Expected no selfSigned but that of"),
    "a document signer that is a CA": (ds_body, {"basicConstraintsCa": True}, 400, "Expected no basicConstraintsCa"),
    "a document signer with another key usage": (
        ds_body, {"keyUsage": ["digitalSignature", "keyAgreement"]}, 400, "Expected no keyUsage but that of",
    ),
    "a document signer with another purpose": (
        ds_body, {"extendedKeyUsageOids": ["1.0.18013.5.1.6"]}, 400, "Expected no extendedKeyUsageOids but that of",
    ),
    "a document signer with alternative names": (
        ds_body, {"subjectAlternativeNames": REACH}, 400, "Expected no subjectAlternativeNames but that of",
    ),
    "a document signer with other names of its issuer": (
        ds_body, {"issuerAlternativeNames": [{"type": "email", "name": "iaca@example.com"}]}, 400,
        "The IACA's issuerAlternativeNames must be what its certificate says",
    ),
    "a document signer without a distribution point": (
        ds_body, {"crlDistributionPointUri": ...}, 400, "Expected crlDistributionPointUri",
    ),
    "a document signer for more than 457 days": (ds_body, {"validTo": window(458)["validTo"]}, 400, "457 days"),
    "a document signer with metadata": (ds_body, {"metadata": {}}, 400, "Expected metadata only with"),
    "a generic certificate with metadata": (leaf_body, {"metadata": {}}, 400, "Expected metadata only with"),
    "a generic certificate with names of its issuer": (
        leaf_body, {"issuerAlternativeNames": REACH}, 400, "Expected issuerAlternativeNames only with",
    ),
    "a certificate that outlives its issuer": (leaf_body, {"validTo": window(3700)["validTo"]}, 400, "notAfter"),
    "a CA under an IACA": (leaf_body, {"basicConstraintsCa": True, "keyUsage": ["keyCertSign"]}, 400, "path length"),
    "an end before the beginning": (leaf_body, {"validTo": "2000-01-01T00:00:00Z"}, 400, "notAfter"),
    "a life without a zone": (leaf_body, {"validTo": "2030-01-01T00:00:00"}, 400, "validTo: expected an instant"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_it_is_refused_with_its_sentence_and_nothing_is_signed(running: Running, name: str) -> None:
    body, changes, status, sentence = ROWS[name]
    order = body()
    for member, value in changes.items():
        order = changed(order, member, value)
    signatures, before = running.signatures, running.stored()
    response = send(running, order, new_id())
    assert response.status_code == status, response.text
    assert sentence in response.json()["message"]
    assert (running.signatures, running.stored()) == (signatures, before)


@pytest.mark.parametrize("service", ["test.tenant1", "test.tenant1.nobody", STORE, KMS, f"{SERVICE}.child"])
def test_what_is_below_no_x509_service_is_404(running: Running, service: str) -> None:
    signatures = running.signatures
    response = send(running, leaf_body(), new_id(), service=service)
    assert (response.status_code, response.json()["id"]) == (404, "NotFound")
    assert running.signatures == signatures


def test_a_service_itself_is_no_certificate(running: Running) -> None:
    signatures = running.signatures
    response = running.client.request("PUT", f"/v1/{SERVICE}/x509-service-api/certificates", json=leaf_body())
    assert response.status_code == 404
    assert running.signatures == signatures


def test_both_doors_lead_to_the_same_corridor(running: Running) -> None:
    """What the older call issued, the newer one takes for an issuer, and the other way round."""
    body = changed(certificate_body(), "issuer.issuerKeyDescriptor", hosted("unified-ca"))
    response = running.post("certificate", body)
    assert response.status_code == 200, response.text
    older = changed(leaf_body(), "issuerCertificateRef", f"{STORE}.ca-secp256r1")
    certificate = issued(running, changed(older, "issuerKeyRef", f"{KMS}.ca-secp256r1"))
    assert load(certificate["certificatePem"]).issuer.rfc4514_string() == "CN=Example CA,C=US"
