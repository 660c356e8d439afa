"""Checkpoints: which events they cover, that only what is there is signed, and that a crash anywhere costs nothing."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine.audit.checkpoint import CheckpointMaker, find_inclusion
from engine.audit.keeper import CheckpointKeeper, Gate, making_checkpoints
from engine.audit.stored import verify_stored
from engine.audit.verifier import check_inclusion, check_signature, load_checkpoint, verify_export
from engine.commands.audit import _exported
from engine.directory.signers import HostedSigner
from engine.errors import IssuanceDefect, NotFound, StoreError, StoreUnavailable, TokenUnavailable
from engine.store import Store, StoredTrail, WantedEvents, reading_trail
from engine.token import Token
from engine.x509.spki import PublicKey
from tests.database import change
from tests.unit.store.auditing import cover, make_maker, make_signer, now, tell

Rows = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def store(database_url: str) -> Any:
    """With the time as it is: checkpoints look at it."""
    with Store.open(database_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def signer(token: Token) -> HostedSigner:
    return make_signer(token)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "witness.jsonl"


@pytest.fixture
def maker(store: Store, signer: HostedSigner, witness: Path) -> CheckpointMaker:
    return make_maker(store, signer, witness)


@dataclass
class Broken:
    """A signer whose token is away, or whose signature is not one."""

    signer: HostedSigner
    signature: bytes | None = None

    @property
    def public_key(self) -> PublicKey:
        return self.signer.public_key

    def check_present(self) -> None:
        if self.signature is None:
            raise TokenUnavailable("The token is away.")

    def sign(self, algorithm: str, message: bytes) -> bytes:
        assert self.signature is not None
        return self.signature


def verify(url: str, witness: Path) -> list[str]:
    with reading_trail(url) as trail:
        return [str(fault) for fault in verify_stored(trail, [witness], None).faults]


def test_a_checkpoint_says_what_it_covers_and_is_signed(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, rows: Rows, witness: Path
) -> None:
    tell(store, 3)
    assert cover(maker) == 3
    tell(store, 2)
    assert cover(maker) == 2
    first, second = (store.find_checkpoint(number) for number in (1, 2))
    members = load_checkpoint(second.statement)
    (writer, *_), *_ = rows("SELECT writer FROM events")
    hashes = [row[0] for row in rows("SELECT hash FROM events ORDER BY sequence")]
    assert members["chains"] == {str(writer): [5, hashes[4]]}
    assert (members["number"], members["events"], members["total"]) == (2, 2, 5)
    assert members["previous"] == sha256(first.statement.encode()).hexdigest()
    assert members["key"] == signer.public_key.sha256
    assert second.signature is not None
    check_signature(second.spki, second.signature, second.statement.encode())
    assert [row[0] for row in rows("SELECT checkpoint FROM events ORDER BY sequence")] == [1, 1, 1, 2, 2]
    told = [json.loads(line)["statement"] for line in witness.read_text(encoding="utf-8").splitlines()]
    assert told == [first.statement, second.statement]


def test_none_is_made_before_it_is_due(store: Store, maker: CheckpointMaker) -> None:
    assert maker.make(at_least=1, recorded_by=now()) == 0
    tell(store, 3)
    assert maker.make(at_least=4, recorded_by=now() - timedelta(minutes=1)) == 0
    waiting = store.find_waiting_events()
    assert waiting.count == 3
    assert maker.make(at_least=4, recorded_by=now()) == 3
    assert store.find_waiting_events() == type(waiting)(0, None)
    tell(store, 4)
    assert maker.make(at_least=4, recorded_by=now() - timedelta(minutes=1)) == 4


def test_the_statement_is_durable_before_the_token_is_asked(
    store: Store, maker: CheckpointMaker, rows: Rows, signer: HostedSigner
) -> None:
    tell(store, 1)
    seen: list[list[tuple[Any, ...]]] = []

    class Watching(Broken):
        def check_present(self) -> None:
            seen.append(rows("SELECT number, signature, signed_at FROM checkpoints"))

    maker.find_signer = lambda: Watching(signer)
    with pytest.raises(AssertionError):
        cover(maker)
    assert seen == [[(1, None, None)]]


def test_a_statement_left_without_a_signature_is_signed_as_it_is(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, database_url: str, witness: Path
) -> None:
    tell(store, 2)
    maker.find_signer = lambda: Broken(signer)
    with pytest.raises(TokenUnavailable):
        cover(maker)
    left = store.find_checkpoint(1)
    tell(store, 3)
    after_a_restart = make_maker(store, signer, witness)
    after_a_restart.now = lambda: now() + timedelta(minutes=1)
    assert cover(after_a_restart) == 2
    signed = store.find_checkpoint(1)
    assert signed.statement == left.statement
    assert signed.signature is not None
    assert cover(after_a_restart) == 3
    assert verify(database_url, witness) == []


def test_a_signature_that_does_not_verify_is_not_kept(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, rows: Rows, witness: Path
) -> None:
    tell(store, 1)
    maker.find_signer = lambda: Broken(signer, signer.sign("ecdsa-with-SHA256", b"something else"))
    with pytest.raises(IssuanceDefect):
        cover(maker)
    assert rows("SELECT signature FROM checkpoints") == [(None,)]
    assert not witness.exists()


def test_a_checkpoint_counts_only_when_the_witness_has_it(
    store: Store, maker: CheckpointMaker, rows: Rows, database_url: str, witness: Path
) -> None:
    tell(store, 1)
    witness.mkdir()
    with pytest.raises(StoreUnavailable, match="witness file"):
        cover(maker)
    assert rows("SELECT signature FROM checkpoints") == [(None,)]
    assert rows("SELECT checkpoint FROM events") == [(None,)]
    witness.rmdir()
    assert cover(maker) == 1
    assert verify(database_url, witness) == []


def test_a_crash_after_the_witness_leaves_a_trail_that_verifies(
    store: Store, maker: CheckpointMaker, database_url: str, witness: Path
) -> None:
    tell(store, 2)
    assert cover(maker) == 2
    change(database_url, "UPDATE checkpoints SET signature = NULL, signed_at = NULL")
    change(database_url, "UPDATE events SET checkpoint = NULL")
    assert verify(database_url, witness) == []
    assert cover(maker) == 2
    assert len(witness.read_bytes().splitlines()) == 2
    assert verify(database_url, witness) == []


def numbers_told(witness: Path) -> list[int]:
    lines = witness.read_text(encoding="utf-8").splitlines()
    return [load_checkpoint(json.loads(line)["statement"])["number"] for line in lines]


@pytest.mark.parametrize("kept", [None, 0, 1, 2], ids=["absent", "empty", "one line", "two lines"])
def test_a_witness_that_is_new_or_was_left_out_is_told_what_it_lacks(
    store: Store,
    signer: HostedSigner,
    database_url: str,
    witness: Path,
    kept: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.audit.checkpoint._TOLD_AT_ONCE", 2)
    tell(store, 1)
    assert cover(make_maker(store, signer, witness)) == 1
    tell(store, 1)
    assert cover(make_maker(store, signer, witness)) == 1
    lines = witness.read_bytes().splitlines(keepends=True)
    witness.unlink()
    for _ in range(3):
        tell(store, 1)
        assert cover(make_maker(store, signer, None)) == 1
    if kept is not None:
        witness.write_bytes(b"".join(lines[:kept]))
    assert verify(database_url, witness) != []
    tell(store, 1)
    assert cover(make_maker(store, signer, witness)) == 1
    assert numbers_told(witness) == [1, 2, 3, 4, 5, 6]
    assert verify(database_url, witness) == []
    tell(store, 1)
    assert cover(make_maker(store, signer, witness)) == 1
    assert numbers_told(witness) == [1, 2, 3, 4, 5, 6, 7]


def test_a_witness_that_was_told_a_part_before_a_crash_is_told_the_rest(
    store: Store, signer: HostedSigner, database_url: str, witness: Path
) -> None:
    for _ in range(4):
        tell(store, 1)
        assert cover(make_maker(store, signer, None)) == 1
    tell(store, 1)
    assert cover(make_maker(store, signer, witness)) == 1
    lines = witness.read_bytes().splitlines(keepends=True)
    witness.write_bytes(lines[0] + lines[1][:50])
    tell(store, 1)
    assert cover(make_maker(store, signer, witness)) == 1
    assert verify(database_url, witness) == []


def test_an_engine_with_a_new_witness_tells_it_all_when_it_starts(
    store: Store, signer: HostedSigner, database_url: str, witness: Path
) -> None:
    for _ in range(2):
        tell(store, 1)
        assert cover(make_maker(store, signer, None)) == 1
    tell(store, 1)
    maker = make_maker(store, signer, witness)
    keeper = CheckpointKeeper(maker, store.find_waiting_events, Gate(600), now, events=1000, seconds=600.0)
    with making_checkpoints(keeper):
        pass
    assert numbers_told(witness) == [1, 2, 3]
    assert verify(database_url, witness) == []


def test_a_fresh_statement_of_another_process_is_left_to_it(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, database_url: str, witness: Path
) -> None:
    tell(store, 1)
    maker.find_signer = lambda: Broken(signer)
    with pytest.raises(TokenUnavailable):
        cover(maker)
    with Store.open(database_url) as other:
        assert cover(make_maker(other, signer, witness)) == 0


def test_makers_side_by_side_cover_every_event_once(
    database_url: str, signer: HostedSigner, rows: Rows, witness: Path
) -> None:
    def work() -> None:
        with Store.open(database_url) as store:
            maker = make_maker(store, signer, witness)
            for _ in range(10):
                tell(store, 5)
                cover(maker)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(database_url) as store:
        maker = make_maker(store, signer, witness)
        while store.find_waiting_events().count:
            assert cover(maker)
    assert rows("SELECT count(*) FROM events WHERE checkpoint IS NULL") == [(0,)]
    assert rows("SELECT count(*) FROM events") == [(150,)]
    assert rows("SELECT count(*) FROM checkpoints WHERE signature IS NULL") == [(0,)]
    assert verify(database_url, witness) == []


def test_many_events_are_covered_in_parts(
    store: Store, maker: CheckpointMaker, database_url: str, witness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.audit.checkpoint.MOST_EVENTS", 4)
    tell(store, 6)
    with Store.open(database_url) as other:
        tell(other, 4)
    assert [cover(maker) for _ in range(4)] == [4, 4, 2, 0]
    assert verify(database_url, witness) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM events WHERE sequence = 3",
        "UPDATE events SET hash = previous_hash WHERE sequence = 3",
        "UPDATE events SET previous_hash = hash WHERE sequence = 4",
        "UPDATE events SET hash = previous_hash WHERE sequence = 2",
    ],
)
def test_a_trail_that_was_changed_is_not_made_good_by_a_signature(
    store: Store, maker: CheckpointMaker, database_url: str, rows: Rows, damage: str
) -> None:
    tell(store, 2)
    assert cover(maker) == 2
    tell(store, 3)
    change(database_url, damage)
    with pytest.raises(StoreError, match=r"The audit trail was changed: event [34] of writer"):
        cover(maker)
    assert rows("SELECT max(number) FROM checkpoints") == [(1,)]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE checkpoints SET statement = replace(statement, '\"events\":3', '\"events\":2') WHERE number = 2",
        "UPDATE checkpoints SET statement = 'anything' WHERE number = 2",
        "UPDATE checkpoints SET statement = replace(statement, '\"total\":5', '\"total\":3') WHERE number = 2",
        "DELETE FROM events WHERE sequence = 5",
    ],
)
def test_a_planted_statement_is_not_signed(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, database_url: str, rows: Rows, damage: str
) -> None:
    tell(store, 2)
    assert cover(maker) == 2
    tell(store, 3)
    maker.find_signer = lambda: Broken(signer)
    with pytest.raises(TokenUnavailable):
        cover(maker)
    change(database_url, damage)
    again = make_maker(store, signer, None)
    again.now = lambda: now() + timedelta(minutes=1)
    with pytest.raises(StoreError, match="Checkpoint 2 is not signed: it does not fit"):
        cover(again)
    assert rows("SELECT signature FROM checkpoints WHERE number = 2") == [(None,)]


def test_another_key_does_not_sign_what_names_the_one_before(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, token: Token
) -> None:
    tell(store, 1)
    maker.find_signer = lambda: Broken(signer)
    with pytest.raises(TokenUnavailable):
        cover(maker)
    other = make_maker(store, make_signer(token), None)
    other.now = lambda: now() + timedelta(minutes=1)
    with pytest.raises(StoreError, match=f"the key with SPKI SHA-256 {signer.public_key.sha256}"):
        cover(other)


def test_a_key_that_follows_another_is_fine_if_it_may_sign(
    store: Store, maker: CheckpointMaker, token: Token, database_url: str, witness: Path
) -> None:
    tell(store, 1)
    assert cover(maker) == 1
    tell(store, 1)
    successor = make_signer(token)
    assert cover(make_maker(store, successor, witness)) == 1
    with reading_trail(database_url) as trail:
        report = verify_stored(trail, [witness], None)
    assert (report.faults, len(report.keys)) == ([], 2)
    with reading_trail(database_url) as trail:
        faults = verify_stored(trail, [witness], {successor.public_key.sha256}).faults
    assert str(faults[0]).startswith("checkpoint 1: it was signed by a key that may not")


def test_checkpoints_that_are_made_while_the_trail_is_verified_are_not_taken_for_a_cut_end(
    store: Store, maker: CheckpointMaker, database_url: str, witness: Path
) -> None:
    tell(store, 2)
    assert cover(maker) == 2
    tell(store, 2)

    class Meanwhile:
        def __init__(self, trail: StoredTrail) -> None:
            self.events = trail.events
            self._trail = trail

        def checkpoints(self) -> Iterator[Any]:
            assert cover(maker) == 2  # in the database and in the witness
            yield from self._trail.checkpoints()
            tell(store, 2)
            assert cover(maker) == 2  # in the witness only, as far as is read here

    with reading_trail(database_url) as trail:
        report = verify_stored(Meanwhile(trail), [witness], None)
    assert (report.faults, report.checkpoints, report.witness_lines) == ([], 2, 2)
    assert verify(database_url, witness) == []
    change(database_url, "UPDATE events SET checkpoint = NULL WHERE checkpoint = 3")
    change(database_url, "DELETE FROM checkpoints WHERE number = 3")
    assert "checkpoint 3: it is missing, and the witness has it" in verify(database_url, witness)[0]


def test_an_export_that_is_made_beside_an_engine_has_the_events_of_every_statement_in_it(
    store: Store, maker: CheckpointMaker, signer: HostedSigner, database_url: str, tmp_path: Path
) -> None:
    tell(store, 2)
    assert cover(maker) == 2
    tell(store, 2)
    with reading_trail(database_url) as trail:
        lines = _exported(trail, WantedEvents())
        exported = [next(lines)]
        tell(store, 2)
        maker.find_signer = lambda: Broken(signer)
        with pytest.raises(TokenUnavailable):
            cover(maker)
        exported += lines
    path = tmp_path / "export.jsonl"
    path.write_text("\n".join(exported), encoding="utf-8")
    report = verify_export(path, [], None)
    assert (report.faults, report.events, report.is_signature_due) == ([], 4, False)
    with reading_trail(database_url) as trail:
        path.write_text("\n".join(_exported(trail, WantedEvents())), encoding="utf-8")
    report = verify_export(path, [], None)
    assert (report.faults, report.events, report.uncovered, report.is_signature_due) == ([], 6, 4, True)


def test_every_covered_event_has_a_proof(store: Store, maker: CheckpointMaker, database_url: str, rows: Rows) -> None:
    tell(store, 3)
    with Store.open(database_url) as other:
        tell(other, 2)
        assert cover(maker) == 5
        tell(other, 4)
        tell(store, 2)
        assert cover(maker) == 6
    tell(store, 1)
    events = rows("SELECT writer, sequence, hash, checkpoint FROM events")
    assert len(events) == 12
    for writer, sequence, hash_, number in events:
        proof = find_inclusion(store, writer, sequence)
        if number is None:
            assert proof is None
            continue
        assert proof is not None
        assert proof.checkpoint.number == number
        members = load_checkpoint(proof.checkpoint.statement)
        check_inclusion(
            bytes.fromhex(hash_), proof.index, members["events"], proof.path, bytes.fromhex(members["root"])
        )
    with pytest.raises(NotFound):
        find_inclusion(store, 1, 1)


def test_there_is_no_proof_in_a_checkpoint_whose_events_are_not_all_there(
    store: Store, maker: CheckpointMaker, database_url: str, rows: Rows
) -> None:
    tell(store, 3)
    assert cover(maker) == 3
    ((writer,),) = rows("SELECT DISTINCT writer FROM events")
    change(database_url, "DELETE FROM events WHERE sequence = 2")
    with pytest.raises(StoreError, match="checkpoint 1 has other events"):
        find_inclusion(store, writer, 1)
