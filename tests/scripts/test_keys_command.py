"""signing-engine keys: what the commands print and the exit codes that scripts look at."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.api.bodies import outside_key, private_jwk
from tests.page.live import DEADLINE, ENGINE, init

KMS = "test.tenant1.kms1"

# Another process, as other software would be: a P-256 pair whose private half may be read.
CEREMONY = """
import os, sys
import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag
folder, module, label = sys.argv[1:]
os.environ["SOFTHSM2_CONF"] = f"{folder}/softhsm2.conf"
token = pkcs11.lib(module).get_token(token_label="engine-trial")
with token.open(rw=True, user_pin=sys.stdin.readline().strip()) as session:
    curve = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}, local=True
    )
    curve.generate_keypair(
        id=b"ceremony", label=label, store=True, mechanism=Mechanism.EC_KEY_PAIR_GEN,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose token has one more key, made with other software."""
    folder = tmp_path_factory.mktemp("keys") / "data"
    init(folder)
    module = next(
        line.split('"')[1] for line in (folder / "engine.toml").read_text().splitlines() if "module =" in line
    )
    done = subprocess.run(
        [ENGINE[0], "-c", CEREMONY, folder / "softhsm", module, "made elsewhere"],
        input=(folder / "softhsm" / "pin").read_text(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return folder


def keys(folder: Path, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENGINE, "keys", *arguments, "--config", folder / "engine.toml"],
        input=answers,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "COLUMNS": "200"},
    )


def facts(text: str) -> dict[str, str]:
    """Every line as name and value; the last of a name counts."""
    return {line[:22].strip(): line[22:] for line in text.splitlines()}


def test_show_prints_the_record_of_a_good_key_and_ends_with_0(folder: Path) -> None:
    done = keys(folder, "show", f"{KMS}.ca-secp256r1")
    assert (done.returncode, done.stderr) == (0, "")
    said = facts(done.stdout)
    assert said["key"] == f"{KMS}.ca-secp256r1"
    assert said["public key"].startswith("secp256r1, SPKI SHA-256 ")
    assert (said["origin"], said["token manufacturer"]) == ("generated", "SoftHSM project")
    assert (said["sensitive"], said["extractable"], said["local"]) == ("yes", "no", "yes")
    assert said["try to read it"] == "refused, CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE"
    assert said["try to wrap it"] == "refused, CKM_AES_KEY_WRAP_PAD, CKR_KEY_UNEXTRACTABLE"
    assert said["falls short"] == "nowhere: it satisfies require-custody"


def test_a_key_that_can_leave_is_adopted_with_a_warning_and_shown_with_exit_code_1(folder: Path) -> None:
    path = f"{KMS}.made-elsewhere"
    adopted = keys(folder, "adopt", path, "--label", "made elsewhere")
    assert adopted.returncode == 0, adopted.stderr
    assert "falls short of require-custody: extractable is True, expected False" in adopted.stdout
    done = keys(folder, "show", path)
    assert (done.returncode, done.stderr) == (1, "")
    said = facts(done.stdout)
    assert (said["origin"], said["extractable"], said["sensitive"]) == ("adopted", "yes", "no")
    assert said["try to read it"] == "readable, CKA_VALUE, CKR_OK"
    assert "falls short           sensitive is False, expected True" in done.stdout


def test_adopting_by_a_label_and_the_id_of_another_key_is_refused_saying_so(folder: Path) -> None:
    done = keys(folder, "adopt", f"{KMS}.never", "--label", f"{KMS}.ca-secp256r1", "--id", b"ceremony".hex())
    assert done.returncode == 1
    assert "but 1 with that label and 1 with that id" in done.stderr


@pytest.mark.parametrize("path", [f"{KMS}.nobody", "test.tenant1.nowhere.key", "ca-secp256r1"])
def test_a_key_that_is_not_there_is_said_so(path: str, folder: Path) -> None:
    done = keys(folder, "show", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert path in done.stderr or path.rpartition(".")[0] in done.stderr


def test_a_key_is_generated_listed_and_deleted(folder: Path) -> None:
    path = f"{KMS}.from-the-command-line"
    made = keys(folder, "generate", path, "--type", "secp384r1")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"{path}: secp384r1, SPKI SHA-256 ")
    assert f"{path}: secp384r1, generated, SPKI SHA-256 " in keys(folder, "list", KMS).stdout
    refused = keys(folder, "delete", path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is destroyed for good; repeat the command with --yes" in refused.stderr
    deleted = keys(folder, "delete", path, "--yes")
    assert (deleted.returncode, deleted.stdout) == (0, f"{path}: destroyed\n")
    assert path not in keys(folder, "list", KMS).stdout
    assert keys(folder, "show", path).returncode == 1


def test_a_key_of_a_certificate_authority_is_not_deleted(folder: Path) -> None:
    done = keys(folder, "delete", f"{KMS}.ca-secp256r1", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "allow-delete-in-use" in done.stderr


@pytest.mark.parametrize("key_type", ["secp256k1", "rot13"])
def test_a_key_type_that_is_not_had_is_refused_naming_those_that_are(key_type: str, folder: Path) -> None:
    done = keys(folder, "generate", f"{KMS}.never", "--type", key_type)
    assert (done.returncode, done.stdout) == (1, "")
    assert "secp256r1, secp384r1" in done.stderr


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_private_jwk_is_imported(source: str, folder: Path, tmp_path: Path) -> None:
    jwk = private_jwk(outside_key(source))
    path = f"{KMS}.imported-from-{source.replace(' ', '-')}"
    file = tmp_path / "key.jwk"
    file.touch(mode=0o600)
    file.write_text(json.dumps(jwk))
    where, answers = (str(file), "") if source == "file" else ("-", json.dumps(jwk))
    done = keys(folder, "import", path, "--jwk-file", where, answers=answers)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: secp256r1, SPKI SHA-256 ")
    assert "falls short of require-custody: local is False" in done.stdout
    shown = keys(folder, "show", path)
    assert (shown.returncode, facts(shown.stdout)["origin"]) == (1, "imported")
    assert jwk["d"] not in done.stdout + done.stderr + shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("{}", 0o644, "must be open to its owner only"),
        ('["not", "an", "object"]', 0o600, "must hold one private JWK"),
        ('{"kty": "EC", "kty": "EC"}', 0o600, "must hold one private JWK"),
        ("{}", 0o600, "kty EC, RSA or OKP"),
    ],
)
def test_a_file_that_holds_no_private_jwk_or_is_open_to_others_is_refused(
    text: str, mode: int, sentence: str, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "key.jwk"
    file.write_text(text)
    file.chmod(mode)
    done = keys(folder, "import", f"{KMS}.never", "--jwk-file", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr


def test_a_jwk_file_that_is_not_there_is_said_so(folder: Path, tmp_path: Path) -> None:
    done = keys(folder, "import", f"{KMS}.never", "--jwk-file", str(tmp_path / "nothing"))
    assert (done.returncode, "cannot be read: No such file" in done.stderr) == (1, True)


def test_a_key_that_was_adopted_stays_on_its_token(folder: Path) -> None:
    path = f"{KMS}.adopted-and-deleted"
    assert keys(folder, "adopt", path, "--label", "made elsewhere").returncode == 0
    deleted = keys(folder, "delete", path, "--yes")
    assert (deleted.returncode, deleted.stdout) == (0, f"{path}: unbound; the key stays on its token\n")
    assert keys(folder, "adopt", path, "--label", "made elsewhere").returncode == 0
