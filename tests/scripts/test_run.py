"""scripts/run, the first thing a user does: started once, twice, after a kill, beside another, by somebody else."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database import CHOSEN, SQLITE, change, database_options, database_url
from tests.page.live import DEADLINE, ENGINE, announced, init

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "scripts" / "run"
NOBODY = 65534


def run_once(folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, RUN, "--once", "--port", "0", "--data", folder, *database_options(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * DEADLINE,
        cwd="/",
    )


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A trial that keeps serving, and its base URL."""
    command = [RUN, "--port", "0", "--data", folder, *database_options(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, announced(process)


def kept(folder: Path) -> dict[str, bytes]:
    """What a later start has to leave as it is."""
    names = ("engine.toml", "api-key", "softhsm/pin", "softhsm/so-pin", "softhsm/softhsm2.conf")
    # Keys only: SoftHSM counts logins in token.object, and a kill leaves it empty files, which it ignores.
    keys = [path for path in sorted((folder / "softhsm" / "tokens").rglob("*-*-*.object")) if path.stat().st_size]
    return {str(path): path.read_bytes() for path in (*(folder / name for name in names), *keys)}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A data folder after one complete run, and what that run said."""
    folder = tmp_path_factory.mktemp("run") / "new" / "data"
    return folder, run_once(folder)


def test_first_start_walks_the_workflow_and_says_what_happened(first) -> None:
    _, done = first
    assert done.returncode == 0, done.stderr
    for word in ("subject", "issuer", "serial", "fingerprint"):
        assert re.search(rf"^ +{word} +\S", done.stdout, re.MULTILINE)
    assert done.stdout.count("openssl req -verify") == 3
    assert done.stdout.count("openssl verify -x509_strict") == 3
    assert "CN=Example DS,C=US" in done.stdout


def test_first_start_says_nothing_on_standard_error(first) -> None:
    assert first[1].stderr == ""


def test_api_key_is_readable_by_its_owner_only_and_never_printed(first) -> None:
    folder, done = first
    file = folder / "api-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in done.stdout
    assert f"$(cat '{file}')" in done.stdout


def test_first_start_leaves_an_audit_trail_that_verifies_here_and_elsewhere(first, tmp_path: Path) -> None:
    folder, _ = first
    config, witness, export = folder / "engine.toml", folder / "audit-witness.jsonl", tmp_path / "export.jsonl"

    def run(*command: str | Path) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    here = run(*ENGINE, "audit", "verify", "--config", config)
    run(*ENGINE, "audit", "export", "--config", config, "--output", export)
    shutil.copy(ROOT / "engine" / "audit" / "verifier.py", tmp_path)
    elsewhere = run(sys.executable, "-I", "verifier.py", export, "--witness", witness)
    assert here == elsewhere
    assert here[-1] == "verified"
    assert f"lines of the witness that were compared: {len(witness.read_bytes().splitlines())}" in here


def test_second_start_reuses_everything(first) -> None:
    folder, _ = first
    before = kept(folder)
    assert len(before) == 5 + 8  # four key pairs
    done = run_once(folder)
    assert done.returncode == 0, done.stderr
    assert kept(folder) == before


def test_folder_keeps_the_database_that_it_was_made_with(first, tmp_path: Path) -> None:
    folder, _ = first
    url = database_url(folder)
    done = run_once(folder, "--database", f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 1
    assert "engine.toml names another database already" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    done = run_once(folder, "--database", url)
    assert done.returncode == 0, done.stderr
    assert database_url(folder) == url


def test_trial_works_as_the_first_process_of_a_container(tmp_path: Path) -> None:
    """In one, the supervisor is process 1, as whose children orphans are found elsewhere."""
    alone = ("unshare", "--fork", "--pid", "--mount-proc")
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not make a process namespace")
    done = run_once(tmp_path / "data", prefix=alone)
    assert done.returncode == 0, done.stderr


def test_start_after_a_kill_reuses_everything(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    process, _ = start(folder)
    before = kept(folder)
    process.kill()
    process.communicate(timeout=DEADLINE)
    done = run_once(folder)
    assert done.returncode == 0, done.stderr
    assert kept(folder) == before


@pytest.mark.parametrize(
    "appeared",
    [
        *("softhsm/so-pin", "softhsm/tokens/*/token.object", "engine.toml"),
        pytest.param("engine.db", marks=pytest.mark.skipif(CHOSEN != SQLITE, reason="only SQLite is a file there")),
    ],
)
def test_first_start_that_was_cut_short_is_completed(tmp_path: Path, appeared: str) -> None:
    folder = tmp_path / "data"
    init_command = [*ENGINE, "init", "--data", folder, *database_options(folder)]
    process = subprocess.Popen(init_command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE
    while not any(folder.glob(appeared)):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait(timeout=DEADLINE)
    init(folder)
    assert len(kept(folder)) == 5 + 8  # four key pairs
    subprocess.run([*ENGINE, "check", "--config", folder / "engine.toml"], check=True, timeout=DEADLINE)


def test_half_a_key_pair_from_a_start_that_was_cut_short_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    init(folder)
    change(database_url(folder), "DELETE FROM keys WHERE path LIKE '%.leaf-secp256r1'")
    (public_half,) = (path for path, octets in kept(folder).items() if b".leaf-secp256r1" in octets)
    Path(public_half).unlink()
    init(folder)
    assert len(kept(folder)) == 5 + 8


def test_second_trial_on_a_folder_that_is_served_serves_beside_the_first(first) -> None:
    process, base_url = start(first[0])
    try:
        done = run_once(first[0])
        still = subprocess.run(["curl", "-sSf", f"{base_url}/health/ready"], check=False, timeout=DEADLINE)
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    assert still.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_trial_stops_in_order_when_told(first, number: signal.Signals) -> None:
    process, _ = start(first[0])
    process.send_signal(number)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def test_port_that_is_taken_says_what_to_do(first) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_once(first[0], "--port", port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "--port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_pasted_lines_issue_a_certificate(first, tmp_path: Path) -> None:
    process, base_url = start(first[0])
    try:
        printed = first[1].stdout.split("paste these lines")[1].split("\n", 1)[1]
        script = re.sub(r"http://127\.0\.0\.1:\d+", base_url, printed)
        done = subprocess.run(
            ["bash", "-euo", "pipefail"], input=script, capture_output=True, text=True, timeout=DEADLINE, check=True
        )
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)
    assert '"certificatePEM":"-----BEGIN CERTIFICATE-----' in done.stdout
    assert '"_id":"test.tenant1.x509-store-1.' in done.stdout


@pytest.fixture
def foreign() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A folder of a user who is not root and does not own the checkout, and how to become that user."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    if subprocess.run([*as_nobody, "test", "-x", RUN], check=False).returncode != 0:
        pytest.skip("the checkout is in a folder that only root may enter")
    if subprocess.run([*as_nobody, sys.executable, "-c", ""], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"the Python of this environment, {os.path.realpath(sys.executable)}, is for root only")
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, NOBODY, NOBODY)
    yield folder, as_nobody
    shutil.rmtree(folder)


def test_user_who_is_not_root_runs_a_checkout_that_is_installed(foreign) -> None:
    folder, as_nobody = foreign
    subprocess.run([ROOT / "scripts" / "install"], check=True, capture_output=True, timeout=10 * DEADLINE)
    done = run_once(folder / "data", prefix=as_nobody)
    assert done.returncode == 0, done.stderr


def test_data_folder_of_another_user_is_named_in_the_refusal(foreign, first) -> None:
    folder, as_nobody = foreign
    theirs = folder / "theirs"
    shutil.copytree(first[0], theirs)
    done = run_once(theirs, prefix=as_nobody)
    assert done.returncode == 1
    assert f"The data folder {theirs} cannot be written by this user" in done.stderr
    assert "--data" in done.stderr
    assert len(done.stderr.splitlines()) == 1
