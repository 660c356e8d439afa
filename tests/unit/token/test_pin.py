"""Where a PIN may be kept, and that it does not show."""

import os
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.token import EnvironmentPin, FilePin, Pin

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
