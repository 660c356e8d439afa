"""Evidence of a certificate: what it says, that it verifies where there is no engine, and that nothing of it can be
changed.
"""

import base64
import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import AttributeOID, NameOID

from engine.__main__ import main
from engine.app import SERVE, open_engine
from engine.audit import verifier
from engine.config import policy_sha256
from engine.profiles.lint import RULES
from engine.trial.quickstart import AUDIT_KEY, AUDIT_KMS_PATH, KMS_PATH, STORE_PATH
from tests.api.bodies import (
    certificate_body,
    changed,
    described_jwk,
    ds_body,
    hosted,
    iaca_body,
    outside_certificate,
    outside_key,
    private_jwk,
    public_jwk,
)
from tests.api.conftest import Running, ca_body
from tests.database import CHOSEN, SQLITE, change, select
from tests.in_process import InProcessClient
from tests.trail import read_trail

Evidence = dict[str, Any]
CA = f"{KMS_PATH}.ca-secp256r1"


def evidence_call(path: str) -> str:
    return f"/v1/{path}/x509-store-api/certificates/evidence"


def issued_into(answer: dict[str, Any]) -> str:
    return str(answer["storedCertificateIds"][0])


@pytest.fixture(scope="module")
def audit_key(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEM of the public half."""
    public = load_der_public_key(running.engine.store.find_key(f"{AUDIT_KMS_PATH}.{AUDIT_KEY}").spki)
    path = tmp_path_factory.mktemp("key") / "audit-key.pem"
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture(scope="module")
def witness(running: Running, data_folder: Path) -> Path:
    return data_folder / "audit-witness.jsonl"


@pytest.fixture
def prove(running: Running) -> Callable[[str], Evidence]:
    """The evidence of the certificate at a path."""

    def get(path: str) -> Evidence:
        response = running.client.get(evidence_call(path))
        assert response.status_code == 200, response.text
        found: Evidence = response.json()
        return found

    return get


@pytest.fixture(scope="module")
def leaf(running: Running) -> Evidence:
    """Of a certificate for a certification request, under a key of a KMS; not to be changed."""
    answer = running.post("certificate", certificate_body()).json()
    found: Evidence = running.client.get(evidence_call(issued_into(answer))).json()
    return found


class Alone:
    """The verifier's file, taken away to where there is no engine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._script = folder / "verifier.py"
        self._script.write_bytes(Path(verifier.__file__).read_bytes())

    def verify(self, evidence: object, *options: str | Path, indent: int | None = None) -> tuple[int, list[str]]:
        """As anybody would call it: exit code, and what it prints."""
        path = self._folder / "evidence.json"
        path.write_text(json.dumps(evidence, indent=indent), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", self._script, path, *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
        )
        assert done.stderr == ""
        assert done.stdout.isascii()
        return done.returncode, done.stdout.splitlines()

    def verify_many(self, many: list[Evidence]) -> list[tuple[int, str]]:
        """The exit code and the first line for each, in one process, in which there is no engine to be imported."""
        paths = []
        for number, evidence in enumerate(many):
            paths.append(self._folder / f"{number}.json")
            paths[-1].write_text(json.dumps(evidence), encoding="utf-8")
        program = (
            "import contextlib, io, json, runpy, sys; sys.modules['engine'] = None; found = []\n"
            "main = runpy.run_path(sys.argv[1])['main']\n"
            "for path in sys.argv[2:]:\n"
            "    with contextlib.redirect_stdout(io.StringIO()) as said: code = main([path])\n"
            "    found.append((code, said.getvalue().splitlines()[0]))\n"
            "print(json.dumps(found))"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", program, self._script, *paths],
            capture_output=True,
            text=True,
            check=True,
            cwd=self._folder,
        )
        return [(code, line) for code, line in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    return Alone(tmp_path_factory.mktemp("alone"))


HASH = SHA256()


def csr_source(key: Any, *, algorithm: Any = HASH, challenge: bytes = b"", **signing: Any) -> dict[str, Any]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Outside")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge)
    request = builder.sign(key, algorithm, **signing)
    return {"type": "csr", "csrPEM": request.public_bytes(Encoding.PEM).decode()}


def leaf_for(source: dict[str, Any]) -> dict[str, Any]:
    return changed(certificate_body(), "subjectPublicKeySource", source)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


PSS = padding.PSS(padding.MGF1(SHA256()), 32)
REQUESTED = "proof of possession: the certification request verifies under the certificate's key"
WAYS: dict[str, tuple[str, Callable[[], dict[str, Any]], str]] = {
    "a request on P-256": ("certificate", certificate_body, REQUESTED),
    "a request on P-384": (
        "certificate",
        lambda: leaf_for(csr_source(ec.generate_private_key(ec.SECP384R1()), algorithm=SHA384())),
        REQUESTED,
    ),
    "a request of RSA": ("certificate", lambda: leaf_for(csr_source(rsa_key())), REQUESTED),
    "a request of RSA PSS": ("certificate", lambda: leaf_for(csr_source(rsa_key(), rsa_padding=PSS)), REQUESTED),
    "a request of Ed25519": (
        "certificate",
        lambda: leaf_for(csr_source(ed25519.Ed25519PrivateKey.generate(), algorithm=None)),
        REQUESTED,
    ),
    "a key of a KMS": (
        "certificate",
        lambda: leaf_for({"type": "key-descriptor", "keyDescriptor": hosted("leaf-rsa")}),
        f"proof of possession: the key is {KMS_PATH}.leaf-rsa, which was proven when it was registered",
    ),
    "a public key alone": (
        "certificate",
        lambda: leaf_for({"type": "key-descriptor", "keyDescriptor": described_jwk(public_jwk(outside_key("alone")))}),
        "proof of possession: NONE; the public key alone was presented",
    ),
    "self-signed": (
        "certificate",
        lambda: ca_body("evident", "Evident CA"),
        "proof of possession: the certificate is signed by its own key",
    ),
    "an IACA": ("iso/iacas", iaca_body, "proof of possession: the certificate is signed by its own key"),
    "a document signer": ("iso/document-signers", ds_body, REQUESTED),
    "a private JWK that signs": (
        "certificate",
        lambda: changed(
            ca_body("evident", "JWK CA"),
            "subjectPublicKeySource",
            {"type": "key-descriptor", "keyDescriptor": described_jwk(private_jwk(outside_key("evident")))},
        ),
        "custody record: none; the caller has brought the key",
    ),
}


@pytest.mark.parametrize(("call", "body", "said"), WAYS.values(), ids=WAYS)
def test_evidence_of_every_certificate_verifies_where_there_is_no_engine(
    running: Running,
    prove: Callable[[str], Evidence],
    alone: Alone,
    audit_key: Path,
    witness: Path,
    call: str,
    body: Callable[[], dict[str, Any]],
    said: str,
) -> None:
    answer = running.post(call, body())
    assert answer.status_code == 200, answer.text
    evidence = prove(issued_into(answer.json()))
    certificate = x509.load_pem_x509_certificate(answer.json()["certificatePEM"].encode())
    assert base64.b64decode(evidence["certificate"]) == certificate.public_bytes(Encoding.DER)
    code, lines = alone.verify(evidence, "--key", audit_key, "--witness", witness)
    assert (code, lines[-1]) == (0, "verified"), lines
    assert said in lines
    assert f"certificate: SHA-256 {certificate.fingerprint(SHA256()).hex()}" in lines[0]
    assert f"serial {certificate.serial_number:040x}" in lines[0]
    assert "the witness has every checkpoint" in lines


def test_the_grounds_say_all_that_the_signature_was_based_on(running: Running, leaf: Evidence) -> None:
    engine = running.engine
    grounds = json.loads(leaf["grounds"])
    intended = leaf["events"][1]["event"]
    row = engine.store.find_key(CA)
    identity = engine.tokens["trial"].identity()
    assert grounds["profile"] == "generic"
    assert grounds["policySha256"] == policy_sha256(engine.config)
    starts = [one.details for one in read_trail(engine.config.store.url) if one.kind == "engine-started"]
    assert (grounds["engine"], grounds["policySha256"]) in {(one["version"], one["policySha256"]) for one in starts}
    key = json.loads(leaf["issuingKey"])
    assert grounds["issuingKeySha256"] == sha256(leaf["issuingKey"].encode()).hexdigest()
    assert key | {"token": None} == {
        "path": CA,
        "spki": base64.b64encode(row.spki).decode(),
        "spkiSha256": row.spki_sha256,
        "custodySha256": sha256(leaf["custodyRecord"].encode()).hexdigest(),
        "token": None,
    }
    token = key["token"]
    assert (token["label"], token["serial"]) == (identity.label, identity.serial)
    assert token["libraryDescription"] == "Implementation of PKCS11"
    assert json.loads(leaf["custodyRecord"]) == row.custody
    assert grounds["lint"]["rules"] == len(RULES["generic"])
    assert grounds["lint"]["findings"] == []
    assert grounds["requestSha256"] == intended["details"]["requestSha256"]
    assert grounds["proofOfPossession"]["method"] == "certification-request"
    assert intended["details"]["groundsSha256"] == sha256(leaf["grounds"].encode()).hexdigest()
    told, *others = [one["event"]["kind"] for one in leaf["events"]]
    assert told in ("key-generated", "key-examined")  # whichever has told of the record in force
    assert others == ["signature-intended", "certificate-signed"]


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list):
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(member, (*at, name))
    else:
        yield at, value


def named(at: tuple[Any, ...]) -> str:
    """`events[1].event.kind`."""
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in at).lstrip(".")


