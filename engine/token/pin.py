"""The user PIN: where it is kept, and a type that does not show it.

A PIN comes by reference only, is read when it is needed and is not kept. The command, systemd-credential and prompt
sources that may follow are further classes with a `load_pin`.
"""

import os
import stat
from dataclasses import dataclass
from typing import NoReturn

from engine.errors import ConfigError

_LONGEST = 255


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

    def load_pin(self) -> Pin:
        """Read it. Raises ConfigError if the file is missing, open to others, or is not one line."""
        try:
            # Non-blocking, so that a named pipe without a writer is refused instead of waited for.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ConfigError(f"The PIN file {self.path} cannot be read: {error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"The PIN file {self.path} must be an ordinary file.")
            if status.st_mode & 0o077:
                raise ConfigError(
                    f"The PIN file {self.path} must be open to its owner only (mode 0600 or 0400), "
                    f"found mode {stat.S_IMODE(status.st_mode):04o}."
                )
            content = os.read(descriptor, _LONGEST + 3)
        finally:
            os.close(descriptor)
        return _checked(content.removesuffix(b"\n").removesuffix(b"\r"), f"The PIN file {self.path}")


@dataclass(frozen=True, slots=True)
class EnvironmentPin:
    """A PIN in an environment variable. `name` is the variable's name, not the PIN."""

    name: str

    def load_pin(self) -> Pin:
        """Read it. Raises ConfigError if the variable is not set or is empty."""
        value = os.environ.get(self.name)
        if value is None:
            raise ConfigError(f"The environment variable {self.name}, which should hold the PIN, is not set.")
        return _checked(os.fsencode(value), f"The environment variable {self.name}")


PinSource = FilePin | EnvironmentPin


def _checked(octets: bytes, what: str) -> Pin:
    if not 0 < len(octets) <= _LONGEST or any(octet < 0x20 for octet in octets):
        raise ConfigError(f"{what} must hold a PIN of 1 to {_LONGEST} bytes on one line, without control characters.")
    return Pin(octets)
