"""A live engine for tests: its own process, its own data folder with a real SoftHSM token, its own database, a free
port."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.database import database_options

DEADLINE = 60.0
"""Seconds until a start counts as failed."""


ENGINE = (sys.executable, "-m", "engine")


@dataclass(frozen=True, slots=True)
class LiveEngine:
    """Where a running engine is reached, and with what."""

    base_url: str
    folder: Path
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a shell script printed, and the HTTP status of each of its curl calls in order."""

    text: str
    statuses: tuple[int, ...]


def init(folder: Path) -> None:
    """Make or complete a data folder. A new one is on a new database of the chosen kind."""
    command = [*ENGINE, "init", "--data", folder, *database_options(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr


@contextmanager
def live_engine(folder: Path) -> Iterator[LiveEngine]:
    """Serve a data folder, made if absent, on a free port; wait until it says that it is ready; stop it at the end."""
    init(folder)
    with serving(folder) as live:
        yield live


@contextmanager
def serving(folder: Path) -> Iterator[LiveEngine]:
    """As `live_engine`, of a data folder that is complete and whose paths are right."""
    with (folder / "serve.err").open("wb") as log:
        process = subprocess.Popen(
            [*ENGINE, "serve", "--config", folder / "engine.toml", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        base_url = announced(process)
        _wait_until_ready(base_url)
        yield LiveEngine(base_url, folder, (folder / "api-key").read_text().strip())
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def announced(process: subprocess.Popen[str]) -> str:
    """The base URL in the first line with one that the process prints; it ends the wait when it dies."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Serving on "):
            return line.removeprefix("Serving on ").split(";")[0].strip()
    raise AssertionError(f"the engine stopped with exit code {process.wait()} before it served")


def _wait_until_ready(base_url: str) -> None:
    url = urlsplit(base_url)
    deadline = time.monotonic() + DEADLINE
    while True:  # the socket is listening already: an early request waits in its queue
        connection = HTTPConnection(url.hostname or "", url.port, timeout=deadline - time.monotonic())
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        assert time.monotonic() < deadline, f"/health/ready still says {status}"


def run_shell(script: str, folder: Path) -> Answer:
    """Run a script with bash and the real curl. A .curlrc makes curl report each status on standard error."""
    (folder / ".curlrc").write_text('silent\nwrite-out = "%{stderr}status %{http_code}\\n"\n')
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env=os.environ | {"CURL_HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    statuses = (line.removeprefix("status ") for line in done.stderr.splitlines() if line.startswith("status "))
    return Answer(done.stdout, tuple(int(status) for status in statuses))
