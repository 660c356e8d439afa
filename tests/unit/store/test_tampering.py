"""Whoever can change the database cannot change the trail unseen: each change is named by the verifier that reads the
database, and by the one that stands alone and reads an export.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from engine.audit import verifier
from engine.audit.checkpoint import build_statement
from engine.audit.stored import load_event, verify_stored
from engine.store import ENGINE, Store, WantedEvents, reading_trail
from engine.store.rows import CheckpointRow, Leaf
from engine.token import Token
from tests.database import change, select
from tests.unit.store.auditing import cover, export, make_maker, make_signer, now, tell


class Scene:
    """Two writers: the first has events 1 to 6, the second 1 to 5. Checkpoint 1 covers the first three of the first,
    checkpoint 2 its next two and the first four of the second; the last of each is not covered.
    """

    def __init__(self, url: str, folder: Path, token: Token) -> None:
        self.url = url
        self.folder = folder
        self.witness = folder / "witness.jsonl"
        signer = make_signer(token)
        with Store.open(url) as store, Store.open(url) as other:
            maker = make_maker(store, signer, self.witness)
            tell(store, 3)
            assert cover(maker) == 3
            tell(store, 2)
            tell(other, 4)
            assert cover(maker) == 6
            tell(store, 1)
            tell(other, 1)
        (self.first,) = self.column("SELECT writer FROM events GROUP BY writer HAVING count(*) = 6")
        (self.second,) = self.column("SELECT writer FROM events GROUP BY writer HAVING count(*) = 5")
        self.key = folder / "key.pem"
        public = load_der_public_key(signer.public_key.spki)
        self.key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def column(self, statement: str) -> list[object]:
        return [row[0] for row in select(self.url, statement)]

    def change(self, statement: str) -> None:
        change(self.url, statement)

    def faults(self, *, witness: bool = True) -> list[str]:
        """What both verifiers find, which must be in the same rows."""
        witnesses = [self.witness] if witness else []
        trusted = verifier.read_keys(self.key)
        with reading_trail(self.url) as trail:
            report = verify_stored(trail, witnesses, trusted)
        export(self.url, self.folder / "export.jsonl")
        alone = run_alone(self.folder, *(["--witness", str(self.witness)] if witness else []), "--key", str(self.key))
        assert alone.returncode == (1 if report.faults else 0), alone.stderr
        lines = list(report.lines())
        assert alone.stdout.splitlines()[-1] == lines[-1]
        said = [str(fault) for fault in report.faults]
        found = alone.stdout.splitlines()[: len(said)]
        assert [line.partition(":")[0] for line in found] == [line.partition(":")[0] for line in said]
        return said

    def rehash(self, writer: object, sequence: int) -> None:
        """Give every event of a chain the hashes that fit what it now says, from one event on."""
        export(self.url, self.folder / "rehash.jsonl")
        previous = None
        for line in map(json.loads, (self.folder / "rehash.jsonl").read_text().splitlines()):
            event = line.get("event")
            if event is None or event["writer"] != str(writer) or event["sequence"] < sequence:
                continue
            event["previous"] = event["previous"] if previous is None else previous
            previous = sha256(b"\x00" + verifier.canonical(event).encode()).hexdigest()
            self.change(
                f"UPDATE events SET previous_hash = '{event['previous']}', hash = '{previous}' "
                f"WHERE writer = {writer} AND sequence = {event['sequence']}"
            )


def run_alone(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """The verifier's file, taken away from the engine, on `export.jsonl`."""
    script = folder / "verifier.py"
    script.write_bytes(Path(verifier.__file__).read_bytes())
    # Where it is run, there is no engine to be imported.
    program = "import runpy, sys; del sys.argv[0]; sys.modules['engine'] = None; "
    program += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-I", "-c", program, script, folder / "export.jsonl", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


@pytest.fixture
def scene(database_url: str, tmp_path: Path, token: Token) -> Scene:
    return Scene(database_url, tmp_path, token)


def test_a_trail_that_nobody_has_touched_verifies(scene: Scene) -> None:
    assert scene.faults() == []
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert (report.events, report.chains, report.checkpoints, report.uncovered) == (11, 2, 2, 2)
    assert report.witness_lines == 2
    lines = list(report.lines())
    assert "events not yet covered by a checkpoint: 2" in "\n".join(lines)
    assert "no key was given: whether that key may sign cannot be told" in lines
    assert not [line for line in lines if "starts" in line or "earlier" in line]
    with reading_trail(scene.url) as trail:
        lines = list(verify_stored(trail, [scene.witness], verifier.read_keys(scene.key)).lines())
    assert not [line for line in lines if "no key" in line]


