"""The key that signs checkpoints of the audit trail signs nothing else, and no key signs while there are none."""

import base64
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from engine.__main__ import main
from engine.app import SERVE, Engine, open_engine
from engine.directory.credentials import create_api_key
from engine.errors import ConfigError, NotAuthorized, StoreUnavailable
from engine.store import Operator
from engine.x509.spki import load_spki, render_public_jwk
from tests.api.bodies import certificate_body, changed, described_jwk, hosted, private_jwk
from tests.api.conftest import Running, keys_call, operator
from tests.database import new_database_url
from tests.in_process import InProcessClient
from tests.page.live import DEADLINE, ENGINE
from tests.trail import read_trail

AUDIT_KMS = "engine.audit.kms"
AUDIT_KEY = f"{AUDIT_KMS}.checkpoints"
OTHER_KMS = "engine.audit.kms2"
MORE = """
[services."engine.audit.kms2"]
type = "kms"
token = "trial"
allow-adopt = true
allow-import = true
allow-delete-in-use = true

[services."engine.audit.x509-store"]
type = "x509-store"

[services."engine.audit.x509-service"]
type = "x509-service"
kms = ["engine.audit.kms", "engine.audit.kms2"]
stores = ["engine.audit.x509-store"]
"""


class Audited:
    """An engine whose audit KMS is open to whoever may not have it: a service is attached, a credential reaches it."""

    def __init__(self, engine: Engine, client: InProcessClient) -> None:
        self.engine = engine
        self.client = client

    def issue(self, body: dict[str, Any], call: str = "certificate") -> httpx.Response:
        return self.client.post(f"/v1/engine.audit.x509-service/x509-service-api/{call}", json=body)

    def generate(self, key_id: str) -> None:
        self.engine.directory.find_kms(OTHER_KMS).generate_key(key_id, "secp256r1", operator(f"{OTHER_KMS}.{key_id}"))

    @property
    def signatures(self) -> int:
        return self.engine.tokens["trial"].signatures


@pytest.fixture
def folder(running: Running, data_folder: Path) -> Path:
    return data_folder


@pytest.fixture(scope="module", autouse=True)
def same_policy_as_before(running: Running, data_folder: Path) -> Iterator[None]:
    """The next start, in another file, is not to be one with another policy."""
    yield
    open_engine(data_folder / "engine.toml").close()


@pytest.fixture
def config(folder: Path) -> Iterator[Path]:
    """Beside the one that is served: the same tokens and database."""
    text = (folder / "engine.toml").read_text(encoding="utf-8") + MORE
    text = text.replace("seconds = 60.0          #", "seconds = 0.001 #").replace(
        "longest-seconds = 600.0", "longest-seconds = 0.002"
    )
    path = folder / "audited.toml"
    path.write_text(text.replace("audit-witness.jsonl", "witness/audit.jsonl"), encoding="utf-8")
    yield path
    path.unlink()


@pytest.fixture
def audited(config: Path) -> Iterator[Audited]:
    with auditing(config) as audited:
        yield audited


@contextmanager
def auditing(config: Path, purpose: str = SERVE) -> Iterator[Audited]:
    with open_engine(config, purpose=purpose) as engine:
        by = Operator("a test")
        secret = create_api_key(
            engine.store, credential_id=f"audited-{time.time_ns()}", scope="engine", roles=["administrator"], by=by
        )
        with InProcessClient(engine.application, {"authorization": f"Bearer {secret}"}) as client:
            yield Audited(engine, client)


def with_audit_key(config: Path, path: str | None) -> Path:
    """The configuration with another audit key, or none, and a witness that has its folder."""
    text = config.read_text(encoding="utf-8").replace("witness/audit.jsonl", "another-witness.jsonl")
    (line,) = re.findall(r"^(?:key = .*|# without audit key)$", text, re.MULTILINE)
    config.write_text(
        text.replace(line, "# without audit key" if path is None else f'key = "{path}"'), encoding="utf-8"
    )
    return config


def refused(response: httpx.Response, path: str = AUDIT_KEY, signs: str = "signs") -> None:
    assert response.status_code == 403, response.text
    assert f"The key {path} {signs} checkpoints of the audit trail" in response.text


def test_it_signs_no_certification_request(audited: Audited) -> None:
    before = audited.signatures
    refused(audited.issue(request_body("checkpoints", AUDIT_KMS), "csrs"))
    assert audited.signatures == before


