"""The user PIN: where it is kept, and a type that does not show it.

A PIN comes by reference only, is read when it is needed and is not kept. The exception is one that a person types: it
is asked for once and held in memory, since nobody may be there when the token has to be logged in to again.
The password of a database is kept and read in the same ways.
"""

import getpass
import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from engine.errors import ConfigError

_LONGEST = 255
_READ = _LONGEST + 3
"""A PIN that is too long shows as such with its line end and one octet more."""
_COMMAND_SECONDS = 30.0


class Pin:
    """A PIN, as the octets the token compares (UTF-8). Prints as asterisks and cannot be pickled or copied."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """The octets, for C_Login and nothing else."""
        return self._octets

    def __repr__(self) -> str:
        return "Pin(********)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A PIN is not written anywhere.")


@dataclass(frozen=True, slots=True)
class FilePin:
    """A PIN in a file that only its owner may read: one line, whose end is not part of the PIN."""

    path: str
    called: str = "PIN"
    """What messages call it."""

    def load_pin(self) -> Pin:
        """Read it. Raises ConfigError if the file is missing, open to others, or is not one line."""
        return _read_file(self.path, self.called, f"The {self.called} file {self.path}", closed_to=0o077)


@dataclass(frozen=True, slots=True)
class EnvironmentPin:
    """A PIN in an environment variable. `name` is the variable's name, not the PIN."""

    name: str
    called: str = "PIN"
    """What messages call it."""

    def load_pin(self) -> Pin:
        """Read it. Raises ConfigError if the variable is not set or is empty."""
        value = os.environ.get(self.name)
        if value is None:
            raise ConfigError(f"The environment variable {self.name}, which should hold the {self.called}, is not set.")
        return _checked(os.fsencode(value), self.called, f"The environment variable {self.name}")


@dataclass(frozen=True, slots=True)
class CommandPin:
    """A PIN that a program prints as its one line. No shell reads the arguments, and they are not repeated anywhere."""

    command: tuple[str, ...]
    """The program, found as execvp(3) does, and its arguments."""
    seconds: float = _COMMAND_SECONDS
    called: str = "PIN"
    """What messages call it."""

    def load_pin(self) -> Pin:
        """Run it. Raises ConfigError unless it ends in time with status 0, having printed one line.

        What it writes to standard error goes nowhere: a program that fails may well print what it was given.
        """
        what = f"The {self.called} command {self.command[0]}"
        deadline = time.monotonic() + self.seconds
        try:
            process = subprocess.Popen(  # noqa: S603 (the operator's own program, named in the configuration)
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(f"{what} cannot be started: {error.strerror}.") from None
        with process:
            try:
                output = _read_output(process, deadline)
                status = 0 if len(output) == _READ else process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise ConfigError(f"{what} did not finish within {self.seconds:g} seconds.") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if status != 0:
            how = f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
            raise ConfigError(f"{what} {how}; run it by hand as the engine's user to see why.")
        return _checked(_line(output), self.called, f"The output of the {self.called} command {self.command[0]}")


@dataclass(frozen=True, slots=True)
class CredentialPin:
    """A PIN in a credential of the systemd service, LoadCredential= or LoadCredentialEncrypted= (systemd.exec(5))."""

    name: str
    """The credential's name: a file in the folder that CREDENTIALS_DIRECTORY names."""
    called: str = "PIN"
    """What messages call it."""

    def load_pin(self) -> Pin:
        """Read it. Raises ConfigError outside a service that has it."""
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(
                f"The {self.called} should be the systemd credential {self.name}, but CREDENTIALS_DIRECTORY is not "
                f"set: start the engine as a service with LoadCredential={self.name}:PATH."
            )
        # The group's bits are not looked at: for a service with User= they show the mask of an access list.
        path = os.path.join(folder, self.name)
        return _read_file(path, self.called, f"The systemd credential {self.name}", closed_to=0o007)


@dataclass(frozen=True, slots=True)
class HeldPin:
    """A PIN that was typed, held in memory."""

    pin: Pin

    def load_pin(self) -> Pin:
        """The one that was typed."""
        return self.pin


PinSource = FilePin | EnvironmentPin | CommandPin | CredentialPin | HeldPin


def ask_pin(token: str) -> Pin:
    """Ask for the PIN of the token called `token` on this process' terminal, without echo.

    Raises ConfigError if there is no terminal or nothing that can be a PIN is typed.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        raise ConfigError(
            f"The PIN of token {token!r} is to be typed, but there is no terminal; "
            "start from one, or keep the PIN in a file, a command or a systemd credential."
        ) from None
    try:
        typed = getpass.getpass(f"PIN of token {token}: ").encode()
    except (EOFError, KeyboardInterrupt, UnicodeError):
        raise ConfigError(f"The PIN of token {token!r} was not typed.") from None
    return _checked(typed, "PIN", "The terminal's line")


def ask_pins(tokens: Iterable[str]) -> dict[str, Pin]:
    """As `ask_pin`, of each of these tokens; by the token's name."""
    return {token: ask_pin(token) for token in tokens}


def _read_file(path: str, called: str, what: str, *, closed_to: int) -> Pin:
    """The secret in an ordinary file whose mode has none of the bits `closed_to`."""
    try:
        # Non-blocking, so that a named pipe without a writer is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{what} must be an ordinary file.")
        if status.st_mode & closed_to:
            raise ConfigError(
                f"{what} must be open to its owner only (mode 0600 or 0400), "
                f"found mode {stat.S_IMODE(status.st_mode):04o}."
            )
        content = os.read(descriptor, _READ)
    finally:
        os.close(descriptor)
    return _checked(_line(content), called, what)


def _read_output(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    """What the process prints until it closes its output, cut off at _READ octets. Raises TimeoutExpired."""
    if process.stdout is None:
        raise ValueError("The process must have a pipe for its output.")
    descriptor = process.stdout.fileno()
    readable = select.poll()
    readable.register(descriptor, select.POLLIN)
    output = b""
    while len(output) < _READ:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not readable.poll(remaining * 1000):
            raise subprocess.TimeoutExpired(process.args, remaining)
        came = os.read(descriptor, _READ - len(output))
        if not came:
            break
        output += came
    return output


def _line(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _checked(octets: bytes, called: str, what: str) -> Pin:
    if not 0 < len(octets) <= _LONGEST or any(octet < 0x20 for octet in octets):
        raise ConfigError(
            f"{what} must hold a {called} of 1 to {_LONGEST} bytes on one line, without control characters."
        )
    return Pin(octets)
