"""Certificates put into stores, replaced and taken out; and that a CA certificate is not believed for being stored."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from engine.directory.credentials import create_api_key
from engine.issuance import NewEntry
from tests.api.bodies import (
    CA_EXTENSIONS,
    certificate_body,
    certification_request,
    changed,
    hosted,
    outside_certificate,
    outside_key,
    pem,
    subject_key_identifier,
)
from tests.api.conftest import Running
from tests.conforms import assert_conforms
from tests.database import select

Issue = Callable[..., Any]

STORE = "test.tenant1.x509-store-1"
NUMBERS = itertools.count(1)


def call(running: Running, method: str, path: str, body: object = None, api_key: str | None = None) -> httpx.Response:
    """A call about a certificate store or an entry of one."""
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    return running.client.request(method, f"/v1/{path}/x509-store-api/certificates", json=body, headers=headers)


def new_path() -> str:
    return f"{STORE}.written-{next(NUMBERS)}"


def base(certificate: str) -> dict[str, Any]:
    return {"type": "base", "certificatePem": certificate}


def vical(certificate: str) -> dict[str, Any]:
    metadata = {"docType": ["org.iso.18013.5.1.mDL"], "certificateProfile": ["1.0.18013.5.1.8"], "note": {"a": [1]}}
    return {"type": "vical-entry", "certificatePem": certificate, "complementaryMetadata": metadata}


def leaf(common_name: str = "Outside leaf", *, days: int = 30) -> str:
    """An end entity's certificate that an outside CA has signed; `days` after now it ends."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Outside CA")]))
        .public_key(outside_key("leaf").public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=3650))
        .not_valid_after(end)
    )
    return builder.sign(outside_key("ca"), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def ca(common_name: str, key: ec.EllipticCurvePrivateKey) -> str:
    """A self-signed CA certificate made without the engine."""
    subject = [(NameOID.COMMON_NAME, common_name)]
    return outside_certificate(key, [*CA_EXTENSIONS, subject_key_identifier(key.public_key())], subject=subject)


@pytest.fixture
def api_key(running: Running) -> Callable[..., str]:
    """A new API key with these roles and this scope."""

    def create(*roles: str, scope: str = "test") -> str:
        return create_api_key(
            running.engine.store, credential_id=f"writer-{next(NUMBERS)}", scope=scope, roles=list(roles)
        )

    return create


# Adding


def test_a_certificate_is_kept_under_the_id_it_is_sent_to(running: Running) -> None:
    path, certificate = new_path(), leaf()
    response = call(running, "POST", path, base(certificate))
    entry = {"_id": path, "data": {"type": "base", "pem": certificate.strip()}}
    assert (response.status_code, response.json()) == (201, entry)
    assert call(running, "GET", path).json() == entry
    assert entry in call(running, "GET", STORE).json()
    assert path in running.stored()


def test_a_certificate_sent_to_the_store_gets_an_id(running: Running) -> None:
    first, second = (call(running, "POST", STORE, base(leaf())) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    paths = [answer.json()["_id"] for answer in (first, second)]
    assert paths[0] != paths[1]
    for path in paths:
        assert path.rpartition(".")[0] == STORE
        assert call(running, "GET", path).status_code == 200


def test_a_vical_entry_keeps_its_metadata_as_it_was_given(running: Running) -> None:
    path, body = new_path(), vical(leaf())
    answer = call(running, "POST", path, body)
    assert answer.status_code == 201
    assert answer.json()["data"] == {
        "type": "vical-entry",
        "pem": body["certificatePem"].strip(),
        "complementaryMetadata": body["complementaryMetadata"],
    }
    assert call(running, "GET", path).json() == answer.json()


@pytest.mark.parametrize(
    "certificate",
    [leaf(days=-1), ca("Outside CA", outside_key("ca")), f"\n{leaf()}\n\n", leaf().replace("\n", "\r\n")],
    ids=["expired", "of a CA", "with white space around", "with CRLF"],
)
def test_any_certificate_may_be_kept_and_comes_back_the_same(running: Running, certificate: str) -> None:
    signatures, path = running.signatures, new_path()
    assert call(running, "POST", path, base(certificate)).status_code == 201
    kept = x509.load_pem_x509_certificate(call(running, "GET", path).json()["data"]["pem"].encode())
    assert kept == x509.load_pem_x509_certificate(certificate.encode())
    assert running.signatures == signatures


def test_a_taken_place_is_409_and_keeps_what_it_has(running: Running) -> None:
    path = new_path()
    assert call(running, "POST", path, base(leaf("First"))).status_code == 201
    before = call(running, "GET", path).json()
    response = call(running, "POST", path, base(leaf("Second")))
    assert (response.status_code, response.json()) == (
        409,
        {
            "type": "DuplicateTarget",
            "status": 409,
            "message": f"A certificate already exists at {path}.",
            "target": path,
        },
    )
    assert call(running, "GET", path).json() == before


def test_a_place_that_a_certificate_under_way_has_reserved_is_not_to_be_had(running: Running) -> None:
    path, store = new_path(), running.engine.store
    store.record_intent(
        intent_id=path,
        kind="certificate",
        profile="generic",
        issuer=b"nobody",
        serial_number=1 << 158,
        tbs=b"",
        tbs_sha256="0" * 64,
        signing_key="none",
        caller="test",
        target="test.tenant1.x509-service-1",
        request_id="none",
        request_digest="none",
        entries=[NewEntry(path)],
    )
    assert call(running, "POST", path, base(leaf())).status_code == 409
    for method, body in (("GET", None), ("PUT", base(leaf())), ("DELETE", None)):
        assert call(running, method, path, body).status_code == 404
    store.record_failure(intent_id=path, reason="test")
    assert call(running, "POST", path, base(leaf())).status_code == 201


# Replacing and deleting


def test_what_an_entry_holds_may_be_replaced(running: Running) -> None:
    path, first, second = new_path(), leaf("First"), leaf("Second")
    call(running, "POST", path, base(first))
    for body in (vical(first), vical(second), base(second)):
        response = call(running, "PUT", path, body)
        assert response.status_code == 200, response.text
        data = response.json()["data"]
        assert (data["type"], data["pem"]) == (body["type"], body["certificatePem"].strip())
        assert data.get("complementaryMetadata") == body.get("complementaryMetadata")
        assert call(running, "GET", path).json() == response.json()


def test_an_entry_may_be_deleted_and_its_place_used_again(running: Running) -> None:
    path = new_path()
    call(running, "POST", path, base(leaf("First")))
    response = call(running, "DELETE", path)
    assert (response.status_code, response.json()) == (202, {"_id": path})
    assert path not in running.stored()
    for method, body in (("GET", None), ("PUT", base(leaf())), ("DELETE", None)):
        answer = call(running, method, path, body)
        assert (answer.status_code, answer.json()["message"]) == (404, f"No certificate is at {path}.")
    assert call(running, "POST", path, base(leaf("Second"))).status_code == 201


def test_what_was_issued_stays_recorded_whatever_becomes_of_its_entry(running: Running, issue: Issue) -> None:
    recorded = "SELECT count(*) FROM certificates JOIN intents USING (intent_id) WHERE state = 'signed'"
    url = running.engine.config.store.url
    for method, body in (("PUT", base(leaf())), ("DELETE", None)):
        entry_id = new_path().rpartition(".")[2]
        issue("certificate", changed(certificate_body(), "storedCertificateId", entry_id))
        before = select(url, recorded)
        assert call(running, method, f"{STORE}.{entry_id}", body).is_success
        assert select(url, recorded) == before


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "test.tenant1.nowhere",
        "test.tenant1.nowhere.one",
        "test.tenant1.kms1.one",
        "test.tenant1.x509-service-1",
        "test",
    ],
)
def test_where_there_is_no_store_is_404(running: Running, method: str, path: str) -> None:
    response = call(running, method, path, base(leaf()))
    assert (response.status_code, response.json()["code"]) == (404, "404")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_whole_store_is_neither_replaced_nor_deleted(running: Running, method: str) -> None:
    stored = running.stored()
    assert call(running, method, STORE, base(leaf())).status_code == 404
    assert running.stored() == stored


