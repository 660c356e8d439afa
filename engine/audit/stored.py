"""Verifying the trail in a database, with the rules of the verifier that stands alone."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from engine.audit.verifier import Fault, Report, TrailVerifier, canonical, load_checkpoint, load_json
from engine.errors import StoreError, StoreUnavailable


class Stored(Protocol):
    """Rows as they lie there, in order, all of one moment."""

    def checkpoints(self) -> Iterable[Any]:
        """number, recorded_at, statement, signature, spki, signed_at; by number."""

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
                row.number, as_found(row.statement, str), octets_as_found(row.signature), octets_as_found(row.spki)
            )
            if what := _find_time_fault(row):
                verifier.report.add(Fault(f"checkpoint {row.number}", what))
            last = row.number
        for path in witnesses:
            if path.exists():
                verifier.take_witness(_witness_lines(path, sizes.get(path, 0), last), path.name)
            else:
                # Who can cut off the trail may have removed it.
                verifier.miss_witness(str(path), may_be_to_come=may_lack_witness)
        for row in trail.events():
            checkpoint = None if row.checkpoint is None else as_found(row.checkpoint, int)
            verifier.take_event(load_event(row), as_found(row.hash, str), checkpoint)
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


def _find_time_fault(row: Any) -> str | None:
    """What is wrong with the times beside the statement of a checkpoint; None: nothing, or the statement is none."""
    try:
        stated = load_checkpoint(row.statement)["recordedAt"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if _render_time(row.recorded_at) != stated:
        return "the time beside its statement is not that of the statement"
    if row.signed_at is not None and not stated <= _render_time(row.signed_at):
        return "it was signed before its statement was recorded, or at no time"
    return None


def load_event(row: Any) -> dict[str, Any]:
    """The members of its statement; what the row has instead, where that is not what it should be."""
    return {
        "actor": as_found(row.actor, str),
        "details": _load_details(row),
        "kind": as_found(row.kind, str),
        "outcome": as_found(row.outcome, str),
        "previous": as_found(row.previous_hash, str),
        "recordedAt": _render_time(row.recorded_at),
        "requestId": as_found(row.request_id, str),
        "sequence": as_found(row.sequence, int),
        "source": as_found(row.source, str),
        "target": as_found(row.target, str),
        "writer": str(row.writer),
    }


def as_found(value: object, expected: type) -> object:
    """The value if it is what it should be, else how Python spells it, which is not what was hashed."""
    return value if type(value) is expected else repr(value)


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
    """As it was hashed; in quotes, which never were, what is no time or is spelt as no engine spells one: SQLite
    compares times as text."""
    try:
        if isinstance(recorded_at, datetime):
            return f"{recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        if isinstance(recorded_at, str):
            time = datetime.fromisoformat(recorded_at)
            if f"{time:%Y-%m-%d %H:%M:%S.%f}" == recorded_at:
                return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError):
        pass
    return f"'{recorded_at}'"


def octets_as_found(value: object) -> bytes | None:
    """None if there are none; empty if there is something else."""
    if value is None:
        return None
    # Text that is not UTF-8 comes as octets of a type of its own.
    return bytes(value) if isinstance(value, memoryview) or type(value) is bytes else b""
