"""Trails in which every hash and signature is right are faulty all the same for what they say; and whatever is in a
file that is verified, it is a fault or a refusal and nothing else.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.audit import verifier
from engine.audit.verifier import Fault, Report, TrailVerifier, read_witnessed, verify_export
from tests.unit.audit.made_up import Trail, base64_of, canonical, hex_of, make_evidence, time_of, write_lines

OTHER = "f" * 64
HOUR = 3600


def make_trail() -> Trail:
    """Two writers and two checkpoints; the last event of the first writer is not covered."""
    trail = Trail()
    for writer in (1, 1, 2):
        trail.tell(writer)
    trail.cover()
    for writer in (1, 2):
        trail.tell(writer)
    trail.cover()
    trail.tell(1)
    return trail


@pytest.fixture
def verify(tmp_path: Path) -> Callable[..., Report]:
    def run(
        trail: Trail, lines: Sequence[dict[str, Any]] | None = None, witness: Sequence[dict[str, Any]] | None = None
    ) -> Report:
        path = write_lines(tmp_path / "export.jsonl", list(trail.lines() if lines is None else lines))
        witnesses = [] if witness is None else [write_lines(tmp_path / "witness.jsonl", list(witness))]
        return verify_export(path, witnesses, None)

    return run


def test_what_is_true_verifies(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    report = verify(trail, witness=[one.render_witness() for one in trail.checkpoints])
    assert (report.faults, report.events, report.checkpoints, report.uncovered) == ([], 6, 2, 1)


def second(**members: object) -> Callable[[], Trail]:
    """The last checkpoint has these members."""

    def make() -> Trail:
        trail = make_trail()
        trail.cover(**members)
        return trail

    return make


def with_event(**members: object) -> Callable[[], Trail]:
    """The last event has these."""

    def make() -> Trail:
        trail = make_trail()
        trail.tell(1, **members)
        return trail

    return make


NO_STATEMENT = "checkpoint 3: its statement is not one: "
NO_CHAINS = f"{NO_STATEMENT}expected chains to "


def covered_once_more() -> Trail:
    """The last checkpoint is one of the first event that waits, and ends behind the second."""
    trail = make_trail()
    trail.tell(1)
    trail.cover(events=1, total=6, root=trail.events[-2].hash)
    return trail


def hashed_otherwise() -> Trail:
    trail = make_trail()
    trail.events[-1].hash = OTHER
    return trail


def marked_otherwise() -> Trail:
    trail = make_trail()
    trail.events[0].checkpoint = 2
    return trail


def unmarked() -> Trail:
    trail = make_trail()
    trail.events[0].checkpoint = None
    return trail


def ends_behind_the_last_writer() -> Trail:
    trail = make_trail()
    trail.cover(chains={"1": [4, trail.events[-1].hash], "2": [3, OTHER]})
    return trail


def covers_nothing_new() -> Trail:
    trail = make_trail()
    trail.events.pop()
    first = trail.events[0]
    first.checkpoint = None
    trail.cover(chains={"1": [1, first.hash]})
    first.checkpoint = 1
    return trail


LIES: dict[str, tuple[Callable[[], Trail], str]] = {
    "a checkpoint that follows another": (
        second(previous=OTHER),
        "checkpoint 3: it does not follow the statement of checkpoint 2 that is here",
    ),
    "another number": (second(number=4), "checkpoint 4: expected checkpoint 3 here"),
    "another total": (second(total=7), "checkpoint 3: expected a total of 6, found 7"),
    "another root": (
        second(root=OTHER),
        "checkpoint 3: its root is not that of its events: one of them was changed",
    ),
    "more events than there are": (
        second(events=2, total=7),
        "checkpoint 3: it has 2 events, and others or not as many are here",
    ),
    "another head": (
        second(chains={"1": [4, OTHER]}),
        "event 4 of writer 1: checkpoint 3 has another hash: it was changed and hashed anew",
    ),
    "a head that is not there": (
        second(chains={"1": [5, OTHER]}),
        "event 5 of writer 1: event 5 is missing; checkpoint 3 has seen event 5",
    ),
    "a head of the last writer that is not there": (
        ends_behind_the_last_writer,
        "event 3 of writer 2: event 3 is missing; checkpoint 3 has seen event 3",
    ),
    "another key": (second(key=OTHER), "checkpoint 3: its key is not the one that its statement names"),
    "no time": (second(recordedAt="soon"), "checkpoint 3: its statement is not one: expected recordedAt to be a time"),
    "a writer of another spelling": (
        second(chains={"01": [4, OTHER]}),
        "checkpoint 3: its statement is not one: expected chains to have a sequence and a hash for each writer",
    ),
    "another member of a checkpoint": (second(more=1), f"{NO_STATEMENT}expected the members of a checkpoint"),
    **{
        f"{name} that is {value!r}": (second(**{name: value}), f"{NO_STATEMENT}expected events, number and total to be")
        for name in ("events", "number", "total")
        for value in (0, 1.0, True, "1")
        if name != "number"
    },
    **{
        f"{name} that is no text": (second(**{name: 5}), f"{NO_STATEMENT}expected key, previous, recordedAt and root")
        for name in ("key", "previous", "recordedAt", "root")
    },
    "chains that are none": (second(chains=[1]), f"{NO_CHAINS}be an object with members"),
    "no chains": (second(chains={}), f"{NO_CHAINS}be an object with members"),
    **{
        f"a head that is {head!r}": (second(chains={"1": head}), f"{NO_CHAINS}have a sequence and a hash")
        for head in ("4f", {"0": 4, "1": OTHER}, [4], [4, OTHER, 1], ["4", OTHER], [4.0, OTHER], [True, OTHER], [4, 5])
    },
    "more events than it says": (
        covered_once_more,
        "checkpoint 3: it has 1 events, and others or not as many are here",
    ),
    "another hash": (
        hashed_otherwise,
        "event 4 of writer 1: it does not have the hash that is kept with it: it was changed",
    ),
    "a mark of another checkpoint": (marked_otherwise, "event 1 of writer 1: checkpoint 1 covers it, and it says 2"),
    "no mark": (unmarked, "event 1 of writer 1: checkpoint 1 covers it, and it says none"),
    "another member of an event": (
        with_event(more=1),
        "event after event 4 of writer 1: it is not an event: expected the members of an event",
    ),
    "a sequence that is no number": (
        with_event(sequence=5.0),
        "event after event 4 of writer 1: it is not an event: expected sequence to be a number",
    ),
    "a checkpoint of no events": (covers_nothing_new, "checkpoint 3: none of its events is here"),
    "an event that follows another": (
        with_event(previous=OTHER),
        "event 5 of writer 1: it does not follow event 4 as that is here: one of both was changed",
    ),
    "an event of another place": (
        with_event(sequence=9),
        "event 9 of writer 1: events 5 to 8 are missing, which came before it",
    ),
    "an event twice": (
        with_event(sequence=4),
        "event 4 of writer 1: it is out of order, or there twice: it comes after event 4",
    ),
    "an event of no time": (
        with_event(recordedAt="2026-03-01T12:00:05Z"),
        "event 5 of writer 1: its time is not as the engine writes one",
    ),
    **{
        f"{name} that is no text": (
            with_event(**{name: 5}),
            "event after event 4 of writer 1: it is not an event: expected every member but details and sequence",
        )
        for name in ("actor", "kind", "outcome", "previous", "recordedAt", "requestId", "source", "target", "writer")
    },
    "an event that was put there later": (
        with_event(recordedAt=time_of(5 - HOUR - 1)),
        f"event 5 of writer 1: it says that it was recorded on {time_of(5 - HOUR - 1)}, and checkpoint 2, which has "
        "all of then, does not have it: it was put there later, or a clock was put back",
    ),
}


@pytest.mark.parametrize(("make", "fault"), LIES.values(), ids=LIES)
def test_what_is_not_true_is_named(verify: Callable[..., Report], make: Callable[[], Trail], fault: str) -> None:
    report = verify(make())
    assert str(report.faults[0]).startswith(fault)
    assert list(report.lines())[-1] == "FAILED"


def test_a_chain_that_was_put_there_later_is_named(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    trail.tell(7, recordedAt=time_of(-2 * HOUR))
    trail.tell(7)
    (fault,) = verify(trail).faults
    assert fault.row == "event 1 of writer 7"


def test_what_a_slow_transaction_or_another_clock_brings_after_a_checkpoint_is_no_fault(
    verify: Callable[..., Report],
) -> None:
    trail = make_trail()
    trail.tell(7, recordedAt=time_of(5 - HOUR))
    assert verify(trail).faults == []


def test_what_a_full_checkpoint_had_no_room_for_is_no_fault(
    verify: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = make_trail()
    trail.tell(7, recordedAt=time_of(-2 * HOUR))
    assert verify(trail).faults != []
    monkeypatch.setattr(verifier, "_MOST_EVENTS", 2)
    assert verify(trail).faults == []


def test_what_waits_for_its_checkpoint_since_before_there_were_any_is_no_fault(verify: Callable[..., Report]) -> None:
    trail = Trail()
    trail.tell(1, recordedAt=time_of(-2 * HOUR))
    trail.tell(1)
    trail.cover(sign=False)
    report = verify(trail)
    assert (report.faults, report.uncovered) == ([], 2)


def test_a_number_of_another_statement_is_named(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    checker = TrailVerifier()
    for number, one in enumerate(trail.checkpoints, 2):
        checker.take_checkpoint(number, one.statement, one.signature, one.spki)
    assert [str(fault) for fault in checker.report.faults] == [
        "checkpoint 2: expected checkpoint 1 here",
        "checkpoint 2: its statement is that of checkpoint 1",
        "checkpoint 3: expected checkpoint 2 here",
        "checkpoint 3: its statement is that of checkpoint 2",
    ]


def test_what_follows_a_checkpoint_without_a_signature_is_named(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    trail.cover(sign=False)
    trail.tell(1)
    trail.events[-2].checkpoint = 0
    trail.cover()
    trail.events[-2].checkpoint = None
    (fault,) = verify(trail).faults
    assert str(fault) == "checkpoint 4: the checkpoint before it has no signature"


def test_a_statement_that_waits_for_its_signature_does_not_mark_its_events(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    trail.cover(sign=False)
    assert verify(trail, witness=[one.render_witness() for one in trail.checkpoints[:2]]).faults == []
    trail.events[-1].checkpoint = 3
    (fault,) = verify(trail).faults
    assert str(fault) == "event 4 of writer 1: it says that checkpoint 3 covers it, and no signed one does"


def test_a_changed_event_is_named_once_and_not_by_the_checkpoint_that_it_ends(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    trail.events[1].statement["actor"] = "somebody else"
    assert [str(fault) for fault in verify(trail).faults] == [
        "event 2 of writer 1: it does not have the hash that is kept with it: it was changed",
        "checkpoint 1: its root is not that of its events: one of them was changed",
    ]


@pytest.mark.parametrize("spelling", ["01", "+1", " 1", "1 ", "1_0", "\u0661", "x", ""])
def test_a_writer_that_is_spelt_otherwise_is_none(verify: Callable[..., Report], spelling: str) -> None:
    lines = make_trail().lines()
    lines[-3]["event"]["writer"] = spelling
    fault = verify(make_trail(), lines).faults[0]
    assert fault.row == "event after event 1 of writer 2"
    assert fault.what.startswith("it is not an event: ")


def test_a_statement_that_has_no_octets_is_none() -> None:
    checker = TrailVerifier()
    statement = make_trail().checkpoints[0].statement.replace('"root":"', '"root":"\ud800')
    checker.take_checkpoint(1, statement, b"", b"")
    (fault,) = checker.report.faults
    assert fault.what.startswith("its statement is not one: 'utf-8' codec can't encode")


@pytest.mark.parametrize("event", [[], None, 5, "event"])
def test_what_is_no_object_is_no_event(verify: Callable[..., Report], event: object) -> None:
    lines = make_trail().lines()
    lines[-3]["event"] = event
    fault = verify(make_trail(), lines).faults[0]
    assert str(fault) == "event after event 1 of writer 2: it is not an event: expected the members of an event"


@pytest.mark.parametrize("statement", ["[]", "5", "null", '"statement"', 5, None])
def test_what_is_no_object_is_no_statement(statement: object) -> None:
    checker = TrailVerifier()
    checker.take_checkpoint(1, statement, None, b"")
    (fault,) = checker.report.faults
    assert fault.what.startswith("its statement is not one: expected ")


@pytest.mark.parametrize(("old", "new"), [('"chains"', ' "chains"'), ('"number":3', '"number":3,"number":3')])
def test_a_statement_that_is_spelt_otherwise_is_none(verify: Callable[..., Report], old: str, new: str) -> None:
    trail = make_trail()
    trail.cover()
    assert old in trail.checkpoints[2].statement
    trail.checkpoints[2].statement = trail.checkpoints[2].statement.replace(old, new)
    assert str(verify(trail).faults[0]).startswith(NO_STATEMENT)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (
            ec.generate_private_key(ec.SECP224R1()).public_key(),
            "its key cannot be used: nothing is signed on secp224r1",
        ),
        (ed448.Ed448PrivateKey.generate().public_key(), "its key cannot be used: nothing is signed by such a key"),
        (None, "its key cannot be used: "),
    ],
)
def test_a_checkpoint_of_a_key_that_cannot_be_used_is_named(key: Any, what: str) -> None:
    spki = b"key" if key is None else key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    statement = canonical(json.loads(make_trail().checkpoints[0].statement) | {"key": hex_of(spki)})
    checker = TrailVerifier()
    checker.take_checkpoint(1, statement, b"signature", spki)
    (fault,) = checker.report.faults
    assert fault.what.startswith(what)


def test_a_key_that_is_no_octets_is_named() -> None:
    checker = TrailVerifier()
    checker.take_checkpoint(1, make_trail().checkpoints[0].statement, b"signature", None)
    assert [fault.what for fault in checker.report.faults] == ["its key is not the one that its statement names"]


def test_writers_out_of_order_are_named(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    lines = trail.lines()
    first = [line for line in lines if line.get("event", {}).get("writer") == "1"]
    rest = [line for line in lines if line not in first]
    fault, *others = verify(trail, [*rest, *first]).faults
    assert [other.row for other in others] == ["checkpoint 1", "checkpoint 2"]
    assert str(fault) == "events of writer 1: they are out of order: writers must come by number"


def test_what_the_witness_says_counts_only_with_a_signature(verify: Callable[..., Report]) -> None:
    trail = make_trail()
    witness = [one.render_witness() for one in trail.checkpoints]
    other = make_trail()
    other.cover()
    told = other.checkpoints[2].render_witness()
    missing = "checkpoint 3: it is missing, and the witness has it (witness.jsonl line 3): the end was cut off"
    assert [str(fault) for fault in verify(trail, witness=[*witness, told]).faults] == [missing]
    for lie in ({"signature": witness[0]["signature"]}, {"signature": ""}, {"signature": base64_of(b"signature")}):
        (fault,) = verify(trail, witness=[*witness, told | lie]).faults
        assert str(fault) == "witness.jsonl line 3: its signature does not verify"
    (fault,) = verify(trail, witness=[*witness, told | {"key": base64_of(b"key")}]).faults
    assert str(fault) == "witness.jsonl line 3: its key is not the one that its statement names"


def test_a_checkpoint_that_the_witness_has_otherwise_is_named(verify: Callable[..., Report]) -> None:
    trail, other = make_trail(), make_trail()
    other.checkpoints.pop()
    for event in other.events:
        event.checkpoint = 1 if event.checkpoint == 1 else None
    other.cover()
    witness = [one.render_witness() for one in other.checkpoints]
    assert [str(fault) for fault in verify(trail, witness=witness).faults] == [
        "checkpoint 2: it is not the one that the witness has (witness.jsonl line 2)",
        "checkpoint 2: the witness does not have it",
    ]


DEEP = "[" * 100_000
SURROGATE = '{"statement": "\\ud800", "signature": "", "key": ""}'


@pytest.mark.parametrize("line", [DEEP, f'{{"statement": {DEEP}', "[]", "5", '{"statement": 5}', "\0"])
def test_a_line_of_a_witness_that_is_none_is_passed_over(line: str, tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"
    path.write_text(f"{line}\n", encoding="utf-8")
    checker = TrailVerifier()
    checker.take_witness([line], path.name)
    assert (checker.report.faults, checker.report.witness_lines) == ([], 0)
    assert read_witnessed([path]) == ({hex_of(b"5")} if line == '{"statement": 5}' else set())


def test_a_line_of_a_witness_that_has_no_octets_is_a_fault_and_nothing_of_evidence_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"
    path.write_text(SURROGATE, encoding="utf-8")
    checker = TrailVerifier()
    checker.take_witness([SURROGATE], path.name)
    assert [fault.row for fault in checker.report.faults] == ["witness.jsonl line 1"]
    assert read_witnessed([path]) == set()


def run_alone(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", verifier.__file__, *words], capture_output=True, text=True, check=False
    )


def with_number(number: object) -> dict[str, Any]:
    statement = json.loads(make_trail().checkpoints[0].statement) | {"number": number}
    return {"checkpoint": json.dumps(statement, sort_keys=True, separators=(",", ":")), "signature": None, "key": ""}


@pytest.mark.parametrize(
    "line",
    [
        with_number("\ud800"),
        with_number("\x1b[2J"),
        with_number("1\nverified"),
        with_number(float("inf")),
        {"checkpoint": "\ud800", "signature": None, "key": ""},
        {"checkpoint": "[" * 100_000, "signature": None, "key": ""},
        {"checkpoint": 5, "signature": "", "key": ""},
        {"event": {"actor": "\ud800"}, "hash": "", "checkpoint": None},
        {"event": make_trail().events[0].statement | {"writer": float("inf")}, "hash": "", "checkpoint": None},
        {"event": make_trail().events[0].statement | {"actor": "\ud800"}, "hash": "", "checkpoint": None},
        {"event": make_trail().events[0].statement, "hash": ["\x1b"], "checkpoint": "\nverified"},
    ],
)
def test_no_line_of_an_export_moves_the_terminal_or_ends_the_verifier(line: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(line).replace("Infinity", "1e999")
    path = tmp_path / "export.jsonl"
    path.write_text(text, encoding="utf-8")
    done = run_alone(path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = done.stdout + done.stderr
    assert said.replace("\n", "").isprintable()
    assert "verified" not in said.splitlines()


def test_no_text_of_a_report_begins_a_line() -> None:
    report = Report(
        last_checkpoint="\nverified",
        uncovered=1,
        uncovered_since="\nverified\x1b[2J",
        keys=[(1, "\nverified"), (2, "\nverified")],
        set_back=1,
        first_set_back="\nverified",
        witnesses_to_come=["\nverified"],
    )
    report.add(Fault("checkpoint \ud800", "\nverified"))
    lines = list(report.lines())
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert lines[-1] == "FAILED"
    assert "verified" not in lines


def test_evidence_of_nothing_but_depth_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(canonical(make_evidence()).replace('"events":[', f'"events":[{DEEP}'), encoding="utf-8")
    done = run_alone(path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
