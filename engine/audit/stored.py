"""Verifying the trail in a database, with the rules of the verifier that stands alone."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from engine.audit.verifier import Fault, Report, TrailVerifier, canonical, load_json
from engine.errors import StoreError, StoreUnavailable


class Stored(Protocol):
    """Rows as they lie there, in order."""

    def checkpoints(self) -> Iterable[Any]:
        """number, statement, signature, spki; by number."""

    def events(self) -> Iterable[Any]:
        """The columns of an event, by writer and sequence."""


def verify_stored(
    trail: Stored, witnesses: Sequence[Path], trusted: Collection[str] | None, *, may_lack_witness: bool = False
) -> Report:
    """Verify all of it. `trusted` are SPKI SHA-256 of keys that may sign; None: any. Each of the `witnesses` has to be
    there; if the trail `may_lack_witness`, only once a checkpoint is signed. Raises StoreUnavailable, OSError."""
    verifier = TrailVerifier(trusted)
    sizes = {path: path.stat().st_size for path in witnesses if path.exists()}
    last = 0
    try:
        for row in trail.checkpoints():
            verifier.take_checkpoint(
                row.number, load_value(row.statement), load_octets(row.signature), load_octets(row.spki)
            )
            last = row.number
        for path in witnesses:
            if path.exists():
                verifier.take_witness(_witness_lines(path, sizes.get(path, 0), last), path.name)
            else:
                # Who can cut off the trail may have removed it.
                verifier.miss_witness(str(path), may_be_to_come=may_lack_witness)
        for row in trail.events():
            verifier.take_event(load_event(row), load_value(row.hash), load_value(row.checkpoint))
    except StoreUnavailable:
        raise
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
        "actor": load_value(row.actor),
        "details": _load_details(row),
        "kind": load_value(row.kind),
        "outcome": load_value(row.outcome),
        "previous": load_value(row.previous_hash),
        "recordedAt": _render_time(row.recorded_at),
        "requestId": load_value(row.request_id),
        "sequence": load_value(row.sequence),
        "source": load_value(row.source),
        "target": load_value(row.target),
        "writer": str(row.writer),
    }


def load_value(value: object) -> object:
    """What JSON has a word for, as it is; of anything else, how Python spells it."""
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _load_details(row: Any) -> object:
    try:
        if not isinstance(row.details, str):
            raise ValueError("expected text")
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


def load_octets(value: object) -> bytes | None:
    """Those of a column, if it has any; none for what is there instead."""
    if value is None:
        return None
    # Text that is not UTF-8 comes as octets of a type of its own.
    return bytes(value) if isinstance(value, memoryview) or type(value) is bytes else b""
