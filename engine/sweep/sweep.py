"""The parts of a sweep, one after the other."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.audit.verifier import Fault
from engine.store import StoredRecords, ToldEvent, load_octets, load_time
from engine.sweep.authorities import Authorities
from engine.sweep.findings import Counts, Note, shown, undecodable
from engine.sweep.places import Places
from engine.sweep.standing import Standing
from engine.sweep.stored_certificate import SIGNED, SIGNED_EVENT, StoredCertificate, listed

_INTENDED, _OUTCOME_UNKNOWN = "intended", "outcome-unknown"
_ENDS = {SIGNED: SIGNED_EVENT, "failed": "signature-failed", _OUTCOME_UNKNOWN: "signature-outcome-unknown"}
"""State of an intent that is closed: the event that says so."""

Progress = Callable[[str, int, int], None]
"""Told of what is being checked, how many are done, and how many there were at the beginning."""


@dataclass(slots=True)
class Sweep:
    """One sweep through the records of a database."""

    records: StoredRecords
    progress: Progress
    counts: Counts = field(default_factory=Counts)
    _authorities: Authorities = field(init=False)
    _standing: Standing = field(init=False)
    _is_older_than_trail: bool = field(default=False, init=False)
    _places: Places = field(init=False)
    _placed_otherwise: dict[str, Fault] = field(default_factory=dict, init=False)
    """By path: the certificate that is not there any more as it was, unless an event tells that it was replaced."""

    def __post_init__(self) -> None:
        self._authorities = Authorities(self.records)
        self._standing = Standing(self.records, self.counts)
        self._places = Places(self.records)

    def run(self) -> Iterator[Fault | Note]:
        """Check everything, and say what is found as it is found. Raises StoreError."""
        for part in (self._intents, self._open_intents, self._certificates, self._events, self._entries):
            for found in part():
                if isinstance(found, Fault):
                    self.counts.faults += 1
                yield found

    def _certificates(self) -> Iterator[Fault | Note]:
        total, done = self.records.count("certificates"), 0
        for page in self.records.certificates():
            for row in page.rows:
                intent_id = row.certificates_intent_id
                check = StoredCertificate(row, self.records, self._authorities, self.counts)
                if intent_id is None:
                    self.counts.elsewhere += 1
                    yield from check.elsewhere(is_older_than_trail=self._is_older_than_trail)
                else:
                    self.counts.issued += 1
                    told, places = page.events.get(intent_id, ()), page.places.get(intent_id, ())
                    yield from check.issued(told, places)
                    taken_out = page.events.get(row.certificates_sha256, ())
                    self._placed_otherwise |= check.placed_otherwise(told, places, taken_out)
            done += len(page.rows)
            self.progress("certificates", done, total)

    def _intents(self) -> Iterator[Fault | Note]:
        total, before = self.records.count("intents"), None
        for page in self.records.intents():
            for row in page.rows:
                self.counts.intents += 1
                self._is_older_than_trail |= self._is_before_trail(row)
                for what in undecodable(row):
                    yield Fault(_intent_name(row), what)
                key = (row.intents_issuer, row.intents_serial_number)
                if key == before:
                    yield Fault(_intent_name(row), "its serial number was used before by the same issuer")
                before = key
                if row.certificates_sha256 is None and row.intents_state != _INTENDED:
                    yield from self._without_certificate(row, page.events.get(row.intents_intent_id, ()))
            self.progress("intents", self.counts.intents, total)

    def _without_certificate(self, row: Any, told: Sequence[ToldEvent]) -> Iterator[Fault | Note]:
        state = row.intents_state
        if state == SIGNED:
            yield Fault(_intent_name(row), "it is signed, and its certificate is not stored")
        ends = sorted(event.kind for event in told if event.kind in _ENDS.values())
        if ends != [_ENDS.get(state)] and (told or not self._is_before_trail(row)):
            yield Fault(_intent_name(row), f"it is {shown(state)}, and the audit trail has {listed(ends)} of it")
        if state == _OUTCOME_UNKNOWN:
            self.counts.unknown += 1
            issuer = hashlib.sha256(load_octets(row.intents_issuer) or b"").hexdigest()
            yield Note(
                _intent_name(row),
                f"of unknown outcome, to be revoked: intended on {_time(row.intents_recorded_at)} for the key "
                f"{shown(row.intents_signing_key)}, issuer SHA-256 {issuer}",
            )

    def _is_before_trail(self, row: Any) -> bool:
        """As it says; what has grounds does not say so truly."""
        recorded_at = load_time(row.intents_recorded_at)
        return not row.has_grounds and recorded_at is not None and self.records.is_before_trail(recorded_at)

    def _open_intents(self) -> Iterator[Fault | Note]:
        for row in self.records.open_intents():
            if self.records.is_left_open(row.intents_intent_id, row.intents_writer):
                yield Fault(
                    _intent_name(row), "it is open, and its writer is gone: the next start of an engine closes it"
                )
            else:
                self.counts.open += 1

    def _entries(self) -> Iterator[Fault | Note]:
        total = self.records.count("entries")
        for rows in self.records.entries():
            for row in rows:
                self.counts.entries += 1
                for what in (*undecodable(row), *_entry_faults(row)):
                    yield Fault(f"entry {shown(row.entries_path)}", what)
            yield from self._places.check(rows)
            self.progress("entries", self.counts.entries, total)
        yield from self._places.missing()

    def _events(self) -> Iterator[Fault | Note]:
        """What the trail tells of is there."""
        total = self.records.count("events")
        for told in self.records.events():
            self.counts.events += len(told)
            intents = self.records.known_intents(_named(told, "intentId"))
            certificates = self.records.known_certificates(_named(told, "certificateSha256"))
            for event in told:
                name = f"event {event.sequence} of writer {event.writer}"
                if not event.is_readable:
                    yield Fault(name, "its details cannot be read")
                self._standing.take(event)
                self._places.take(event)
                if event.kind == "entry-replaced":
                    self._placed_otherwise.pop(event.target, None)
                intent_id, sha256 = event.details.get("intentId"), event.details.get("certificateSha256")
                if isinstance(intent_id, str) and intent_id not in intents:
                    yield Fault(name, f"it tells of the intent {shown(intent_id)}, which is not there")
                if isinstance(sha256, str) and sha256 not in certificates:
                    serial = shown(event.details.get("serialNumber"))
                    yield Fault(name, f"the certificate of serial {serial} SHA-256 {shown(sha256)} is not stored")
            self.progress("events", self.counts.events, total)
        yield from self._placed_otherwise.values()
        yield from self._standing.faults()


def _entry_faults(row: Any) -> Iterator[str]:
    sha256, intent_id = row.entries_certificate_sha256, row.entries_intent_id
    if row.entries_store_path != str(row.entries_path).rpartition(".")[0]:
        yield f"it is listed in the store {shown(row.entries_store_path)}"
    if sha256 is not None and row.certificates_sha256 is None:
        yield f"its certificate SHA-256 {shown(sha256)} is not there"
    if intent_id is None:
        return
    if row.intents_intent_id is None:
        yield f"its intent {shown(intent_id)} is not there"
    elif sha256 is None and row.intents_state != _INTENDED:
        yield f"it is reserved by the intent {shown(intent_id)}, which is {shown(row.intents_state)}"
    elif sha256 is not None and row.intents_state != SIGNED:
        yield f"it was filled by the intent {shown(intent_id)}, which is {shown(row.intents_state)}"
    elif sha256 is not None and row.certificates_sha256 is not None and row.certificates_intent_id != intent_id:
        yield f"its certificate SHA-256 {shown(sha256)} is not the one of its intent {shown(intent_id)}"


def _named(told: Sequence[ToldEvent], member: str) -> list[str]:
    return sorted({value for event in told if isinstance(value := event.details.get(member), str)})


def _intent_name(row: Any) -> str:
    """With the digest of what was to be signed, since there is no certificate."""
    what = f"serial {shown(row.intents_serial_number)}" if row.intents_serial_number else shown(row.intents_kind)
    return f"{what} tbs SHA-256 {shown(row.intents_tbs_sha256)} intent {shown(row.intents_intent_id)}"


def _time(value: object) -> str:
    time = load_time(value)
    return shown(value) if time is None else time.isoformat(timespec="seconds")
