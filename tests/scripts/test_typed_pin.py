"""A PIN that is typed: asked for once, held by the supervisor, handed to every worker, and shown to nobody."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.faulty import SOFTHSM, FaultyModule, FaultyModuleUnavailable, build_module
from tests.page.live import DEADLINE, ENGINE, announced, init
from tests.scripts.terminal import Terminal, on_terminal
from tests.softhsm import no_token

ASKED = "PIN of token trial: "
SERVING = "Serving on "


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A trial folder whose PIN is to be typed."""
    folder = tmp_path / "data"
    init(folder)
    path = folder / "engine.toml"
    text = path.read_text()
    assert '{ file = "softhsm/pin" }' in text
    path.write_text(text.replace('{ file = "softhsm/pin" }', "{ prompt = true }"))
    return path


@pytest.fixture
def pin(config: Path) -> str:
    return (config.parent / "softhsm" / "pin").read_text().strip()


@pytest.fixture
def serving(config: Path, pin: str) -> Iterator[Terminal]:
    with on_terminal([*ENGINE, "serve", "--config", config, "--port", "0"]) as terminal:
        terminal.wait_for(ASKED)
        terminal.type(pin)
        terminal.wait_for(SERVING)
        yield terminal


def children(pid: int) -> list[int]:
    """Processes that any thread of this one started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def worker_of(terminal: Terminal) -> int:
    """The worker's process id, once the supervisor has started one."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for child in children(terminal.process.pid):
            if b"\0worker\0" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        time.sleep(0.01)
    raise AssertionError(f"no worker was started: {terminal.shown}")


def test_typed_pin_is_asked_for_once_also_when_the_worker_is_replaced(serving: Terminal, pin: str) -> None:
    first = worker_of(serving)
    os.kill(first, signal.SIGKILL)
    serving.wait_for("the next one is started")
    second = worker_of(serving)
    assert second != first
    url = serving.shown.split(SERVING)[1].split()[0]
    # The next worker serves before its token is there, and says so with 503.
    ready = ["curl", "-sSf", "--retry", "30", f"{url}/health/ready"]
    subprocess.run(ready, check=True, timeout=DEADLINE, capture_output=True)
    assert serving.shown.count(ASKED) == 1
    assert pin not in serving.shown  # no echo either


def test_typed_pin_is_in_no_argument_and_no_environment(serving: Terminal, pin: str) -> None:
    worker = worker_of(serving)
    for pid in {worker, int(Path(f"/proc/{worker}/stat").read_text().rsplit(")")[1].split()[1])}:
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert content
            assert pin.encode() not in content
            assert pin.encode().hex().encode() not in content


def test_wrong_typed_pin_ends_the_server_after_one_attempt(config: Path) -> None:
    with on_terminal([*ENGINE, "serve", "--config", config, "--port", "0"]) as terminal:
        terminal.wait_for(ASKED)
        terminal.type("wrong-0451-pin")
        assert terminal.end() == 77
    assert terminal.shown.count("CKR_PIN_INCORRECT).") == 1
    assert "wrong-0451-pin" not in terminal.shown


def test_other_commands_ask_too(config: Path, pin: str) -> None:
    with on_terminal([*ENGINE, "check", "--config", config]) as terminal:
        terminal.wait_for(ASKED)
        terminal.type(pin)
        assert terminal.end() == 0
    assert "token trial: ready" in terminal.shown
    with on_terminal([*ENGINE, "doctor", "--config", config]) as terminal:
        terminal.wait_for(ASKED)
        terminal.type(pin)
        assert terminal.end() == 0
    assert "token trial: usable." in terminal.shown


def test_without_a_terminal_the_server_says_that_it_needs_one(config: Path) -> None:
    done = subprocess.run(
        [*ENGINE, "serve", "--config", config, "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
        start_new_session=True,
    )
    assert done.returncode == 1
    assert "The PIN of token 'trial' is to be typed, but there is no terminal" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_pin_that_became_wrong_is_tried_once_by_the_next_worker_and_never_again(tmp_path: Path) -> None:
    """Somebody changed the PIN, and then the worker is replaced: the token must not be locked try by try."""
    folder = tmp_path / "data"
    init(folder)
    config = folder / "engine.toml"
    try:
        module = build_module(tmp_path / "module")
    except FaultyModuleUnavailable as unavailable:
        no_token(str(unavailable))
    config.write_text(config.read_text().replace(f'module = "{SOFTHSM}"', f'module = "{module}"'))
    with FaultyModule(module, tmp_path / "control") as faulty, (folder / "serve.err").open("wb") as errors:
        process = subprocess.Popen(
            [*ENGINE, "serve", "--config", config, "--port", "0"],
            env={**os.environ, **faulty.environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            url = f"{announced(process)}/health/ready"
            (folder / "softhsm" / "pin").write_text("wrong-0451-pin\n")
            logins = faulty.counters().logins
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            wait_for_refusal(url)
            for _ in range(5):
                assert "login refused" in httpx.get(url, timeout=DEADLINE, trust_env=False).text
            assert faulty.counters().logins == logins + 1
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE)
    assert "wrong-0451-pin" not in (folder / "serve.err").read_text()


def wait_for_refusal(url: str) -> None:
    """Until the next worker says that the token refused its login."""
    deadline = time.monotonic() + DEADLINE
    said = ""
    while "login refused" not in said:
        assert time.monotonic() < deadline, said
        try:
            said = httpx.get(url, timeout=DEADLINE, trust_env=False).text
        except httpx.TransportError as error:  # the killed worker has taken this connection with it
            said = repr(error)
        time.sleep(0.05)
