"""The database that tests open an engine on: a SQLite file of its own, or a PostgreSQL database of its own.

ENGINE_TEST_DATABASE chooses for a whole run: `sqlite`, which is the default, or `postgresql`. Tests of one of the two
say so; those of tests/unit/store run on both, whatever is chosen.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from engine.config import load_config
from tests.postgresql import PostgreSQLServer, drop_database, new_database

SQLITE, POSTGRESQL = "sqlite", "postgresql"
CHOSEN = os.environ.get("ENGINE_TEST_DATABASE") or SQLITE
if CHOSEN not in (SQLITE, POSTGRESQL):
    raise ValueError(f"ENGINE_TEST_DATABASE must be {SQLITE} or {POSTGRESQL}, found {CHOSEN!r}")


@dataclass
class _Run:
    """The server of a run on PostgreSQL, and the databases that tests have on it."""

    server: PostgreSQLServer | None = None
    urls: list[str] = field(default_factory=list)


_RUN = _Run()


@contextmanager
def databases_on(server: PostgreSQLServer) -> Iterator[None]:
    """New databases are made on this server."""
    _RUN.server = server
    yield
    _RUN.server = None


@contextmanager
def databases_dropped() -> Iterator[None]:
    """Drop at the end what was made meanwhile: a server does not hold a database for every test of a run."""
    kept = len(_RUN.urls)
    yield
    while len(_RUN.urls) > kept:
        assert _RUN.server is not None
        drop_database(_RUN.server, _RUN.urls.pop())


def new_database_url(folder: Path) -> str:
    """The URL of a new database of the chosen kind; a SQLite file would be in `folder`."""
    if CHOSEN == SQLITE:
        return f"sqlite:///{folder.resolve()}/engine.db"
    return _new_postgresql_database()


def database_of_new_folder() -> str | None:
    """The URL to make a data folder with; None: the SQLite file that it has by itself."""
    return _new_postgresql_database() if CHOSEN == POSTGRESQL else None


def database_options(folder: Path) -> tuple[str, ...]:
    """Options of `init` and `trial` for a data folder; one that has its configuration keeps its database."""
    if (folder / "engine.toml").exists() or (url := database_of_new_folder()) is None:
        return ()
    return ("--database", url)


def database_url(folder: Path) -> str:
    """The URL of a data folder's database."""
    return load_config(folder / "engine.toml").store.url


def copy_data_folder(source: Path, folder: Path) -> None:
    """Copy a data folder that nobody uses, with its database. `init` puts the token's paths in the copy right."""
    shutil.copytree(source, folder)
    url = database_url(source)
    if url.startswith("postgresql:"):
        config = folder / "engine.toml"
        text = config.read_text(encoding="utf-8")
        assert url in text
        config.write_text(text.replace(url, _new_postgresql_database(template=url.rpartition("/")[2])))


def select(url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query, read beside the engine and not through its store."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url) as connection:
            return connection.execute(statement).fetchall()
    with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as database:
        return database.execute(statement).fetchall()


def all_octets(folder: Path) -> bytes:
    """What is in all files of a folder, one after the other.

    Read by another process: closing a file ends every POSIX lock that a process has on it, SQLite's too.
    """
    found = subprocess.run(["find", folder, "-type", "f", "-exec", "cat", "{}", "+"], capture_output=True, check=True)
    return found.stdout


def change(url: str, statement: str) -> None:
    """Change rows behind the engine's back."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url) as connection:
            connection.execute(statement)
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute(statement)


def _new_postgresql_database(**options: Any) -> str:
    assert _RUN.server is not None, "the fixture `chosen_database` of tests/conftest.py starts it"
    _RUN.urls.append(new_database(_RUN.server, **options))
    return _RUN.urls[-1]