# Refusals


def spoiled(certificate: str, old: bytes, new: bytes) -> str:
    der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)
    assert old in der
    return pem("CERTIFICATE", der.replace(old, new, 1))


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no type": (lambda: changed(base(leaf()), "type", ...), "missing member type"),
    "another type": (lambda: changed(base(leaf()), "type", "root"), "expected one of 'base', 'vical-entry'"),
    "no certificate": (lambda: changed(base(leaf()), "certificatePem", ...), "missing member certificatePem"),
    "the spelling of an answer": (lambda: base(leaf()) | {"certificatePEM": leaf()}, "unknown member certificatePEM"),
    "metadata of a base entry": (
        lambda: base(leaf()) | {"complementaryMetadata": {}},
        "unknown member complementaryMetadata",
    ),
    "a VICAL entry without metadata": (
        lambda: changed(vical(leaf()), "complementaryMetadata", ...),
        "missing member complementaryMetadata",
    ),
    "document types that are no list": (
        lambda: changed(vical(leaf()), "complementaryMetadata.docType", "mDL"),
        "complementaryMetadata.docType: expected a list",
    ),
    "no PEM": (lambda: base("MIIB"), "labelled CERTIFICATE was expected, found other text"),
    "nothing": (lambda: base(""), "labelled CERTIFICATE was expected, found other text"),
    "a certification request": (lambda: base(certification_request()), "found CERTIFICATE REQUEST"),
    "two certificates": (lambda: base(leaf() + leaf()), "found text after it"),
    "a certificate of more than 64 KiB": (lambda: base(leaf() + " " * 65536), "at most 65536 characters"),
    "octets behind the certificate": (lambda: base(pem("CERTIFICATE", b"\x30\x00\x00")), "certificate"),
    "BER that is not DER": (lambda: base(pem("CERTIFICATE", b"\x30\x80\x00\x00")), "DER"),
    "version 1": (lambda: base(spoiled(leaf(), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x00")), "version 3"),
    "a key on another curve": (
        lambda: base(
            outside_certificate(outside_key(), public_key=ec.generate_private_key(ec.SECP256K1()).public_key())
        ),
        "secp256k1",
    ),
}


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_certificate_or_no_entry_is_400_and_changes_nothing(
    running: Running, name: str, method: str
) -> None:
    body, sentence = REFUSED[name]
    path = f"{STORE}.ca-secp256r1" if method == "PUT" else new_path()
    before, stored = call(running, "GET", path).json().get("data"), running.stored()
    response = call(running, method, path, body())
    assert (response.status_code, response.json()["code"]) == (400, "400"), response.text
    assert sentence in response.json()["message"]
    assert (call(running, "GET", path).json().get("data"), running.stored()) == (before, stored)


@pytest.mark.parametrize("roles", [(), ("reader",), ("issuer", "key-manager")], ids=str)
def test_only_who_may_store_changes_a_store(
    running: Running, api_key: Callable[..., str], roles: tuple[str, ...]
) -> None:
    key, stored = api_key(*roles), running.stored()
    for method, path in (
        ("POST", new_path()),
        ("POST", STORE),
        ("PUT", f"{STORE}.ca-secp256r1"),
        ("DELETE", f"{STORE}.ca-secp256r1"),
    ):
        response = call(running, method, path, base(leaf()), key)
        assert (response.status_code, response.json()["id"]) == (403, "NotAuthorized")
    assert running.stored() == stored


def test_outside_the_scope_is_404(running: Running, narrow_key: str) -> None:
    stored = running.stored()
    for method, path in (("POST", STORE), ("PUT", f"{STORE}.ca-secp256r1"), ("DELETE", f"{STORE}.ca-secp256r1")):
        assert call(running, method, path, base(leaf()), narrow_key).status_code == 404
    assert running.stored() == stored


# Which stored CA certificates are believed to be an issuer's


def public_key_of(running: Running, key_id: str) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(running.engine.store.find_key(f"test.tenant1.kms1.{key_id}").spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def around(running: Running, key_id: str, subject: str, issuer: str, signer: ec.EllipticCurvePrivateKey) -> str:
    """A CA certificate that says of a hosted key whatever its maker likes."""
    hosted_key = public_key_of(running, key_id)
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(hosted_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=900))
    )
    for extension, critical in [*CA_EXTENSIONS, subject_key_identifier(hosted_key)]:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def under(key_id: str, **more: str) -> dict[str, Any]:
    """A leaf under a hosted key; the CA's certificate is to be found, or named by a member of `issuer`."""
    issuer = {"type": "ca-signed", "issuerKeyDescriptor": hosted(key_id), **more}
    return changed(certificate_body(), "issuer", issuer)


def issuer_of(answer: dict[str, Any]) -> str:
    return x509.load_pem_x509_certificate(answer["certificatePEM"].encode()).issuer.rfc4514_string()


def assert_refused(running: Running, body: dict[str, Any], sentence: str, service: str = "x509-service-1") -> None:
    signatures, stored = running.signatures, running.stored()
    response = running.post("certificate", body, service)
    assert response.status_code == 400, response.text
    assert sentence in response.json()["message"]
    assert (running.signatures, running.stored()) == (signatures, stored)


def test_who_may_only_store_gives_a_ca_no_other_name(
    running: Running, issue: Issue, api_key: Callable[..., str]
) -> None:
    """Neither alone nor beside a root of the same maker, and issuing under the right name goes on."""
    store_manager = api_key("store-manager")
    forged = around(running, "ca-secp256r1", "Forged", "Forged", outside_key("forger"))
    root = ca("Forged root", outside_key("forger"))
    below = around(running, "ca-secp256r1", "Forged", "Forged root", outside_key("forger"))
    for certificate in (forged, root, below):
        path = new_path()
        assert call(running, "POST", path, base(certificate), store_manager).status_code == 201
        assert issuer_of(issue("certificate", certificate_body())) == "CN=Example CA,C=US"
        if certificate != root:
            for more in ({"issuerCertificateId": path}, {"issuerCertificatePEM": certificate}):
                assert_refused(running, under("ca-secp256r1", **more), "must be self-signed, or a trusted CA")


def test_a_key_without_a_ca_certificate_gets_none_from_who_may_only_store(
    running: Running, api_key: Callable[..., str]
) -> None:
    store_manager = api_key("store-manager")
    call(running, "POST", new_path(), base(ca("Unproven root", outside_key("forger"))), store_manager)
    forged = around(running, "unproven", "Unproven", "Unproven root", outside_key("forger"))
    assert call(running, "POST", new_path(), base(forged), store_manager).status_code == 201
    assert_refused(running, under("unproven"), "No valid CA certificate for the issuer key is stored")


def test_issuing_elsewhere_makes_nobody_trustworthy_here(running: Running, api_key: Callable[..., str]) -> None:
    """The scope must hold the service that is to believe it, not only the store."""
    for scope in (STORE, "test.tenant1.x509-store-1"):
        path = new_path()
        forged = around(running, "unproven", "Unproven", "Nobody", outside_key("forger"))
        assert call(running, "POST", path, base(forged), api_key("administrator", scope=scope)).status_code == 201
        assert_refused(running, under("unproven"), "No valid CA certificate for the issuer key is stored")
        assert_refused(running, under("unproven", issuerCertificateId=path), "must be self-signed, or a trusted CA")


def test_replacing_the_certificate_of_a_ca_does_not_rename_it(
    running: Running, issue: Issue, api_key: Callable[..., str]
) -> None:
    body = changed(certificate_body(), "issuer", {"type": "self-signed"})
    body["subjectPublicKeySource"] = {"type": "key-descriptor", "keyDescriptor": hosted("demoted")}
    body["certificateData"] = {"subjectName": {"commonName": "Demoted CA"}, "isCertificateAuthority": True}
    (path,) = issue("certificate", body)["storedCertificateIds"]
    short = changed(under("demoted"), "certificateData.notAfter", (datetime.now(UTC) + timedelta(days=9)).isoformat())
    assert issuer_of(issue("certificate", short)) == "CN=Demoted CA"
    forged = around(running, "demoted", "Forged", "Forged", outside_key("forger"))
    assert call(running, "PUT", path, base(forged), api_key("store-manager")).status_code == 200
    assert_refused(running, short, "No valid CA certificate for the issuer key is stored")


def test_a_certificate_that_the_ca_has_signed_itself_is_believed_whoever_stored_it(
    running: Running, issue: Issue, api_key: Callable[..., str]
) -> None:
    body = changed(certificate_body(), "issuer", {"type": "self-signed"})
    body["subjectPublicKeySource"] = {"type": "key-descriptor", "keyDescriptor": hosted("self-made")}
    body["certificateData"] = {"subjectName": {"commonName": "Self-made CA"}, "isCertificateAuthority": True}
    certificate = issue("certificate", body, "no-stores")["certificatePEM"]
    short = changed(under("self-made"), "certificateData.notAfter", (datetime.now(UTC) + timedelta(days=9)).isoformat())
    assert_refused(running, short, "No valid CA certificate for the issuer key is stored")
    assert call(running, "POST", new_path(), base(certificate), api_key("store-manager")).status_code == 201
    assert issuer_of(issue("certificate", short)) == "CN=Self-made CA"


def test_a_subordinate_ca_of_an_outside_root_is_believed_on_the_word_of_who_may_issue(
    running: Running, issue: Issue, api_key: Callable[..., str]
) -> None:
    root = ca("Offline root", outside_key("offline root"))
    certificate = around(running, "subordinate", "Subordinate CA", "Offline root", outside_key("offline root"))
    path = new_path()
    assert call(running, "POST", path, base(certificate), api_key("store-manager")).status_code == 201
    assert_refused(running, under("subordinate"), "No valid CA certificate for the issuer key is stored")
    may_both = api_key("issuer", "store-manager", scope="test.tenant1")
    assert call(running, "POST", new_path(), base(root), may_both).status_code == 201
    for more in ({}, {"issuerCertificateId": path}, {"issuerCertificatePEM": certificate}):
        answer = issue("certificate", under("subordinate", **more))
        assert issuer_of(answer) == "CN=Subordinate CA"
        leaf_der, ca_der = (
            x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
            for text in (answer["certificatePEM"], certificate)
        )
        assert_conforms(leaf_der, ca_der)


def test_who_may_only_store_stops_no_key_from_being_certified(
    running: Running, issue: Issue, api_key: Callable[..., str]
) -> None:
    """A CA's key gets no leaf certificate, but a CA certificate around a leaf's key makes it no CA's."""
    forged = around(running, "leaf-secp256r1", "Forged", "Forged", outside_key("forger"))
    assert call(running, "POST", new_path(), base(forged), api_key("store-manager")).status_code == 201
    source = {"type": "key-descriptor", "keyDescriptor": hosted("leaf-secp256r1")}
    issue("certificate", changed(certificate_body(), "subjectPublicKeySource", source))


# Lists


def test_a_page_goes_on_after_a_path(running: Running) -> None:
    for _ in range(3):
        call(running, "POST", STORE, base(leaf()))
    url = f"/v1/{STORE}/x509-store-api/certificates"
    whole = running.client.get(url).json()
    paths = [entry["_id"] for entry in whole]
    assert running.client.get(f"{url}?after={paths[1]}&limit=2").json() == whole[2:4]
    assert running.client.get(f"{url}/ids?after={paths[1]}&limit=2&offset=1").json() == paths[3:5]
    assert running.client.get(f"{url}/ids?after={paths[-1]}").json() == []
    response = running.client.get(f"{url}?after=a/b")
    assert (response.status_code, response.json()["code"]) == (400, "400")