COLUMNS = ("kind = 'log-in'", "actor = 'x'", "source = 'x'", "target = 'x'", "outcome = 'refused'", "request_id = 'x'")


@pytest.mark.parametrize("edit", COLUMNS)
def test_an_edited_event_is_named(scene: Scene, edit: str) -> None:
    scene.change(f"UPDATE events SET {edit} WHERE writer = {scene.second} AND sequence = 2")
    faults = scene.faults()
    assert (
        faults[0] == f"event 2 of writer {scene.second}: it does not have the hash that is kept with it: it was changed"
    )


def test_an_edited_time_is_named(scene: Scene) -> None:
    scene.change(
        "UPDATE events SET recorded_at = (SELECT recorded_at FROM events "
        f"WHERE writer = {scene.first} AND sequence = 1) WHERE writer = {scene.first} AND sequence = 2"
    )
    assert scene.faults()[0].startswith(f"event 2 of writer {scene.first}: it does not have the hash")


@pytest.mark.parametrize("details", ['{"signingKey":"other"}', "{}"])
def test_edited_details_are_named(scene: Scene, details: str) -> None:
    scene.change(f"UPDATE events SET details = '{details}' WHERE writer = {scene.second} AND sequence = 2")
    assert scene.faults()[0].startswith(f"event 2 of writer {scene.second}: it does not have the hash")


@pytest.mark.parametrize("edit", ["details = ' ' || details", "signing_key = NULL", "serial_number = 'f'"])
def test_what_an_export_does_not_show_is_seen_in_the_database(scene: Scene, edit: str) -> None:
    scene.change(f"UPDATE events SET {edit} WHERE writer = {scene.second} AND sequence = 2")
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert str(report.faults[0]).startswith(f"event 2 of writer {scene.second}: it does not have the hash")


def test_an_edited_event_with_a_new_hash_of_its_own_is_named_by_the_next(scene: Scene) -> None:
    scene.change(f"UPDATE events SET actor = 'x' WHERE writer = {scene.first} AND sequence = 4")
    export(scene.url, scene.folder / "one.jsonl")
    for line in map(json.loads, (scene.folder / "one.jsonl").read_text().splitlines()):
        if (event := line.get("event")) and event["writer"] == str(scene.first) and event["sequence"] == 4:
            own = sha256(b"\x00" + verifier.canonical(event).encode()).hexdigest()
    scene.change(f"UPDATE events SET hash = '{own}' WHERE writer = {scene.first} AND sequence = 4")
    assert scene.faults()[0] == (
        f"event 5 of writer {scene.first}: it does not follow event 4 as that is here: one of both was changed"
    )


def test_a_chain_that_was_hashed_anew_is_named_by_the_checkpoint(scene: Scene) -> None:
    scene.change(f"UPDATE events SET actor = 'x' WHERE writer = {scene.second} AND sequence = 2")
    scene.rehash(scene.second, 2)
    faults = scene.faults(witness=False)
    assert faults[0] == (
        f"event 4 of writer {scene.second}: checkpoint 2 has another hash: one of events 1 to 4 was changed and hashed "
        "anew"
    )
    assert faults[1].startswith("checkpoint 2: its root is not that of its events")


def test_a_chain_that_was_hashed_anew_from_its_first_checkpoint_on_is_named_by_that(scene: Scene) -> None:
    scene.change(f"UPDATE events SET actor = 'x' WHERE writer = {scene.first} AND sequence = 3")
    scene.rehash(scene.first, 3)
    assert scene.faults()[0].startswith(
        f"event 3 of writer {scene.first}: checkpoint 1 has another hash: one of events 1"
    )


@pytest.mark.parametrize("sequence", [1, 2, 3, 4])
def test_a_deleted_event_is_named(scene: Scene, sequence: int) -> None:
    scene.change(f"DELETE FROM events WHERE writer = {scene.first} AND sequence = {sequence}")
    assert scene.faults()[0] == (
        f"event {sequence + 1} of writer {scene.first}: event {sequence} is missing, which came before it"
    )