def test_it_signs_no_certificate_of_its_own_or_of_others(audited: Audited) -> None:
    before = audited.signatures
    own = {"type": "key-descriptor", "keyDescriptor": hosted("checkpoints", AUDIT_KMS)}
    body = {"certificateData": {"subjectName": {"commonName": "x"}}, "subjectPublicKeySource": own}
    refused(audited.issue({**body, "issuer": {"type": "self-signed"}}))
    issuer = {"type": "ca-signed", "issuerKeyDescriptor": hosted("checkpoints", AUDIT_KMS)}
    refused(audited.issue(changed(certificate_body(), "issuer", issuer)))
    iaca = {
        "iacaKeyDesc": hosted("checkpoints", AUDIT_KMS),
        "certificateData": {
            "country": "DE",
            "commonName": "x",
            "issuerAlternativeNameConf": {"uri": "https://iaca.example.com"},
        },
    }
    refused(audited.issue(iaca, "iso/iacas"))
    assert audited.signatures == before


def test_it_gets_no_certificate_by_its_public_half(running: Running) -> None:
    spki = running.engine.store.find_key(AUDIT_KEY).spki
    before = running.signatures
    jwk = described_jwk(render_public_jwk(load_spki(spki)))
    source = {"type": "key-descriptor", "keyDescriptor": jwk}
    refused(running.post("certificate", changed(certificate_body(), "subjectPublicKeySource", source)))
    assert running.signatures == before


def test_it_is_not_deleted(audited: Audited) -> None:
    refused(audited.client.delete(keys_call(AUDIT_KEY)))
    with pytest.raises(NotAuthorized):
        audited.engine.directory.find_kms(AUDIT_KMS).delete_key("checkpoints", operator(AUDIT_KEY))
    assert audited.engine.store.find_key(AUDIT_KEY)


@pytest.mark.parametrize("kms_path", [AUDIT_KMS, OTHER_KMS, "test.tenant1.kms1"])
def test_it_is_not_adopted_under_another_path(audited: Audited, kms_path: str) -> None:
    row = audited.engine.store.find_key(AUDIT_KEY)
    kms = audited.engine.directory.find_kms(kms_path)
    with pytest.raises(NotAuthorized, match="may be used for nothing else"):
        kms.adopt_key("other", operator(f"{kms_path}.other"), label=row.label, token_id=row.key_id)


def test_a_private_jwk_does_not_become_it(audited: Audited) -> None:
    kms = audited.engine.directory.find_kms(AUDIT_KMS)
    with pytest.raises(NotAuthorized):
        kms.import_key("checkpoints", {"kty": "EC"}, operator(AUDIT_KEY))


def test_who_is_not_in_its_organization_does_not_learn_of_it(running: Running) -> None:
    response = running.client.get(keys_call(AUDIT_KMS))
    nowhere = running.client.get(keys_call("nowhere.audit.kms"))
    assert response.status_code == nowhere.status_code == 404


def test_nothing_is_signed_while_checkpoints_cannot_be_made(audited: Audited, folder: Path) -> None:
    def generate(key_id: str) -> httpx.Response:
        body = {"backend": "jwk", "keyType": "secp256r1"}
        return audited.client.post(f"{keys_call(f'{OTHER_KMS}.{key_id}')}/generate", json=body)

    keeper = audited.engine.checkpoints
    assert keeper is not None
    assert generate("leaf").status_code == 201
    with pytest.raises(StoreUnavailable, match="witness"):
        keeper.look()  # there is no folder for the witness file
    before = audited.signatures
    for response in (audited.issue(self_signed("leaf")), generate("later")):
        assert response.status_code == 503, response.text
        assert "Nothing is signed until the audit trail has a checkpoint" in response.text
    assert audited.signatures == before
    audited.engine.directory.refusals.tell_counted(is_over=True)
    told = read_trail(audited.engine.config.store.url)[-1]
    assert (told.kind, told.outcome) == ("request-refused", "refused")
    assert (told.details["error"], told.details["count"]) == ("StoreUnavailable", 2)
    assert told.details["signingKey"] == f"{OTHER_KMS}.leaf"
    (folder / "witness").mkdir()
    keeper = replace(keeper, seconds=60.0)
    keeper.cover_all()
    keeper.gate.tell(-60)  # so soon after one, the next is not late
    assert generate("later").status_code == 201
    assert audited.issue(self_signed("later")).status_code == 200


def request_body(key_id: str, kms_path: str = OTHER_KMS) -> dict[str, Any]:
    return {
        "type": "generic",
        "subjectKeyDescriptor": hosted(key_id, kms_path),
        "subjectName": {"commonName": "x"},
    }


def self_signed(key_id: str) -> dict[str, Any]:
    key = {"type": "key-descriptor", "keyDescriptor": hosted(key_id, OTHER_KMS)}
    return {
        "certificateData": {"subjectName": {"commonName": "x"}},
        "subjectPublicKeySource": key,
        "issuer": {"type": "self-signed"},
    }


