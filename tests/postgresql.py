"""A private PostgreSQL server from the system's own programs: its data in one folder, reachable at 127.0.0.1 only.

The server has what a deployment may have and a test should notice: an order of text that is not that of the octets,
and a time zone that is not UTC. Its programs refuse to run as root, so root runs them as the user `postgres`. It ends
with the process that started it, however that ends: its keeper reads from a pipe that only this process holds open.
"""

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from signal import SIGINT, Signals

import psycopg
from psycopg import sql

USER = "postgres"
"""Also the server's superuser, whom it believes without a password."""
START_SECONDS = 60
KEEPER = 'exec 3<&0; "$@" 3<&- & server=$!; { read -r _ <&3; kill -QUIT $server; } & wait $server; kill $!'
"""Ends with the server, or ends the server when nobody holds the other end of the pipe any more."""


class PostgreSQLMissing(Exception):
    """The server's programs, or the user to run them as, are not on this machine."""


class PostgreSQLServer:
    """A server that can be stopped and started again at the same port."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, programs: Path, *, fsync: bool) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port()
        self._programs = programs
        self._fsync = fsync
        self._user = USER if os.getuid() == 0 else None
        self._keeper: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(folder, self._user, self._user)
        self._make()

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{USER}@{self.host}:{self.port}/{database}"

    def start(self) -> None:
        """Return when it answers. Nothing happens when it runs already."""
        if self._keeper is not None:
            return
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
            "timezone": "America/St_Johns",
            "fsync": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = [self._programs / "postgres", "-D", self.data, *options]
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                ["sh", "-c", KEEPER, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._identity(),
            )
        self._wait_until_it_answers()

    def stop(self, signal: Signals = SIGINT) -> None:
        """Return when it has ended. SIGINT ends every connection in order, SIGQUIT is a crash that it recovers from."""
        if self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        assert keeper.stdin is not None
        with keeper.stdin:
            try:
                os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal)
            except ProcessLookupError:
                pass  # it has ended by itself
            except (FileNotFoundError, IndexError):
                keeper.stdin.close()  # or lives, and had no room for its file: then its keeper ends it
            keeper.wait(START_SECONDS)

    def execute(self, statement: sql.Composable) -> None:
        """Run one statement as the superuser, outside a transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _make(self) -> None:
        command = [
            *(self._programs / "initdb", "-D", self.data, "--username", USER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale-provider", "icu", "--icu-locale", "en-US", "--locale", "C.UTF-8"),
            *([] if self._fsync else ["--no-sync"]),
        ]
        made = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False, **self._identity())
        if made.returncode:
            raise RuntimeError(f"initdb ended with {made.returncode}: {made.stderr}")

    def _wait_until_it_answers(self) -> None:
        assert self._keeper is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._keeper.poll() is not None:
                    log = (self.folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"The PostgreSQL server did not start:\n{log}") from error
            time.sleep(0.05)

    def _identity(self) -> dict[str, object]:
        return {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}


@contextmanager
def postgresql_server(folder: Path, *, fsync: bool = True) -> Iterator[PostgreSQLServer]:
    """A running server with its data under `folder`, which has to be empty and reachable for the user `postgres` when
    this is root. Without `fsync` a COMMIT survives the end of every process, but not that of the machine.

    Raises PostgreSQLMissing.
    """
    server = PostgreSQLServer(folder, find_programs(), fsync=fsync)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def new_database(server: PostgreSQLServer, *, template: str = "template1") -> str:
    """The URL of a new database, a copy of `template`."""
    name = f"test_{token_hex(6)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    server.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return server.url(name)


def drop_database(server: PostgreSQLServer, url: str) -> None:
    """End every connection to a database that `new_database` made, and remove it."""
    server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(url.rsplit("/", 1)[1])))


def find_programs() -> Path:
    """The folder of the newest installed version's programs. Raises PostgreSQLMissing."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found := shutil.which("initdb"):
        versions.append(Path(found).resolve().parent)
    if not versions:
        raise PostgreSQLMissing("no initdb in /usr/lib/postgresql/*/bin (Debian: apt-get install postgresql)")
    return max(versions, key=lambda path: int(path.parent.name) if path.parent.name.isdecimal() else 0)


def _free_port() -> int:
    """A port outside the range that outgoing connections take theirs from, so that it stays free while it is down."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((PostgreSQLServer.host, port))
            return port
    raise RuntimeError("no free port among a hundred")