def test_a_deleted_chain_is_named(scene: Scene) -> None:
    scene.change(f"DELETE FROM events WHERE writer = {scene.second}")
    assert (
        scene.faults()[0]
        == f"event 1 of writer {scene.second}: events 1 to 4 are missing; checkpoint 2 has seen event 4"
    )


def test_a_deleted_event_behind_which_the_chain_was_closed_up_is_named(scene: Scene) -> None:
    scene.change(f"DELETE FROM events WHERE writer = {scene.second} AND sequence = 2")
    for sequence in (3, 4, 5):
        scene.change(
            f"UPDATE events SET sequence = {sequence - 1} WHERE writer = {scene.second} AND sequence = {sequence}"
        )
    (hash_,) = scene.column(f"SELECT hash FROM events WHERE writer = {scene.second} AND sequence = 1")
    scene.change(f"UPDATE events SET previous_hash = '{hash_}' WHERE writer = {scene.second} AND sequence = 2")
    assert scene.faults()[0].startswith(f"event 2 of writer {scene.second}: it does not have the hash")
    scene.rehash(scene.second, 2)
    assert scene.faults()[0].startswith(f"event 4 of writer {scene.second}: checkpoint 2 covers it, and it says none")


def copy_event(scene: Scene, *, writer: object, sequence: int, checkpoint: str) -> None:
    """Put a copy of the second writer's event 2 at another place, with hashes that fit."""
    scene.change(
        "INSERT INTO events (writer, sequence, recorded_at, kind, actor, source, target, outcome, request_id, details, "
        "signing_key, serial_number, previous_hash, hash, checkpoint) SELECT "
        f"{writer}, {sequence}, recorded_at, kind, actor, source, target, outcome, request_id, details, signing_key, "
        f"serial_number, COALESCE((SELECT hash FROM events WHERE writer = {writer} AND sequence = {sequence - 1}), "
        f"'{verifier.ZEROS}'), 'f' || substr(hash, 2), {checkpoint} FROM events "
        f"WHERE writer = {scene.second} AND sequence = 2"
    )
    scene.rehash(writer, sequence)


def test_an_inserted_event_is_named(scene: Scene) -> None:
    for sequence in (5, 4, 3):
        scene.change(
            f"UPDATE events SET sequence = {sequence + 1} WHERE writer = {scene.second} AND sequence = {sequence}"
        )
    copy_event(scene, writer=scene.second, sequence=3, checkpoint="2")
    assert scene.faults()[0].startswith(f"event 4 of writer {scene.second}: checkpoint 2 has another hash")


def test_an_event_put_behind_a_chain_is_not_taken_for_a_covered_one(scene: Scene) -> None:
    copy_event(scene, writer=scene.second, sequence=6, checkpoint="2")
    assert scene.faults()[0] == (
        f"event 6 of writer {scene.second}: it says that checkpoint 2 covers it, and no signed one does"
    )


def test_a_chain_put_beside_the_others_is_not_taken_for_a_covered_one(scene: Scene) -> None:
    copy_event(scene, writer=7, sequence=1, checkpoint="1")
    assert scene.faults()[0] == "event 1 of writer 7: it says that checkpoint 1 covers it, and no signed one does"


def test_a_chain_put_beside_the_others_as_of_long_before_is_named(scene: Scene) -> None:
    """Who lists the events of that time would be shown it, and nothing says that it was not there."""
    copy_event(scene, writer=7, sequence=1, checkpoint="NULL")
    assert scene.faults() == []  # nobody can tell: a transaction may take as long
    long_before = spelt(scene, now() - timedelta(hours=2))
    scene.change(f"UPDATE events SET recorded_at = '{long_before}' WHERE writer = 7")
    scene.rehash(7, 1)
    (fault,) = scene.faults()
    assert fault.startswith(f"event 1 of writer 7: it says that it was recorded on {long_before[:10]}T")
    assert fault.endswith("does not have it: it was put there later, or a clock was put back")


def test_the_times_beside_a_statement_are_no_others(scene: Scene) -> None:
    for column, edit, what in (
        ("recorded_at", "signed_at", "the time beside its statement is not that of the statement"),
        ("signed_at", f"'{spelt(scene, now() - timedelta(minutes=5))}'", "it was signed before its statement was"),
    ):
        scene.change(f"CREATE TABLE kept AS SELECT {column} AS kept FROM checkpoints WHERE number = 2")
        scene.change(f"UPDATE checkpoints SET {column} = {edit} WHERE number = 2")
        with reading_trail(scene.url) as trail:
            (fault,) = verify_stored(trail, [scene.witness], None).faults
        assert str(fault).startswith(f"checkpoint 2: {what}")
        scene.change(f"UPDATE checkpoints SET {column} = (SELECT kept FROM kept) WHERE number = 2")
        scene.change("DROP TABLE kept")


