"""What stands: keys, credentials and accounts, held against what the audit trail has told of each."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.audit.verifier import Fault, canonical
from engine.store import StoredRecords, ToldEvent, load_octets, load_time
from engine.store.chain import SUCCESS
from engine.sweep.findings import UNTOLD, Counts, Note, shown, undecodable

_MADE, _EXAMINED, _ENDED, _BACK = "made", "examined", "ended", "back"
_KEY, _CREDENTIAL, _ACCOUNT = "key", "credential", "account"
_KINDS = {
    "key-generated": (_KEY, _MADE),
    "key-imported": (_KEY, _MADE),
    "key-adopted": (_KEY, _MADE),
    "key-examined": (_KEY, _EXAMINED),
    "key-unbound": (_KEY, _ENDED),
    "credential-created": (_CREDENTIAL, _MADE),
    "credential-revoked": (_CREDENTIAL, _ENDED),
    "account-created": (_ACCOUNT, _MADE),
    "account-disabled": (_ACCOUNT, _ENDED),
    "account-enabled": (_ACCOUNT, _BACK),
}
"""Of events: what each is about, and what it says of that."""
LATE = timedelta(minutes=10)
"""An event may be committed so much later than it says."""
CLOCKS_DIFFER = timedelta(minutes=1)


@dataclass(slots=True)
class Standing:
    """Remembers the last that was told of each, which is not much: it is about keys and people."""

    records: StoredRecords
    counts: Counts
    _since: datetime = field(default_factory=lambda: datetime.now(UTC) - LATE)
    _told: dict[tuple[str, str], dict[str, ToldEvent]] = field(default_factory=dict)

    def take(self, event: ToldEvent) -> None:
        """Any event of the trail, in the order of its chain."""
        about = _KINDS.get(event.kind)
        if about is None or event.recorded_at is None or event.outcome != SUCCESS:
            return
        said = self._told.setdefault((about[0], event.target), {})
        before = said.get(about[1])
        if before is None or is_later(event, before):
            said[about[1]] = event

    def faults(self) -> Iterator[Fault | Note]:
        """What does not stand as it was told, now that all events have been taken."""
        now = self.records.standing(_KINDS, self._since)
        for event in now.told:
            self.take(event)
        self.counts.keys, self.counts.credentials, self.counts.accounts = map(
            len, (now.keys, now.credentials, now.accounts)
        )
        for row in now.keys:
            yield from self._check(_KEY, row.keys_path, row, row.keys_created_at)
        for row in now.credentials:
            yield from self._check(_CREDENTIAL, row.credentials_credential_id, row, row.credentials_created_at)
        for row in now.accounts:
            yield from self._check(_ACCOUNT, row.accounts_email, row, row.accounts_created_at)
        for (about, name), said in self._told.items():
            if _is_expected(about, said):
                yield Fault(f"{about} {shown(name)}", "it is not there, and no event tells that it was removed")

    def _check(self, about: str, name: object, row: Any, created_at: object) -> Iterator[Fault | Note]:
        row_name = f"{about} {shown(name)}"
        for what in undecodable(row):
            yield Fault(row_name, what)
        said = self._told.pop((about, str(name)), None)
        if said is None:
            made_at = load_time(created_at)
            if made_at is not None and self.records.is_before_trail(made_at):
                yield Note(row_name, UNTOLD)
            else:
                yield Fault(row_name, "no event tells of it")
            return
        against = {_KEY: _against_key, _CREDENTIAL: _against_credential, _ACCOUNT: _against_account}[about]
        for what in against(row, said, self.records):
            yield Fault(row_name, what)


def is_later(event: ToldEvent, than: ToldEvent) -> bool:
    """One writer counts its events; of several there are clocks."""
    if event.writer == than.writer:
        return event.sequence > than.sequence
    return event.recorded_at is not None and than.recorded_at is not None and event.recorded_at > than.recorded_at


def _is_surely_later(event: ToldEvent | None, than: ToldEvent | None) -> bool:
    """Also if the clocks of two writers differ."""
    if event is None or than is None:
        return event is not None
    if event.writer == than.writer or event.recorded_at is None or than.recorded_at is None:
        return is_later(event, than)
    return event.recorded_at - than.recorded_at > CLOCKS_DIFFER


def _last_of_key(said: Mapping[str, ToldEvent]) -> ToldEvent | None:
    made, examined = said.get(_MADE), said.get(_EXAMINED)
    if made is None or examined is None:
        return made or examined
    return examined if is_later(examined, made) else made


def _is_expected(about: str, said: Mapping[str, ToldEvent]) -> bool:
    """Whether what was told means that there is a row. Of credentials and accounts none is ever removed."""
    return about != _KEY or _is_surely_later(_last_of_key(said), said.get(_ENDED))


def _against_key(row: Any, said: Mapping[str, ToldEvent], records: StoredRecords) -> Iterator[str]:
    last, made = _last_of_key(said), said.get(_MADE)
    if _is_surely_later(said.get(_ENDED), last):
        yield "it is there, and the audit trail has unbound it"
    spki, key_id = load_octets(row.keys_spki), load_octets(row.keys_key_id)
    if spki is None or hashlib.sha256(spki).hexdigest() != row.keys_spki_sha256:
        yield "its spki does not have the SHA-256 kept with it"
    if last is None:
        return
    kept: dict[str, object] = {
        "token": row.keys_token,
        "label": row.keys_label,
        "keyId": None if key_id is None else key_id.hex(),
        "keyType": row.keys_key_type,
        "spkiSha256": row.keys_spki_sha256,
        "origin": row.keys_origin,
        "custodySha256": digest_json(row.keys_custody),
    }
    # An examination tells of less than what has registered the key.
    for member, value in kept.items():
        event = last if made is None or member in last.details else made
        if member in event.details and event.details[member] != value:
            yield f"its {member} is {shown(value)}, and its event {event.kind} has {shown(event.details[member])}"


def _against_credential(row: Any, said: Mapping[str, ToldEvent], records: StoredRecords) -> Iterator[str]:
    yield from _against_making(said.get(_MADE), row.credentials_scope, row.credentials_roles)
    if row.credentials_revoked_at is None and _ENDED in said:
        yield "it was revoked, and is not any more"
    elif row.credentials_revoked_at is not None and _ENDED not in said:
        yield from _untold_end("revoked", row.credentials_revoked_at, records)


def _against_account(row: Any, said: Mapping[str, ToldEvent], records: StoredRecords) -> Iterator[str]:
    yield from _against_making(said.get(_MADE), row.accounts_scope, row.accounts_roles)
    disabled, enabled = said.get(_ENDED), said.get(_BACK)
    if row.accounts_disabled_at is None and _is_surely_later(disabled, enabled):
        yield "it was disabled, and is not any more"
    elif row.accounts_disabled_at is not None and (disabled is None or _is_surely_later(enabled, disabled)):
        yield from _untold_end("disabled", row.accounts_disabled_at, records)


def _against_making(made: ToldEvent | None, scope: object, roles: object) -> Iterator[str]:
    if made is None:
        return
    for member, value in (("scope", scope), ("roles", _load(roles))):
        if member in made.details and made.details[member] != value:
            yield f"its {member} is {shown(value)}, and its event {made.kind} has {shown(made.details[member])}"


def _untold_end(what: str, at: object, records: StoredRecords) -> Iterator[str]:
    time = load_time(at)
    if time is None or not records.is_before_trail(time):
        yield f"it is {what}, and no event tells of that"


def digest_json(text: object) -> str:
    """SHA-256 of what JSON says, in its canonical form; what no event has, if it has none."""
    try:
        return hashlib.sha256(canonical(_load(text)).encode()).hexdigest()
    except (ValueError, TypeError, RecursionError):
        return ""


def _load(value: object) -> object:
    """What JSON says; None if it is none."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
