"""Every way to be refused, as a table: body, status, sentence. None of them makes the token sign or fills a store."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

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
    pem,
    private_jwk,
    public_jwk,
    tampered_request,
)
from tests.api.conftest import Running

Row = tuple[str, Callable[[], dict[str, Any]], str, Any, int, str]


def key_source(descriptor: dict[str, Any]) -> dict[str, Any]:
    return {"type": "key-descriptor", "keyDescriptor": descriptor}


def csr(text: str) -> dict[str, Any]:
    return {"type": "csr", "csrPEM": text}


def rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def by_pem(text: str) -> dict[str, Any]:
    key = hosted("iaca-secp256r1")
    return {"type": "iaca-pem-cert-descriptor", "iacaKeyDesc": key, "iacaPemEncodedCertificate": text}


PRIVATE = private_jwk(outside_key("jwk"))
PUBLIC = public_jwk(outside_key("jwk"))
OTHER_PUBLIC = public_jwk(outside_key("other"))
OFF_CURVE = {**PUBLIC, "y": OTHER_PUBLIC["y"]}

# Each row: call, the right body, the member to change (Ellipsis takes it away), status, what the message holds.
ROWS: dict[str, Row] = {
    # §2 key descriptors
    "a key of a KMS that is not attached": (
        "csrs", csr_body, "subjectKeyDescriptor", hosted("elsewhere", "test.tenant1.kms2"), 403,
        "The KMS test.tenant1.kms2 is not attached to the service test.tenant1.x509-service-1",
    ),
    "a key of a KMS that does not exist": (
        "csrs", csr_body, "subjectKeyDescriptor", hosted("leaf", "test.tenant1.kms9"), 403, "test.tenant1.kms9",
    ),
    "a key of another organization": (
        "csrs", csr_body, "subjectKeyDescriptor", hosted("leaf", "other.tenant1.kms1"), 403, "other.tenant1.kms1",
    ),
    "a key that does not exist": (
        "csrs", csr_body, "subjectKeyDescriptor", hosted("nobody"), 404, "test.tenant1.kms1.nobody",
    ),
    "a key path with a slash": (
        "csrs", csr_body, "subjectKeyDescriptor.keyIdPath", "test/kms", 400, "keyIdPath: expected ids",
    ),
    "a descriptor of another type": (
        "csrs", csr_body, "subjectKeyDescriptor.type", "pem", 400,
        "subjectKeyDescriptor.type: expected one of 'kms-hosted-key-descriptor', 'jwk-encoded-key-descriptor'",
    ),
    "a signing JWK without a private half": (
        "csrs", csr_body, "subjectKeyDescriptor", described_jwk(PUBLIC), 400, "private JWK is required",
    ),
    "a JWK that is not an object": (
        "csrs", csr_body, "subjectKeyDescriptor", described_jwk("x"), 400,
        "subjectKeyDescriptor.jwk: expected an object",
    ),
    "an empty JWK": ("csrs", csr_body, "subjectKeyDescriptor", described_jwk({}), 400, "JWK"),
    "a symmetric JWK": (
        "csrs", csr_body, "subjectKeyDescriptor", described_jwk({"kty": "oct", "k": "AAAA"}), 400, "oct",
    ),
    "a JWK off the curve": (
        "certificate", certificate_body, "subjectPublicKeySource", key_source(described_jwk(OFF_CURVE)), 400, "curve",
    ),
    "a private JWK where a public one is enough": (
        "certificate", certificate_body, "subjectPublicKeySource", key_source(described_jwk(PRIVATE)), 400,
        "Only a public JWK is accepted here, but it has the members d.",
    ),
    "a private JWK as dsKeyDescriptor's successor": (
        "iso/document-signers", ds_body, "dsPublicKeySource", key_source(described_jwk(PRIVATE)), 400,
        "Only a public JWK is accepted here",
    ),
    # §3 certification requests
    "an unknown member": ("csrs", csr_body, "subjectname", {}, 400, "unknown member subjectname"),
    "an unknown member below": (
        "csrs", csr_body, "subjectName.surname", "x", 400, "unknown member subjectName.surname",
    ),
    "a missing key": ("csrs", csr_body, "subjectKeyDescriptor", ..., 400, "missing member subjectKeyDescriptor"),
    "a missing type": ("csrs", csr_body, "type", ..., 400, "missing member type"),
    "another type": ("csrs", csr_body, "type", "tls", 400, "expected one of 'generic', 'iso-document-signer'"),
    "no common name": ("csrs", csr_body, "subjectName.commonName", ..., 400, "missing member subjectName.commonName"),
    "an empty common name": ("csrs", csr_body, "subjectName.commonName", "", 400, "commonName"),
    "a blank common name": ("csrs", csr_body, "subjectName.commonName", "  ", 400, "commonName"),
    "a long common name": ("csrs", csr_body, "subjectName.commonName", "x" * 65, 400, "commonName"),
    "a common name with a control character": ("csrs", csr_body, "subjectName.commonName", "a\x00b", 400, "commonName"),
    "a country of three letters": ("csrs", csr_body, "subjectName.country", "USA", 400, "country"),
    "a name that is no DNS name": (
        "csrs", csr_body, "subjectAlternativeNames.dnsNames", ["a b"], 400, "DNS name",
    ),
    "a wildcard in the middle": (
        "csrs", csr_body, "subjectAlternativeNames.dnsNames", ["a.*.example.com"], 400, "wildcard",
    ),
    "a relative URI": ("csrs", csr_body, "subjectAlternativeNames.uris", ["/x"], 400, "URI"),
    "an address that is no e-mail": (
        "csrs", csr_body, "subjectAlternativeNames.emails", ["example.com"], 400, "e-mail",
    ),
    "an address that is no IP": (
        "csrs", csr_body, "subjectAlternativeNames.ipAddresses", ["256.1.1.1"], 400, "IP address",
    ),
    "a document signer request with an RSA key": (
        "csrs", ds_csr_body, "subjectKeyDescriptor", hosted("leaf-rsa"), 400, "secp256r1, secp384r1, secp521r1",
    ),
    "a document signer request with an Ed25519 key": (
        "csrs", ds_csr_body, "subjectKeyDescriptor", hosted("leaf-ed25519"), 400, "secp256r1, secp384r1, secp521r1",
    ),
    "a document signer request with a country in lower case": (
        "csrs", ds_csr_body, "certificateData.country", "us", 400, "country",
    ),
    "a document signer request with alternative names": (
        "csrs", ds_csr_body, "subjectAlternativeNames", {}, 400, "unknown member subjectAlternativeNames",
    ),
    # §4 certificates: what is asked for
    "no issuer": ("certificate", certificate_body, "issuer", ..., 400, "missing member issuer"),
    "another key usage": (
        "certificate", certificate_body, "certificateData.keyUsage", ["Signing"], 400,
        "certificateData.keyUsage.0: expected one of DigitalSignature, NonRepudiation",
    ),
    "a certificate signing key usage in a leaf": (
        "certificate", certificate_body, "certificateData.keyUsage", ["KeyCertSign"], 400, "keyCertSign",
    ),
    "an object identifier that is none": (
        "certificate", certificate_body, "certificateData.extendedKeyUsageOids", ["1.40"], 400, "object identifier",
    ),
    "a CA under a CA with path length 0": (
        "certificate", certificate_body, "certificateData.isCertificateAuthority", True, 400, "path",
    ),
    "a path length in a leaf": (
        "certificate", certificate_body, "certificateData.pathLengthConstraint", 0, 400, "pathLengthConstraint",
    ),
    "an end before the beginning": (
        "certificate", certificate_body, "certificateData.notAfter", "2000-01-01T00:00:00Z", 400, "notAfter",
    ),
    "a life longer than the issuer's": (
        "certificate", certificate_body, "certificateData.notAfter", "2041-01-01T00:00:00Z", 400, "notAfter",
    ),
    "a time without a zone": (
        "certificate", certificate_body, "certificateData.notAfter", "2030-01-01T00:00:00", 400,
        "certificateData.notAfter: expected an instant",
    ),
    "a distribution point that is not http": (
        "certificate", certificate_body, "certificateData.crlDistributionPointUri", "ldap://x/y", 400,
        "crlDistributionPointUri",
    ),
    "the name of the issuer itself": (
        "certificate", certificate_body, "certificateData.subjectName",
        {"commonName": "Example CA", "country": "US"}, 400, "another name than the issuer",
    ),
    "a stored id with a dot": (
        "certificate", certificate_body, "storedCertificateId", "a.b", 400, "storedCertificateId: expected an id",
    ),
    "a stored id that is taken": (
        "certificate", certificate_body, "storedCertificateId", "ca-secp256r1", 409,
        "A certificate already exists at test.tenant1.x509-store-1.ca-secp256r1.",
    ),
    # §4 certificates: the subject's key
    "another kind of source": (
        "certificate", certificate_body, "subjectPublicKeySource.type", "spki", 400,
        "subjectPublicKeySource.type: expected one of 'csr', 'key-descriptor'",
    ),
    "a request that was tampered with": (
        "certificate", certificate_body, "subjectPublicKeySource", csr(tampered_request()), 400, "signature",
    ),
    "an empty request": ("certificate", certificate_body, "subjectPublicKeySource", csr(""), 400, "PEM"),
    "a certificate in place of a request": (
        "certificate", certificate_body, "subjectPublicKeySource",
        csr(outside_certificate(outside_key())), 400, "CERTIFICATE",
    ),
    "two requests": (
        "certificate", certificate_body, "subjectPublicKeySource", csr(certification_request() * 2), 400, "PEM",
    ),
    "garbage after the request": (
        "certificate", certificate_body, "subjectPublicKeySource", csr(certification_request() + "x"), 400, "PEM",
    ),
    "a request that is not DER": (
        "certificate", certificate_body, "subjectPublicKeySource",
        csr(pem("CERTIFICATE REQUEST", b"\x30\x80\x00\x00")), 400, "DER",
    ),
    "a request of more than 64 KiB": (
        "certificate", certificate_body, "subjectPublicKeySource",
        csr(certification_request() + " " * 65536), 400, "65536",
    ),
    "a request for an RSA key of 1024 bits": (
        "certificate", certificate_body, "subjectPublicKeySource", csr(certification_request(rsa_key(1024))), 400,
        "found 1024",
    ),
    "a request for an RSA key with exponent 3": (
        "certificate", certificate_body, "subjectPublicKeySource", csr(certification_request(rsa_key(2048, 3))), 400,
        "found 3",
    ),
    "a request for a key on another curve": (
        "certificate", certificate_body, "subjectPublicKeySource",
        csr(certification_request(ec.generate_private_key(ec.SECP256K1()))), 400, "secp256k1",
    ),
    "a request for the key of the CA": (
        "certificate", certificate_body, "subjectPublicKeySource", key_source(hosted("iaca-secp256r1")), 400,
        "key of a certificate authority of this organization",
    ),
    # §4 certificates: the issuer
    "another kind of issuer": (
        "certificate", certificate_body, "issuer.type", "external", 400,
        "issuer.type: expected one of 'ca-signed', 'self-signed'",
    ),
    "self-signed from a request": (
        "certificate", certificate_body, "issuer", {"type": "self-signed"}, 400,
        "Self-signed certificates cannot use CSR input",
    ),
    "an issuer key without a certificate": (
        "certificate", certificate_body, "issuer.issuerKeyDescriptor", hosted("without-certificate"), 400,
        "name one by issuer.issuerCertificatePEM or issuer.issuerCertificateId",
    ),
    "an issuer key with two subjects": (
        "certificate", certificate_body, "issuer.issuerKeyDescriptor", hosted("two-subjects"), 400,
        "name one by issuer.issuerCertificatePEM or issuer.issuerCertificateId",
    ),
    "an issuer certificate of another key": (
        "certificate", certificate_body, "issuer.issuerCertificatePEM",
        outside_certificate(outside_key("ca"), CA_EXTENSIONS), 400, "must carry the signing key",
    ),
    "an issuer certificate that is no certificate": (
        "certificate", certificate_body, "issuer.issuerCertificatePEM", certification_request(), 400, "CERTIFICATE",
    ),
    "a stored issuer certificate of another key": (
        "certificate", certificate_body, "issuer.issuerCertificateId", "test.tenant1.x509-store-1.iaca-secp256r1",
        400, "must carry the signing key",
    ),
    "a stored issuer certificate that is not there": (
        "certificate", certificate_body, "issuer.issuerCertificateId", "test.tenant1.x509-store-1.nobody", 404,
        "test.tenant1.x509-store-1.nobody",
    ),
    "an issuer certificate in a store that is not attached": (
        "certificate", certificate_body, "issuer.issuerCertificateId", "other.tenant1.x509-store.ca", 403,
        "other.tenant1.x509-store",
    ),
    # §5 IACA
    "an IACA without a way to reach it": (
        "iso/iacas", iaca_body, "certificateData.issuerAlternativeNameConf", {}, 400,
        "issuerAlternativeNameConf",
    ),
    "an IACA without a country": (
        "iso/iacas", iaca_body, "certificateData.country", ..., 400, "missing member certificateData.country",
    ),
    "an IACA with a country that is none": ("iso/iacas", iaca_body, "certificateData.country", "u1", 400, "country"),
    "an IACA for more than 7300 days": (
        "iso/iacas", iaca_body, "certificateData.notAfter", "2060-01-01T00:00:00Z", 400, "7300 days",
    ),
    "an IACA with an RSA key": (
        "iso/iacas", iaca_body, "iacaKeyDesc", hosted("leaf-rsa"), 400, "secp256r1, secp384r1, secp521r1",
    ),
    "an IACA with complementary metadata of another shape": (
        "iso/iacas", iaca_body, "vicalEntryComplementaryMetadata", {"docType": "mDL"}, 400,
        "vicalEntryComplementaryMetadata.docType: expected a list",
    ),
    "an IACA under an id that is taken": (
        "iso/iacas", iaca_body, "storedCertificateId", "iaca-secp256r1", 409, "already exists",
    ),
    # §5 document signers
    "a document signer key in both ways": (
        "iso/document-signers", ds_body, "dsKeyDescriptor", hosted("leaf-secp256r1"), 400,
        "Expected exactly one of dsPublicKeySource and dsKeyDescriptor, found both.",
    ),
    "a document signer key in neither way": (
        "iso/document-signers", ds_body, "dsPublicKeySource", ..., 400,
        "Expected exactly one of dsPublicKeySource and dsKeyDescriptor, found neither.",
    ),
    "a document signer for more than 457 days": (
        "iso/document-signers", ds_body, "certificateData.notAfter", "2029-01-01T00:00:00Z", 400, "457 days",
    ),
    "a document signer without a distribution point": (
        "iso/document-signers", ds_body, "certificateData.crlDistributionPointUri", ..., 400,
        "missing member certificateData.crlDistributionPointUri",
    ),
    "a document signer of another country than its IACA": (
        "iso/document-signers", ds_body, "certificateData.country", "DE", 400, "country",
    ),
    "a document signer of a state its IACA does not name": (
        "iso/document-signers", ds_body, "certificateData.stateOrProvinceName", "Utah", 400, "stateOrProvinceName",
    ),
    "a document signer with an RSA key": (
        "iso/document-signers", ds_body, "dsPublicKeySource", key_source(hosted("leaf-rsa")), 400,
        "secp256r1, secp384r1, secp521r1",
    ),
    "a document signer from a request that was tampered with": (
        "iso/document-signers", ds_body, "dsPublicKeySource", csr(tampered_request()), 400, "signature",
    ),
    "another kind of IACA signer": (
        "iso/document-signers", ds_body, "iacaSigner.type", "iaca", 400,
        "iacaSigner.type: expected one of 'iaca-cert-data-descriptor', 'iaca-pem-cert-descriptor'",
    ),
    "IACA data without a validity": (
        "iso/document-signers", ds_body, "iacaSigner.certificateData.notAfter", ..., 400,
        "missing member iacaSigner.certificateData.notAfter",
    ),
    "IACA data that contradicts the stored one": (
        "iso/document-signers", ds_body, "iacaSigner.certificateData.commonName", "Example IACB", 400,
        "found 'Example IACB'",
    ),
    "IACA data with another address than the stored one": (
        "iso/document-signers", ds_body, "iacaSigner.certificateData.issuerAlternativeNameConf.uri",
        "https://elsewhere.example", 400, "issuerAlternativeNameConf",
    ),
    "a presented IACA that is a plain CA of another key": (
        "iso/document-signers", ds_body, "iacaSigner",
        by_pem(outside_certificate(outside_key("ca"), CA_EXTENSIONS)), 400, "IACA",
    ),
    "a presented IACA that is no PEM": ("iso/document-signers", ds_body, "iacaSigner", by_pem("MIIB"), 400, "PEM"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_it_is_refused_with_its_sentence_and_nothing_is_signed(running: Running, name: str) -> None:
    call, body, path, value, status, sentence = ROWS[name]
    signatures, stored = running.signatures, running.stored()
    response = running.post(call, changed(body(), path, value))
    answer = response.json()
    assert response.status_code == status, response.text
    assert sentence in answer["message"]
    assert running.signatures == signatures
    assert running.stored() == stored
    assert PRIVATE["d"] not in response.text


@pytest.mark.parametrize("call", ["csrs", "certificate", "iso/iacas", "iso/document-signers"])
@pytest.mark.parametrize("service", ["nobody", "x509-store-1", "kms1", "x509-service-1.child"])
def test_a_target_that_is_no_x509_service_is_404(running: Running, call: str, service: str) -> None:
    body = {
        "csrs": csr_body,
        "certificate": certificate_body,
        "iso/iacas": iaca_body,
        "iso/document-signers": ds_body,
    }[call]()
    signatures = running.signatures
    response = running.post(call, body, service)
    assert (response.status_code, response.json()["id"]) == (404, "NotFound")
    assert f"test.tenant1.{service}" in response.json()["message"]
    assert running.signatures == signatures


def test_a_jwk_may_not_sign_where_the_operator_has_not_allowed_it(running: Running) -> None:
    signatures = running.signatures
    body = changed(csr_body(), "subjectKeyDescriptor", described_jwk(PRIVATE))
    response = running.post("csrs", body, "two-stores")
    assert response.status_code == 403
    assert "allow-jwk-signing-keys" in response.json()["message"]
    assert running.signatures == signatures


def test_halves_of_two_keys_in_one_jwk_are_refused_and_nothing_is_released(running: Running) -> None:
    stored = running.stored()
    body = changed(csr_body(), "subjectKeyDescriptor", described_jwk({**OTHER_PUBLIC, "d": PRIVATE["d"]}))
    response = running.post("csrs", body)
    assert response.status_code == 400
    assert "do not belong to its public members" in response.json()["message"]
    assert PRIVATE["d"] not in response.text
    assert running.stored() == stored


def test_a_duplicate_in_one_of_two_stores_is_409_and_leaves_the_other_empty(running: Running) -> None:
    signatures, stored = running.signatures, running.stored()
    body = changed(certificate_body(), "storedCertificateId", "ca-secp256r1")
    response = running.post("certificate", body, "two-stores")
    assert response.status_code == 409
    assert response.json() == {
        "type": "DuplicateTarget",
        "status": 409,
        "message": "A certificate already exists at test.tenant1.x509-store-1.ca-secp256r1.",
        "target": "test.tenant1.x509-store-1.ca-secp256r1",
    }
    assert running.signatures == signatures
    assert running.stored() == stored


@pytest.mark.parametrize(
    "header", ["", "Bearer wrong", "Basic dGVzdDp0ZXN0", "Bearer ", "Token abc", "Bearer a b"], ids=str
)
def test_a_wrong_credential_is_401_and_nothing_is_signed(running: Running, header: str) -> None:
    signatures = running.signatures
    response = running.client.post(
        "/v1/test.tenant1.x509-service-1/x509-service-api/csrs", json=csr_body(), headers={"authorization": header}
    )
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert running.signatures == signatures


def test_a_credential_for_another_tenant_is_404_and_nothing_is_signed(running: Running, narrow_key: str) -> None:
    signatures = running.signatures
    for method, path in [
        ("POST", "/v1/test.tenant1.x509-service-1/x509-service-api/csrs"),
        ("GET", "/v1/test.tenant1.x509-store-1/x509-store-api/certificates"),
        ("GET", "/v1/test.tenant22.x509-store-1/x509-store-api/certificates"),
    ]:
        response = running.client.request(
            method, path, json=csr_body(), headers={"authorization": f"Bearer {narrow_key}"}
        )
        assert (response.status_code, response.json()["id"]) == (404, "NotFound")
    assert running.signatures == signatures


@pytest.mark.parametrize(
    ("content", "content_type", "sentence"),
    [
        (b"", "application/json", "to be JSON"),
        (b"[]", "application/json", "a JSON object"),
        (b'{"type": "generic", "type": "generic"}', "application/json", "found 'type' twice"),
        (b'{"type": "\xff"}', "application/json", "UTF-8"),
        (b'{"type": "\\ud800"}', "application/json", "surrogate"),
        (b'{"type": NaN}', "application/json", "found NaN"),
        (b'{"type": ' + b"[" * 100_000, "application/json", "levels"),
        (b" " * 300_000, "application/json", "at most 262144 octets"),
        (b"{}", "text/plain", "Expected Content-Type application/json, found 'text/plain'"),
        (b"{}", None, "Expected Content-Type application/json, found none"),
    ],
)
def test_a_body_that_is_not_one_plain_json_object_is_400(
    running: Running, content: bytes, content_type: str | None, sentence: str
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = running.client.post(
        "/v1/test.tenant1.x509-service-1/x509-service-api/csrs", content=content, headers=headers
    )
    assert (response.status_code, response.json()["code"]) == (400, "400")
    assert sentence in response.json()["message"]


def test_every_fault_of_a_body_is_in_the_details(running: Running) -> None:
    response = running.post("certificate", {"issuer": {"type": "ca-signed"}, "extra": 1, "storedCertificateId": "."})
    assert sorted(response.json()["details"]) == [
        "missing member: certificateData",
        "missing member: issuer.issuerKeyDescriptor",
        "missing member: subjectPublicKeySource",
        "storedCertificateId: expected an id of 1 to 256 letters, digits, '_' or '-', found '.'",
        "unknown member: extra",
    ]