def test_reordered_events_are_named(scene: Scene) -> None:
    for before, after in ((2, 99), (3, 2), (99, 3)):
        scene.change(f"UPDATE events SET sequence = {after} WHERE writer = {scene.first} AND sequence = {before}")
    assert scene.faults()[0].startswith(f"event 2 of writer {scene.first}: it does not have the hash")


def test_reordered_events_that_were_hashed_anew_are_named(scene: Scene) -> None:
    for before, after in ((2, 99), (3, 2), (99, 3)):
        scene.change(f"UPDATE events SET sequence = {after} WHERE writer = {scene.first} AND sequence = {before}")
    (hash_,) = scene.column(f"SELECT hash FROM events WHERE writer = {scene.first} AND sequence = 1")
    scene.change(f"UPDATE events SET previous_hash = '{hash_}' WHERE writer = {scene.first} AND sequence = 2")
    scene.rehash(scene.first, 2)
    assert scene.faults()[0].startswith(f"event 3 of writer {scene.first}: checkpoint 1 has another hash")


def test_a_checkpoint_that_an_event_does_not_have_is_named(scene: Scene) -> None:
    scene.change(f"UPDATE events SET checkpoint = 1 WHERE writer = {scene.second} AND sequence = 2")
    assert scene.faults()[0] == f"event 2 of writer {scene.second}: checkpoint 2 covers it, and it says 1"


def test_the_end_cut_off_a_chain_is_named(scene: Scene) -> None:
    scene.change(f"DELETE FROM events WHERE writer = {scene.second} AND sequence > 2")
    assert scene.faults(witness=False)[0] == (
        f"event 3 of writer {scene.second}: events 3 to 4 are missing; checkpoint 2 has seen event 4"
    )


def cut_off_checkpoint_2(scene: Scene) -> None:
    scene.change(f"DELETE FROM events WHERE checkpoint = 2 OR checkpoint IS NULL OR writer = {scene.second}")
    scene.change("DELETE FROM checkpoints WHERE number = 2")


def test_the_end_cut_off_together_with_its_checkpoint_is_seen_by_the_witness(scene: Scene) -> None:
    cut_off_checkpoint_2(scene)
    assert scene.faults(witness=False) == []  # which is why there is one
    assert scene.faults() == [
        "checkpoint 2: it is missing, and the witness has it (witness.jsonl line 2): the end was cut off"
    ]


def test_everything_cut_off_is_seen_by_the_witness(scene: Scene) -> None:
    scene.change("DELETE FROM events")
    scene.change("DELETE FROM checkpoints")
    rows = [fault.partition(":")[0] for fault in scene.faults()]
    assert rows == ["checkpoint 1", "checkpoint 2", "events", "checkpoints"]
    assert scene.faults(witness=False) == [
        "events: expected some, found none",
        "checkpoints: expected one that is signed, since a key was given; found none",
    ]
    scene.witness.unlink()
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert [str(one) for one in report.faults] == [
        f"witness {scene.witness}: it is not there",
        "events: expected some, found none",
    ]
    (scene.folder / "export.jsonl").write_text("")
    alone = run_alone(scene.folder)
    assert (alone.returncode, alone.stdout.splitlines()[0]) == (1, "events: expected some, found none")


def test_a_witness_that_lacks_a_checkpoint_is_seen(scene: Scene) -> None:
    lines = scene.witness.read_bytes().splitlines(keepends=True)
    scene.witness.write_bytes(lines[1])
    assert scene.faults() == ["checkpoint 1: the witness does not have it"]


def test_a_witness_that_is_gone_is_no_witness_that_agrees(scene: Scene) -> None:
    scene.witness.unlink()
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert [fault.row for fault in report.faults] == [f"witness {scene.witness}", "checkpoint 1", "checkpoint 2"]
    with reading_trail(scene.url) as trail:
        assert verify_stored(trail, [scene.witness], None, may_lack_witness=True).faults == report.faults
    export(scene.url, scene.folder / "export.jsonl")
    alone = run_alone(scene.folder, "--witness", str(scene.witness))
    assert (alone.returncode, alone.stdout.splitlines()[0]) == (1, f"witness {scene.witness}: it is not there")


