"""An open store in a fresh folder, and the facts of one intent and its certificate to be varied."""

import hashlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.store import Store

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """What the store asks of a NewEntry."""

    path: str
    type: str = "base"
    metadata: Mapping[str, object] | None = None


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "engine.db"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{database}", now=lambda: NOW) as opened:
        yield opened


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
def rows(database: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """The answer of another reader of the same file: what is committed."""

    def answer(query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(query, parameters).fetchall()

    return answer
