"""What every device gives the tests, and what the devices' files share: PIN files, daemons, waiting for them."""

import contextlib
import dataclasses
import glob
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.pin import FilePin
from engine.token import TokenSettings

LABEL = "engine-tests"
SECONDS = 30.0


class DeviceError(Exception):
    """The device cannot be had on this machine; the text says what is missing."""


@dataclass(frozen=True)
class Device:
    """A token that is ready to be opened. `environment` must be set before the module is loaded."""

    name: str
    module: str
    uri: str
    pin_file: str | None
    """None: the URI has a pin-source."""
    environment: Mapping[str, str] = field(default_factory=dict)
    initialize_arguments: str | None = None
    spare_uris: tuple[str, ...] = ()
    """Further tokens with the same PIN, each for one test that may lock it, where a second device cannot be made."""
    key_type: str = "secp256r1"
    """Of keys whose type does not matter."""
    algorithm: str = "ecdsa-with-SHA256"
    """What such keys sign with."""
    rate: int = 1000
    """Signatures per second with such a key, about: how many a test can afford."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """What it cannot do, and why: differences.toml."""

    def settings(self, **changes: object) -> TokenSettings:
        """Settings that open the token, with some of them changed."""
        values: dict[str, object] = {
            "name": "test",
            "module": self.module,
            "uri": self.uri,
            "pin": None if self.pin_file is None else FilePin(self.pin_file),
            "environment": self.environment,
            "initialize_arguments": self.initialize_arguments,
        }
        return TokenSettings(**{**values, **changes})

    def skip_unless(self, *features: str) -> None:
        """Skip the test, naming what the device lacks."""
        for feature in features:
            if feature in self.lacks:
                pytest.skip(f"{self.name} lacks {feature}: {self.lacks[feature]}")

    def supported(self, *features: str) -> list[str]:
        """Those that it does not lack."""
        return [feature for feature in features if feature not in self.lacks]

    def render(self) -> str:
        """For another process."""
        return json.dumps(dataclasses.asdict(self))


def load_device(rendered: str) -> Device:
    """What `render` rendered."""
    return Device(**json.loads(rendered))


def find_module(*patterns: str, packages: str) -> str:
    """The first file of these. Raises DeviceError naming the Debian packages that bring it."""
    found = next((path for pattern in patterns for path in sorted(glob.glob(pattern))), None)
    if found is None:
        raise DeviceError(f"None of {', '.join(patterns)} is installed: apt-get install {packages}")
    return found


def write_pin(path: Path, digits: int = 16) -> str:
    """A new PIN in a file for its owner only; the PIN."""
    pin = "".join(secrets.choice("0123456789") for _ in range(digits))
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(pin + "\n")
    return pin


def run(command: Sequence[str | Path], *, answers: str = "", environment: Mapping[str, str] | None = None) -> str:
    """What a command prints, given `answers` on its standard input. Raises DeviceError with what it said."""
    try:
        done = subprocess.run(
            command,
            input=answers,
            env=_environment(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        said = f"{done.stdout.strip()} {done.stderr.strip()}"
        raise DeviceError(f"{command[0]} ended with status {done.returncode}: {said}")
    return done.stdout


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Daemons are in /usr/sbin, which is on root's path only."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", **(more or {})}


@contextlib.contextmanager
def daemon(
    command: Sequence[str | Path], ready: Callable[[], bool], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon in the foreground until the block ends, or this process does. Raises DeviceError with its log."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace").strip()
                raise DeviceError(f"{command[0]} did not start (status {process.returncode}): {said}")
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=1)  # opencryptoki's does not end while this process uses it
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
