"""The fault-injecting module on a SoftHSM token, and Python in a process of its own that signs through it."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.database import copy_data_folder
from tests.faults.faulty import FaultyModule, FaultyModuleUnavailable, build_module
from tests.faults.mortal import CHECKPOINT_EVENTS, MortalServer, mortal_server
from tests.faults.served import put_behind
from tests.page.live import DEADLINE, ENGINE, init
from tests.softhsm import make_softhsm

PRELUDE = """
import hashlib, os, sys, threading, time
from pathlib import Path
from engine.errors import *
from engine.pin import FilePin
from engine.token import *
from tests.faults.faulty import *
from tests.token.conftest import verify
MODULE, CONTROL, FOLDER = map(Path, sys.argv[1:4])
ALGORITHM = "ecdsa-with-SHA256"
faulty = FaultyModule(MODULE, CONTROL)
def settings(**changes):
    values = {
        "name": "test", "module": str(MODULE), "uri": "pkcs11:token=faults", "pin": FilePin(str(FOLDER / "pin")),
        "environment": {"SOFTHSM2_CONF": str(FOLDER / "softhsm2.conf"), **faulty.environment},
    }
    return TokenSettings(**{**values, **changes})
def new_key(token, label="key"):
    key_id = os.urandom(16)
    spki = token.generate_key("secp256r1", label, key_id).spki
    return KeyReference(label, key_id, hashlib.sha256(spki).hexdigest()), spki
def sign(token, key, spki, message=b"message"):
    verify(spki, ALGORITHM, token.sign(key, ALGORITHM, message), message)
def error_of(call, *arguments):
    try:
        return call(*arguments)
    except EngineError as error:
        return f"{type(error).__name__}: {error}"
def until(condition, seconds=10.0):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "it did not come about"
        time.sleep(0.002)
    return time.monotonic() - begin
def in_threads(count, work):
    problems = []
    def run(number):
        try:
            work(number)
        except Exception as error:
            problems.append(repr(error))
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return problems
"""


@pytest.fixture(scope="session")
def fault_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled module."""
    try:
        return build_module(tmp_path_factory.mktemp("fault-module"))
    except FaultyModuleUnavailable as unavailable:
        if os.environ.get("ENGINE_REQUIRE_TOKEN"):
            raise
        pytest.skip(str(unavailable))


@pytest.fixture(scope="session")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SoftHSM token to be copied."""
    return make_softhsm(tmp_path_factory.mktemp("token") / "softhsm", "faults").folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for `copy_data_folder`; whoever serves the copy has the paths in it put right by `init`."""
    folder = tmp_path_factory.mktemp("data") / "data"
    init(folder)
    return folder


@pytest.fixture(scope="session")
def sqlite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `data_folder`, but on SQLite whatever is chosen."""
    folder = tmp_path_factory.mktemp("sqlite") / "data"
    subprocess.run([*ENGINE, "init", "--data", folder], check=True, capture_output=True, timeout=DEADLINE)
    return folder


@pytest.fixture
def mortal(data_folder: Path, fault_module: Path, tmp_path: Path) -> Iterator[MortalServer]:
    """A server that can be killed, with a checkpoint every CHECKPOINT_EVENTS events.

    It has a token of its own: SoftHSM writes its token.object anew at every login, and a process that is killed then
    may take the token with it. The kills come long after that.
    """
    folder = tmp_path / "data"
    copy_data_folder(data_folder, folder)
    softhsm = folder / "softhsm" / "softhsm2.conf"
    softhsm.write_text(softhsm.read_text().replace(str(data_folder), str(folder)))
    with FaultyModule(fault_module, tmp_path / "control", asked=tmp_path / "asked") as faulty:
        put_behind(folder, fault_module, {"SOFTHSM2_CONF": "./softhsm/softhsm2.conf", **faulty.environment})
        config = folder / "engine.toml"
        text, found = re.subn(r"^events = \d+ ", f"events = {CHECKPOINT_EVENTS} ", config.read_text(), flags=re.M)
        assert found == 1
        config.write_text(text)
        with mortal_server(folder, faulty, tmp_path / "kill") as server:
            yield server


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a line of numbers, whatever becomes of the test."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {line}", end="")

    return show


@pytest.fixture
def at_fault(fault_module: Path, token_folder: Path, tmp_path: Path) -> Callable[..., str]:
    """What code prints, after the prelude above, in a process with a token of its own; a crash fails the test."""
    folder = tmp_path / "softhsm"
    shutil.copytree(token_folder, folder)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(configuration.read_text().replace(str(token_folder), str(folder)))

    def run(code: str, *arguments: str, seconds: float = 120) -> str:
        command = [sys.executable, "-X", "faulthandler", "-c", PRELUDE + textwrap.dedent(code)]
        done = subprocess.run(
            [*command, fault_module, tmp_path / "control", folder, *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