@pytest.mark.parametrize("purpose", [SERVE, "command"])
def test_an_audit_key_that_is_missing_is_made_before_serving(config: Path, purpose: str) -> None:
    text = config.read_text(encoding="utf-8").replace(f'key = "{AUDIT_KEY}"', 'key = "engine.audit.kms.none"')
    config.write_text(text, encoding="utf-8")
    if purpose == SERVE:
        with pytest.raises(ConfigError, match=r"audit\.key: there is no key at engine\.audit\.kms\.none; make it"):
            open_engine(config, purpose=purpose)
    else:
        open_engine(config, purpose=purpose).close()


def test_an_audit_key_that_has_a_certificate_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = config.read_text(encoding="utf-8").replace(f'key = "{AUDIT_KEY}"', 'key = "test.tenant1.kms1.ca-secp256r1"')
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"audit\.key: .* test\.tenant1\.kms1\.ca-secp256r1 has a certificate"):
        open_engine(config, purpose=SERVE)
    assert main(["check", "--config", str(config)]) == 1
    assert "audit.key" in capsys.readouterr().err


def test_an_audit_key_that_another_path_stands_for_is_refused(config: Path) -> None:
    with open_engine(with_audit_key(config, None)) as engine:
        kms = engine.directory.find_kms(OTHER_KMS)
        kms.generate_key("one", "secp256r1", operator(f"{OTHER_KMS}.one"))
        row = engine.store.find_key(f"{OTHER_KMS}.one")
        kms.adopt_key("two", operator(f"{OTHER_KMS}.two"), label=row.label, token_id=row.key_id)
    with pytest.raises(ConfigError, match=r"kms2\.two stands for engine\.audit\.kms2\.one too"):
        open_engine(with_audit_key(config, f"{OTHER_KMS}.one"), purpose=SERVE)


def test_an_audit_key_that_has_signed_a_certification_request_is_refused(config: Path) -> None:
    with auditing(with_audit_key(config, None), "command") as audited:
        audited.generate("requested")
        assert audited.issue(request_body("requested"), "csrs").status_code == 200
    refusal = r"audit\.key: .* engine\.audit\.kms2\.requested has signed something else already"
    with pytest.raises(ConfigError, match=refusal):
        open_engine(with_audit_key(config, f"{OTHER_KMS}.requested"), purpose=SERVE)


def test_an_audit_key_that_has_signed_as_a_jwk_before_it_was_imported_is_refused(
    config: Path, running: Running
) -> None:
    jwk = private_jwk(ec.generate_private_key(ec.SECP256R1()))
    body = {**request_body(""), "subjectKeyDescriptor": described_jwk(jwk)}
    assert running.post("csrs", body).status_code == 200
    with auditing(with_audit_key(config, None), "command") as audited:
        response = audited.client.post(f"{keys_call(f'{OTHER_KMS}.brought')}/import/jwk", json=jwk)
        assert response.status_code == 201, response.text
    with pytest.raises(ConfigError, match="brought has signed something else already"):
        open_engine(with_audit_key(config, f"{OTHER_KMS}.brought"), purpose=SERVE)


@pytest.mark.parametrize("afterwards", ["another", "none"])
def test_a_key_that_was_the_audit_key_signs_nothing_else_and_gets_no_certificate(
    config: Path, tmp_path: Path, afterwards: str
) -> None:
    # A database apart, as the trail of the others is verified under one key.
    text = config.read_text(encoding="utf-8")
    (line,) = re.findall(r"^url = .*$", text, re.MULTILINE)
    config.write_text(text.replace(line, f'url = "{new_database_url(tmp_path)}"'), encoding="utf-8")
    former, later, jwk = f"was-{afterwards}", f"is-{afterwards}", private_jwk(ec.generate_private_key(ec.SECP256R1()))
    with auditing(with_audit_key(config, None), "command") as audited:
        audited.generate(later)
        audited.generate(f"leaf-{afterwards}")
        response = audited.client.post(f"{keys_call(f'{OTHER_KMS}.{former}')}/import/jwk", json=jwk)
        assert response.status_code == 201, response.text
    with auditing(with_audit_key(config, f"{OTHER_KMS}.{former}")) as audited:
        assert audited.engine.checkpoints is not None
        audited.engine.checkpoints.cover_all()
    with auditing(with_audit_key(config, f"{OTHER_KMS}.{later}" if afterwards == "another" else None)) as audited:
        former_path = f"{OTHER_KMS}.{former}"
        row, kms = audited.engine.store.find_key(former_path), audited.engine.directory.find_kms(OTHER_KMS)
        ca = audited.issue(changed(self_signed(f"leaf-{afterwards}"), "certificateData.isCertificateAuthority", True))
        assert ca.status_code == 200, ca.text
        before = audited.signatures
        public = {name: value for name, value in jwk.items() if name != "d"}
        issuer = {"type": "ca-signed", "issuerKeyDescriptor": hosted(f"leaf-{afterwards}", OTHER_KMS)}
        for descriptor in (hosted(former, OTHER_KMS), described_jwk(public)):
            body = changed(self_signed(""), "subjectPublicKeySource.keyDescriptor", descriptor)
            refused(audited.issue(changed(body, "issuer", issuer)), former_path, "has signed")
        refused(audited.issue(request_body(former), "csrs"), former_path, "has signed")
        refused(audited.issue(self_signed(former)), former_path, "has signed")
        again = f"{keys_call(f'{OTHER_KMS}.again')}/import/jwk"
        refused(audited.client.post(again, json=jwk), former_path, "has signed")
        with pytest.raises(NotAuthorized, match="has signed checkpoints"):
            kms.adopt_key("again", operator(f"{OTHER_KMS}.again"), label=row.label, token_id=row.key_id)
        assert audited.signatures == before
        assert audited.client.delete(keys_call(former_path)).is_success


