"""Where a PIN may be kept, and that it does not show."""

import os
import pickle
import sys
import time
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.pin import CommandPin, CredentialPin, EnvironmentPin, FilePin, HeldPin, Pin

SECRET = "hunter2-0451"


def _file(tmp_path: Path, content: bytes, mode: int = 0o600) -> FilePin:
    path = tmp_path / "pin"
    path.write_bytes(content)
    path.chmod(mode)
    return FilePin(str(path))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_pin_is_one_line_whose_end_is_not_part_of_it(end: bytes, tmp_path: Path) -> None:
    assert _file(tmp_path, SECRET.encode() + end).load_pin().reveal() == SECRET.encode()


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"zero\x00byte", b"tab\there", b"x" * 256, b"x" * 9000])
def test_a_pin_file_that_is_not_one_line_of_1_to_255_bytes_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must hold a PIN of 1 to 255 bytes"):
        _file(tmp_path, content).load_pin()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_pin_file_that_group_or_others_may_open_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"open to its owner only .* found mode {mode:04o}"):
        _file(tmp_path, SECRET.encode(), mode).load_pin()


def test_a_pin_file_that_is_not_an_ordinary_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="ordinary file"):
            FilePin(str(path)).load_pin()


def test_a_missing_pin_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent cannot be read: No such file"):
        FilePin(str(tmp_path / "absent")).load_pin()


def test_a_pin_in_the_environment_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvironmentPin("ENGINE_TEST_PIN")
    with pytest.raises(ConfigError, match="ENGINE_TEST_PIN, which should hold the PIN, is not set"):
        source.load_pin()
    monkeypatch.setenv("ENGINE_TEST_PIN", SECRET)
    assert source.load_pin().reveal() == SECRET.encode()


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{!r}".format, lambda pin: f"{pin}", lambda pin: str([pin])])
def test_a_pin_prints_as_asterisks(shown: object) -> None:
    assert shown(Pin(SECRET.encode())).strip("[]") == "Pin(********)"


def test_an_error_about_a_pin_does_not_repeat_it(tmp_path: Path) -> None:
    for source in (_file(tmp_path, SECRET.encode() + b"\nmore"), _file(tmp_path, SECRET.encode(), 0o644)):
        with pytest.raises(ConfigError) as caught:
            source.load_pin()
        assert SECRET not in str(caught.value)


# -- the output of a command -------------------------------------------------------------------------------------------


def _command(code: str, seconds: float = 30.0) -> CommandPin:
    return CommandPin((sys.executable, "-c", code), seconds)


@pytest.mark.parametrize("end", ["", "\\n", "\\r\\n"])
def test_a_command_prints_the_pin_on_one_line(end: str) -> None:
    assert _command(f"print('{SECRET}', end='{end}')").load_pin().reveal() == SECRET.encode()


def test_a_command_is_not_read_by_a_shell(tmp_path: Path) -> None:
    pin = CommandPin(("printf", "%s", f"$HOME;`touch {tmp_path}/made`")).load_pin()
    assert pin.reveal() == f"$HOME;`touch {tmp_path}/made`".encode()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 15)", "was killed by signal 15"),
        ("pass", "must hold a PIN of 1 to 255 bytes"),
        ("print('one'); print('two')", "must hold a PIN of 1 to 255 bytes"),
        ("print('x' * 256)", "must hold a PIN of 1 to 255 bytes"),
        ("while True: print('x' * 10000)", "must hold a PIN of 1 to 255 bytes"),
    ],
)
def test_a_command_that_does_not_end_well_with_one_line_is_refused(code: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _command(code).load_pin()


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import os, sys, time; print('1234'); sys.stdout.flush(); os.close(1); time.sleep(60)",
    ],
)
def test_a_command_that_does_not_end_is_killed_at_its_deadline(code: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"did not finish within 0\.5 seconds"):
        _command(code, 0.5).load_pin()
    assert time.monotonic() - began < 10


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="/nowhere/prog cannot be started: No such file"):
        CommandPin(("/nowhere/prog", SECRET)).load_pin()


def test_nothing_that_a_command_says_or_was_given_is_repeated(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys; sys.stderr.write(sys.argv[1]); print(sys.argv[1]); print('second'); sys.exit(int(sys.argv[2]))"
    for status in ("0", "1"):
        with pytest.raises(ConfigError) as caught:
            CommandPin((sys.executable, "-c", code, SECRET, status)).load_pin()
        assert SECRET not in str(caught.value)
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err


# -- a credential of systemd -------------------------------------------------------------------------------------------


def test_a_credential_is_read_from_the_folder_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hsm-pin").write_bytes(SECRET.encode() + b"\n")
    (tmp_path / "hsm-pin").chmod(0o440)  # as systemd leaves it for a service with User=
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert CredentialPin("hsm-pin").load_pin().reveal() == SECRET.encode()


def test_a_credential_outside_a_service_says_what_the_service_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="LoadCredential=hsm-pin:PATH"):
        CredentialPin("hsm-pin").load_pin()


def test_a_credential_that_is_absent_or_open_to_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="The systemd credential hsm-pin cannot be read: No such file"):
        CredentialPin("hsm-pin").load_pin()
    (tmp_path / "hsm-pin").write_bytes(SECRET.encode())
    (tmp_path / "hsm-pin").chmod(0o444)
    with pytest.raises(ConfigError, match="found mode 0444"):
        CredentialPin("hsm-pin").load_pin()


# -- one that was typed ------------------------------------------------------------------------------------------------


def test_a_typed_pin_is_held_and_not_shown() -> None:
    held = HeldPin(Pin(SECRET.encode()))
    assert held.load_pin().reveal() == SECRET.encode()
    assert SECRET not in repr(held)
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(held)
