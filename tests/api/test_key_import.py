"""Importing private JWKs over the API: what is taken, what is refused, and that no private member shows anywhere."""

import base64
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from engine.errors import AlreadyExists
from engine.trial.quickstart import KMS_PATH
from tests.api.bodies import changed, csr_body, hosted, private_jwk
from tests.api.conftest import Running, keys_call, operator
from tests.api.managing import meanwhile
from tests.database import all_octets
from tests.token.interposer import Function, answering, interposed
from tests.token.test_jwk_signing import KEYS, render_jwk

Proofs = Callable[[str], list[tuple[str, str, str]]]


def import_jwk(running: Running, key_id: str, jwk: object, kms: str = KMS_PATH) -> Any:
    return running.client.post(f"{keys_call(f'{kms}.{key_id}')}/import/jwk", json=jwk)


def signs(running: Running, key_id: str, service: str = "x509-service-1") -> Any:
    return running.post("csrs", changed(csr_body(), "subjectKeyDescriptor", hosted(key_id)), service)


def new_jwk() -> dict[str, str]:
    return private_jwk(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize("name", ["P-256", "P-256, short d", "P-384", "P-521", "RSA", "Ed25519"])
def test_a_private_jwk_becomes_a_key_that_signs(running: Running, name: str) -> None:
    jwk = render_jwk(KEYS[name][0])
    key_id = "imported-" + name.replace(", ", "-").replace(" ", "-")
    response = import_jwk(running, key_id, jwk)
    assert response.status_code == 201, response.text
    key = response.json()
    public = ("kty", "crv", "x", "y", "n", "e")
    assert key["key"]["jwk"] == {member: value for member, value in jwk.items() if member in public}
    signed = signs(running, key_id)
    assert signed.status_code == 200, signed.text
    assert x509.load_pem_x509_csr(signed.json()["csrPEM"].encode()).is_signature_valid
    assert signed.json()["csrData"]["publicKeyJwk"] == key["key"]["jwk"]


def test_an_imported_key_says_so_and_does_not_sign_where_custody_is_required(running: Running) -> None:
    custody = import_jwk(running, "from-outside", new_jwk()).json()["custody"]
    assert (custody["origin"], custody["local"], custody["neverExtractable"]) == ("imported", False, False)
    assert (custody["sensitive"], custody["extractable"], custody["sign"]) == (True, False, True)
    assert "local is False, expected True: the key was not made on the token (imported)" in custody["shortfalls"]
    refused = signs(running, "from-outside", "custody")
    assert (refused.status_code, refused.json()["id"]) == (400, "PolicyRefusal")
    assert "local is False, expected True: the key was not made on the token (imported)" in refused.json()["details"]
    assert signs(running, "from-outside").status_code == 200


def test_members_that_say_nothing_of_the_numbers_are_not_looked_at(running: Running) -> None:
    jwk = {**new_jwk(), "kid": "any", "alg": "ES256", "use": "sig", "key_ops": ["sign"], "ext": True, "x5c": [], "n": 7}
    response = import_jwk(running, "with-more-members", jwk)
    assert response.status_code == 201, response.text
    assert set(response.json()["key"]["jwk"]) == {"kty", "crv", "x", "y"}


@pytest.fixture(scope="module")
def weak_rsa() -> dict[str, rsa.RSAPrivateKey]:
    return {
        "1024 bits": rsa.generate_private_key(65537, 1024),
        "an exponent of 3": rsa.generate_private_key(3, 2048),
    }


SECRET = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("no object", lambda: [new_jwk()], "a JSON object"),
    ("nothing", dict, "kty EC, RSA or OKP"),
    ("symmetric", lambda: {"kty": "oct", "k": SECRET}, "kty EC, RSA or OKP"),
    ("a secret for kty", lambda: {"kty": SECRET}, "kty EC, RSA or OKP"),
    ("a secret for crv", lambda: {**new_jwk(), "crv": SECRET}, "crv P-256, P-384 or P-521"),
    ("a curve that no profile has", lambda: {**new_jwk(), "crv": "secp256k1"}, "crv P-256, P-384 or P-521"),
    ("public only", lambda: {name: value for name, value in new_jwk().items() if name != "d"}, "lacks 'd'"),
    ("d is a number", lambda: {**new_jwk(), "d": 7}, "'d' of the JWK is not base64url"),
    ("d is padded", lambda: {**new_jwk(), "d": f"{SECRET}="}, "'d' of the JWK is not base64url"),
    ("d is short", lambda: {**new_jwk(), "d": SECRET[:40]}, "'d' of the JWK is 30 octets long, expected 32"),
    ("d is zero", lambda: {**new_jwk(), "d": "A" * 43}, "not a private key on its curve"),
    ("y is another's", lambda: {**new_jwk(), "y": new_jwk()["y"]}, "not an uncompressed point"),
    ("a pair of pairs", lambda: {"jwk": new_jwk()}, "kty EC, RSA or OKP"),
    ("many primes", lambda: {**render_jwk(KEYS["RSA"][0]), "oth": []}, "two primes"),
    ("no primes", lambda: {**render_jwk(KEYS["RSA"][0]), "p": "AQAB"}, "not the product of 'p' and 'q'"),
]


