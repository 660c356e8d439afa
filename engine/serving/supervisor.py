"""The process in front: holds the listening socket, starts the workers that hold the tokens, and replaces them.

A call into a PKCS#11 module can hang for ever or crash the process, and neither can be cured from inside. So the
module is only ever loaded in a worker process, spawned and never forked. When a worker asks to be replaced, or dies,
the next one takes its post on the same socket: connections that arrive meanwhile go to the other workers, or wait in
the socket's queue where there is none. Which worker takes a connection is the kernel's choice.

Workers start one after the other, each when the one before is ready: a wrong PIN costs the token one attempt, not one
for every worker.

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

from engine.pin import Pin
from engine.serving import LOGIN_REFUSED, REPLACE_ME

_READY = b"ready\n"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a worker that died is replaced; doubled while workers keep dying young."""
_YOUNG_SECONDS = 30.0
_STOP_SECONDS = 30.0


class Supervisor:
    """Keeps workers serving on a socket until `stop`. `run` returns the exit code for the command line."""

    def __init__(self, config: Path, listener: socket.socket, pins: Mapping[str, Pin], workers: int = 1) -> None:
        """`pins` are those that were typed, by the token's name; `workers` is how many serve side by side."""
        self._config = config
        self._listener = listener
        self._pins = pins
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        """Held from the start of a worker until it is ready or has ended."""
        self._workers: list[subprocess.Popen[bytes] | None] = [None] * workers
        """By their posts."""
        self._never_ready = set(range(workers))
        """Posts whose first worker is still to come."""
        self._code: int | None = None
        self._stopping = threading.Event()
        self.ready = threading.Event()
        """Set when every worker has opened its tokens and serves."""
        self.exit_code = 1
        """What `run` returned, once it has."""

    def run(self) -> int:
        """Keep a worker at every post until `stop`.

        The first worker of a post that cannot start ends them all with its code, and so does any whose login is
        refused.
        """
        # A worker is killed when the thread that has started it ends (PR_SET_PDEATHSIG), so each post keeps its own.
        threads = [threading.Thread(target=self._hold, args=(post,)) for post in range(len(self._workers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._code or 0

    def stop(self) -> None:
        """Let the workers finish what is under way and end. Returns at once."""
        self._end(0)

    def _end(self, code: int) -> None:
        """Stop; who does so first says with which code."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._code = code
            self._stopping.set()
            for worker in self._workers:
                if worker is not None:
                    worker.terminate()

    def _hold(self, post: int) -> None:
        """Keep a worker at a post. However that ends, it is the end of all."""
        try:
            self._keep(post)
        finally:
            self._end(1)

    def _keep(self, post: int) -> None:
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            worker = self._start(post)
            if worker is None:
                return
            code = self._wait(post, worker)
            if self._stopping.is_set():
                return
            young = code != REPLACE_ME and time.monotonic() - started < _YOUNG_SECONDS
            pause = min(pause * 2, _LONGEST_PAUSE) if young else _FIRST_PAUSE
            sys.stderr.write(f"signing-engine: the worker ended ({_describe(code)}); the next one is started.\n")
            if code != REPLACE_ME and self._stopping.wait(pause):
                return

    def _start(self, post: int) -> "subprocess.Popen[bytes] | None":
        """Start the next worker of a post and wait until it is ready or has ended; None when there is to be none."""
        command = [sys.executable, "-m", "engine", "worker", "--config", str(self._config)]
        command += ["--supervisor", str(os.getpid())]
        if post not in self._never_ready:
            command.append("--replacement")
        receive, send = os.pipe()
        receive_pins, send_pins = os.pipe()
        with self._starting, open(receive, "rb") as answer, open(send_pins, "wb") as secrets:
            # Both ends that are the worker's are closed here once it has them, so that either side sees the other end.
            with self._lock, open(send, "wb"), open(receive_pins, "rb"):
                if self._stopping.is_set():
                    return None
                descriptors = {"--socket": self._listener.fileno(), "--ready": send, "--pins": receive_pins}
                for name, descriptor in descriptors.items():
                    command += [name, str(descriptor)]
                worker = self._workers[post] = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                    command, pass_fds=tuple(descriptors.values())
                )
            with suppress(BrokenPipeError):  # the worker has ended already, which is seen below
                secrets.write(_render_pins(self._pins))
                secrets.close()
            if answer.readline() == _READY:
                self._never_ready.discard(post)
                if not self._never_ready:
                    self.ready.set()
            else:
                self._wait(post, worker)  # before another may try what this one has failed in
            return worker

    def _wait(self, post: int, worker: "subprocess.Popen[bytes]") -> int:
        """The exit code of a worker, once it has ended. One that is not to have a successor ends them all."""
        code = self._wait_for_exit(worker)
        if post in self._never_ready or code == LOGIN_REFUSED:
            self._end(code or 1)
        return code

    def _wait_for_exit(self, worker: "subprocess.Popen[bytes]") -> int:
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
    config: Path, listener: socket.socket, pins: Mapping[str, Pin], workers: int = 1
) -> Iterator[tuple[Supervisor, threading.Event]]:
    """Supervise in a thread for the length of the block; the event is set when it is over, or SIGINT or SIGTERM came.

    Leave the block early when the event is set and the supervisor is not ready: a worker has said why.
    """
    supervisor = Supervisor(config, listener, pins, workers)
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
