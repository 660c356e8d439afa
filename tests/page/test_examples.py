"""The documented examples, word for word, with the real curl against a live engine."""

import base64
import json
import re
from pathlib import Path

from cryptography import x509

from tests.page.checks import assert_issued, assert_request_verifies, spki, stored
from tests.page.examples import PAGE, STORE, script


def shape(value: object) -> object:
    """Member names in their order, and the types of the values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32)).decode().rstrip("=")


def test_generic_csr_example_answers_with_the_documented_members(run) -> None:
    answer = run(script("create-generic-csr.sh"))
    documented = json.loads((PAGE / "create-generic-csr.response.json").read_text(), strict=False)
    found = json.loads(answer.text)
    assert answer.statuses == (200,)
    assert json.dumps(shape(found), default=str) == json.dumps(shape(documented), default=str)
    for member in ("subjectName", "subjectAlternativeNames"):
        assert found["csrData"][member] == documented["csrData"][member]


def test_generic_csr_example_is_signed_by_the_key_its_answer_shows(run) -> None:
    found = json.loads(run(script("create-generic-csr.sh")).text)
    request = assert_request_verifies(found["csrPEM"])
    numbers = request.public_key().public_numbers()
    jwk = found["csrData"]["publicKeyJwk"]
    assert (jwk["kty"], jwk["crv"]) == ("EC", "P-256")
    assert (base64url(numbers.x), base64url(numbers.y)) == (jwk["x"], jwk["y"])


def test_generic_csr_example_asks_for_the_documented_names(run) -> None:
    request = x509.load_pem_x509_csr(json.loads(run(script("create-generic-csr.sh")).text)["csrPEM"].encode())
    assert request.subject.rfc4514_string() == "CN=Example Leaf,O=Example Org,C=US"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["leaf.example.com"]
    assert len(names) == 1


def test_creating_a_csr_stores_nothing(run, call) -> None:
    before = call("GET", f"/v1/{STORE}/x509-store-api/certificates/ids")
    run(script("create-generic-csr.sh"))
    assert call("GET", f"/v1/{STORE}/x509-store-api/certificates/ids") == before


def test_leaf_example_is_issued_and_stored_under_its_id(run, call, request_pem: str, tmp_path: Path) -> None:
    answer = run(script("issue-certificate-from-csr.sh", request=request_pem))
    assert answer.statuses == (200,), answer.text
    found = json.loads(answer.text)
    certificate = assert_issued(call, found["certificatePEM"], tmp_path)
    assert certificate.subject.rfc4514_string() == "CN=Example Leaf From CSR,C=US"
    assert certificate.issuer.rfc4514_string() == "CN=Example IACA,C=US"
    assert spki(certificate) == spki(x509.load_pem_x509_csr(request_pem.encode()))
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert found["storedCertificateIds"] == [f"{STORE}.generic-leaf-from-csr"]
    assert stored(call, "generic-leaf-from-csr") == found["certificatePEM"]


def test_leaf_example_answers_what_was_put_in_with_defaults_serial_and_issuer(run, request_pem: str) -> None:
    found = json.loads(run(script("issue-certificate-from-csr.sh", request=request_pem, stored_id="leaf-answer")).text)
    certificate = x509.load_pem_x509_certificate(found["certificatePEM"].encode())
    data = found["certificateData"]
    assert list(found) == ["certificatePEM", "certificateData", "storedCertificateIds"]
    assert data["subjectName"] == {"commonName": "Example Leaf From CSR", "country": "US"}
    assert data["keyUsage"] == ["DigitalSignature"]
    assert data["notBefore"] == f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert data["notAfter"] == f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 365
    assert data["issuerName"]["commonName"] == "Example IACA"
    assert data["serialNumber"]


def test_document_signer_example_is_issued_and_stored_under_its_id(run, call, request_pem, tmp_path: Path) -> None:
    answer = run(script("issue-document-signer-from-csr.sh", request=request_pem))
    assert answer.statuses == (200,), answer.text
    found = json.loads(answer.text)
    certificate = assert_issued(call, found["certificatePEM"], tmp_path)
    assert certificate.subject.rfc4514_string() == "CN=Example DS,C=US"
    assert certificate.issuer.rfc4514_string() == "CN=Example IACA,C=US"
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert [purpose.dotted_string for purpose in purposes.value] == ["1.0.18013.5.1.2"]
    assert purposes.critical
    assert found["storedCertificateIds"] == [f"{STORE}.ds-from-csr-2026-01"]
    assert stored(call, "ds-from-csr-2026-01") == found["certificatePEM"]


def test_end_to_end_script_runs_word_for_word(run, call, tmp_path: Path) -> None:
    answer = run(script("end-to-end.sh"))
    assert answer.statuses == (200, 200), answer.text
    found = json.loads(answer.text)
    certificate = assert_issued(call, found["certificatePEM"], tmp_path)
    assert certificate.subject.rfc4514_string() == "CN=Example Leaf,C=US"
    (path,) = found["storedCertificateIds"]
    assert re.fullmatch(rf"{re.escape(STORE)}\.[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}", path)


def test_end_to_end_script_runs_again_and_gives_another_serial_number(run) -> None:
    first, second = (json.loads(run(script("end-to-end.sh")).text)["certificatePEM"] for _ in range(2))
    serials = {x509.load_pem_x509_certificate(pem.encode()).serial_number for pem in (first, second)}
    assert len(serials) == 2
