"""softhsm/create-token: the recipe that tests, scripts and the Dockerfile share."""

import json
import os
import subprocess
from pathlib import Path

from tests.softhsm import RECIPE, make_softhsm
from tests.token.conftest import OtherProcess
from tests.token.devices.softhsm import load_softhsm

SYSTEM_PYTHON = "/usr/bin/python3"


def test_the_recipe_run_twice_leaves_the_token_as_it_was(tmp_path: Path) -> None:
    first = make_softhsm(tmp_path / "token")
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    assert make_softhsm(tmp_path / "token") == first
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == before


def test_the_folder_and_the_pins_are_open_to_their_owner_only(tmp_path: Path) -> None:
    made = make_softhsm(tmp_path / "token")
    modes = {name: (made.folder / name).stat().st_mode & 0o777 for name in ("", "tokens", "pin", "so-pin")}
    assert modes == {"": 0o700, "tokens": 0o700, "pin": 0o600, "so-pin": 0o600}
    assert (made.folder / "pin").read_text() != (made.folder / "so-pin").read_text()


def test_two_labels_in_one_folder_make_two_tokens(tmp_path: Path) -> None:
    make_softhsm(tmp_path / "token", "one")
    two = make_softhsm(tmp_path / "token", "two; with blank")
    assert two.uri == "pkcs11:token=two%3B%20with%20blank"
    process = OtherProcess(load_softhsm(two))
    printed = process.run(
        """
        for uri in ("pkcs11:token=one", "pkcs11:token=two%3B%20with%20blank"):
            token = Token.open(device.settings(uri=uri))
            print(token._connection.token.label)
        """
    )
    assert printed == "one\ntwo; with blank\n"


def test_the_pins_are_printed_nowhere_and_are_no_arguments(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    wrapper = tmp_path / "bin" / "softhsm2-util"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {trace}\nexec /usr/bin/softhsm2-util "$@"\n')
    wrapper.chmod(0o755)
    done = subprocess.run(
        [RECIPE, tmp_path / "token", "label"],
        env={**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--init-token" in trace.read_text()
    for name in ("pin", "so-pin"):
        secret = (tmp_path / "token" / name).read_text().strip()
        assert len(secret) == 32
        assert secret not in done.stdout + done.stderr + trace.read_text()


def test_a_run_that_was_interrupted_between_the_pins_is_finished(tmp_path: Path) -> None:
    made = make_softhsm(tmp_path / "model")
    half = tmp_path / "half"
    (half / "tokens").mkdir(parents=True, mode=0o700)
    (half / "softhsm2.conf").write_text(f"directories.tokendir = {half}/tokens\n")
    (half / "so-pin").write_text("so-secret\n")
    initialise = f"""
import ctypes, os
os.environ["SOFTHSM2_CONF"] = "{half}/softhsm2.conf"
library = ctypes.CDLL("{made.module}")
assert library.C_Initialize(None) == 0
assert library.C_InitToken(ctypes.c_ulong(0), b"so-secret", ctypes.c_ulong(9), b"half".ljust(32)) == 0
library.C_Finalize(None)
"""
    subprocess.run([SYSTEM_PYTHON, "-c", initialise], check=True)
    finished = make_softhsm(half, "half")
    assert (
        OtherProcess(load_softhsm(finished)).run("print(Token.open(device.settings(uri='pkcs11:token=half')).state())")
        == "ready\n"
    )


def test_the_recipe_runs_on_the_systems_python_without_packages(tmp_path: Path) -> None:
    done = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-S", RECIPE, tmp_path / "token", "label"], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) == {"module", "uri", "pin-file", "environment"}


def test_a_missing_softhsm_is_one_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [SYSTEM_PYTHON, RECIPE, tmp_path / "token", "label"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "SoftHSM is not installed: apt-get install softhsm2\n"


def test_a_token_whose_pin_file_is_gone_is_said_and_not_made_again(tmp_path: Path) -> None:
    made = make_softhsm(tmp_path / "token")
    made.pin_file.unlink()
    done = subprocess.run([RECIPE, made.folder, "engine-tests"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "exists, but its PIN file" in done.stderr
    assert not made.pin_file.exists()
