"""When checkpoints are made, and that nothing is signed while they cannot be."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.audit.keeper import CheckpointKeeper, Gate, WaitingEvents, making_checkpoints
from engine.errors import StoreUnavailable
from engine.store import Store
from engine.token import Token
from tests.database import new_database_url
from tests.unit.store.auditing import make_maker, make_signer, now, tell


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_gate_closes_when_an_event_has_waited_for_too_long() -> None:
    gate = Gate(600, clock := Clock())
    gate.check_open()
    gate.tell(599)
    gate.check_open()
    clock.seconds += 1
    with pytest.raises(StoreUnavailable, match="more than 600 seconds"):
        gate.check_open()
    gate.tell(0)
    gate.check_open()


def test_the_gate_closes_when_nobody_tells_it_anything_any_more() -> None:
    gate = Gate(600, clock := Clock())
    gate.tell(0)
    clock.seconds = 601
    with pytest.raises(StoreUnavailable):
        gate.check_open()


def test_a_closed_gate_says_why_there_is_no_checkpoint() -> None:
    gate = Gate(600, Clock())
    gate.tell(601)
    assert gate.state().endswith("for more than 600 seconds.")
    gate.explain("The witness is away.")
    assert gate.state().endswith("for more than 600 seconds (The witness is away).")
    gate.tell(0)
    assert gate.state() == "ready"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(new_database_url(tmp_path)) as opened:
        yield opened


@pytest.fixture
def keeper(store: Store, token: Token, tmp_path: Path) -> CheckpointKeeper:
    maker = make_maker(store, make_signer(token), tmp_path / "witness.jsonl")
    return CheckpointKeeper(maker, store.find_waiting_events, Gate(600), now, events=3, seconds=60.0)


def test_so_many_events_make_a_checkpoint_due(store: Store, keeper: CheckpointKeeper) -> None:
    tell(store, 2)
    keeper.look()
    assert store.find_waiting_events().count == 2
    tell(store, 1)
    keeper.look()
    assert store.find_waiting_events().count == 0


def test_an_old_event_makes_a_checkpoint_due(store: Store, keeper: CheckpointKeeper) -> None:
    tell(store, 1)
    keeper.now = keeper.maker.now = lambda: datetime.now(UTC) + timedelta(seconds=61)
    keeper.look()
    assert store.find_waiting_events().count == 0


def test_a_witness_that_is_away_for_too_long_closes_the_gate_until_it_is_back(
    store: Store, keeper: CheckpointKeeper, tmp_path: Path
) -> None:
    tell(store, 1)
    (tmp_path / "witness.jsonl").mkdir()
    keeper.now = lambda: datetime.now(UTC) + timedelta(seconds=601)
    with pytest.raises(StoreUnavailable, match="witness"):
        keeper.look()
    with pytest.raises(StoreUnavailable, match="Nothing is signed"):
        keeper.gate.check_open()
    (tmp_path / "witness.jsonl").rmdir()
    keeper.look()
    keeper.gate.check_open()


def test_what_waits_is_covered_at_the_beginning_and_at_the_end(store: Store, keeper: CheckpointKeeper) -> None:
    tell(store, 1)
    with making_checkpoints(keeper):
        tell(store, 1)
    assert store.find_waiting_events().count == 0


class OddError(Exception):
    """Nobody has foreseen it."""


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StoreUnavailable("The database is away."), "(The database is away)"),
        (OddError(), "(An error that nobody foresaw is in the log)"),
        (TypeError(), "(An error that nobody foresaw is in the log)"),
    ],
)
def test_whatever_goes_wrong_checkpoints_are_tried_again_and_meanwhile_the_gate_closes(
    store: Store, keeper: CheckpointKeeper, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    monkeypatch.setattr("engine.audit.keeper._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("engine.audit.keeper._AGAIN_SECONDS", 0.01)
    keeper.gate = Gate(0.3)
    look, broken = keeper.find_waiting_events, threading.Event()
    looks: list[int] = []

    def find_waiting_events() -> WaitingEvents:
        looks.append(1)
        if broken.is_set():
            raise error
        return look()

    keeper.find_waiting_events = find_waiting_events
    broken.set()
    with making_checkpoints(keeper):
        wait_until(lambda: keeper.gate.state().endswith(f"{why}."))
        made = len(looks)
        wait_until(lambda: len(looks) > made + 2)
        broken.clear()
        wait_until(lambda: keeper.gate.state() == "ready")
        tell(store, 3)
        wait_until(lambda: store.find_waiting_events().count == 0)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_an_audit_key_nothing_is_made(store: Store) -> None:
    tell(store, 1)
    with making_checkpoints(None):
        pass
    assert store.find_waiting_events().count == 1


def test_what_somebody_waits_for_is_covered_at_once(store: Store, keeper: CheckpointKeeper) -> None:
    tell(store, 1)
    assert keeper.cover(lambda: store.find_waiting_events().count == 0, 0.0) is False
    assert keeper.cover(lambda: store.find_waiting_events().count == 0, 60.0) is True
    last = store.find_waiting_events()
    assert (last.count, last.oldest) == (0, None)
    assert keeper.cover(lambda: True, 0.0) is True


def test_who_waits_for_a_checkpoint_of_somebody_elses_does_not_wait_for_ever(
    store: Store, keeper: CheckpointKeeper
) -> None:
    tell(store, 1)
    spki = keeper.maker.find_signer().public_key.spki
    far = now() - timedelta(days=1)
    store.begin_checkpoint(lambda *_: "of another process", spki, at_least=1, recorded_by=far, most=10)
    assert keeper.cover(lambda: store.find_waiting_events().count == 0, 0.1) is False
    with keeper._making:
        assert keeper.cover(lambda: False, 0.01) is False
