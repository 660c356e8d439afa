"""Places in certificate stores, held against what the audit trail has last told of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from engine.audit.verifier import Fault
from engine.store import StoredRecords, ToldEvent, load_time
from engine.store.chain import SUCCESS
from engine.store.stored_records import PAGE
from engine.sweep.findings import UNTOLD, Note, shown
from engine.sweep.standing import CLOCKS_DIFFER, LATE, digest_json, is_later

_REPLACED, _DELETED = "entry-replaced", "entry-deleted"
_KINDS = ("entry-added", _REPLACED, _DELETED)


@dataclass(slots=True)
class Places:
    """Remembers the last event of each place that somebody has put a certificate at, or taken one out of. Of what is
    issued, the intents tell."""

    records: StoredRecords
    _since: datetime = field(default_factory=lambda: datetime.now(UTC) - LATE)
    _last: dict[str, ToldEvent] = field(default_factory=dict)
    """By path."""

    def take(self, event: ToldEvent) -> None:
        """Any event of the trail."""
        if event.kind not in _KINDS or event.recorded_at is None or event.outcome != SUCCESS:
            return
        before = self._last.get(event.target)
        if before is None or is_later(event, before):
            self._last[event.target] = event

    def check(self, rows: Sequence[Any]) -> Iterator[Fault | Note]:
        """A page of places, now that all events have been taken."""
        here = {row.entries_path: row for row in rows if isinstance(row.entries_path, str)}
        yield from self._look_again([path for path, row in here.items() if any(self._against(path, row))])
        for path in here:
            self._last.pop(path, None)

    def missing(self) -> Iterator[Fault | Note]:
        """What is not there, now that all places have been checked."""
        left = [path for path, event in self._last.items() if event.kind != _DELETED]
        for begin in range(0, len(left), PAGE):
            yield from self._look_again(left[begin : begin + PAGE])

    def _look_again(self, paths: Sequence[str]) -> Iterator[Fault | Note]:
        """An engine may have changed them since its events were read."""
        if not paths:
            return
        rows, told = self.records.entries_at(paths, _KINDS, self._since)
        for event in told:
            self.take(event)
        for path in paths:
            yield from self._against(path, rows.get(path))

    def _against(self, path: str, row: Any) -> Iterator[Fault | Note]:
        """What is at a path, against the last event of it."""
        name, last = f"entry {shown(path)}", self._last.get(path)
        if row is None:
            if last is not None and last.kind != _DELETED:
                yield Fault(name, "it is not there, and no event tells that it was taken out")
        elif row.entries_intent_id is not None and not _is_of(last, row):
            return  # nobody has changed it since it was issued
        elif last is None:
            created_at = load_time(row.entries_created_at)
            if created_at is not None and self.records.is_before_trail(created_at):
                yield Note(name, UNTOLD)
            else:
                yield Fault(name, "no event tells of it")
        elif last.kind == _DELETED:
            yield Fault(name, f"it is there, and its event {_DELETED} has taken it out")
        else:
            for member, value in _told(row).items():
                if last.details.get(member) != value:
                    said = shown(last.details.get(member))
                    yield Fault(name, f"its {member} is {shown(value)}, and its event {last.kind} has {said}")


def _is_of(last: ToldEvent | None, row: Any) -> bool:
    """Whether an event tells of the certificate that was issued to this place, not of one that was there before."""
    if last is None or last.recorded_at is None:
        return False
    if last.kind == _REPLACED and last.details.get("certificateSha256") == row.entries_certificate_sha256:
        return True
    intended_at = load_time(row.intents_recorded_at)
    return intended_at is not None and last.recorded_at - intended_at > CLOCKS_DIFFER


def _told(row: Any) -> dict[str, object]:
    """What an event would say of it as it is now."""
    self_signed = row.entries_self_signed
    return {
        "certificateSha256": row.entries_certificate_sha256,
        "type": row.entries_type,
        "metadataSha256": None if row.entries_metadata is None else digest_json(row.entries_metadata),
        "vouchedBelow": row.entries_vouched_below,
        # SQLite has no truth values.
        "selfSigned": bool(self_signed) if self_signed in (0, 1) else self_signed,
    }
