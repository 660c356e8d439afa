"""One live engine for all page tests, and ways to talk to it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.page.examples import HOST, TARGET, script
from tests.page.live import Answer, LiveEngine, live_engine, run_shell

WRITE_OUT = "\n%{http_code} %{content_type}"


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    with live_engine(tmp_path_factory.mktemp("page") / "data") as engine:
        yield engine


def _replaced(text: str, live: LiveEngine) -> str:
    """A script of the page with host, target and token replaced."""
    text = text.replace(HOST, live.base_url).replace("{target}", TARGET).replace("{yourToken}", live.api_key)
    assert not any(name in text for name in ("{orgID}", "{target}", "{yourToken}"))
    return text


@pytest.fixture
def run(live: LiveEngine, tmp_path: Path) -> Callable[[str], Answer]:
    """Run a script of the page."""
    return lambda text: run_shell(_replaced(text, live), tmp_path)


@pytest.fixture
def call(live: LiveEngine, tmp_path: Path) -> Callable[..., tuple[int, object]]:
    """One curl call with a JSON body; the status and the decoded answer."""

    def curl(method: str, path: str, body: object = None, *options: str) -> tuple[int, object]:
        url = f"{live.base_url}{path}"
        (tmp_path / "header").write_text(f"Authorization: Bearer {live.api_key}\n")
        data = () if body is None else ("-H", "Content-Type: application/json", "-d", json.dumps(body))
        done = subprocess.run(
            ["curl", "-sS", "-X", method, "-H", f"@{tmp_path}/header", *data, *options, "-w", WRITE_OUT, url],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        text, _, line = done.stdout.rpartition("\n")
        status, _, content_type = line.partition(" ")
        assert content_type == "application/json"
        return int(status), json.loads(text)

    return curl


@pytest.fixture(scope="session")
def request_pem(live: LiveEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A certification request for the leaf key, made by the page's own end-to-end step 1."""
    step = script("end-to-end.sh").split("# Step 2")[0] + '\necho "$CSR_PEM"\n'
    return run_shell(_replaced(step, live), tmp_path_factory.mktemp("request")).text.strip()