def test_a_witness_may_be_to_come_as_long_as_no_checkpoint_is_signed(database_url: str, tmp_path: Path) -> None:
    with Store.open(database_url) as store:
        tell(store, 1)
    with reading_trail(database_url) as trail:
        report = verify_stored(trail, [tmp_path / "none"], None, may_lack_witness=True)
    assert report.faults == []
    assert f"the witness {tmp_path / 'none'} is not there, and no checkpoint is signed" in list(report.lines())
    with reading_trail(database_url) as trail:
        report = verify_stored(trail, [tmp_path / "none"], None)
    assert [str(fault) for fault in report.faults] == [f"witness {tmp_path / 'none'}: it is not there"]


def test_the_number_is_told_at_which_the_key_was_changed(scene: Scene, token: Token) -> None:
    successor = make_signer(token)
    with Store.open(scene.url) as store:
        assert cover(make_maker(store, successor, scene.witness)) == 2
    export(scene.url, scene.folder / "export.jsonl")
    alone = run_alone(scene.folder, "--witness", str(scene.witness))
    assert alone.returncode == 0
    (first,) = verifier.read_keys(scene.key)
    assert alone.stdout.splitlines()[1:4] == [
        f"signed by the key with SPKI SHA-256 {first}",
        f"from checkpoint 3 on signed by the key with SPKI SHA-256 {successor.public_key.sha256}",
        "no key was given: whether that key may sign cannot be told",
    ]


def test_starts_without_a_stop_are_counted(database_url: str, tmp_path: Path) -> None:
    def tell_of(store: Store, kind: str, process: int) -> None:
        store.record_event(kind, ENGINE, "", {"processId": process, "purpose": "serve"})

    with Store.open(database_url) as store, Store.open(database_url) as other:
        for process in (7, 8, 7, 9, 10):
            tell_of(store, "engine-started", process)
        for process in (8, 7):
            tell_of(store, "engine-stopped", process)
        tell_of(other, "engine-stopped", 9)  # by a connection that was made anew
    with reading_trail(database_url) as trail:
        report = verify_stored(trail, [], None)
    assert (report.faults, report.starts) == ([], 2)
    export(database_url, tmp_path / "export.jsonl")
    alone = run_alone(tmp_path)
    assert alone.returncode == 0
    assert "starts without a stop: 2 (running, or ended without telling)" in alone.stdout.splitlines()


