"""Nobody learns of, or uses, what lies outside the scope of the credential: one table over every call of the API.

What somebody else has and what nobody has are answered alike, down to the sentence, and cost no signature.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from engine.api.application import target_operations
from engine.directory.credentials import create_api_key
from tests.api.bodies import certificate_body, certification_request, csr_body, ds_body, hosted
from tests.api.conftest import Running

OTHERS = "other.tenant1"
"""Has a KMS, a service and a store, each with something in it."""
NOBODYS = "other.tenant9"
"""Not there. As long as the other, so that answers can be compared after the names are taken out."""

CALLS = [
    ("POST", "x509-service-api/csrs", "service"),
    ("POST", "x509-service-api/certificate", "service"),
    ("POST", "x509-service-api/iso/iacas", "service"),
    ("POST", "x509-service-api/iso/document-signers", "service"),
    ("PUT", "x509-service-api/certificates", "service.root"),
    ("POST", "x509-service-api/certificates", "service.root"),
    ("POST", "x509-service-api/dependencies/add", "service"),
    ("POST", "x509-service-api/dependencies/remove", "service"),
    ("GET", "x509-service-api/dependencies/list", "service"),
    ("GET", "x509-store-api/certificates", "store"),
    ("GET", "x509-store-api/certificates", "store.root"),
    ("GET", "x509-store-api/certificates/ids", "store"),
    ("GET", "x509-store-api/certificates/evidence", "store.root"),
    ("POST", "x509-store-api/certificates", "store"),
    ("POST", "x509-store-api/certificates", "store.root"),
    ("PUT", "x509-store-api/certificates", "store.root"),
    ("DELETE", "x509-store-api/certificates", "store.root"),
    ("GET", "kms-service-api/keys", "kms"),
    ("GET", "kms-service-api/keys", "kms.root"),
    ("DELETE", "kms-service-api/keys", "kms.root"),
    ("POST", "kms-service-api/keys/generate", "kms.root"),
    ("POST", "kms-service-api/keys/import/jwk", "kms.root"),
    ("POST", "kms-service-api/keys/adopt", "kms.root"),
    ("POST", "resource-api/tenants/create", ""),
    ("POST", "resource-api/services/create", "service"),
    ("GET", "resource-api/resources/list", ""),
    ("GET", "resource-api/resources/list", "service"),
    ("DELETE", "resource-api/resources/delete", "store"),
]
"""Method, call, and what it is about below the tenant."""

CREDENTIALS = {
    "of another organization": "test",
    "of another tenant": "other.tenant2",
    "of another service of the tenant": "other.tenant1.elsewhere",
    "of an organization whose name begins alike": "othe",
    "of a tenant whose name begins alike": "other.tenant",
}


@dataclass(frozen=True)
class Others:
    """API keys, all of administrators, by whose they are."""

    running: Running
    api_keys: Mapping[str, str]

    def ask(self, whose: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.api_keys[whose]}", "content-type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        return self.running.client.request(method, path, content=content, headers=headers)


@pytest.fixture(scope="module")
def others(running: Running) -> Others:
    """What the other organization has, and credentials that may not know."""
    directory, store = running.engine.directory, running.engine.store
    owner = create_api_key(store, credential_id="isolation-owner", scope="other", roles=["administrator"])
    api_keys = {"the owner": owner}
    for number, (whose, scope) in enumerate(CREDENTIALS.items()):
        credential_id = f"isolation-{number}"
        api_keys[whose] = create_api_key(store, credential_id=credential_id, scope=scope, roles=["administrator"])
    made = Others(running, api_keys)
    generated = made.ask("the owner", "POST", f"/v1/{OTHERS}.kms.root/kms-service-api/keys/generate", KEY)
    assert generated.status_code == 201, generated.text
    body = {
        "storedCertificateId": "root",
        "certificateData": {"subjectName": {"commonName": "Others' CA"}, "isCertificateAuthority": True},
        "subjectPublicKeySource": {"type": "key-descriptor", "keyDescriptor": hosted("root", f"{OTHERS}.kms")},
        "issuer": {"type": "self-signed"},
    }
    issued = made.ask("the owner", "POST", f"/v1/{OTHERS}.service/x509-service-api/certificate", body)
    assert issued.status_code == 200, issued.text
    assert directory.find_kms(f"{OTHERS}.kms").list_keys()
    return made


KEY = {"keyType": "secp256r1"}


def told(response: httpx.Response) -> tuple[int, str, str]:
    """The answer without what may differ: the request's id, and the names that the caller has given."""
    text = response.text.replace(response.headers["x-request-id"], "").replace(NOBODYS, OTHERS)
    return response.status_code, response.headers["content-type"], text


def test_the_table_has_every_call_there_is(running: Running) -> None:
    calls = {(method, f"/v1/{{target}}/{call}") for method, call, _ in CALLS}
    assert calls == {(one.method, one.path) for one in target_operations(running.engine.directory)}


@pytest.mark.parametrize("whose", CREDENTIALS)
@pytest.mark.parametrize(("method", "call", "below"), CALLS)
def test_what_is_somebody_elses_is_answered_like_what_is_not_there(
    others: Others, whose: str, method: str, call: str, below: str
) -> None:
    signatures = others.running.signatures
    ending = f".{below}" if below else ""
    theirs = others.ask(whose, method, f"/v1/{OTHERS}{ending}/{call}", {})
    nobodys = others.ask(whose, method, f"/v1/{NOBODYS}{ending}/{call}", {})
    assert theirs.status_code == 404, theirs.text
    assert told(theirs) == told(nobodys)
    assert others.running.signatures == signatures


