"""Whether a file can be a library of this process, told from its ELF header before anything in it runs."""

import os
import stat
import struct
import sys
from dataclasses import dataclass

from engine.token.diagnosis.reports import StepFailed

_HEADER_OCTETS = 20
_SHARED_OBJECT = 3
_MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "AArch64", 21: "PowerPC 64", 22: "S/390", 243: "RISC-V"}
_INSTALL = "Install the vendor's client package, or correct {module}."


@dataclass(frozen=True, slots=True)
class Header:
    """What must be the same of a library and the process that loads it."""

    bits: int
    big_endian: bool
    machine: int

    def __str__(self) -> str:
        return f"{_MACHINES.get(self.machine, f'machine {self.machine}')}, {self.bits} bits"


def check_shared_object(path: str) -> str:
    """For what the library at `path` was built, in words. Raises StepFailed unless this process can load it."""
    octets = _read_header(path)
    own = _load_header(_read_header(sys.executable))
    if own is None:
        return "this machine"  # not a system with ELF files; loading it will tell
    header = _load_header(octets)
    if header is None:
        raise StepFailed(
            f"{path} is not a shared library: an ELF file was expected, this is none.",
            "Name the vendor's .so file itself in {module}, not a text file, an archive or a Windows library.",
        )
    if header != own:
        raise StepFailed(
            f"{path} is built for {header}; this Python is for {own}.",
            f"Install the vendor's package for {own}, and name its library in {{module}}.",
        )
    if struct.unpack_from(">H" if own.big_endian else "<H", octets, 16)[0] != _SHARED_OBJECT:
        raise StepFailed(f"{path} is an ELF file, but not a shared library.", _INSTALL)
    return str(header)


def _read_header(path: str) -> bytes:
    if not os.path.isabs(path):
        raise StepFailed(f"The path of the module must be absolute, found {path!r}.", "Write it in full in {module}.")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StepFailed(f"{path} is not a file.", "Name the library itself in {module}.")
        with open(path, "rb") as file:
            return file.read(_HEADER_OCTETS)
    except FileNotFoundError:
        raise StepFailed(f"There is no file {path}.", _INSTALL) from None
    except OSError as error:
        raise StepFailed(
            f"{path} cannot be read by this user (number {os.geteuid()}): {error.strerror}.",
            "Give the engine's user the right to read it and to enter its folders.",
        ) from None


def _load_header(octets: bytes) -> Header | None:
    """None unless it is an ELF header."""
    if len(octets) < _HEADER_OCTETS or octets[:4] != b"\x7fELF" or octets[4] not in (1, 2) or octets[5] not in (1, 2):
        return None
    big_endian = octets[5] == 2
    machine: int = struct.unpack_from(">H" if big_endian else "<H", octets, 18)[0]
    return Header(bits=32 * octets[4], big_endian=big_endian, machine=machine)