def test_check_says_what_is_missing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = config.read_text(encoding="utf-8")
    assert main(["check", "--config", str(config)]) == 0
    assert f"audit: checkpoints by {AUDIT_KEY}" in capsys.readouterr().out
    config.write_text(text.replace("witness = {", "# witness = {"), encoding="utf-8")
    assert main(["check", "--config", str(config)]) == 0
    assert "WARNING: no audit.witness is set" in capsys.readouterr().out
    config.write_text(text.replace(f'key = "{AUDIT_KEY}"', "#"), encoding="utf-8")
    assert main(["check", "--config", str(config)]) == 0
    assert "WARNING: no audit.key is set" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("witness = {", "# witness = {", "audit: WARNING: no audit.witness is set"),
        (f'key = "{AUDIT_KEY}"', "#", "audit: WARNING: no audit.key is set"),
        ("", "", ""),
    ],
)
def test_serve_says_what_is_missing(config: Path, before: str, after: str, said: str) -> None:
    config.write_text(config.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    command = [*ENGINE, "serve", "--config", config, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(said or "Serving on ")
        process.terminate()
        process.communicate(timeout=DEADLINE)


class Keeping(BaseHTTPRequestHandler):
    """A witness that keeps what it is sent, or answers 503."""

    kept: ClassVar[list[bytes]] = []
    is_open: ClassVar[bool] = True

    def do_POST(self) -> None:
        line = self.rfile.read(int(self.headers["content-length"]))
        if self.is_open:
            self.kept.append(line)
        self.send_response(204 if self.is_open else 503)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def witness() -> Iterator[str]:
    Keeping.kept, Keeping.is_open = [], True
    with HTTPServer(("127.0.0.1", 0), Keeping) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/checkpoints"
        listening.shutdown()
        thread.join()


def test_a_witness_by_url_has_every_checkpoint_and_nothing_is_signed_when_it_refuses(
    config: Path, witness: str
) -> None:
    text = config.read_text(encoding="utf-8")
    (line,) = re.findall(r"^witness = .*$", text, re.MULTILINE)
    config.write_text(text.replace(line, f'witness = {{ url = "{witness}" }}'), encoding="utf-8")
    with auditing(config) as audited:
        keeper = audited.engine.checkpoints
        assert keeper is not None
        keeper.cover_all()
        keeper.gate.tell(-60)
        audited.generate("witnessed")
        assert audited.issue(self_signed("witnessed")).status_code == 200
        keeper.cover_all()
        told = [json.loads(one) for one in Keeping.kept]
        last = audited.engine.store.find_checkpoint(json.loads(told[-1]["statement"])["number"])
        assert told[-1] == {
            "statement": last.statement,
            "signature": base64.b64encode(last.signature or b"").decode(),
            "key": base64.b64encode(last.spki).decode(),
        }
        Keeping.is_open = False
        audited.engine.store.record_event("log-in", Operator("a test"))
        with pytest.raises(StoreUnavailable, match="The witness of the audit trail answered 503; expected 2xx"):
            keeper.cover_all()
        before = audited.signatures
        assert audited.issue(self_signed("witnessed")).status_code == 503
        assert audited.signatures == before
        Keeping.is_open = True
        keeper.cover_all()
        keeper.gate.tell(-60)
        assert audited.issue(self_signed("witnessed")).status_code == 200
    assert len(Keeping.kept) >= 3


def test_without_an_audit_key_there_are_no_checkpoints_and_everything_else(config: Path) -> None:
    text = config.read_text(encoding="utf-8").replace(f'key = "{AUDIT_KEY}"', "#")
    config.write_text(text, encoding="utf-8")
    with closing(open_engine(config, purpose=SERVE)) as engine:
        assert engine.checkpoints is None