def test_a_clock_that_was_set_back_is_told(database_url: str, tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seconds = iter((10.0, 9.5, 8.5, 7.0, 8.0, 3.0))
    with Store.open(database_url, now=lambda: moment + timedelta(seconds=next(seconds))) as store:
        tell(store, 6)
    with Store.open(database_url, now=lambda: moment) as other:
        tell(other, 1)  # another clock
    with reading_trail(database_url) as trail:
        report = verify_stored(trail, [], None)
    assert (report.faults, report.set_back) == ([], 2)
    export(database_url, tmp_path / "export.jsonl")
    alone = run_alone(tmp_path)
    assert alone.returncode == 0
    assert f"recorded over a second earlier than the event before: 2, first {report.first_set_back}" in alone.stdout
    assert report.first_set_back.startswith("event 4 of writer ")


UNDECODABLE = ("kind", "actor", "source", "target", "outcome", "request_id", "details", "recorded_at", "previous_hash")


@pytest.mark.parametrize("column", [*UNDECODABLE, "hash"])
def test_text_of_an_event_that_is_not_utf_8_is_named_and_stops_nothing(scene: Scene, column: str) -> None:
    """PostgreSQL has no such text."""
    if scene.url.startswith("postgresql:"):
        return
    octets = "ff" + "61" * 63
    scene.change(
        f"UPDATE events SET {column} = CAST(X'{octets}' AS TEXT) WHERE writer = {scene.second} AND sequence = 2"
    )
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
        listed = [load_event(row) for row in trail.latest_events(WantedEvents(), 100)]
    assert str(report.faults[0]).startswith(f"event 2 of writer {scene.second}: it does not have the hash")
    assert (report.events, len(listed)) == (11, 11)
    assert json.dumps(listed)


@pytest.mark.parametrize("column", ["statement", "signature", "spki"])
@pytest.mark.parametrize("value", ["CAST(X'ff' AS TEXT)", "'x'"])
def test_text_of_a_checkpoint_that_is_not_one_is_named_and_stops_nothing(scene: Scene, column: str, value: str) -> None:
    if scene.url.startswith("postgresql:"):
        return
    scene.change(f"UPDATE checkpoints SET {column} = {value} WHERE number = 2")
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert report.faults[0].row == "checkpoint 2"
    assert report.events == 11


def test_a_selection_of_events_is_refused_in_a_sentence(scene: Scene) -> None:
    path = scene.folder / "export.jsonl"
    export(scene.url, path)
    whole = path.read_text()
    path.write_text('{"kind":["log-in"],"partial":true}\n' + whole)
    alone = run_alone(scene.folder, "--key", str(scene.key))
    assert (alone.returncode, alone.stdout) == (2, "")
    assert alone.stderr == (
        f"{path}: this export holds a selection of events, which cannot be verified by itself; export all events.\n"
    )
    path.write_text(whole + '{"partial":true}\n')
    alone = run_alone(scene.folder)
    assert (alone.returncode, alone.stdout) == (1, "")


def test_a_line_that_a_crash_has_torn_is_passed_over_if_the_whole_one_follows(scene: Scene) -> None:
    lines = scene.witness.read_bytes().splitlines(keepends=True)
    scene.witness.write_bytes(lines[0] + lines[1][:100] + b"\n" + lines[1])
    assert scene.faults() == []
    scene.witness.write_bytes(lines[0] + lines[1][:100])
    assert scene.faults() == ["checkpoint 2: the witness does not have it"]


def test_a_witness_that_was_told_twice_agrees(scene: Scene) -> None:
    scene.witness.write_bytes(scene.witness.read_bytes() * 2)
    assert scene.faults() == []


def test_swapped_checkpoints_are_named(scene: Scene) -> None:
    one, two = scene.column("SELECT statement FROM checkpoints ORDER BY number")
    scene.change(f"UPDATE checkpoints SET statement = '{one}' WHERE number = 2")
    scene.change(f"UPDATE checkpoints SET statement = '{two}' WHERE number = 1")
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert str(report.faults[0]) == "checkpoint 1: its statement is that of checkpoint 2"
    export(scene.url, scene.folder / "export.jsonl")
    alone = run_alone(scene.folder)
    assert alone.returncode == 1
    assert alone.stdout.startswith("checkpoint 2: expected checkpoint 1 here\n")


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ("statement = replace(statement, '\"total\":9', '\"total\":8')", "expected a total of 9, found 8"),
        ("statement = replace(statement, '\"events\":6', '\"events\":5')", "expected a total of 8, found 9"),
        ("statement = ' ' || statement", "its statement is not one: expected canonical JSON"),
        ("statement = 'nothing'", "its statement is not one"),
        ("signature = (SELECT signature FROM checkpoints WHERE number = 1)", "its signature does not verify"),
        ("spki = signature", "its key is not the one that its statement names"),
    ],
)
def test_an_edited_checkpoint_is_named(scene: Scene, edit: str, what: str) -> None:
    scene.change(f"UPDATE checkpoints SET {edit} WHERE number = 2")
    with reading_trail(scene.url) as trail:
        report = verify_stored(trail, [scene.witness], None)
    assert str(report.faults[0]).startswith(f"checkpoint 2: {what}")


def test_a_deleted_checkpoint_is_named(scene: Scene) -> None:
    scene.change("UPDATE events SET checkpoint = NULL WHERE checkpoint = 1")
    scene.change("DELETE FROM checkpoints WHERE number = 1")
    assert scene.faults()[0].startswith("checkpoint 2: ")


def test_who_signs_with_another_key_is_seen_by_the_key_and_by_the_witness(scene: Scene) -> None:
    """The whole trail anew: an event edited, its chain hashed anew, and the checkpoints signed by somebody else."""
    scene.change(f"UPDATE events SET actor = 'x' WHERE writer = {scene.second} AND sequence = 2")
    scene.rehash(scene.second, 2)
    sign_anew(scene)
    with reading_trail(scene.url) as trail:
        assert verify_stored(trail, [], None).faults == []  # which is why there is a key to know, and a witness
    with reading_trail(scene.url) as trail:
        faults = verify_stored(trail, [], verifier.read_keys(scene.key)).faults
    assert str(faults[0]).startswith("checkpoint 1: it was signed by a key that may not")
    with reading_trail(scene.url) as trail:
        faults = verify_stored(trail, [scene.witness], None).faults
    assert str(faults[0]) == "checkpoint 1: it is not the one that the witness has (witness.jsonl line 1)"


