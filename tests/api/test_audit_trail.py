"""Every act that an auditor asks about is in the audit trail, with who did it, from where, and what came of it."""

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection

from engine.__main__ import main
from engine.app import Engine, open_engine
from engine.config import load_config, policy_of
from engine.directory.credentials import create_api_key
from engine.errors import StoreError
from engine.store import KINDS
from engine.store.schema import events
from engine.store.writer import chain_of, writer_of
from engine.trial.quickstart import KMS_PATH, SERVICE_PATH, STORE_PATH
from engine.whereabouts import local_source, machine_name
from tests.api.bodies import (
    certificate_body,
    changed,
    csr_body,
    described_jwk,
    ds_body,
    hosted,
    outside_certificate,
    outside_key,
    private_jwk,
    tampered_request,
)
from tests.api.conftest import Running, keys_call, operator
from tests.api.managing import meanwhile
from tests.api.tree import attach, create_service, create_tenant, delete, detach
from tests.database import change, select
from tests.in_process import InProcessClient
from tests.page.live import DEADLINE, ENGINE
from tests.trail import Told, check_chains, read_trail

EMAIL, PASSWORD = "auditor@example.com", "correct horse battery staple"
CLIENT = "127.0.0.1"
FORGED = "0" * 64


@dataclass
class Stage:
    """The running engine, and what an act needs of the tests."""

    running: Running
    config: Path
    ceremony: Callable[..., Any]
    secrets: list[str] = field(default_factory=list)
    """What was sent, or given, and must not be in any event."""

    @property
    def url(self) -> str:
        return self.running.engine.config.store.url

    def told_by(self, act: Callable[["Stage"], object]) -> list[Told]:
        before = {(one.writer, one.sequence) for one in read_trail(self.url)}
        act(self)
        return [one for one in read_trail(self.url) if (one.writer, one.sequence) not in before]

    def call(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        return self.running.client.request(method, path, json=body, **options)

    def command(self, *words: str) -> None:
        assert main([*words, "--config", str(self.config)]) == 0


@pytest.fixture
def stage(running: Running, data_folder: Path, ceremony: Callable[..., Any]) -> Stage:
    return Stage(running, data_folder / "engine.toml", ceremony, [running.api_key])


@pytest.fixture(scope="module", autouse=True)
def whole_trail(running: Running, data_folder: Path) -> Iterator[None]:
    """Whatever the tests do, every chain stays whole."""
    with open_engine(data_folder / "engine.toml"):
        pass  # since other tests may have started one with another policy
    yield
    assert sum(check_chains(running.engine.config.store.url).values()) > 100


def generate(stage: Stage, key_id: str) -> None:
    response = stage.call("POST", f"{keys_call(f'{KMS_PATH}.{key_id}')}/generate", {"keyType": "secp256r1"})
    assert response.status_code == 201, response.text


def import_key(stage: Stage) -> None:
    jwk = private_jwk(ec.generate_private_key(ec.SECP256R1()))
    stage.secrets.append(jwk["d"])
    assert stage.call("POST", f"{keys_call(f'{KMS_PATH}.told-import')}/import/jwk", jwk).status_code == 201


def adopt(stage: Stage) -> None:
    stage.ceremony("told-adopt", b"\x0a\x0d")
    path = f"{keys_call(f'{KMS_PATH}.told-adopt')}/adopt"
    assert stage.call("POST", path, {"label": "told-adopt"}).status_code == 201


def delete_key(stage: Stage, key_id: str) -> None:
    assert stage.call("DELETE", keys_call(f"{KMS_PATH}.{key_id}")).is_success


def fail_to_register(stage: Stage) -> None:
    kms, path = stage.running.engine.directory.find_kms(KMS_PATH), f"{KMS_PATH}.told-leftover"

    def fail() -> None:
        raise StoreError("The database did not commit the record.")

    with pytest.raises(StoreError):
        meanwhile(kms, "add_key", fail).generate_key("told-leftover", "secp256r1", operator(path))


def refuse_jwk(stage: Stage) -> None:
    """A private JWK whose halves do not belong together: it has signed when that shows."""
    one, other = (private_jwk(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    stage.secrets.append(one["d"])
    body = changed(csr_body(), "subjectKeyDescriptor", described_jwk({**other, "d": one["d"]}))
    assert stage.running.post("csrs", body).status_code == 400


def entries(stage: Stage) -> None:
    path = f"/v1/{STORE_PATH}.told-entry/x509-store-api/certificates"
    for method, status in (("POST", 201), ("PUT", 200)):
        body = {"type": "base", "certificatePem": outside_certificate(outside_key("told"))}
        response = stage.call(method, path, body)
        assert response.status_code == status, response.text
    assert stage.call("DELETE", path).is_success


def tree(stage: Stage) -> None:
    running, tenant = stage.running, "test.told"
    assert create_tenant(running, tenant).status_code == 201
    for service, kind in (("store", "x509-store"), ("service", "x509-service")):
        assert create_service(running, f"{tenant}.{service}", kind).status_code == 201
    assert attach(running, f"{tenant}.service", f"{tenant}.store").is_success
    assert detach(running, f"{tenant}.service", f"{tenant}.store").is_success
    for path in (f"{tenant}.service", f"{tenant}.store", tenant):
        assert delete(running, path).is_success


def credentials(stage: Stage) -> None:
    stage.command("credentials", "create", "told-key", "--scope", "test")
    stage.command("credentials", "revoke", "told-key")


def accounts(stage: Stage) -> None:
    password = stage.config.with_name("told-password")
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o600)
    stage.secrets.append(PASSWORD)
    stage.command("accounts", "create", EMAIL, "--scope", "test", "--password-file", str(password))
    stage.command("accounts", "password", EMAIL, "--password-file", str(password))
    stage.command("accounts", "disable", EMAIL)
    stage.command("accounts", "enable", EMAIL)


def log_in(stage: Stage, password: str = PASSWORD, email: str = EMAIL) -> int:
    stage.secrets.append(password)
    response = stage.call("POST", "/auth/account/emailpass", {"email": email, "password": password})
    if response.status_code == 200:
        stage.secrets.append(response.json()["token"])
    return int(response.status_code)


def fail_to_log_in(stage: Stage) -> None:
    for _ in range(5):
        assert log_in(stage, "another horse battery") == 401
    assert log_in(stage, "x" * 20, "p@ssw0rd-in-the-wrong-field") == 401
    stage.running.engine.directory.refusals.tell_counted(is_over=True)


def present_nothing_known(stage: Stage) -> None:
    path = f"/v1/{SERVICE_PATH}/x509-service-api/csrs"
    for header in ("", "Bearer", "Bearer not-a-key-that-anybody-has"):
        stage.secrets.append("not-a-key-that-anybody-has")
        assert stage.call("POST", path, csr_body(), headers={"authorization": header}).status_code == 401
    stage.running.engine.directory.refusals.tell_counted(is_over=True)


def start(stage: Stage, config: Path | None = None) -> None:
    with open_engine(config or stage.config):
        pass


def rewritten(stage: Stage, before: str, after: str) -> Path:
    """Another configuration file beside the one that is served."""
    other = stage.config.with_name("other.toml")
    text = stage.config.read_text(encoding="utf-8")
    assert text.count(before) == 1
    other.write_text(text.replace(before, after), encoding="utf-8")
    return other


def start_with_another_policy(stage: Stage) -> None:
    start(stage, rewritten(stage, "iaca-requires-state = false", "iaca-requires-state = true"))


def check_with_another_pin(stage: Stage) -> None:
    """In a process of its own: in this one the token is logged in already."""
    pin = stage.config.with_name("another-pin")
    pin.write_text("87654321", encoding="utf-8")
    pin.chmod(0o600)
    stage.secrets.append("87654321")
    config = rewritten(stage, 'file = "softhsm/pin"', 'file = "another-pin"')
    done = subprocess.run([*ENGINE, "check", "--config", config], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, "the PIN is wrong" in done.stderr) == (77, True), done.stderr


def lose_token(stage: Stage) -> None:
    assert stage.running.post("csrs", csr_body()).status_code == 200
    token = stage.running.engine.tokens["trial"]
    recovery = token._recovery
    recovery.lost(recovery.connection(), "the test says so")
    deadline = time.monotonic() + 30
    while token.state() != "ready" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert token.state() == "ready"


API, CLI, ITSELF, NOBODY = "the API key", "command-line", "engine", "nobody"
PROOF = [("signature-intended", "pending"), ("proof-signed", "success")]
Expected = list[tuple[str, str]]
ACTS: dict[str, tuple[Callable[[Stage], object], str, str, Expected]] = {
    "a certification request": (
        lambda stage: stage.running.post("csrs", csr_body()),
        API,
        SERVICE_PATH,
        [("signature-intended", "pending"), ("request-signed", "success")],
    ),
    "a certificate": (
        lambda stage: stage.running.post("certificate", certificate_body()),
        API,
        SERVICE_PATH,
        [("signature-intended", "pending"), ("certificate-signed", "success")],
    ),
    "a document signer": (
        lambda stage: stage.running.post("iso/document-signers", ds_body()),
        API,
        SERVICE_PATH,
        [("signature-intended", "pending"), ("certificate-signed", "success")],
    ),
    "a signature in vain": (
        refuse_jwk,
        API,
        SERVICE_PATH,
        [("signature-intended", "pending"), ("signature-failed", "failure"), ("request-refused", "refused")],
    ),
    "generate a key": (
        lambda stage: generate(stage, "told"),
        API,
        f"{KMS_PATH}.told",
        [*PROOF, ("key-generated", "success")],
    ),
    "examine a key": (
        lambda stage: stage.call("GET", keys_call(f"{KMS_PATH}.leaf-secp256r1")),
        API,
        f"{KMS_PATH}.leaf-secp256r1",
        [("key-examined", "success")],
    ),
    "destroy a key": (
        lambda stage: delete_key(stage, "told"),
        API,
        f"{KMS_PATH}.told",
        [("key-unbound", "success"), ("key-destroyed", "success")],
    ),
    "import a key": (import_key, API, f"{KMS_PATH}.told-import", [*PROOF, ("key-imported", "success")]),
    "adopt a key": (adopt, API, f"{KMS_PATH}.told-adopt", [*PROOF, ("key-adopted", "success")]),
    "let go of a key": (
        lambda stage: delete_key(stage, "told-adopt"),
        API,
        f"{KMS_PATH}.told-adopt",
        [("key-unbound", "success")],
    ),
    "a key that cannot be registered": (
        fail_to_register,
        "a test",
        f"{KMS_PATH}.told-leftover",
        [
            ("signature-intended", "pending"),
            ("signature-failed", "failure"),
            ("key-leftovers-destroyed", "success"),
        ],
    ),
    "certificates from elsewhere": (
        entries,
        API,
        f"{STORE_PATH}.told-entry",
        [("entry-added", "success"), ("entry-replaced", "success"), ("entry-deleted", "success")],
    ),
    "the tree": (
        tree,
        API,
        "test.told",
        [
            ("tenant-created", "success"),
            ("service-created", "success"),
            ("service-created", "success"),
            ("dependency-attached", "success"),
            ("dependency-detached", "success"),
            ("service-deleted", "success"),
            ("service-deleted", "success"),
            ("tenant-deleted", "success"),
        ],
    ),
    "API keys": (
        credentials,
        CLI,
        "told-key",
        [("credential-created", "success"), ("credential-revoked", "success")],
    ),
    "accounts": (
        accounts,
        CLI,
        EMAIL,
        [
            ("account-created", "success"),
            ("account-password-set", "success"),
            ("account-disabled", "success"),
            ("account-enabled", "success"),
        ],
    ),
    "a log-in": (log_in, f"account:{EMAIL}", EMAIL, [("log-in", "success")]),
    "log-ins in vain": (
        fail_to_log_in,
        NOBODY,
        "",
        [("log-in-refused", "refused"), ("account-locked", "refused"), ("log-in-refused", "refused")],
    ),
    "no credential": (present_nothing_known, NOBODY, "", [("credential-refused", "refused")] * 2),
    "another's path": (
        lambda stage: stage.call("GET", "/v1/other.tenant1.store/x509-store-api/certificates/ids"),
        API,
        "other.tenant1.store",
        [("request-refused", "refused")],
    ),
    "a malformed body": (
        lambda stage: stage.running.post("csrs", {"nonsense": True}),
        API,
        SERVICE_PATH,
        [("request-refused", "refused")],
    ),
    "nothing to be read": (
        lambda stage: stage.call("GET", f"/v1/{STORE_PATH}.nothing/x509-store-api/certificates"),
        API,
        "",
        [],
    ),
    "a start": (start, ITSELF, "", [("engine-started", "success"), ("engine-stopped", "success")]),
    "another policy": (
        start_with_another_policy,
        ITSELF,
        "",
        [("engine-started", "success"), ("policy-changed", "success"), ("engine-stopped", "success")],
    ),
    "the policy before": (
        start,
        ITSELF,
        "",
        [("engine-started", "success"), ("policy-changed", "success"), ("engine-stopped", "success")],
    ),
    "a wrong PIN": (
        check_with_another_pin,
        ITSELF,
        "",
        [
            ("engine-started", "success"),
            ("configuration-changed", "success"),
            ("token-login-refused", "failure"),
            ("engine-stopped", "failure"),
        ],
    ),
    "the file before": (
        start,
        ITSELF,
        "",
        [("engine-started", "success"), ("configuration-changed", "success"), ("engine-stopped", "success")],
    ),
}
ELSEWHERE = {
    "signature-outcome-unknown",  # tests/unit/store/test_events.py
    "signature-repeated",  # tests/faults/test_served_faults.py
    "rate-measured",  # tests/scripts/test_doctor.py
    "token-lost",
    "token-back",
}


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_told_of_in_its_order_with_who_did_it(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, actor, target, expected = ACTS[name]
    if actor == NOBODY:
        monkeypatch.setattr(stage.running.engine.directory.refusals, "_clock", lambda: 0.0)
        stage.running.engine.directory.refusals._counts.clear()
    told = stage.told_by(act)
    assert [(one.kind, one.outcome) for one in told] == expected
    for one in told:
        if actor == API:
            assert one.actor.startswith("quickstart-"), one
            assert (one.source, len(one.request_id)) == (CLIENT, len(str(uuid4()))), one
        elif one.kind != "account-locked":
            assert one.actor == actor, one
        if actor == CLI:
            assert one.source == local_source()
        assert one.target.startswith(target), one
        if one.actor == NOBODY or one.kind.startswith("log-in"):
            assert one.source == CLIENT
    shown = json.dumps([one.row for one in told], default=str)
    for secret in stage.secrets:
        assert secret not in shown


def test_every_kind_is_told_by_one_of_these_acts() -> None:
    told = {kind for _, _, _, expected in ACTS.values() for kind, _ in expected}
    assert told | ELSEWHERE == set(KINDS)
    assert not told & ELSEWHERE


def test_a_loss_and_what_is_signed_before_the_token_is_used_again_are_told_of(stage: Stage) -> None:
    told = stage.told_by(lose_token)[2:]
    assert (told[0].kind, told[-1].kind) == ("token-lost", "token-back")
    assert told[0].details == {"token": "trial", "cause": "the test says so"}
    proofs = told[1:-1]
    assert proofs
    middle = len(proofs) // 2
    for before, after in zip(proofs[:middle], proofs[middle:], strict=True):
        assert (before.kind, before.outcome, after.kind, after.outcome) == (*PROOF[0], *PROOF[1])
        assert before.details == after.details
        assert before.details["signatureKind"] == "return"
    assert f"{KMS_PATH}.leaf-secp256r1" in {one.details["signingKey"] for one in proofs}


def test_accounts_are_named_where_a_log_in_is_refused_but_not_what_is_no_account(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = stage.running.engine.directory.refusals
    monkeypatch.setattr(refusals, "_clock", lambda: 0.0)
    refusals._counts.clear()
    stage.command("accounts", "enable", EMAIL)
    told = [one for one in stage.told_by(fail_to_log_in) if one.kind == "log-in-refused"]
    assert [one.details for one in told] == [{"count": 1, "accounts": [EMAIL]}, {"count": 5, "accounts": [EMAIL]}]


def test_a_refusal_says_which_call_and_at_which_step_and_nothing_of_what_was_sent(stage: Stage) -> None:
    marked = "a-word-that-is-nowhere-else"
    (one,) = stage.told_by(lambda stage: stage.running.post("csrs", {**csr_body(), marked: 1}))
    assert marked not in str(one.row)
    assert len(one.details.pop("requestSha256")) == 64
    assert one.details == {
        "error": "MalformedRequest",
        "call": "POST /v1/{target}/x509-service-api/csrs",
        "step": "request",
    }


def post_csr(stage: Stage, body: object, **options: Any) -> httpx.Response:
    return stage.running.client.post(f"/v1/{SERVICE_PATH}/x509-service-api/csrs", json=body, **options)


def ask_as_a_reader(stage: Stage) -> httpx.Response:
    secret = create_api_key(stage.running.engine.store, credential_id=f"r-{uuid4()}", scope="test", roles=["reader"])
    stage.secrets.append(secret)
    return post_csr(stage, csr_body(), headers={"authorization": f"Bearer {secret}"})


def ask_for_another_under_one_key(stage: Stage) -> httpx.Response:
    headers = {"idempotency-key": str(uuid4())}
    path = f"/v1/{SERVICE_PATH}/x509-service-api/certificate"
    assert stage.call("POST", path, certificate_body(), headers=headers).status_code == 200
    other = changed(certificate_body(), "certificateData.subjectName.commonName", "Another")
    return stage.call("POST", path, other, headers=headers)


def generate_once_more(stage: Stage) -> httpx.Response:
    path = f"{keys_call(f'{KMS_PATH}.leaf-secp256r1')}/generate"
    return stage.call("POST", path, {"keyType": "secp256r1"})


def present_what_is_no_iaca(stage: Stage) -> httpx.Response:
    signer = {
        "type": "iaca-pem-cert-descriptor",
        "iacaKeyDesc": hosted("iaca-secp256r1"),
        "iacaPemEncodedCertificate": outside_certificate(outside_key("told")),
    }
    return stage.running.post("iso/document-signers", changed(ds_body(), "iacaSigner", signer))


def order(path: str, value: object, call: str = "certificate") -> Callable[[Stage], httpx.Response]:
    return lambda stage: stage.running.post(call, changed(certificate_body(), path, value))


def test_a_refused_login_says_why_and_the_start_that_it_ends_has_failed(stage: Stage) -> None:
    told = {one.kind: one.details for one in stage.told_by(check_with_another_pin)}
    start(stage)
    assert told["token-login-refused"] == {
        "token": "trial",
        "reason": "the PIN is wrong (CKR_PIN_INCORRECT)",
        "purpose": "command",
    }
    stopped = told["engine-stopped"]
    assert (stopped["reason"], stopped["purpose"]) == ("TokenLoginRefused", "command")


def test_a_start_that_fails_in_another_way_has_failed_too(stage: Stage) -> None:
    config = rewritten(stage, "pkcs11:token=engine-trial", "pkcs11:token=nowhere")
    told = stage.told_by(lambda stage: main(["check", "--config", str(config)]))
    start(stage)
    assert "token-login-refused" not in {one.kind for one in told}
    assert (told[-1].kind, told[-1].outcome, told[-1].details["reason"]) == (
        "engine-stopped",
        "failure",
        "TokenUnavailable",
    )


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (
            "allow-delete-in-use = false     # a caller",
            "allow-delete-in-use = true # a caller",
            f'services."{KMS_PATH}".allow-delete-in-use',
        ),
        ("session-hours = 12.0", "session-hours = 11.0", "accounts.session-hours"),
        ("events = 1000", "events = 999", "audit.events"),
        ("iaca-requires-state = false", "iaca-requires-state = true", "policy.iaca-requires-state"),
        ('# trusted-proxies = ["10.0.0.0/8"]', 'trusted-proxies = ["10.0.0.0/8"]', "server.trusted-proxies"),
        ('[services."test.tenant1.kms2"]\ntype = "kms"\ntoken = "trial"\n', "", 'services."test.tenant1.kms2"'),
    ],
)
def test_what_has_changed_in_the_policy_is_told_by_name(stage: Stage, before: str, after: str, changed: str) -> None:
    config = rewritten(stage, before, after)
    start(stage)
    (one,) = [one for one in stage.told_by(lambda stage: start(stage, config)) if one.kind == "policy-changed"]
    (back,) = [one for one in stage.told_by(start) if one.kind == "policy-changed"]
    assert one.details["changed"] == back.details["changed"] == [changed]
    assert one.details["previousPolicySha256"] == back.details["policySha256"]
    kept = select(stage.url, f"SELECT statement FROM statements WHERE sha256 = '{one.details['policySha256']}'")
    assert kept == [(policy_of(load_config(config)),)]


CA_KEY = f"{KMS_PATH}.ca-secp256r1"
REFUSALS: dict[str, tuple[Callable[[Stage], httpx.Response], int, str, str, str | None]] = {
    "a role that may not": (ask_as_a_reader, 403, "NotAuthorized", "right", None),
    "a KMS that is not attached": (
        lambda stage: post_csr(
            stage, changed(csr_body(), "subjectKeyDescriptor", hosted("elsewhere", "test.tenant1.kms2"))
        ),
        403,
        "NotAuthorized",
        "work",
        "test.tenant1.kms2.elsewhere",
    ),
    "a path that is taken": (generate_once_more, 409, "AlreadyExists", "work", None),
    "an Idempotency-Key for two": (ask_for_another_under_one_key, 422, "IdempotencyConflict", "request", None),
    "what the policy forbids": (
        order("certificateData.notAfter", "2060-01-01T00:00:00Z"),
        400,
        "PolicyRefusal",
        "work",
        CA_KEY,
    ),
    "a request that proves nothing": (
        order("subjectPublicKeySource.csrPEM", tampered_request()),
        400,
        "ProofOfPossessionError",
        "work",
        CA_KEY,
    ),
    "a key that is not there": (
        order("issuer.issuerKeyDescriptor", hosted("nothing")),
        404,
        "NotFound",
        "work",
        f"{KMS_PATH}.nothing",
    ),
    "what may be a key where a path belongs": (
        order("issuer.issuerKeyDescriptor", hosted("s" * 43)),
        404,
        "NotFound",
        "work",
        f"{KMS_PATH}.(43 characters)",
    ),
    "what is no IACA": (present_what_is_no_iaca, 400, "PolicyRefusal", "work", f"{KMS_PATH}.iaca-secp256r1"),
    "a call that is none": (lambda stage: stage.call("GET", f"/v1/{SERVICE_PATH}"), 404, "NotFound", "call", None),
    "a method that is none": (
        lambda stage: stage.call("PATCH", f"/v1/{SERVICE_PATH}/x509-service-api/csrs"),
        405,
        "MethodNotAllowed",
        "call",
        None,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_which_error_it_was_where_and_what_key_was_to_sign(stage: Stage, name: str) -> None:
    act, status, error, step, signing_key = REFUSALS[name]
    answers: list[httpx.Response] = []
    one = stage.told_by(lambda stage: answers.append(act(stage)))[-1]
    (answer,) = answers
    assert (answer.status_code, one.kind, one.outcome) == (status, "request-refused", "refused")
    assert (one.details["error"], one.details["step"]) == (error, step)
    assert one.details.get("signingKey") == one.row["signing_key"] == signing_key
    assert one.request_id == answer.headers["x-request-id"]
    body = answer.request.content
    read = hashlib.sha256(body).hexdigest() if body else None
    assert one.details.get("requestSha256") == read
    if name == "what is no IACA":
        assert "iso.iaca.basic_constraints" in one.details["reason"]
        assert all(re.fullmatch(r"[a-z_.]+", code) for code in one.details["reason"])
    else:
        assert "reason" not in one.details
    for secret in stage.secrets:
        assert secret not in str(one.row)


def test_a_credential_that_was_revoked_or_is_over_is_named_where_it_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, refusals = stage.running.engine.store, stage.running.engine.directory.refusals
    monkeypatch.setattr(refusals, "_clock", lambda: 0.0)
    refusals._counts.clear()
    name = f"revoked-{uuid4()}"
    secret = create_api_key(store, credential_id=name, scope="test", roles=["reader"])
    store.revoke_credential(name)
    (one,) = stage.told_by(lambda stage: post_csr(stage, {}, headers={"authorization": f"Bearer {secret}"}))
    assert one.details == {"count": 1, "credentials": [name], "call": "POST /v1/{target}/x509-service-api/csrs"}


COMMANDS: dict[str, tuple[list[str], str]] = {
    "keys delete": ([CA_KEY, "--yes"], "PolicyRefusal"),
    "keys generate": ([CA_KEY], "AlreadyExists"),
    "keys adopt": ([f"{KMS_PATH}.told-none", "--label", "nowhere"], "NotFound"),
    "credentials create": (["told-twice", "--scope", "test"], "AlreadyExists"),
    "credentials revoke": (["told-nobody"], "NotFound"),
    "accounts disable": (["nobody@example.com"], "NotFound"),
    "accounts enable": (["nobody@example.com"], "NotFound"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_refused_at_the_command_line_is_told(stage: Stage, command: str) -> None:
    words, error = COMMANDS[command]
    arguments = [*command.split(), *words, "--config", str(stage.config)]
    if command == "credentials create":
        assert main(arguments) == 0
    told = stage.told_by(lambda stage: main(arguments))
    (one,) = [one for one in told if one.kind == "request-refused"]
    assert (one.actor, one.source, one.target, one.outcome) == (CLI, local_source(), words[0], "refused")
    assert one.details == {"error": error, "call": f"signing-engine {command}", "step": "command"}


@pytest.mark.parametrize(("command", "more"), [("delete", ["--yes"]), ("import", ["--jwk-file", "jwk"])])
def test_the_audit_key_is_not_deleted_nor_overwritten_by_a_command_and_that_is_told(
    stage: Stage, command: str, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stage.config.parent)
    jwk = stage.config.with_name("jwk")
    jwk.write_text(json.dumps(private_jwk(outside_key("told"))), encoding="utf-8")
    jwk.chmod(0o600)
    path = stage.running.engine.config.audit.key
    assert path is not None
    told = stage.told_by(lambda stage: main(["keys", command, path, *more, "--config", str(stage.config)]))
    (one,) = [one for one in told if one.kind == "request-refused"]
    assert (one.target, one.details["error"]) == (path, "NotAuthorized")


def test_a_start_says_on_which_machine_and_whoever_is_at_the_command_line_who_they_are(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice,uid=0\x1b")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    told = stage.told_by(lambda stage: stage.command("check"))
    assert (told[0].kind, told[0].details["host"]) == ("engine-started", machine_name())
    assert told[0].source == f"local:host={machine_name()},uid=4000000,sudo=alice?uid?0?"
    examined = [one for one in told if one.kind == "key-examined"]
    assert {one.source for one in examined} == {f"local:host={machine_name()},uid=4000000,sudo=alice?uid?0?"}


def details_of(stage: Stage, name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(one.kind, one.details) for one in stage.told_by(ACTS[name][0])]


def test_what_is_made_and_undone_in_the_tree_is_told_with_what_it_is(stage: Stage) -> None:
    assert details_of(stage, "the tree") == [
        ("tenant-created", {"type": "tenant"}),
        ("service-created", {"type": "x509-store"}),
        ("service-created", {"type": "x509-service"}),
        ("dependency-attached", {"dependency": "test.told.store"}),
        ("dependency-detached", {"dependency": "test.told.store"}),
        ("service-deleted", {"type": "x509-service"}),
        ("service-deleted", {"type": "x509-store"}),
        ("tenant-deleted", {"type": "tenant"}),
    ]


def test_what_a_service_is_made_with_is_told(stage: Stage) -> None:
    tenant = f"test.{uuid4()}"
    create_tenant(stage.running, tenant, json={"name": "Told"})
    create_service(stage.running, f"{tenant}.store", "x509-store")
    told = stage.told_by(
        lambda stage: [
            create_service(stage.running, f"{tenant}.kms", "kms", token="trial"),
            create_service(stage.running, f"{tenant}.x", "x509-service", name="X", dependencies=[f"{tenant}.store"]),
        ]
    )
    assert [one.details for one in told] == [
        {"type": "kms", "token": "trial"},
        {"type": "x509-service", "name": "X", "dependencies": [f"{tenant}.store"]},
    ]


def test_an_entry_that_is_deleted_is_told_with_its_certificate(stage: Stage) -> None:
    added, replaced, deleted = stage.told_by(entries)
    assert added.details["certificateSha256"] != replaced.details["certificateSha256"]
    assert deleted.details == {name: replaced.details[name] for name in ("certificateSha256", "serialNumber")}


def test_credentials_and_accounts_are_told_with_what_they_may_do(stage: Stage) -> None:
    name, email = f"told-{uuid4()}", f"{uuid4()}@example.com"
    password = stage.config.with_name("told-password")
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o600)
    rights = ("--scope", "test.tenant1", "--role", "issuer", "--role", "reader")
    wanted = {"scope": "test.tenant1", "roles": ["reader", "issuer"]}
    (one,) = stage.told_by(lambda stage: stage.command("credentials", "create", name, *rights))
    assert (one.kind, one.details) == ("credential-created", wanted)
    make = ("accounts", "create", email, "--password-file", str(password))
    (one,) = stage.told_by(lambda stage: stage.command(*make, *rights))
    assert (one.kind, one.details) == ("account-created", wanted)
    (one,) = stage.told_by(lambda stage: log_in(stage, email=email))
    session = stage.call("POST", "/auth/account/emailpass", {"email": email, "password": PASSWORD}).json()
    assert (one.kind, list(one.details)) == ("log-in", ["sessionId"])
    assert one.details["sessionId"] != session["session_id"]
    assert stage.told_by(lambda stage: None) == []
    last = read_trail(stage.url)[-1]
    assert (last.kind, last.details) == ("log-in", {"sessionId": session["session_id"]})
    began = datetime.now(UTC)
    for _ in range(4):
        assert log_in(stage, "another horse battery", email) == 401
    told = stage.told_by(lambda stage: log_in(stage, "another horse battery", email))
    (locked,) = [one for one in told if one.kind == "account-locked"]
    until = datetime.fromisoformat(locked.details.pop("lockedUntil"))
    assert timedelta(seconds=25) < until - began < timedelta(seconds=90)
    assert (locked.details, locked.target) == ({"failures": 5}, email)


@pytest.mark.parametrize("path", ["test..x", "x" * 3000, "test.%F0%9F%94%91"])
def test_a_path_that_is_none_is_told_of_in_short(stage: Stage, path: str) -> None:
    (one,) = stage.told_by(lambda stage: stage.call("GET", f"/v1/{path}/x509-store-api/certificates/ids"))
    assert (one.kind, one.details["step"]) == ("request-refused", "target")
    assert len(one.target) < 100
    assert one.target.isascii()


def test_the_custody_record_is_told_of_by_its_digest(stage: Stage) -> None:
    told = stage.told_by(lambda stage: generate(stage, "told-custody"))
    registered = told[-1].details
    row = stage.running.engine.store.find_key(f"{KMS_PATH}.told-custody")
    assert registered["spkiSha256"] == row.spki_sha256
    unbound = stage.told_by(lambda stage: delete_key(stage, "told-custody"))[0].details
    assert unbound == {**registered, "isLast": True}


def test_nobody_is_answered_and_nothing_is_signed_when_the_trail_cannot_be_written(
    running: Running, other_engine: Engine
) -> None:
    """Somebody has taken the next place in the chain, so whatever is to be told cannot be."""
    database = other_engine.store._database

    def take_place(connection: Connection) -> None:
        writer, sequence = writer_of(connection), chain_of(connection).mark().sequence + 1
        forged = {"writer": writer, "sequence": sequence, "recorded_at": datetime.now(UTC), "kind": "log-in"}
        empty = dict.fromkeys(("actor", "source", "target", "outcome", "request_id", "details"), "")
        connection.execute(events.insert(), forged | empty | dict.fromkeys(("previous_hash", "hash"), FORGED))

    database.write(take_place)
    signatures = other_engine.tokens["trial"].signatures
    try:
        with InProcessClient(other_engine.application, {"authorization": f"Bearer {running.api_key}"}) as client:
            for body in (csr_body(), {"nonsense": True}, changed(csr_body(), "subjectKeyDescriptor", hosted("none"))):
                response = client.post(f"/v1/{SERVICE_PATH}/x509-service-api/csrs", json=body)
                assert (response.status_code, response.json()["id"]) == (500, "StoreError")
        assert other_engine.tokens["trial"].signatures == signatures
    finally:
        change(running.engine.config.store.url, f"DELETE FROM events WHERE hash = '{FORGED}'")