@pytest.mark.parametrize(("what", "make", "sentence"), REFUSED, ids=[what for what, _, _ in REFUSED])
def test_what_is_no_private_jwk_is_refused_without_repeating_it(
    running: Running,
    what: str,
    make: Callable[[], object],
    sentence: str,
    token_objects: Callable[[str], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    jwk, before = make(), running.signatures
    response = import_jwk(running, "never", jwk)
    assert response.status_code == 400, response.text
    assert sentence in response.json()["message"], response.text
    values = [value for value in jwk.values() if isinstance(value, str) and len(value) > 20] if what[0] != "n" else []
    for value in (SECRET, *values):
        assert value[:20] not in response.text
        assert value[:20] not in caplog.text
    assert running.client.get(keys_call(f"{KMS_PATH}.never")).status_code == 404
    assert token_objects(f"{KMS_PATH}.never") == 0
    assert running.signatures == before


def test_a_weak_key_is_refused(running: Running, weak_rsa: dict[str, rsa.RSAPrivateKey]) -> None:
    for what, key in weak_rsa.items():
        response = import_jwk(running, "never", render_jwk(key))
        assert (response.status_code, response.json()["id"]) == (400, "PolicyRefusal"), what


@pytest.mark.parametrize("name", ["P-256", "Ed25519"])
def test_private_members_of_another_key_are_refused_and_nothing_is_left_of_them(
    running: Running, name: str, token_objects: Callable[[str], int], proofs: Proofs
) -> None:
    path = f"{KMS_PATH}.mismatched-{name}"
    other = {"P-256": new_jwk()["d"], "Ed25519": SECRET}[name]
    response = import_jwk(running, f"mismatched-{name}", {**render_jwk(KEYS[name][0]), "d": other})
    assert (response.status_code, response.json()["id"]) == (400, "MalformedRequest")
    assert response.json()["message"] == "The private members of the JWK do not belong to its public members."
    assert token_objects(path) == 0
    assert [state for state, _, _ in proofs(path)] == ["failed"]
    assert running.client.get(keys_call(path)).status_code == 404


def test_importing_over_the_api_is_off_unless_the_kms_allows_it(running: Running) -> None:
    before = running.signatures
    response = import_jwk(running, "never", new_jwk(), "test.tenant1.kms2")
    assert response.status_code == 403
    assert "the setting allow-import of test.tenant1.kms2 is off" in response.json()["message"]
    assert running.signatures == before


def test_the_same_key_under_two_ids_is_two_keys_of_which_one_may_go(
    running: Running, token_objects: Callable[[str], int]
) -> None:
    jwk = new_jwk()
    one, other = (import_jwk(running, key_id, jwk) for key_id in ("twice-1", "twice-2"))
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.json()["key"] == other.json()["key"]
    assert signs(running, "twice-1").status_code == signs(running, "twice-2").status_code == 200
    assert running.client.delete(keys_call(f"{KMS_PATH}.twice-1")).json()["destroyed"] is True
    assert (token_objects(f"{KMS_PATH}.twice-1"), token_objects(f"{KMS_PATH}.twice-2")) == (0, 2)
    assert signs(running, "twice-1").status_code == 404
    assert signs(running, "twice-2").status_code == 200


def test_importing_the_same_again_makes_nothing_and_is_answered_alike(
    running: Running, token_objects: Callable[[str], int], proofs: Proofs
) -> None:
    jwk, path = new_jwk(), f"{KMS_PATH}.again"
    first = import_jwk(running, "again", jwk)
    row = running.engine.store.find_key(path)
    again = import_jwk(running, "again", {**jwk, "kid": "another name"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert running.engine.store.find_key(path) == row
    assert token_objects(path) == 2
    assert [state for state, _, _ in proofs(path)] == ["signed", "signed"]
    wrong = import_jwk(running, "again", {**jwk, "d": new_jwk()["d"]})
    assert wrong.status_code == 400
    assert running.engine.store.find_key(path) == row


@pytest.mark.parametrize("key_id", ["other-material", "leaf-rsa"])
def test_other_material_under_a_taken_id_is_409(running: Running, key_id: str) -> None:
    if key_id == "other-material":
        assert import_jwk(running, key_id, new_jwk()).status_code == 201
    before = running.engine.store.find_key(f"{KMS_PATH}.{key_id}")
    signatures = running.signatures
    response = import_jwk(running, key_id, new_jwk())
    assert (response.status_code, response.json()["target"]) == (409, f"{KMS_PATH}.{key_id}")
    assert "already exists" in response.json()["message"]
    assert running.engine.store.find_key(f"{KMS_PATH}.{key_id}") == before
    assert running.signatures == signatures


def test_the_same_key_imported_twice_at_once_is_one_key(running: Running, token_objects: Callable[[str], int]) -> None:
    call = f"{keys_call(f'{KMS_PATH}.at-once')}/import/jwk"
    responses = running.client.post_together(call, [new_jwk()] * 5)
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert token_objects(f"{KMS_PATH}.at-once") == 2


def test_who_loses_a_race_to_another_replica_answers_with_what_the_other_made(
    running: Running, token_objects: Callable[[str], int]
) -> None:
    kms, path, jwk = running.engine.directory.find_kms(KMS_PATH), f"{KMS_PATH}.raced-import", new_jwk()
    loser = meanwhile(kms, "add_key", lambda: kms.import_key("raced-import", jwk, operator(path)))
    record = loser.import_key("raced-import", jwk, operator(path))
    assert token_objects(path) == 2
    assert kms.find_key(path).checked_at == record.checked_at
    path, other = f"{KMS_PATH}.raced-other", new_jwk()
    loser = meanwhile(kms, "add_key", lambda: kms.import_key("raced-other", other, operator(path)))
    with pytest.raises(AlreadyExists):
        loser.import_key("raced-other", jwk, operator(path))
    assert token_objects(path) == 2
    assert signs(running, "raced-other").json()["csrData"]["publicKeyJwk"]["x"] == other["x"]


def test_an_import_of_which_the_reply_is_lost_leaves_nothing(
    running: Running, token_objects: Callable[[str], int], proofs: Proofs
) -> None:
    path = f"{KMS_PATH}.reply-lost"
    with answering(running.engine.config.tokens["trial"].module, "C_CreateObject", 0x30, after=True):
        response = import_jwk(running, "reply-lost", new_jwk())
    assert response.status_code == 503, response.text
    assert token_objects(path) == 0
    assert [state for state, _, _ in proofs(path)] == ["failed"]


def test_the_signature_that_proves_an_import_is_on_record_before_it_is_made(running: Running, proofs: Proofs) -> None:
    path, seen = f"{KMS_PATH}.import-on-record", []

    def look(_: str, original: Function) -> Function:
        def call(*arguments: int) -> int:
            seen.extend(proofs(path))
            return original(*arguments)

        return call

    before = running.signatures
    with interposed(running.engine.config.tokens["trial"].module, look, ["C_CreateObject", "C_SignInit"]):
        assert import_jwk(running, "import-on-record", new_jwk()).status_code == 201
    assert running.signatures == before + 1
    assert {state for state, _, _ in seen} == {"intended"}
    assert [state for state, _, _ in proofs(path)] == ["signed"]


def spellings(jwk: dict[str, str]) -> Iterator[bytes]:
    """How the private members could be written somewhere."""
    for member in ("d", "p", "q", "dp", "dq", "qi"):
        if member in jwk:
            octets = base64.urlsafe_b64decode(jwk[member] + "==")
            yield from (octets, octets.hex().encode(), octets.hex().upper().encode(), jwk[member].encode())
            yield base64.b64encode(octets).rstrip(b"=")
            yield str(int.from_bytes(octets)).encode()


@pytest.mark.parametrize("name", ["P-256", "RSA", "Ed25519"])
def test_no_private_member_is_in_a_file_a_log_line_or_an_answer(
    running: Running, name: str, data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of an import that went well, nor of one that was refused or cut off on its way."""
    caplog.set_level(logging.DEBUG)
    jwk = render_jwk(KEYS[name][0])
    kms, path = running.engine.directory.find_kms(KMS_PATH), f"{KMS_PATH}.leak-{name}"
    answers = [import_jwk(running, f"leak-{name}", jwk), import_jwk(running, f"leak-{name}", jwk)]
    assert [answer.status_code for answer in answers] == [201, 201]
    answers.append(import_jwk(running, f"leak-{name}", jwk, "test.tenant1.kms2"))
    answers.append(import_jwk(running, "leaf-rsa", jwk))
    answers.append(import_jwk(running, "never", {**jwk, "x": "", "n": ""}))
    with answering(running.engine.config.tokens["trial"].module, "C_CreateObject", 0x05, 0x13, 0x31):
        answers.append(import_jwk(running, "leak-failing", jwk))
    answers += [running.client.get(keys_call(path)), running.client.get(keys_call(KMS_PATH)), signs(running, "never")]
    said = " ".join(answer.text for answer in answers)
    said += caplog.text + repr(kms.import_key(f"leak-{name}", jwk, operator(path))) + repr(kms.find_key(path))
    said += " ".join(str(vars(record)) for record in caplog.records)
    octets = all_octets(data_folder)
    assert b"leak-" in octets
    for secret in spellings(jwk):
        assert secret not in said.encode("utf-8", "surrogateescape")
        assert secret not in octets


def test_a_private_jwk_is_taken_by_the_operator_whatever_the_setting(running: Running) -> None:
    kms = replace(running.engine.directory.find_kms(KMS_PATH), allow_import=False)
    path = f"{KMS_PATH}.by-the-operator"
    assert kms.import_key("by-the-operator", new_jwk(), operator(path)).origin == "imported"
