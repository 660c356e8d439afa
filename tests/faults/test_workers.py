"""Several workers behind one socket: each serves, each is replaced on its own, and none outlives the server."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.database import copy_data_folder
from tests.faults.faulty import FaultyModule
from tests.faults.served import put_behind, workers_of
from tests.page.live import DEADLINE, ENGINE, announced, init

WORKERS = 3


@dataclass(frozen=True)
class Server:
    """A server with several workers. Every call is on a connection of its own."""

    folder: Path
    process: subprocess.Popen[str]
    base_url: str
    api_key: str

    def serves(self) -> bool:
        """Whether a call is answered as it should."""
        keys = f"{self.base_url}/v1/test.tenant1.kms1/kms-service-api/keys"
        headers = {"authorization": f"Bearer {self.api_key}"}
        return httpx.get(keys, headers=headers, timeout=DEADLINE, trust_env=False).status_code == 200


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for each test: SoftHSM writes its token.object anew at every login, and a worker that is killed while it
    starts may take the token with it."""
    folder = tmp_path_factory.mktemp("workers") / "data"
    init(folder)
    config = folder / "engine.toml"
    config.write_text(config.read_text().replace("workers = 1 ", f"workers = {WORKERS} "))
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with (folder / "serve.err").open("wb") as log:
        process = subprocess.Popen(
            [*ENGINE, "serve", "--config", folder / "engine.toml", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield Server(folder, process, announced(process), (folder / "api-key").read_text().strip())
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE)
        until(lambda: workers_of(folder) == [])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def halted(*workers: int) -> Iterator[None]:
    """These take no connections meanwhile."""
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def test_the_server_is_announced_when_all_its_workers_serve(server: Server) -> None:
    workers = workers_of(server.folder)
    assert len(workers) == WORKERS
    for one in workers:
        with halted(*(other for other in workers if other != one)):
            assert server.serves()


def test_a_worker_that_was_killed_is_replaced_while_the_others_serve(server: Server) -> None:
    before = set(workers_of(server.folder))
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    served = 0
    while len(workers := set(workers_of(server.folder)) - {victim}) < WORKERS:
        assert server.serves()
        served += 1
    assert served > 0
    assert before - {victim} < workers
    (replacement,) = workers - before
    with halted(*(workers - {replacement})):
        assert server.serves()


def test_all_of_several_workers_that_were_killed_are_replaced(server: Server) -> None:
    before = set(workers_of(server.folder))
    for victim in before:
        os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(workers_of(server.folder)) - before) == WORKERS)
    assert server.serves()
    assert server.process.poll() is None


def test_a_server_that_is_told_to_stop_ends_every_worker_first(server: Server) -> None:
    server.process.terminate()
    assert server.process.wait(DEADLINE) == 0
    assert workers_of(server.folder) == []


def test_a_server_that_was_killed_leaves_no_worker(server: Server) -> None:
    server.process.kill()
    server.process.wait(DEADLINE)
    until(lambda: workers_of(server.folder) == [])


def test_a_wrong_pin_costs_the_token_one_attempt_however_many_workers_are_to_serve(
    folder: Path, fault_module: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "data"
    copy_data_folder(folder, wrong)
    init(wrong)  # which puts the paths in it right
    (wrong / "softhsm" / "pin").write_text("wrong-0451-pin\n")
    with FaultyModule(fault_module, tmp_path / "control") as faulty:
        put_behind(wrong, fault_module, {"SOFTHSM2_CONF": "./softhsm/softhsm2.conf", **faulty.environment})
        done = subprocess.run(
            [*ENGINE, "serve", "--config", wrong / "engine.toml", "--port", "0"],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
        assert done.returncode == 77
        assert faulty.counters().logins == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_server_whose_second_worker_cannot_start_ends_with_its_code(
    folder: Path, fault_module: Path, tmp_path: Path
) -> None:
    """A token that has sessions for one worker only is found out at the start."""
    narrow = tmp_path / "data"
    copy_data_folder(folder, narrow)
    init(narrow)
    with FaultyModule(fault_module, tmp_path / "control") as faulty:
        put_behind(narrow, fault_module, {"SOFTHSM2_CONF": "./softhsm/softhsm2.conf", **faulty.environment})
        faulty.limit_sessions(1)
        done = subprocess.run(
            [*ENGINE, "serve", "--config", narrow / "engine.toml", "--port", "0"],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
    assert done.returncode == 1
    assert "Serving" not in done.stdout
    until(lambda: workers_of(narrow) == [])
