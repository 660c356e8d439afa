"""The audit trail of a database, read beside the engine, and its hashes computed anew by code that is none of its."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.database import select

COLUMNS = (
    "writer",
    "sequence",
    "recorded_at",
    "kind",
    "actor",
    "source",
    "target",
    "outcome",
    "request_id",
    "details",
    "signing_key",
    "serial_number",
    "previous_hash",
    "hash",
)


@dataclass(frozen=True)
class Told:
    """An event."""

    writer: int
    sequence: int
    recorded_at: datetime
    kind: str
    actor: str
    source: str
    target: str
    outcome: str
    request_id: str
    details: dict[str, Any]
    row: dict[str, Any]


def read_trail(url: str) -> list[Told]:
    """Every event, by time; those of a writer in their order."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in select(url, f"SELECT {', '.join(COLUMNS)} FROM events")]
    told = [
        Told(
            **{name: row[name] for name in ("writer", "sequence", "kind", "actor", "source", "target", "outcome")},
            recorded_at=moment(row["recorded_at"]),
            request_id=row["request_id"],
            details=json.loads(row["details"]),
            row=row,
        )
        for row in rows
    ]
    return sorted(told, key=lambda one: (one.recorded_at, one.writer, one.sequence))


def moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value.astimezone(UTC)


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def leaf_hash(one: Told, previous: str) -> str:
    """RFC 6962 section 2.1, of the event as it must be after the one with the hash `previous`."""
    when = one.recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    statement = {
        "actor": one.actor,
        "details": one.details,
        "kind": one.kind,
        "outcome": one.outcome,
        "previous": previous,
        "recordedAt": when,
        "requestId": one.request_id,
        "sequence": one.sequence,
        "source": one.source,
        "target": one.target,
        "writer": str(one.writer),
    }
    return hashlib.sha256(b"\0" + canonical(statement).encode()).hexdigest()


def check_chains(url: str) -> dict[int, int]:
    """Every chain is whole: no gap, each hash right, each event bound to the one before. How long each chain is."""
    chains: dict[int, list[Told]] = {}
    for one in read_trail(url):
        chains.setdefault(one.writer, []).append(one)
    for chain in chains.values():
        chain.sort(key=lambda one: one.sequence)
        assert [one.sequence for one in chain] == list(range(1, len(chain) + 1))
        previous = "0" * 64
        for one in chain:
            assert one.row["previous_hash"] == previous
            assert one.row["details"] == canonical(one.details)
            assert (one.row["signing_key"], one.row["serial_number"]) == (
                one.details.get("signingKey"),
                one.details.get("serialNumber"),
            )
            previous = leaf_hash(one, previous)
            assert one.row["hash"] == previous
    return {writer: len(chain) for writer, chain in chains.items()}
