"""signing-engine keys show and keys adopt: what they print and the exit codes that scripts look at."""

import os
import subprocess
from pathlib import Path

import pytest

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


def keys(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENGINE, "keys", *arguments, "--config", folder / "engine.toml"],
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
