"""Where signed checkpoints are told of, so that a trail whose end was cut off can be told from a whole one.

That is worth as much as it is hard for whoever can change the database to change the witness too: a file on another
machine, on a medium that only takes more, or somebody else's server.
"""

import http.client
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from engine.errors import StoreUnavailable

_SECONDS = 10.0
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class FileWitness:
    """A file that lines are put at the end of, by any number of processes. Made if there is none, mode 0644."""

    path: str

    def append(self, line: bytes) -> None:
        """Returns when the line, or several, is on the disk. Raises StoreUnavailable."""
        try:
            is_new = not os.path.exists(self.path)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                _append(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(Path(self.path).parent)
        except OSError as error:
            raise StoreUnavailable(f"The witness file of the audit trail was not written: {error.strerror}.") from error

    def find_last(self, is_wanted: Callable[[bytes], bool]) -> bytes | None:
        """The last line of which this is so; empty if there is none. Raises StoreUnavailable."""
        try:
            with open(self.path, "rb") as file:
                return next((line for line in _lines_from_the_end(file) if is_wanted(line)), b"")
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreUnavailable(f"The witness file of the audit trail was not read: {error.strerror}.") from error


def _lines_from_the_end(file: BinaryIO) -> Iterator[bytes]:
    end, rest = file.seek(0, os.SEEK_END), b""
    while end:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        first, *lines = (file.read(end - begin) + rest).split(b"\n")
        yield from reversed(lines)
        end, rest = begin, first
    yield rest


def _append(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line  # what a crash has torn is a line of its own
    while line:
        line = line[os.write(descriptor, line) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class UrlWitness:
    """A server that is sent each checkpoint with POST, and says 2xx when it has kept it. Redirections are refusals."""

    url: str

    def append(self, line: bytes) -> None:
        """Returns when the server says that it has it. Raises StoreUnavailable."""
        parts = urlsplit(self.url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        host = parts.hostname or ""
        connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=_SECONDS, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=_SECONDS)
        )
        try:
            with closing(connection):
                connection.request("POST", target, line, {"Content-Type": "application/json"})
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable("The witness of the audit trail was not reached.") from error
        if not 200 <= status < 300:
            raise StoreUnavailable(f"The witness of the audit trail answered {status}; expected 2xx.")

    def find_last(self, is_wanted: Callable[[bytes], bool]) -> None:
        """It is not asked what it has."""
