"""What the page says beside its examples, and the ways its users vary them."""

import json
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.page.checks import assert_issued, assert_request_verifies, stored
from tests.page.examples import STORE, TARGET, body_of, hosted, script

ESCAPES = {
    "line breaks as they are": lambda pem: pem,
    "line breaks escaped": lambda pem: pem.replace("\n", "\\n"),
    "line breaks escaped, one at the end": lambda pem: f"{pem}\n".replace("\n", "\\n"),
    "CRLF escaped": lambda pem: pem.replace("\n", "\\r\\n"),
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("name", ["issue-certificate-from-csr", "issue-document-signer-from-csr"])
def test_examples_take_the_request_however_its_lines_are_broken(run, request_pem, name, escape, request) -> None:
    stored_id = f"broken-{re.sub('[^a-z]', '-', request.node.callspec.id.lower())}"
    answer = run(script(f"{name}.sh", request=escape(request_pem), stored_id=stored_id))
    assert answer.statuses == (200,), answer.text


def test_leaf_example_sent_twice_is_a_duplicate_target(run, call, request_pem: str) -> None:
    text = script("issue-certificate-from-csr.sh", request=request_pem, stored_id="sent-twice")
    first = run(text)
    kept = stored(call, "sent-twice")
    second = run(text)
    assert (first.statuses, second.statuses) == ((200,), (409,))
    refusal = json.loads(second.text)
    assert (refusal["type"], refusal["status"], refusal["target"]) == ("DuplicateTarget", 409, f"{STORE}.sent-twice")
    assert "already exists" in refusal["message"]
    assert stored(call, "sent-twice") == kept


def test_iso_document_signer_request_asks_for_the_document_signer_usage(call) -> None:
    status, found = call(
        "POST",
        f"/v1/{TARGET}/x509-service-api/csrs",
        {
            "type": "iso-document-signer",
            "subjectKeyDescriptor": hosted("leaf-secp256r1"),
            "certificateData": {"country": "US", "commonName": "Example DS", "stateOrProvinceName": "US-CA"},
        },
    )
    assert status == 200
    request = assert_request_verifies(found["csrPEM"])
    assert request.subject.rfc4514_string() == "ST=US-CA,CN=Example DS,C=US"
    usage = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in usage] == ["1.0.18013.5.1.2"]


def test_document_signer_takes_the_legacy_key_descriptor_instead(call, request_pem, tmp_path) -> None:
    body = body_of("issue-document-signer-from-csr.sh", request_pem) | {"storedCertificateId": "legacy-ds"}
    del body["dsPublicKeySource"]
    status, found = call(
        "POST",
        f"/v1/{TARGET}/x509-service-api/iso/document-signers",
        body | {"dsKeyDescriptor": hosted("leaf-secp256r1")},
    )
    assert status == 200, found
    assert_issued(call, found["certificatePEM"], tmp_path)


@pytest.mark.parametrize("members", [("dsPublicKeySource", "dsKeyDescriptor"), ()], ids=["both", "none"])
def test_document_signer_wants_exactly_one_of_source_and_legacy_descriptor(call, request_pem, members) -> None:
    body = body_of("issue-document-signer-from-csr.sh", request_pem) | {"storedCertificateId": "refused-ds"}
    both = {"dsPublicKeySource": body.pop("dsPublicKeySource"), "dsKeyDescriptor": hosted("leaf-secp256r1")}
    status, found = call(
        "POST",
        f"/v1/{TARGET}/x509-service-api/iso/document-signers",
        body | {name: both[name] for name in members},
    )
    assert (status, found["code"], found["status"]) == (400, "400", "Bad Request")
    assert "dsPublicKeySource" in found["message"]
    assert "dsKeyDescriptor" in found["message"]


def test_self_signed_with_a_request_is_refused_with_the_documented_sentence(call, request_pem: str) -> None:
    body = body_of("issue-certificate-from-csr.sh", request_pem) | {"issuer": {"type": "self-signed"}}
    body["storedCertificateId"] = "refused-self-signed"
    status, found = call("POST", f"/v1/{TARGET}/x509-service-api/certificate", body)
    assert status == 400
    assert "Self-signed certificates cannot use CSR input" in found["message"]


def test_request_without_proof_of_possession_gets_no_certificate(call, request_pem: str) -> None:
    der = bytearray(x509.load_pem_x509_csr(request_pem.encode()).public_bytes(Encoding.DER))
    der[der.index(b"Example Leaf")] = ord("F")
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    body = body_of("issue-certificate-from-csr.sh", forged) | {"storedCertificateId": "forged"}
    status, _ = call("POST", f"/v1/{TARGET}/x509-service-api/certificate", body)
    assert status == 400
    assert call("GET", f"/v1/{STORE}.forged/x509-store-api/certificates")[0] == 404


def test_call_with_another_token_is_answered_401(run) -> None:
    answer = run(script("create-generic-csr.sh").replace("{yourToken}", "not-the-token"))
    assert answer.statuses == (401,)


def test_any_host_name_is_served_while_no_alias_is_configured(call) -> None:
    status, _ = call(
        "GET", f"/v1/{STORE}/x509-store-api/certificates/ids", None, "-H", "Host: test.enterprise-sandbox.waltid.dev"
    )
    assert status == 200
