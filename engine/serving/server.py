"""The worker process: the ASGI application on a listening socket, one event loop, the engine's threads behind it."""

import asyncio
import ctypes
import os
import signal
import socket
import threading

import uvicorn

from engine.app import Engine
from engine.audit.keeper import making_checkpoints
from engine.serving import REPLACE_ME
from engine.serving.supervisor import say_ready
from engine.store.sweeping import closing_dangling_intents

GRACE_SECONDS = 15
"""How long a stopping worker waits for requests under way."""
_WATCH_SECONDS = 0.25
_DRAIN_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


def end_with_supervisor(supervisor: int) -> None:
    """Have the kernel kill this process when its supervisor, by its process id, dies however it may (Linux prctl(2)).

    Otherwise a killed supervisor would leave a worker that holds the database and the token.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)  # it died before the kernel was told


class _Server(uvicorn.Server):
    """uvicorn, but a connection that a client keeps open is not closed while the client writes on it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, tell every client with its next answer that the connection ends, and only then close."""
        for listening in self.servers:
            listening.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(_DRAIN_SECONDS)
        await super().shutdown(sockets)


def serve(engine: Engine, listener: socket.socket, ready_descriptor: int) -> int:
    """Serve until SIGTERM, or until a call into a token hangs or nothing can be recorded here any more; returns the
    worker's exit code.

    After REPLACE_ME the process must be left by `os._exit`: a thread is still inside the module.
    """
    server = _Server(
        uvicorn.Config(
            engine.application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            # Whoever is believed can say which address a request came from, so nobody is who is not named.
            proxy_headers=bool(engine.config.server.trusted_proxies),
            forwarded_allow_ips=list(engine.config.server.trusted_proxies),
        )
    )
    # uvicorn stops at either signal, restores these and raises the signal again; closing still lies ahead then.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    hung = threading.Event()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            if engine.store.has_stopped or any(token.is_hung() for token in engine.tokens.values()):
                hung.set()
                server.should_exit = True
                return

    watcher = threading.Thread(target=watch, name="watch", daemon=True)
    watcher.start()
    say_ready(ready_descriptor)
    with (
        making_checkpoints(engine.checkpoints, hung.is_set),
        closing_dangling_intents(
            engine.store, has_left_open=engine.store.has_left_open, also=engine.directory.refusals.tell_counted
        ),
    ):
        server.run(sockets=[listener])
    over.set()
    watcher.join()
    return REPLACE_ME if hung.is_set() else 0
