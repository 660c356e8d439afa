"""The process in front: holds the listening socket, starts the worker that holds the token, and replaces it.

A call into a PKCS#11 module can hang for ever or crash the process, and neither can be cured from inside. So the
module is only ever loaded in a worker process, spawned and never forked. When a worker asks to be replaced, or dies,
the next one takes over the same socket: connections that arrive meanwhile wait in its queue.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPLACE_ME = 75
"""Exit code of a worker that has a call which never came back (EX_TEMPFAIL of sysexits.h)."""
_READY = b"ready\n"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a worker that died is replaced; doubled while workers keep dying young."""
_YOUNG_SECONDS = 30.0
_STOP_SECONDS = 30.0


class Supervisor:
    """Keeps one worker serving on a socket until `stop`. `run` returns the exit code for the command line."""

    def __init__(self, config: Path, listener: socket.socket) -> None:
        self._config = config
        self._listener = listener
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self.ready = threading.Event()
        """Set when the first worker has opened its tokens and serves."""

    def run(self) -> int:
        """Start workers, one after the other. A first worker that cannot start ends it with the worker's code."""
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            code = self._run_worker()
            if self._stopping.is_set():
                return 0
            if not self.ready.is_set():
                return code or 1
            young = code != REPLACE_ME and time.monotonic() - started < _YOUNG_SECONDS
            pause = min(pause * 2, _LONGEST_PAUSE) if young else _FIRST_PAUSE
            sys.stderr.write(f"signing-engine: the worker ended ({_describe(code)}); the next one is started.\n")
            if code != REPLACE_ME and self._stopping.wait(pause):
                return 0

    def stop(self) -> None:
        """Let the worker finish what is under way and end. Returns at once."""
        self._stopping.set()
        with self._lock:
            if self._worker is not None:
                self._worker.terminate()

    def _run_worker(self) -> int:
        command = [sys.executable, "-m", "engine", "worker", "--config", str(self._config)]
        if self.ready.is_set():
            command.append("--replacement")
        receive, send = os.pipe()
        with self._lock:
            if self._stopping.is_set():
                return 0
            descriptors = (self._listener.fileno(), send)
            self._worker = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                [*command, "--socket", str(descriptors[0]), "--ready", str(send)], pass_fds=descriptors
            )
        os.close(send)
        with open(receive, "rb") as pipe:
            if pipe.readline() == _READY:
                self.ready.set()
        return self._wait(self._worker)

    def _wait(self, worker: "subprocess.Popen[bytes]") -> int:
        while not self._stopping.is_set():
            try:
                return worker.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
        try:
            return worker.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            return worker.wait()


def say_ready(descriptor: int) -> None:
    """For a worker: tell the supervisor that requests are served now."""
    with open(descriptor, "wb") as pipe:
        pipe.write(_READY)


@contextmanager
def supervised(config: Path, listener: socket.socket) -> Iterator[tuple[Supervisor, threading.Event]]:
    """Supervise in a thread for the length of the block; the event is set when it is over, or SIGINT or SIGTERM came.

    Leave the block early when the event is set and the supervisor is not ready: the worker has said why.
    """
    supervisor = Supervisor(config, listener)
    over = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda _number, _frame: over.set()) for number in numbers}

    def run() -> None:
        try:
            supervisor.run()
        finally:
            over.set()

    thread = threading.Thread(target=run, name="supervisor")
    thread.start()
    try:
        yield supervisor, over
    finally:
        supervisor.stop()
        thread.join()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _describe(code: int) -> str:
    if code == REPLACE_ME:
        return "a call into the token did not come back"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
