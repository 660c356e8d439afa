"""`signing-engine audit verify` and `sweep`: what the configuration file says of database and witness is what is read,
and the exit code says what was found."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.__main__ import main
from engine.commands import UNFINISHED, audit_sweep
from engine.errors import StoreUnavailable
from engine.store import Store, StoredTrail
from engine.token import Token
from tests.unit.store.auditing import tell
from tests.unit.store.test_tampering import Scene, cut_off_checkpoint_2


@pytest.fixture
def scene(database_url: str, tmp_path: Path, token: Token) -> Scene:
    return Scene(database_url, tmp_path, token)


def write_config(url: str, folder: Path) -> Path:
    """With a token that is not there: none is opened."""
    config = folder / "engine.toml"
    config.write_text(
        f'[store]\nurl = "{url}"\n[tokens.production]\nmodule = "/not/there.so"\nuri = "pkcs11:token=production"\n'
        'pin = { file = "pin" }\n[organizations.engine]\ntenants = ["audit"]\n'
        '[services."engine.audit.kms"]\ntype = "kms"\ntoken = "production"\n'
        '[audit]\nkey = "engine.audit.kms.checkpoints"\nwitness = { file = "witness.jsonl" }\n'
    )
    return config


@pytest.fixture
def config(scene: Scene) -> str:
    return str(write_config(scene.url, scene.folder))


def test_a_trail_that_nobody_has_touched_verifies(
    scene: Scene, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "verify", "--config", config, "--key", str(scene.key)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "lines of the witness that were compared: 2" in lines
    assert lines[-1] == "verified"


def test_a_row_that_was_changed_is_named_and_the_exit_code_is_1(
    scene: Scene, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.change(f"UPDATE events SET actor = 'x' WHERE writer = {scene.second} AND sequence = 2")
    assert main(["audit", "verify", "--config", config]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"event 2 of writer {scene.second}: it does not have the hash")
    assert lines[-1] == "FAILED"


def test_a_key_of_somebody_else_does_not_count(scene: Scene, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = scene.folder / "other.pem"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    other.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert main(["audit", "verify", "--config", config, "--key", str(other)]) == 1
    assert capsys.readouterr().out.startswith("checkpoint 1: it was signed by a key that may not")
    assert main(["audit", "verify", "--config", config, "--key", str(other), "--key", str(scene.key)]) == 0


def test_the_witness_of_the_configuration_is_read(
    scene: Scene, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off_checkpoint_2(scene)
    assert main(["audit", "verify", "--config", config]) == 1
    assert capsys.readouterr().out.startswith("checkpoint 2: it is missing, and the witness has it")
    scene.witness.unlink()
    assert main(["audit", "verify", "--config", config]) == 1
    assert capsys.readouterr().out.startswith(f"witness {scene.witness}: it is not there")


def test_the_witness_of_an_engine_that_is_new_is_to_come(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(database_url) as store:
        tell(store, 1)
    config, witness = str(write_config(database_url, tmp_path)), tmp_path / "witness.jsonl"
    assert main(["audit", "verify", "--config", config]) == 0
    assert f"the witness {witness} is not there, and no checkpoint is signed" in capsys.readouterr().out
    assert main(["audit", "verify", "--config", config, "--witness", str(witness)]) == 1
    assert capsys.readouterr().out.startswith(f"witness {witness}: it is not there")


def test_text_that_is_not_utf_8_is_exported_and_listed(
    scene: Scene, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL has no such text."""
    if scene.url.startswith("postgresql:"):
        return
    where = f"WHERE writer = {scene.second} AND sequence = 2"
    scene.change(f"UPDATE events SET actor = CAST(X'ff1b' AS TEXT), source = X'ff', hash = CAST(hash AS BLOB) {where}")
    for words in (["list", "--config", config], ["export", "--config", config]):
        assert main(["audit", *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum("xff" in line and "x1b'" in line for line in lines) == 1
        assert all(line.isprintable() for line in lines)
    assert main(["audit", "verify", "--config", config]) == 1
    assert capsys.readouterr().out.startswith(f"event 2 of writer {scene.second}: it does not have the hash")


@pytest.mark.parametrize("command", ["verify", "sweep"])
def test_what_cannot_be_looked_at_is_no_fault(
    scene: Scene,
    config: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> object:
        raise StoreUnavailable("The database is away.")

    monkeypatch.setattr(StoredTrail, "events", fail)
    monkeypatch.setattr(audit_sweep, "Sweep", fail)
    assert main(["audit", command, "--config", config]) == UNFINISHED
    assert capsys.readouterr() == ("", "signing-engine: The database is away.\n")
    assert main(["audit", command, "--config", str(scene.folder / "none.toml")]) == UNFINISHED


@pytest.mark.parametrize("words", [["audit", "verify"], ["audit", "sweep"], ["evidence"]])
def test_exit_codes_are_explained(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Exit code 0: " in text
    assert ("without it anybody's signature counts" in text) == (words[-1] == "verify")


def test_a_selection_says_so_in_its_first_line(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    selections = {
        ("--since", "2026-03-01"): {"since": "2026-03-01T00:00:00+00:00"},
        ("--until", "2126-03-01"): {"until": "2126-03-01T00:00:00+00:00"},
        ("--key", "test.k"): {"key": "test.k"},
        ("--certificate", "ab"): {"certificate": "ab"},
        ("--actor", "x"): {"actor": "x"},
        ("--kind", "log-in", "--kind", "key-examined"): {"kind": ["log-in", "key-examined"]},
    }
    for words, asked in selections.items():
        assert main(["audit", "export", "--config", config, *words]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0]) == {"partial": True, **asked}
    assert main(["audit", "export", "--config", config]) == 0
    assert "event" in json.loads(capsys.readouterr().out.splitlines()[0])
