"""Verifying the trail in a database, with the rules of the verifier that stands alone."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from engine.audit.verifier import Fault, Report, TrailVerifier, canonical, load_json
from engine.errors import StoreError


class Stored(Protocol):
    """Rows as they lie there, in order, all of one moment."""

    def checkpoints(self) -> Iterable[Any]:
        """number, statement, signature, spki; by number."""

    def events(self) -> Iterable[Any]:
        """The columns of an event, by writer and sequence."""


def verify_stored(trail: Stored, witnesses: Sequence[Path], trusted: Collection[str] | None) -> Report:
    """Verify all of it. `trusted` are SPKI SHA-256 of keys that may sign; None: any. Raises OSError for a witness."""
    verifier = TrailVerifier(trusted)
    sizes = {path: path.stat().st_size for path in witnesses if path.exists()}
    last = 0
    try:
        for row in trail.checkpoints():
            verifier.take_checkpoint(row.number, row.statement, _octets(row.signature), _octets(row.spki))
            last = row.number
        for path in witnesses:
            if path.exists():
                verifier.take_witness(_witness_lines(path, sizes.get(path, 0), last), path.name)
            else:
                verifier.take_witness((), path.name)  # who can cut off the trail may have removed it
        for row in trail.events():
            verifier.take_event(load_event(row), row.hash, row.checkpoint)
    except StoreError as error:
        verifier.report.add(Fault("database", error.message))
    return verifier.finish()


def _witness_lines(path: Path, size: int, last: int) -> Iterator[str]:
    """All but those of checkpoints that engines have made since the database was read: beyond `size`, after `last`.

    They are not in what was read of the database, and nothing was cut off.
    """
    end = 0
    with path.open("rb") as file:
        for octets in file:
            line, begin, end = octets.decode(errors="replace"), end, end + len(octets)
            if begin < size or _number_of(line) <= last:
                yield line


def _number_of(line: str) -> int:
    """0 for a line that is none; the verifier knows what to make of it."""
    try:
        return int(load_json(load_json(line)["statement"])["number"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0


def load_event(row: Any) -> dict[str, Any]:
    """The members of its statement; what the row has instead, where that is not what it should be."""
    return {
        "actor": row.actor,
        "details": _load_details(row),
        "kind": row.kind,
        "outcome": row.outcome,
        "previous": row.previous_hash,
        "recordedAt": _render_time(row.recorded_at),
        "requestId": row.request_id,
        "sequence": row.sequence,
        "source": row.source,
        "target": row.target,
        "writer": str(row.writer),
    }


def _load_details(row: Any) -> object:
    try:
        details = load_json(row.details)
        repeated = (details.get("signingKey"), details.get("serialNumber"))
        is_intact = canonical(details) == row.details and repeated == (row.signing_key, row.serial_number)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return str(row.details)
    # A string is never what was hashed. The two columns are not hashed, but repeat what is.
    return details if is_intact else str(row.details)


def _render_time(recorded_at: object) -> str:
    try:
        if isinstance(recorded_at, str):
            recorded_at = datetime.fromisoformat(recorded_at).replace(tzinfo=UTC)
        if isinstance(recorded_at, datetime):
            return f"{recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError):
        pass  # what stands there instead is no time, and is not what was hashed
    return str(recorded_at)


def _octets(value: object) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | memoryview) else None
