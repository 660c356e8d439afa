"""`signing-engine audit list` and `export`: what is asked for and nothing else, from the database alone."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from engine.__main__ import main
from engine.audit.verifier import main as verify
from engine.store import KINDS, Operator
from engine.trial.quickstart import KMS_PATH, SERVICE_PATH
from tests.api.bodies import certificate_body
from tests.api.conftest import Running
from tests.page.live import DEADLINE, ENGINE
from tests.trail import read_trail

Lines = Callable[..., list[str]]


@pytest.fixture
def config(data_folder: Path, tmp_path: Path, running: Running) -> Path:
    """Of the engine's database, and of a module that is not there: no token is opened."""
    text = (data_folder / "engine.toml").read_text(encoding="utf-8")
    module = next(line for line in text.splitlines() if line.startswith("module = "))
    url = running.engine.config.store.url
    text = text.replace(module, 'module = "/not/there.so"').replace("sqlite:///engine.db", url)
    path = tmp_path / "engine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def lines(config: Path, capsys: pytest.CaptureFixture[str]) -> Lines:
    """What a command prints."""

    def run(*words: str) -> list[str]:
        capsys.readouterr()
        assert main(["audit", *words, "--config", str(config)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def exported(lines: Lines, *words: str) -> list[dict[str, Any]]:
    return [one["event"] for one in map(json.loads, lines("export", *words)) if "event" in one]


@pytest.fixture
def certificate(running: Running) -> x509.Certificate:
    response = running.post("certificate", certificate_body())
    return x509.load_pem_x509_certificate(response.json()["certificatePEM"].encode())


def test_the_last_events_come_last_one_a_line(running: Running, lines: Lines, certificate: x509.Certificate) -> None:
    listed = lines("list", "--limit", "2")
    assert [line.split(" ")[2] for line in listed] == ["signature-intended", "certificate-signed"]
    assert [line.split(" ")[0] for line in listed] == sorted(line.split(" ")[0] for line in listed)
    actor = read_trail(running.engine.config.store.url)[-1].actor
    assert f"success by {actor} from 127.0.0.1 target {SERVICE_PATH} request " in listed[1]


def test_a_certificate_is_found_by_its_serial_number_and_by_its_digest(
    lines: Lines, certificate: x509.Certificate
) -> None:
    wanted = ["signature-intended", "certificate-signed"]
    serial, digest = f"{certificate.serial_number:x}", certificate.fingerprint(SHA256())
    for text in (serial, serial.upper(), f"0x{serial}", digest.hex(), digest.hex(":").upper(), digest.hex(" ")):
        assert [one["kind"] for one in exported(lines, "--certificate", text)] == wanted
    assert exported(lines, "--certificate", "ab" * 32) == []
    assert exported(lines, "--certificate", "ab") == []


def test_a_filter_that_nothing_meets_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["--certificate", "ab"], "no event matches\n"), (["--limit", "1"], "")):
        assert main(["audit", "list", *words, "--config", str(config)]) == 0
        printed = capsys.readouterr()
        assert (printed.err, bool(printed.out)) == (said, not said)


