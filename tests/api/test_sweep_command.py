"""`signing-engine audit sweep`: on what the API has issued, from the configuration file and the database alone."""

import hashlib
import sys
import uuid
from pathlib import Path

import pytest

from engine.__main__ import main
from engine.commands import audit_sweep
from tests.api.bodies import certificate_body
from tests.api.conftest import Running
from tests.database import change, select
from tests.scripts.terminal import on_terminal


@pytest.fixture
def config(data_folder: Path, tmp_path: Path, running: Running) -> Path:
    """Of the engine's database, and of a module that is not there: no token is opened."""
    running.post("certificate", certificate_body()).raise_for_status()
    text = (data_folder / "engine.toml").read_text(encoding="utf-8")
    module = next(line for line in text.splitlines() if line.startswith("module = "))
    url = running.engine.config.store.url
    text = text.replace(module, 'module = "/not/there.so"').replace("sqlite:///engine.db", url)
    path = tmp_path / "engine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_the_engine_has_issued_is_without_fault(
    running: Running, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = running.engine.config.store.url
    before = select(url, "SELECT count(*) FROM events")
    assert main(["audit", "sweep", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[-1], err) == ("faults: 0", "")
    issued = "SELECT count(*) FROM certificates WHERE intent_id IS NOT NULL"
    assert f", {select(url, issued)[0][0]} issued here, " in out
    assert select(url, "SELECT count(*) FROM events") == before


def test_a_fault_is_a_line_and_the_exit_code(
    running: Running, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sweep, "_LINE_SECONDS", 0.0)
    url = running.engine.config.store.url
    first = "(SELECT min(sha256) FROM certificates WHERE intent_id IS NOT NULL)"
    ((serial, sha256),) = select(url, f"SELECT serial_number, sha256 FROM certificates WHERE sha256 = {first}")
    change(url, f"UPDATE certificates SET is_ca = NOT is_ca WHERE sha256 = '{sha256}'")
    try:
        assert main(["audit", "sweep", "--config", str(config)]) == 1
    finally:
        change(url, f"UPDATE certificates SET is_ca = NOT is_ca WHERE sha256 = '{sha256}'")
    out, err = capsys.readouterr()
    assert f"serial {serial} SHA-256 {sha256}: the column is_ca is not what it says" in out.splitlines()
    number = select(url, "SELECT count(*) FROM certificates")[0][0]
    assert f"[{'#' * 30}] certificates: {number:,} of {number:,}" in err.splitlines()


def test_an_answer_that_a_repeat_would_get_and_nobody_gave_is_named(
    running: Running, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, url = str(uuid.uuid4()), running.engine.config.store.url
    headers = {"idempotency-key": key}
    path = "/v1/test.tenant1.x509-service-1/x509-service-api/certificate"
    issued = running.client.post(path, json=certificate_body(), headers=headers)
    issued.raise_for_status()
    where = f"WHERE idempotency_key = '{key}'"
    change(url, f"UPDATE intents SET answer = replace(answer, 'BEGIN', 'begin') {where}")
    try:
        assert main(["audit", "sweep", "--config", str(config)]) == 1
    finally:
        change(url, f"UPDATE intents SET answer = replace(answer, 'begin', 'BEGIN') {where}")
    lines = capsys.readouterr().out.splitlines()
    what = f"its event certificate-signed has another answerSha256: {hashlib.sha256(issued.content).hexdigest()}"
    assert ["note: " not in line for line in lines if what in line] == [True]
    assert lines[-1] == "faults: 1"
    assert main(["audit", "sweep", "--config", str(config)]) == 0


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(config: Path) -> None:
    with on_terminal([sys.executable, "-m", "engine", "audit", "sweep", "--config", config]) as terminal:
        assert terminal.end() == 0
    bar, _, rest = terminal.shown.rpartition("\r\x1b[K")
    assert "#] " in bar
    assert rest.startswith("certificates: ")
    assert rest.endswith("faults: 0\r\n")
