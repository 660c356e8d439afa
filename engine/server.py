"""The HTTP server around the ASGI application: one process, one event loop, the engine's threads behind it."""

import errno
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from engine.app import Engine
from engine.errors import ConfigError

BACKLOG = 1024
GRACE_SECONDS = 15
"""How long a stopping server waits for requests under way."""


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigError that says what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} on {host} is in use; stop the other server or choose a port with --port."
            ) from error
        raise ConfigError(f"Cannot listen on {host} port {port}: {error.strerror}.") from error


def base_url(listener: socket.socket) -> str:
    """Where the socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (read, not bound)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(engine: Engine, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way."""
    _server(engine).run(sockets=[listener])


@contextmanager
def serving(engine: Engine, listener: socket.socket) -> Iterator[threading.Event]:
    """Serve in a thread for the length of the block; the event is set when SIGINT or SIGTERM came."""
    server = _server(engine)
    stopped = threading.Event()
    previous = {
        number: signal.signal(number, lambda _number, _frame: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
    thread.start()
    try:
        yield stopped
    finally:
        server.should_exit = True
        thread.join()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _server(engine: Engine) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            engine.application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
