"""An open store in a database of its own, on SQLite and on PostgreSQL, and facts of an intent and its certificate."""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.store import DanglingIntent, Store
from tests.database import POSTGRESQL, SQLITE, select
from tests.postgresql import PostgreSQLServer, drop_database, new_database

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """What the store asks of a NewEntry."""

    path: str
    type: str = "base"
    metadata: Mapping[str, object] | None = None


@pytest.fixture(scope="session")
def with_tables(postgresql: PostgreSQLServer) -> str:
    """The name of a database that has the tables and nothing in them: copying it is quicker than making them."""
    url = new_database(postgresql)
    Store.open(url).close()
    return url.rpartition("/")[2]


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables; for SQLite, without a file."""
    if request.param == SQLITE:
        yield f"sqlite:///{tmp_path}/engine.db"
        return
    server = request.getfixturevalue("postgresql")
    url = new_database(server)
    yield url
    drop_database(server, url)


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == SQLITE:
        yield f"sqlite:///{tmp_path}/engine.db"
        return
    server = request.getfixturevalue("postgresql")
    url = new_database(server, template=request.getfixturevalue("with_tables"))
    yield url
    drop_database(server, url)


@pytest.fixture
def postgresql_url(postgresql: PostgreSQLServer, with_tables: str) -> Iterator[str]:
    """For what can only happen to a database at the other end of a connection."""
    url = new_database(postgresql, template=with_tables)
    yield url
    drop_database(postgresql, url)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A SQLite file that is not there yet."""
    return tmp_path / "engine.db"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store.open(database_url, now=lambda: NOW) as opened:
        yield opened


def close_dangling(store: Store, count: int) -> tuple[DanglingIntent, ...]:
    """So many dangling intents, once their writer is known to be dead: PostgreSQL learns of it after the fact."""
    closed: list[DanglingIntent] = []
    deadline = time.monotonic() + 30
    while len(closed) < count and time.monotonic() < deadline:
        closed += store.close_dangling_intents()
    assert len(closed) == count
    return tuple(closed)


@pytest.fixture
def record_and_die(database_url: str) -> Callable[..., None]:
    """Records intents through a store of its own, which is closed before anything comes of them."""

    def record(*intents: Mapping[str, Any]) -> None:
        with Store.open(database_url, now=lambda: NOW) as dying:
            for facts in intents:
                dying.record_intent(**facts)

    return record


@pytest.fixture
def place() -> type[Place]:
    return Place


@pytest.fixture
def intent() -> Callable[..., dict[str, Any]]:
    """Arguments of record_intent; each call has its own id and serial number."""
    numbers = itertools.count(1 << 158)

    def facts(**changes: object) -> dict[str, Any]:
        number = next(numbers)
        tbs = b"tbs" + number.to_bytes(20, "big")
        return {
            "intent_id": f"intent-{number - (1 << 158)}",
            "kind": "certificate",
            "profile": "generic",
            "issuer": b"issuer name",
            "serial_number": number,
            "tbs": tbs,
            "tbs_sha256": hashlib.sha256(tbs).hexdigest(),
            "signing_key": "test.tenant1.kms1.ca",
            "caller": "credential-1",
            "target": "test.tenant1.x509-service-1",
            "request_id": "request-1",
            "request_digest": "d" * 64,
            "entries": (),
        } | changes

    return facts


@pytest.fixture
def request_intent(intent: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Arguments of record_intent for a certification request."""

    def facts(**changes: object) -> dict[str, Any]:
        return intent(kind="request", issuer=None, serial_number=None, tbs=None) | changes

    return facts


def _certificate(seed: bytes) -> dict[str, Any]:
    der = b"certificate " + seed
    return {
        "certificate": der,
        "sha256": hashlib.sha256(der).hexdigest(),
        "subject": b"subject name",
        "issuer": b"issuer name",
        "serial_number": 7,
        "spki_sha256": hashlib.sha256(b"key " + seed).hexdigest(),
        "is_ca": False,
        "not_before": NOW,
        "not_after": datetime(2027, 3, 1, tzinfo=UTC),
    }


@pytest.fixture
def certificate_of() -> Callable[..., dict[str, Any]]:
    """Arguments of record_certificate that fit an intent."""

    def facts(intended: Mapping[str, Any], **changes: object) -> dict[str, Any]:
        fitting = {key: intended[key] for key in ("intent_id", "issuer", "serial_number")}
        return _certificate(intended["intent_id"].encode()) | fitting | changes

    return facts


@pytest.fixture
def foreign() -> Callable[..., dict[str, Any]]:
    """Arguments of add_entry but for the path."""

    def facts(seed: bytes = b"foreign", **changes: object) -> dict[str, Any]:
        return _certificate(seed) | {"type": "base"} | changes

    return facts


@pytest.fixture
def rows(database_url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """The answer of another reader of the same database: what is committed."""
    return lambda query: select(database_url, query)