def with_leaf(evidence: Evidence, at: tuple[Any, ...], value: object) -> Evidence:
    spoilt = copy.deepcopy(evidence)
    place: Any = spoilt
    for name in at[:-1]:
        place = place[name]
    place[at[-1]] = value
    return spoilt


def spoilt_values(value: Any) -> list[Any]:
    """What somebody might put there instead."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, -value - 1, None]
    if value == "":
        return ["x", None]
    middle = len(value) // 2
    other = "A" if value[middle] != "A" else "B"
    return [value[:middle] + other + value[middle + 1 :], value + " ", value.swapcase(), value[:-1], "", None]


def test_no_member_can_be_changed_unnoticed(leaf: Evidence, alone: Alone) -> None:
    """One after the other, each in several ways; the first line names the member, or what holds it and its digest."""
    changes = [(at, spoilt) for at, value in leaves(leaf) for spoilt in spoilt_values(value) if spoilt != value]
    assert len({at for at, _ in changes}) > 60
    found = alone.verify_many([with_leaf(leaf, at, spoilt) for at, spoilt in changes])
    unnoticed = [
        (named(at), spoilt, line) for (at, spoilt), (code, line) in zip(changes, found, strict=True) if code != 1
    ]
    assert unnoticed == []
    misnamed = []
    for (at, spoilt), (_, line) in zip(changes, found, strict=True):
        row = line.partition(": ")[0].replace(".hash", "")
        # A digest and what it is of, a signature and what is signed: which of both was changed cannot be told.
        holder = named(at[:2]) if at[0] in ("events", "checkpoints") else named(at[:1])
        if not row.startswith(holder):
            misnamed.append((named(at), spoilt, line))
    assert misnamed == []


def test_what_is_in_the_grounds_is_verified_too(leaf: Evidence, alone: Alone) -> None:
    """Each member of them, of the statement about the key and of its custody record: the trail has their digests."""
    many = []
    for member in ("grounds", "issuingKey", "custodyRecord"):
        text = json.loads(leaf[member])
        for at, value in leaves(text):
            if value in (None, "", True, False):
                spoilt: object = "x"
            else:
                spoilt = spoilt_values(value)[0]
            many.append((member, at, with_leaf(text, at, spoilt)))
    assert len(many) > 30
    found = alone.verify_many([leaf | {member: verifier.canonical(text)} for member, _, text in many])
    for (member, at, _), (code, line) in zip(many, found, strict=True):
        assert (code, line.partition(": ")[0]) == (1, member), (member, at, line)


def test_nothing_can_be_left_out_put_in_or_put_elsewhere(leaf: Evidence, running: Running, alone: Alone) -> None:
    answer = running.post("certificate", certificate_body()).json()
    other: Evidence = running.client.get(evidence_call(issued_into(answer))).json()
    events, checkpoints = leaf["events"], leaf["checkpoints"]
    others = [*checkpoints, *(one for one in other["checkpoints"] if one not in checkpoints)]
    spoilt: dict[str, tuple[str, Evidence]] = (
        {
            f"without {left_out}": (
                "custodyRecord" if left_out == "custodyRecord" else "evidence",
                {name: value for name, value in leaf.items() if name != left_out},
            )
            for left_out in leaf
            if left_out != "format"  # without which it is a line that is not of an export
        }
        | {
            "another member": ("evidence", leaf | {"more": 1}),
            "without the key's event": ("events", leaf | {"events": events[1:]}),
            "without the intention": ("events", leaf | {"events": [events[0], events[2]]}),
            "without the outcome": ("events", leaf | {"events": events[:2]}),
            "an event twice": ("events", leaf | {"events": [*events, events[2]]}),
            "no events": ("events", leaf | {"events": []}),
            "no checkpoints": ("checkpoints", leaf | {"checkpoints": []}),
            "a checkpoint twice": (
                f"checkpoints[{len(checkpoints)}]",
                leaf | {"checkpoints": [*checkpoints, checkpoints[0]]},
            ),
            "another certificate": ("certificate", leaf | {"certificate": other["certificate"]}),
            "another tbs": ("tbsCertificate", leaf | {"tbsCertificate": other["tbsCertificate"]}),
            "the grounds of another": ("grounds", leaf | {"grounds": other["grounds"]}),
            "the outcome of another": (
                "events",
                leaf | {"checkpoints": others, "events": [*events[:2], other["events"][2]]},
            ),
            "a checkpoint of no event": (
                "checkpoints",
                leaf | {"checkpoints": others},
            ),
            "only a certificate": ("evidence", {"format": leaf["format"], "certificate": leaf["certificate"]}),
            "a later format": ("format", leaf | {"format": "signing-engine-evidence/2"}),
        }
    )
    assert len(others) > len(checkpoints)
    found = alone.verify_many([evidence for _, evidence in spoilt.values()])
    for (what, (member, _)), (code, line) in zip(spoilt.items(), found, strict=True):
        assert code == 1, what
        assert line.startswith(member), (what, line)


def test_a_signature_in_a_trail_of_somebody_elses_is_refused_by_its_key(
    leaf: Evidence, alone: Alone, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    public = outside_key("another audit key").public_key()
    other.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    code, lines = alone.verify(leaf, "--key", other)
    assert code == 1
    assert lines[0].startswith("checkpoints[0]: it was signed by a key that may not, with SPKI SHA-256 ")


def test_a_checkpoint_that_the_witness_does_not_have_is_refused(
    leaf: Evidence, alone: Alone, witness: Path, tmp_path: Path
) -> None:
    statement = leaf["checkpoints"][-1]["checkpoint"]
    lines_of_witness = witness.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines_of_witness if json.loads(line)["statement"] != statement]
    assert len(kept) < len(lines_of_witness)
    path = tmp_path / "witness.jsonl"
    path.write_text("".join([*kept, '{"statement": torn']), encoding="utf-8")
    code, lines = alone.verify(leaf, "--witness", path)
    number = json.loads(statement)["number"]
    assert (code, lines[0]) == (
        1,
        f"checkpoints[{len(leaf['checkpoints']) - 1}]: the witness does not have this checkpoint {number}",
    )


def test_evidence_is_known_however_it_is_laid_out_and_says_what_was_not_given(leaf: Evidence, alone: Alone) -> None:
    code, lines = alone.verify(leaf, indent=2)
    assert code == 0
    assert "no key was given: whether that key may sign cannot be told" in lines
    assert "no witness was given: whether the trail was written anew since cannot be told" in lines


def test_the_record_that_was_in_force_is_shown_also_after_another_examination(
    running: Running, prove: Callable[[str], Evidence], alone: Alone
) -> None:
    running.post("certificate", ca_body("examined", "Subordinate")).raise_for_status()
    path = f"{KMS_PATH}.examined"
    before = running.engine.store.find_key(path)
    first = prove(issued_into(running.post("certificate", ca_body("examined", "Before")).json()))
    later = {**before.custody, "negative_tests": {"read": {"result": "never tried"}}}
    running.engine.store.record_custody(path, before.key_id, later, datetime.now(UTC))
    between = issued_into(running.post("certificate", ca_body("examined", "Between")).json())
    assert json.loads(prove(between)["custodyRecord"]) == later
    assert prove(between)["events"][0]["event"]["kind"] == "key-examined"
    # The service wants a record that is sufficient, so the key is examined and signs with that.
    running.engine.directory.find_kms(KMS_PATH).watch.forget(path)
    running.engine.store.find_key(path)
    signed = running.post("certificate", ca_body("examined", "After"), "custody")
    assert signed.status_code == 200, signed.text
    assert running.engine.store.find_key(path).custody == before.custody
    assert json.loads(first["custodyRecord"]) == before.custody
    assert prove(between)["custodyRecord"] != first["custodyRecord"]
    (grounds,) = select(
        running.engine.config.store.url,
        f"SELECT grounds FROM intents WHERE signing_key = '{path}' AND grounds IS NOT NULL ORDER BY recorded_at DESC",
    )[0]
    statement = running.engine.store.evidence_records().find_statement(json.loads(grounds)["issuingKeySha256"])
    assert statement is not None
    assert json.loads(statement)["custodySha256"] == sha256(first["custodyRecord"].encode()).hexdigest()
    for evidence in (first, prove(between)):
        assert alone.verify(evidence)[0] == 0


def test_a_challenge_password_is_neither_kept_nor_shown(
    running: Running, prove: Callable[[str], Evidence], alone: Alone
) -> None:
    secret = b"open-sesame-in-a-request"
    source = csr_source(outside_key("challenged"), challenge=secret)
    evidence = prove(issued_into(running.post("certificate", leaf_for(source)).json()))
    proof = json.loads(evidence["grounds"])["proofOfPossession"]
    request = x509.load_pem_x509_csr(source["csrPEM"].encode()).public_bytes(Encoding.DER)
    assert proof["requestSha256"] == sha256(request).hexdigest()
    assert "request" not in proof
    code, lines = alone.verify(evidence)
    assert code == 0
    assert any("which is not shown since it holds a challengePassword" in line for line in lines)
    assert base64.b64encode(request).decode() not in json.dumps(evidence)
    kept = select(running.engine.config.store.url, "SELECT grounds FROM intents WHERE grounds IS NOT NULL")
    assert not any(proof["requestSha256"] in text and '"request":' in text for (text,) in kept)


def test_a_request_that_proves_another_key_is_refused_even_if_the_engine_had_said_so(leaf: Evidence) -> None:
    """As a faulty engine would have recorded it: every digest is right."""
    grounds = json.loads(leaf["grounds"])
    key = sha256(base64.b64decode("AAAA")).hexdigest()
    request = base64.b64decode(grounds["proofOfPossession"]["request"])
    assert verifier._find_request_fault(request, key) == "its key is not that of the certificate"
    spoilt = request[:-1] + bytes([request[-1] ^ 1])
    fault = verifier._find_request_fault(spoilt, grounds["proofOfPossession"]["spkiSha256"])
    assert fault is not None
    assert "verif" in fault


def test_a_certificate_from_elsewhere_has_no_evidence_here(running: Running) -> None:
    path = f"{STORE_PATH}.evidence-elsewhere"
    body = {"type": "base", "certificatePem": outside_certificate(outside_key("elsewhere"))}
    assert running.client.post(f"/v1/{path}/x509-store-api/certificates", json=body).status_code == 201
    response = running.client.get(evidence_call(path))
    assert (response.status_code, response.json()["message"]) == (
        404,
        f"There is no evidence of the certificate at {path}: it was put there, not issued there.",
    )
    response = running.client.get(evidence_call(f"{STORE_PATH}.nothing-at-all"))
    assert (response.status_code, response.json()["message"]) == (
        404,
        f"No certificate is at {STORE_PATH}.nothing-at-all.",
    )
    assert running.client.get(evidence_call(STORE_PATH)).status_code == 404


def test_who_puts_a_certificate_of_others_into_a_store_learns_nothing_of_them(running: Running) -> None:
    answer = running.post("certificate", certificate_body()).json()
    path = "test.tenant1.x509-store-2.copied"
    body = {"type": "base", "certificatePem": answer["certificatePEM"]}
    assert running.client.post(f"/v1/{path}/x509-store-api/certificates", json=body).status_code == 201
    response = running.client.get(evidence_call(path))
    assert response.status_code == 404
    assert "was put there, not issued" in response.json()["message"]
    assert running.client.get(evidence_call(issued_into(answer))).status_code == 200


def test_records_that_were_changed_give_no_evidence(running: Running) -> None:
    path = issued_into(running.post("certificate", certificate_body()).json())
    assert running.client.get(evidence_call(path)).status_code == 200
    url = running.engine.config.store.url
    where = f"WHERE intent_id = (SELECT intent_id FROM entries WHERE path = '{path}')"
    change(url, f"UPDATE intents SET grounds = replace(grounds, 'generic', 'special') {where}")
    response = running.client.get(evidence_call(path))
    assert response.status_code == 500
    assert "does not verify: something of it was changed. grounds: " in response.json()["message"]
    change(url, f"UPDATE intents SET grounds = replace(grounds, 'special', 'generic') {where}")
    assert running.client.get(evidence_call(path)).status_code == 200


@pytest.mark.skipif(CHOSEN != SQLITE, reason="a column of SQLite takes any value")
@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("recorded_at", "replace(recorded_at, ' ', 'T')", "the event does not have the hash"),
        ("recorded_at", "5", "the event does not have the hash"),
        ("recorded_at", "1e999", "the event does not have the hash"),
        ("actor", "X'00ff'", "does not have the hash that is kept with it"),
        ("hash", f"X'{'00' * 64}'", "was changed"),
    ],
)
def test_an_event_that_was_changed_gives_no_evidence(running: Running, column: str, value: str, what: str) -> None:
    answer = running.post("certificate", certificate_body()).json()
    path, serial = issued_into(answer), answer["certificateData"]["serialNumber"]
    assert running.client.get(evidence_call(path)).status_code == 200
    url = running.engine.config.store.url
    where = f"WHERE kind = 'certificate-signed' AND serial_number = '{serial.zfill(40)}'"
    ((kept,),) = select(url, f"SELECT {column} FROM events {where}")
    change(url, f"UPDATE events SET {column} = {value} {where}")
    response = running.client.get(evidence_call(path))
    change(url, f"UPDATE events SET {column} = '{kept}' {where}")
    assert response.status_code == 500
    assert what in response.json()["message"]
    assert running.client.get(evidence_call(path)).status_code == 200


@pytest.fixture
def other_config(running: Running, data_folder: Path) -> Iterator[Callable[[str, str], Path]]:
    """The engine's configuration with one text for another; beside it, so that it means the same files."""
    path = data_folder / "evidence.toml"

    def write(old: str, new: str) -> Path:
        text = (data_folder / "engine.toml").read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    yield write
    path.unlink(missing_ok=True)
    open_engine(data_folder / "engine.toml").close()  # the policy is again that of the start before


