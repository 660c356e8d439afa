"""The grounds of a signature: one spelling, whatever is in them."""

import json
from base64 import b64decode
from dataclasses import dataclass
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.audit.verifier import canonical
from engine.grounds import (
    prove_by_own_signature,
    prove_by_registration,
    prove_by_request,
    prove_nothing,
    render_grounds,
)
from engine.profiles.lint import Finding, LintReport
from engine.token import TokenIdentity
from engine.x509.request import load_request
from engine.x509.spki import PublicKey, load_spki
from tests.api.bodies import certification_request, outside_key

SPKI = outside_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
ODD = 'a "quoted" \\ name, é and \x7f\n'
TOKEN = TokenIdentity(ODD, "1", "maker", "model", "1.0", "2.0", "library's maker", ODD, "2.6")


@dataclass(frozen=True)
class Key:
    """About to sign."""

    public_key: PublicKey
    name: str = "test.tenant1.kms1.ca"
    custody_sha256: str | None = "c" * 64

    def token_identity(self) -> TokenIdentity:
        return TOKEN


FINDING = Finding("warning", "subject.odd", f"The subject is {ODD}.", "RFC 5280 4.1")
PROOFS = {
    "a request": prove_by_request(load_request(certification_request())),
    "a registered key": prove_by_registration("test.tenant1.kms1.leaf", load_spki(SPKI)),
    "itself": prove_by_own_signature(load_spki(SPKI)),
    "nothing": prove_nothing(load_spki(SPKI)),
}


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
@pytest.mark.parametrize("custody", ["c" * 64, None])
@pytest.mark.parametrize("findings", [(), (FINDING,)])
def test_grounds_are_canonical(proof: str, custody: str | None, findings: tuple[Finding, ...]) -> None:
    statement, grounds = render_grounds(
        engine="1.0 é",
        policy_sha256="a" * 64,
        profile="document-signer",
        request_sha256="b" * 64,
        proof=proof,
        lint=LintReport(3, "d" * 64, findings),
        issuing_key=Key(load_spki(SPKI), custody_sha256=custody),
    )
    members = json.loads(grounds)
    assert canonical(members) == grounds
    assert members["proofOfPossession"] == json.loads(proof)
    key = json.loads(statement)
    assert canonical(key) == statement
    assert members["issuingKeySha256"] == sha256(statement.encode()).hexdigest()
    assert key["custodySha256"] == custody
    assert b64decode(key["spki"]) == SPKI
    assert key["token"]["label"] == ODD
    assert [one["message"] for one in members["lint"]["findings"]] == [one.message for one in findings]