def sign_anew(scene: Scene) -> None:
    """Every checkpoint anew, over the events as they are now, by a key of somebody else."""
    private = ec.generate_private_key(ec.SECP256R1())
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def find_hash(writer: int, sequence: int) -> str:
        where = f"writer = {writer} AND sequence = {sequence}"
        return str(scene.column(f"SELECT hash FROM events WHERE {where}")[0])

    previous: CheckpointRow | None = None
    for number in (1, 2):
        columns = "writer, sequence, previous_hash, hash"
        rows = select(scene.url, f"SELECT {columns} FROM events WHERE checkpoint = {number} ORDER BY writer, sequence")
        time = now()
        statement = build_statement(previous, [Leaf(*row) for row in rows], time, sha256(spki).hexdigest(), find_hash)
        signature = private.sign(statement.encode(), ec.ECDSA(SHA256()))
        scene.change(
            f"UPDATE checkpoints SET statement = '{statement}', signature = {literal(scene, signature)}, "
            f"spki = {literal(scene, spki)}, recorded_at = '{spelt(scene, time)}', signed_at = '{spelt(scene, now())}' "
            f"WHERE number = {number}"
        )
        previous = CheckpointRow(number, now(), statement, signature, spki)


def take_signature_away(scene: Scene) -> None:
    scene.change("UPDATE checkpoints SET signature = NULL, signed_at = NULL WHERE number = 2")
    scene.change("UPDATE events SET checkpoint = NULL WHERE checkpoint = 2")


def test_a_signature_taken_away_is_seen(scene: Scene) -> None:
    scene.change("UPDATE checkpoints SET signature = NULL, signed_at = NULL WHERE number = 2")
    assert scene.faults()[0].endswith("it says that checkpoint 2 covers it, and no signed one does")
    scene.change("UPDATE events SET checkpoint = NULL WHERE checkpoint = 2")
    assert scene.faults() == []  # as a crash leaves it, with nothing lost: the engine signs it again


def test_a_checkpoint_whose_signature_only_the_witness_has_covers_its_events(scene: Scene) -> None:
    take_signature_away(scene)
    scene.witness.write_bytes(scene.witness.read_bytes() * 2)
    for witnesses, checkpoints, uncovered in (([], 1, 8), ([scene.witness], 2, 2)):
        with reading_trail(scene.url) as trail:
            report = verify_stored(trail, witnesses, None)
        assert (report.faults, report.checkpoints, report.uncovered) == ([], checkpoints, uncovered)
        assert report.is_signature_due


@pytest.mark.parametrize("witness", [True, False], ids=["witness", "no witness"])
@pytest.mark.parametrize(
    ("edit", "row", "what"),
    [
        (
            "UPDATE events SET actor = 'x' WHERE writer = {second} AND sequence = 2",
            "event 4 of writer {second}",
            "checkpoint 2 has another hash: one of events 1 to 4 was changed and hashed anew",
        ),
        (
            "DELETE FROM events WHERE writer = {second} AND sequence > 2",
            "event 3 of writer {second}",
            "events 3 to 4 are missing; checkpoint 2 has seen event 4",
        ),
        (
            "DELETE FROM events WHERE writer = {second}",
            "event 1 of writer {second}",
            "events 1 to 4 are missing; checkpoint 2 has seen event 4",
        ),
    ],
    ids=["edit", "end of a chain", "chain"],
)
def test_what_is_done_to_the_events_of_a_checkpoint_whose_signature_was_taken_away_is_named(
    scene: Scene, edit: str, row: str, what: str, witness: bool
) -> None:
    take_signature_away(scene)
    scene.change(edit.format(second=scene.second))
    scene.rehash(scene.second, 2)
    faults = scene.faults(witness=witness)
    assert faults[0] == f"{row.format(second=scene.second)}: {what}"
    assert any(fault.startswith("checkpoint 2: it") for fault in faults)


