"""The process in front: holds the listening socket, starts the worker that holds the token, and replaces it.

A call into a PKCS#11 module can hang for ever or crash the process, and neither can be cured from inside. So the
module is only ever loaded in a worker process, spawned and never forked. When a worker asks to be replaced, or dies,
the next one takes over the same socket: connections that arrive meanwhile wait in its queue.

PINs that a person has typed are held here, because a replacement needs them when nobody is there, and are handed to
each worker through a pipe: arguments and environment can be read by others, and files stay.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.token import Pin

REPLACE_ME = 75
"""Exit code of a worker that has a call which never came back (EX_TEMPFAIL of sysexits.h)."""
LOGIN_REFUSED = 77
"""Exit code of a command that a token refused to log in (EX_NOPERM). Another worker would be another wrong PIN."""
_READY = b"ready\n"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a worker that died is replaced; doubled while workers keep dying young."""
_YOUNG_SECONDS = 30.0
_STOP_SECONDS = 30.0


class Supervisor:
    """Keeps one worker serving on a socket until `stop`. `run` returns the exit code for the command line."""

    def __init__(self, config: Path, listener: socket.socket, pins: Mapping[str, Pin]) -> None:
        """`pins` are those that were typed, by the token's name."""
        self._config = config
        self._listener = listener
        self._pins = pins
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self.ready = threading.Event()
        """Set when the first worker has opened its tokens and serves."""
        self.exit_code = 1
        """What `run` returned, once it has."""

    def run(self) -> int:
        """Start workers, one after the other.

        A first worker that cannot start ends it with the worker's code, and so does any whose login is refused.
        """
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            code = self._run_worker()
            if self._stopping.is_set():
                return 0
            if not self.ready.is_set() or code == LOGIN_REFUSED:
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
        command += ["--supervisor", str(os.getpid())]
        if self.ready.is_set():
            command.append("--replacement")
        receive, send = os.pipe()
        receive_pins, send_pins = os.pipe()
        with open(receive, "rb") as answer, open(send_pins, "wb") as secrets:
            # Both ends that are the worker's are closed here once it has them, so that either side sees the other end.
            with self._lock, open(send, "wb"), open(receive_pins, "rb"):
                if self._stopping.is_set():
                    return 0
                descriptors = {"--socket": self._listener.fileno(), "--ready": send, "--pins": receive_pins}
                for name, descriptor in descriptors.items():
                    command += [name, str(descriptor)]
                self._worker = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                    command, pass_fds=tuple(descriptors.values())
                )
            with suppress(BrokenPipeError):  # the worker has ended already, which is seen below
                secrets.write(_render_pins(self._pins))
                secrets.close()
            if answer.readline() == _READY:
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


def _render_pins(pins: Mapping[str, Pin]) -> bytes:
    return json.dumps({name: pin.reveal().hex() for name, pin in pins.items()}).encode()


def receive_pins(descriptor: int) -> dict[str, Pin]:
    """For a worker: the PINs that were typed, by the token's name, from the pipe the supervisor gave it."""
    with open(descriptor, "rb") as pipe:
        return {name: Pin(bytes.fromhex(octets)) for name, octets in json.load(pipe).items()}


@contextmanager
def supervised(
    config: Path, listener: socket.socket, pins: Mapping[str, Pin]
) -> Iterator[tuple[Supervisor, threading.Event]]:
    """Supervise in a thread for the length of the block; the event is set when it is over, or SIGINT or SIGTERM came.

    Leave the block early when the event is set and the supervisor is not ready: the worker has said why.
    """
    supervisor = Supervisor(config, listener, pins)
    over = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda _number, _frame: over.set()) for number in numbers}

    def run() -> None:
        try:
            supervisor.exit_code = supervisor.run()
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