@pytest.mark.parametrize("prefix", [OTHERS, NOBODYS])
def test_the_owner_finds_what_is_there_and_nothing_else(others: Others, prefix: str) -> None:
    """The comparison above means something: these calls do tell the two apart to whom it may concern."""
    for call, below in [
        ("x509-store-api/certificates", "store.root"),
        ("kms-service-api/keys", "kms.root"),
        ("x509-service-api/dependencies/list", "service"),
    ]:
        response = others.ask("the owner", "GET", f"/v1/{prefix}.{below}/{call}")
        assert response.status_code == (200 if prefix == OTHERS else 404), response.text


def _ca_signed(prefix: str, **issuer: object) -> dict[str, Any]:
    body = certificate_body()
    return body | {"issuer": {"type": "ca-signed", "issuerKeyDescriptor": hosted("ca-secp256r1")} | issuer}


REFERENCES = {
    "the key of a request": ("csrs", lambda at: csr_body() | {"subjectKeyDescriptor": hosted("root", f"{at}.kms")}),
    "the issuer's key": (
        "certificate",
        lambda at: _ca_signed(at, issuerKeyDescriptor=hosted("root", f"{at}.kms")),
    ),
    "the issuer's certificate": ("certificate", lambda at: _ca_signed(at, issuerCertificateId=f"{at}.store.root")),
    "the subject's key": (
        "certificate",
        lambda at: (
            _ca_signed(at)
            | {
                "subjectPublicKeySource": {
                    "type": "key-descriptor",
                    "keyDescriptor": hosted("root", f"{at}.kms"),
                }
            }
        ),
    ),
    "the key of an IACA": (
        "iso/iacas",
        lambda at: {
            "iacaKeyDesc": hosted("root", f"{at}.kms"),
            "certificateData": {
                "country": "US",
                "commonName": "X",
                "issuerAlternativeNameConf": {"uri": "https://iaca.example.com"},
            },
        },
    ),
    "the key of a document signer": (
        "iso/document-signers",
        lambda at: (
            {name: value for name, value in ds_body().items() if name != "dsPublicKeySource"}
            | {"dsKeyDescriptor": hosted("root", f"{at}.kms")}
        ),
    ),
    "a dependency": ("dependencies/add", lambda at: {"dependency": f"{at}.kms"}),
    "a dependency to be removed": ("dependencies/remove", lambda at: {"dependency": f"{at}.kms"}),
}
"""Calls to a service of one's own that name something of others' in the body."""

UNIFIED = {
    "issuerKeyRef": ("kms.root", {"subjectDn": "CN=X", "csrPem": certification_request()}),
    "subjectKeyRef": ("kms.root", {"subjectDn": "CN=X", "selfSigned": True}),
    "issuerCertificateRef": (
        "store.root",
        {
            "subjectDn": "CN=X",
            "csrPem": certification_request(),
            "issuerKeyRef": "test.tenant1.kms1.ca-secp256r1",
        },
    ),
    "storeRef": (
        "store",
        {
            "subjectDn": "CN=X",
            "csrPem": certification_request(),
            "issuerKeyRef": "test.tenant1.kms1.ca-secp256r1",
        },
    ),
}


@pytest.mark.parametrize("what", REFERENCES)
def test_a_reference_to_somebody_elses_is_refused_like_one_to_nothing(others: Others, what: str) -> None:
    call, body = REFERENCES[what]
    path = f"/v1/test.tenant1.x509-service-1/x509-service-api/{call}"
    signatures = others.running.signatures
    theirs, nobodys = (others.ask("of another organization", "POST", path, body(at)) for at in (OTHERS, NOBODYS))
    assert theirs.status_code in (403, 404), theirs.text
    assert told(theirs) == told(nobodys)
    assert others.running.signatures == signatures


@pytest.mark.parametrize("member", UNIFIED)
def test_a_reference_at_the_unified_call_is_refused_like_one_to_nothing(others: Others, member: str) -> None:
    below, members = UNIFIED[member]
    path = "/v1/test.tenant1.x509-service-1.isolated/x509-service-api/certificates"
    signatures = others.running.signatures
    theirs, nobodys = (
        others.ask("of another organization", "PUT", path, members | {member: f"{at}.{below}"})
        for at in (OTHERS, NOBODYS)
    )
    assert theirs.status_code in (403, 404), theirs.text
    assert told(theirs) == told(nobodys)
    assert others.running.signatures == signatures


def test_lists_show_nothing_of_others(others: Others) -> None:
    listed = others.ask("of another organization", "GET", "/v1/test/resource-api/resources/list").json()
    assert listed
    assert all(one["_id"].split(".")[0] == "test" for one in listed)


def test_a_ca_key_of_others_is_a_key_like_any_other(others: Others) -> None:
    """Otherwise a refusal would tell whose CA has which key."""
    key = others.ask("the owner", "GET", f"/v1/{OTHERS}.kms.root/kms-service-api/keys").json()["key"]["jwk"]
    body = certificate_body() | {
        "subjectPublicKeySource": {
            "type": "key-descriptor",
            "keyDescriptor": {"type": "jwk-encoded-key-descriptor", "jwk": key},
        }
    }
    body.pop("storedCertificateId", None)
    path = "/v1/test.tenant1.x509-service-1/x509-service-api/certificate"
    response = others.ask("of another organization", "POST", path, body)
    assert response.status_code == 200, response.text
    assert others.ask("the owner", "POST", path, body).status_code == 404