def test_without_an_audit_key_it_is_said_what_is_missing(
    running: Running, other_config: Callable[[str, str], Path]
) -> None:
    path = issued_into(running.post("certificate", certificate_body()).json())
    config = other_config('\nkey = "engine.audit', '\n# key = "engine.audit')
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("\nwitness = {", "\n# witness = {"), encoding="utf-8")
    with (
        open_engine(config) as engine,
        InProcessClient(engine.application, {"authorization": f"Bearer {running.api_key}"}) as client,
    ):
        response = client.get(evidence_call(path))
        assert response.status_code == 404
        assert "the setting audit.key, without which none is made, is absent" in response.json()["message"]
    assert running.client.get(evidence_call(path)).status_code == 200


def test_while_no_checkpoint_can_be_made_the_caller_is_asked_to_come_again(
    running: Running, other_config: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = issued_into(running.post("certificate", certificate_body()).json())
    config = other_config("audit-witness.jsonl", "not-there/witness.jsonl")
    with (
        open_engine(config, purpose=SERVE) as engine,
        InProcessClient(engine.application, {"authorization": f"Bearer {running.api_key}"}) as client,
    ):
        response = client.get(evidence_call(path))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "needs was not made. The witness file of the audit trail was not written" in response.json()["message"]
    # The statement that waits for its signature is the other engine's for a while, and then anybody's.
    response = running.client.get(evidence_call(path))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "is still being made" in response.json()["message"]
    assert running.engine.checkpoints is not None
    monkeypatch.setattr(running.engine.checkpoints.maker, "now", lambda: datetime.now(UTC) + timedelta(minutes=1))
    assert running.client.get(evidence_call(path)).status_code == 200


@pytest.fixture
def command(
    running: Running, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs `evidence` with a configuration whose PKCS#11 module is not there; exit code, output, complaint."""
    text = (data_folder / "engine.toml").read_text(encoding="utf-8")
    module = next(line for line in text.splitlines() if line.startswith("module = "))
    text = text.replace(module, 'module = "/not/there.so"').replace(
        "sqlite:///engine.db", running.engine.config.store.url
    )
    config = tmp_path / "engine.toml"
    config.write_text(text, encoding="utf-8")

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["evidence", *words, "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_gives_what_the_call_gives(
    leaf: Evidence, command: Callable[..., Any], tmp_path: Path, alone: Alone
) -> None:
    der = base64.b64decode(leaf["certificate"])
    certificate = x509.load_der_x509_certificate(der)
    serial, digest = f"{certificate.serial_number:x}", sha256(der).hexdigest()
    pairs = ":".join(digest[at : at + 2] for at in range(0, 64, 2)).upper()
    for text in (serial, f"0x{serial}", serial.upper(), digest, pairs):
        code, out, _ = command(text)
        assert code == 0
        assert json.loads(out) == leaf
    path = tmp_path / "evidence.json"
    assert command(serial, "--output", str(path))[:2] == (0, "")
    assert json.loads(path.read_text(encoding="utf-8")) == leaf
    code, _, complaint = command(serial, "--output", str(path))
    assert code == 1
    assert "File exists" in complaint


def test_the_command_says_when_there_is_no_evidence_and_why(running: Running, command: Callable[..., Any]) -> None:
    assert "Expected a serial number of at most 40 hex digits" in command("xyz")[2]
    assert "no certificate with the serial number 77" in command("77")[2]
    assert f"There is no certificate with the SHA-256 {'ab' * 32}." in command("ab" * 32)[2]
    answer = running.post("certificate", certificate_body()).json()
    code, _, complaint = command(answer["certificateData"]["serialNumber"])
    assert code == 1
    assert "yet: no checkpoint of the audit trail covers its events" in complaint
    assert running.client.get(evidence_call(issued_into(answer))).status_code == 200
    assert command(answer["certificateData"]["serialNumber"])[0] == 0