@pytest.mark.parametrize("command", ["list", "export", "kinds"])
def test_who_reads_no_further_ends_the_command_quietly(config: Path, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [*ENGINE, "audit", command, *([] if command == "kinds" else ["--config", config])]
    with open(writer, "wb") as output:
        done = subprocess.run(words, stdout=output, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_evidence_that_nobody_reads_ends_the_command_quietly(
    running: Running, config: Path, certificate: x509.Certificate
) -> None:
    assert running.engine.checkpoints is not None
    running.engine.checkpoints.cover_all()
    reader, writer = os.pipe()
    os.close(reader)
    words = [*ENGINE, "evidence", f"{certificate.serial_number:x}", "--config", config]
    with open(writer, "wb") as output:
        done = subprocess.run(words, stdout=output, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_says_that_a_certificate_is_named_in_hex(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["audit", "list"], ["audit", "export"], ["evidence"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert "in hex" in " ".join(capsys.readouterr().out.split())


def test_events_are_found_by_key_actor_kind_and_time(running: Running, lines: Lines) -> None:
    everything = exported(lines)
    key = f"{KMS_PATH}.ca-secp256r1"
    of_key = exported(lines, "--key", key)
    assert of_key == [one for one in everything if one["details"].get("signingKey") == key]
    assert exported(lines, "--actor", "quickstart") == [one for one in everything if one["actor"] == "quickstart"]
    kinds = ("key-generated", "engine-started")
    both = exported(lines, *(word for kind in kinds for word in ("--kind", kind)))
    assert both == [one for one in everything if one["kind"] in kinds]
    assert {one["kind"] for one in both} == set(kinds)
    middle = sorted(one["recordedAt"] for one in everything)[len(everything) // 2]
    before, after = exported(lines, "--until", middle), exported(lines, "--since", middle)
    assert before == [one for one in everything if one["recordedAt"] < middle]
    assert after == [one for one in everything if one["recordedAt"] >= middle]
    assert [one for one in of_key if one in before] == exported(lines, "--key", key, "--until", middle)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert exported(lines, "--since", tomorrow) == []
    assert lines("list", "--since", tomorrow) == []


def test_what_is_exported_verifies_without_the_engine(
    lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str], running: Running
) -> None:
    path = tmp_path / "trail.jsonl"
    assert lines("export", "--output", str(path)) == []
    assert verify([str(path)]) == 0
    number = sum("event" in json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert number >= 10
    assert f"events: {number}, " in capsys.readouterr().out
    chosen = tmp_path / "chosen.jsonl"
    assert lines("export", "--kind", "engine-started", "--output", str(chosen)) == []
    assert verify([str(chosen)]) == 2
    assert "this export holds a selection of events" in capsys.readouterr().err
    spoilt = path.read_text(encoding="utf-8").replace("quickstart", "somebody", 1)
    path.write_text(spoilt, encoding="utf-8")
    assert verify([str(path)]) == 1


def test_a_file_that_is_there_is_not_overwritten(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept"
    path.write_text("kept", encoding="utf-8")
    assert main(["audit", "export", "--config", str(config), "--output", str(path)]) == 1
    assert "File exists" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "nothing"], "There is no kind of event 'nothing'"),
        (
            ["--certificate", "xyz"],
            "Expected a serial number of at most 40 hex digits, or a SHA-256 of 64, found 'xyz'",
        ),
        (["--certificate", "a" * 41], "Expected a serial number"),
    ],
)
@pytest.mark.parametrize("command", ["list", "export"])
def test_what_nothing_can_meet_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], command: str, words: list[str], said: str
) -> None:
    assert main(["audit", command, *words, "--config", str(config)]) == 1
    assert said in capsys.readouterr().err


def test_no_text_of_anybodys_moves_the_terminal(running: Running, lines: Lines) -> None:
    running.engine.store.record_event("token-lost", Operator("a b"), "\x1b[2J x", {"cause": "\x9b\n"})
    (line,) = lines("list", "--limit", "1")
    assert line.isascii()
    assert line.isprintable()
    assert '"\\u001b[2J x"' in line


def test_the_kinds_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "kinds"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(KINDS)


def test_a_database_without_a_trail_is_said(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = config.read_text(encoding="utf-8")
    url = next(line for line in text.splitlines() if line.startswith("url = "))
    config.write_text(text.replace(url, f'url = "sqlite:///{tmp_path}/none.db"'), encoding="utf-8")
    assert main(["audit", "list", "--config", str(config)]) == 1
    assert "no audit trail" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


def test_the_public_key_is_printed_that_checkpoints_are_verified_with(
    running: Running, config: Path, lines: Lines, tmp_path: Path, certificate: x509.Certificate
) -> None:
    keeper = running.engine.checkpoints
    assert keeper is not None
    keeper.cover_all()
    pem, export = tmp_path / "key.pem", tmp_path / "export.jsonl"
    pem.write_text("\n".join(lines("key")))
    export.write_text("\n".join(lines("export")))
    assert verify([str(export), "--key", str(pem)]) == 0
