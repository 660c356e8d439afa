"""Columns with values that no engine writes, which SQLite keeps anywhere: each is named, and nothing ends by it."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.audit.stored import verify_stored
from engine.audit.verifier import verify_export
from engine.commands.audit import _exported, _line
from engine.errors import StoreError
from engine.store import Store, WantedEvents, reading_evidence, reading_trail
from engine.token import Token
from tests.database import change, select
from tests.unit.store.auditing import cover, make_maker, make_signer, now, tell


@pytest.fixture
def url(database: Path, token: Token) -> str:
    """A trail of one writer: a checkpoint has the first two events, and the third waits."""
    url = f"sqlite:///{database}"
    with Store.open(url) as store:
        maker = make_maker(store, make_signer(token), None)
        tell(store, 2)
        assert cover(maker) == 2
        tell(store, 1)
    return url


def faults(url: str) -> list[str]:
    with reading_trail(url) as trail:
        return [str(fault) for fault in verify_stored(trail, [], None).faults]


def faults_of_export(url: str, path: Path) -> list[str]:
    """Of what the engine exports, which must be what the database has."""
    with reading_trail(url) as trail:
        path.write_text("".join(f"{line}\n" for line in _exported(trail, WantedEvents())), encoding="utf-8")
    return [str(fault) for fault in verify_export(path, [], None).faults]


def time_of(url: str, column: str, table: str, where: str) -> datetime:
    ((text,),) = select(url, f"SELECT {column} FROM {table} WHERE {where}")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)


def spellings(time: datetime) -> dict[str, str]:
    """Of one moment, all of which ISO 8601 knows."""
    east = (time + timedelta(hours=14)).replace(tzinfo=None)
    year, week, day = time.isocalendar()
    clock = f"{time:%H:%M:%S.%f}"
    return {
        "T": f"{time:%Y-%m-%d}T{clock}",
        "T and Z": f"{time:%Y-%m-%d}T{clock}Z",
        "Z": f"{time:%Y-%m-%d} {clock}Z",
        "UTC": f"{time:%Y-%m-%d} {clock}+00:00",
        "another zone": f"{east:%Y-%m-%d %H:%M:%S.%f}+14:00",
        "a comma": f"{time:%Y-%m-%d} {clock.replace('.', ',')}",
        "a week date": f"{year}-W{week:02}-{day} {clock}",
        "a basic date": f"{time:%Y%m%d} {clock}",
        "a basic time": f"{time:%Y-%m-%d %H%M%S.%f}",
        "nanoseconds": f"{time:%Y-%m-%d} {clock}000",
        "white space": f" {time:%Y-%m-%d} {clock}",
    }


@pytest.mark.parametrize("sequence", [1, 3])
@pytest.mark.parametrize("spelling", spellings(now()))
def test_a_time_that_is_spelt_otherwise_is_named(url: str, tmp_path: Path, spelling: str, sequence: int) -> None:
    """Where times are compared as text, it would be found among others."""
    spelt = spellings(time_of(url, "recorded_at", "events", f"sequence = {sequence}"))[spelling]
    change(url, f"UPDATE events SET recorded_at = '{spelt}' WHERE sequence = {sequence}")
    ((writer,),) = select(url, "SELECT DISTINCT writer FROM events")
    named = f"event {sequence} of writer {writer}: it does not have the hash that is kept with it: it was changed"
    assert faults(url)[0] == named
    assert faults_of_export(url, tmp_path / "export.jsonl")[0] == named


@pytest.mark.parametrize("spelling", spellings(now()))
def test_the_time_beside_a_statement_is_that_of_the_statement(url: str, spelling: str) -> None:
    assert faults(url) == []
    spelt = spellings(time_of(url, "recorded_at", "checkpoints", "number = 1"))[spelling]
    change(url, f"UPDATE checkpoints SET recorded_at = '{spelt}'")
    assert faults(url) == ["checkpoint 1: the time beside its statement is not that of the statement"]


@pytest.mark.parametrize("column", ["recorded_at", "signed_at"])
@pytest.mark.parametrize("value", ["5", "''", "'soon'", "X'ff'", "1e999", "'0001-01-01 00:00:00.000000'"])
def test_no_other_value_is_the_time_of_a_checkpoint(url: str, column: str, value: str) -> None:
    change(url, f"UPDATE checkpoints SET {column} = {value}")
    (fault,) = faults(url)
    assert fault in (
        "checkpoint 1: the time beside its statement is not that of the statement",
        "checkpoint 1: it was signed before its statement was recorded, or at no time",
    )


TEXTS = ("kind", "actor", "source", "target", "outcome", "request_id", "details", "signing_key", "serial_number")
SHOWN = [(name, value) for name in (*TEXTS, "recorded_at") for value in ("X'00ff'",)]
NUMBERS = [("recorded_at", "5"), ("recorded_at", "1e999"), ("recorded_at", "''")]
PLACES = [("sequence", "1e999"), ("sequence", "'x'"), ("writer", "1e999"), ("writer", "'x'"), ("writer", "X'00'")]


@pytest.mark.parametrize(("column", "value"), [*SHOWN, *NUMBERS, *PLACES, ("checkpoint", "'x'")])
def test_a_column_of_an_event_that_holds_something_else_is_named_and_shown(
    url: str, tmp_path: Path, column: str, value: str
) -> None:
    change(url, f"UPDATE events SET {column} = {value} WHERE sequence = 3")
    assert faults(url)[0].startswith("event ")
    assert faults_of_export(url, tmp_path / "export.jsonl")[0].startswith("event ")
    with reading_trail(url) as trail:
        rows = trail.latest_events(WantedEvents(), 10)
        assert len([_line(row) for row in rows]) == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("statement", "X'00'"),
        ("statement", "''"),
        ("signature", "'x'"),
        ("signature", "5"),
        ("signature", "1000000000000"),
        ("signature", "1e999"),
        ("spki", "'x'"),
        ("spki", "1000000000000"),
    ],
)
def test_a_column_of_a_checkpoint_that_holds_something_else_is_named(
    url: str, tmp_path: Path, column: str, value: str
) -> None:
    change(url, f"UPDATE checkpoints SET {column} = {value}")
    assert faults(url)[0].startswith("checkpoint 1: ")
    assert faults_of_export(url, tmp_path / "export.jsonl")[0].startswith("checkpoint ")


def test_a_hash_that_is_none_is_no_traceback(url: str, token: Token) -> None:
    change(url, f"UPDATE events SET hash = '{'z' * 64}' WHERE sequence = 3")
    with Store.open(url) as store, pytest.raises(StoreError):
        cover(make_maker(store, make_signer(token), None))
    assert "it does not have the hash" in faults(url)[0]


@pytest.mark.parametrize("value", ["5", "'soon'", "1e999", "X'ff'"])
def test_a_waiting_event_without_a_time_is_an_error_of_the_store(url: str, token: Token, value: str) -> None:
    change(url, f"UPDATE events SET recorded_at = {value} WHERE sequence = 3")
    with Store.open(url) as store:
        with pytest.raises(StoreError, match="when the oldest event was recorded that waits cannot be read"):
            store.find_waiting_events()
        with pytest.raises(StoreError):
            cover(make_maker(store, make_signer(token), None))


@pytest.mark.parametrize("value", ["5", "X'ff'", "'soon'"])
def test_a_checkpoint_without_a_time_is_an_error_of_the_store(url: str, value: str) -> None:
    change(url, f"UPDATE checkpoints SET recorded_at = {value}")
    with Store.open(url) as store, pytest.raises(StoreError):
        store.find_checkpoint(1)
    with reading_evidence(url) as records, pytest.raises(StoreError):
        records.find_checkpoint(1)


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
def test_a_time_without_an_end_is_named(postgresql_url: str, token: Token, tmp_path: Path, value: str) -> None:
    with Store.open(postgresql_url) as store:
        tell(store, 3)
        change(postgresql_url, f"UPDATE events SET recorded_at = '{value}' WHERE sequence = 2")
        for found in (faults(postgresql_url), faults_of_export(postgresql_url, tmp_path / "export.jsonl")):
            assert re.match("event 2 of writer [0-9]+: it does not have the hash that is kept with it", found[0])
        with reading_trail(postgresql_url) as trail:
            assert len(trail.latest_events(WantedEvents(), 10)) == 3
        change(postgresql_url, f"UPDATE events SET recorded_at = '{value}' WHERE sequence = 1")
        with pytest.raises(StoreError):
            store.find_waiting_events()
        with pytest.raises(StoreError):
            cover(make_maker(store, make_signer(token), None))


def test_what_is_signed_is_not_signed_before_it_was_stated(database_url: str, token: Token) -> None:
    """Also if the clock was put back meanwhile."""
    times = [now()]
    with Store.open(database_url, now=lambda: times[-1]) as store:
        tell(store, 1)
        maker = make_maker(store, make_signer(token), None)
        begin = store.begin_checkpoint

        def begin_and_put_back(*arguments: object, **options: object) -> object:
            begun = begin(*arguments, **options)  # type: ignore[arg-type]
            times.append(times[0] - timedelta(minutes=1))
            return begun

        store.begin_checkpoint = begin_and_put_back  # type: ignore[assignment, method-assign]
        assert cover(maker) == 1
    assert faults(database_url) == []
    with reading_trail(database_url) as trail:
        (row,) = trail.checkpoints()
    assert json.loads(row.statement)["recordedAt"][:19] == f"{times[0]:%Y-%m-%dT%H:%M:%S}"