@pytest.mark.parametrize("witness", [True, False], ids=["witness", "no witness"])
@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"events":2', '"events":1', "expected a total of 10, found 11"),
        ('"root":"', '"root":"0', "its root is not that of its events: one of them was changed"),
        ('"previous":"', '"previous":"0', "it does not follow the statement of checkpoint 2 that is here"),
        ('"key":"', '"key":"0', "its key is not the one that its statement names"),
    ],
)
def test_a_statement_that_no_engine_has_made_is_not_one_that_waits_for_its_signature(
    scene: Scene, old: str, new: str, what: str, witness: bool
) -> None:
    statement, spki = propose_checkpoint_3(scene)
    plant(scene, statement, spki)
    assert scene.faults(witness=witness) == []  # as an engine makes it
    scene.change("DELETE FROM checkpoints WHERE number = 3")
    plant(scene, statement.replace(old, new), spki)
    assert f"checkpoint 3: {what}" in scene.faults(witness=witness)


@pytest.mark.parametrize("witness", [True, False], ids=["witness", "no witness"])
def test_a_statement_about_events_that_are_not_there_is_not_one_that_waits_for_its_signature(
    scene: Scene, witness: bool
) -> None:
    statement, spki = propose_checkpoint_3(scene)
    plant(scene, statement, spki)
    scene.change("DELETE FROM events WHERE checkpoint IS NULL")
    missing = f"event 6 of writer {scene.first}: event 6 is missing; checkpoint 3 has seen event 6"
    assert missing in scene.faults(witness=witness)


def test_a_statement_that_waits_for_the_signature_of_another_key_is_seen(scene: Scene) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plant(scene, *propose_checkpoint_3(scene, spki))
    (fault,) = scene.faults()
    assert fault.startswith("checkpoint 3: it is to be signed by a key that may not, with SPKI SHA-256 ")


def test_what_follows_a_checkpoint_without_its_signature_is_named(scene: Scene) -> None:
    scene.change("UPDATE checkpoints SET signature = NULL, signed_at = NULL WHERE number = 1")
    scene.change("UPDATE events SET checkpoint = NULL WHERE checkpoint = 1")
    assert scene.faults() == ["checkpoint 2: the checkpoint before it has no signature"]


@pytest.mark.parametrize("signature", ["", "AAAA", "of checkpoint 1"])
def test_a_signature_that_the_witness_does_not_have_is_no_substitute(scene: Scene, signature: str) -> None:
    """A line that anybody could have written: what it has the signature of shows by that."""
    take_signature_away(scene)
    one, two = map(json.loads, scene.witness.read_text(encoding="utf-8").splitlines())
    two["signature"] = one["signature"] if signature == "of checkpoint 1" else signature
    scene.witness.write_text(f"{json.dumps(one)}\n{json.dumps(two)}\n", encoding="utf-8")
    assert scene.faults() == ["witness.jsonl line 2: its signature does not verify"]


def propose_checkpoint_3(scene: Scene, spki: bytes | None = None) -> tuple[str, bytes]:
    """The statement over what is not covered, and the key that is to sign it: the audit key, or another one."""
    ((number, statement, signature, own),) = select(
        scene.url, "SELECT number, statement, signature, spki FROM checkpoints WHERE number = 2"
    )
    spki = spki or bytes(own)
    rows = select(
        scene.url,
        "SELECT writer, sequence, previous_hash, hash FROM events WHERE checkpoint IS NULL ORDER BY writer, sequence",
    )
    previous = CheckpointRow(number, now(), statement, signature, own)
    leaves = [Leaf(*row) for row in rows]
    before = {(leaf.writer, leaf.sequence - 1): leaf.previous for leaf in leaves}
    key = sha256(spki).hexdigest()
    return build_statement(previous, leaves, now(), key, lambda *place: before[place]), spki


def plant(scene: Scene, statement: str, spki: bytes) -> None:
    """Put it there as checkpoint 3, without a signature."""
    recorded_at = spelt(scene, datetime.fromisoformat(json.loads(statement)["recordedAt"]))
    scene.change(
        "INSERT INTO checkpoints (number, recorded_at, statement, spki) "
        f"VALUES (3, '{recorded_at}', '{statement}', {literal(scene, spki)})"
    )


def spelt(scene: Scene, time: datetime) -> str:
    """As the engine's database has it."""
    return f"{time:%Y-%m-%d %H:%M:%S.%f}" + ("" if scene.url.startswith("sqlite:") else "+00")


def literal(scene: Scene, octets: bytes) -> str:
    return f"X'{octets.hex()}'" if scene.url.startswith("sqlite:") else f"decode('{octets.hex()}', 'hex')"
