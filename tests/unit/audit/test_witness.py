"""Witnesses: a file that is only ever put more into, and a server that must say that it has kept what it was sent."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from engine.audit.witness import FileWitness, UrlWitness
from engine.errors import StoreUnavailable


def test_lines_are_put_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    for line in (b"one\n", b"two\n"):
        FileWitness(str(path)).append(line)
    assert path.read_bytes() == b"one\ntwo\n"


def test_what_a_crash_has_torn_does_not_spoil_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    path.write_bytes(b"one\ntw")
    FileWitness(str(path)).append(b"two\n")
    assert path.read_bytes() == b"one\ntw\ntwo\n"


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="was not written: No such file or directory"):
        FileWitness(str(tmp_path / "none" / "witness")).append(b"line\n")


class Keeping(BaseHTTPRequestHandler):
    """Answers with the status that the path names, and remembers what it was sent."""

    kept: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.kept.append((self.headers["content-type"], body))
        self.send_response(int(self.path.rpartition("=")[2]))
        self.send_header("location", "/?status=200")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Keeping.kept = []
    with HTTPServer(("127.0.0.1", 0), Keeping) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/checkpoints?status="
        listening.shutdown()
        thread.join()


def test_a_server_that_says_so_has_kept_it(server: str) -> None:
    UrlWitness(f"{server}201").append(b'{"statement":"s"}\n')
    assert Keeping.kept == [("application/json", b'{"statement":"s"}\n')]


@pytest.mark.parametrize("status", [302, 400, 503])
def test_any_other_answer_says_that_it_has_not(server: str, status: int) -> None:
    with pytest.raises(StoreUnavailable, match=f"answered {status}"):
        UrlWitness(f"{server}{status}").append(b"line\n")


def test_a_server_that_is_not_there_is_said() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(StoreUnavailable, match="was not reached"):
            UrlWitness(f"http://127.0.0.1:{bound.getsockname()[1]}/").append(b"line\n")


def test_a_server_is_not_asked_what_it_has() -> None:
    assert UrlWitness("http://127.0.0.1:1/").find_last(lambda line: True) is None


def test_the_last_line_is_found_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    witness = FileWitness(str(path))
    assert witness.find_last(lambda line: True) == b""
    long = b"x" * 200_000
    path.write_bytes(b"one\n" + long + b"\ntwo\ntor")
    for wanted in (b"one", long, b"two", b"tor"):
        assert witness.find_last(lambda line, wanted=wanted: line == wanted) == wanted
    assert witness.find_last(lambda line: len(line) == 3) == b"tor"
    assert witness.find_last(lambda line: line == b"none") == b""
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="was not read: Is a directory"):
        witness.find_last(lambda line: True)
