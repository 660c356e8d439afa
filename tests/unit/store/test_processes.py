"""Several processes on one database: who lives keeps what it has under way, and nothing is given out twice."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from engine.errors import AlreadyExists, StoreError, StoreUnavailable
from engine.store import Store
from tests.database import select
from tests.unit.store.conftest import close_dangling

CONTENDER = Path(__file__).with_name("contender.py")


@contextmanager
def contender(url: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, str(CONTENDER), url, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def go_on(process: "subprocess.Popen[str]") -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def test_what_a_killed_process_left_open_is_closed_and_what_a_living_one_has_open_is_not(
    store, database_url, intent, certificate_of, rows
):
    own = intent()
    store.record_intent(**own)
    with contender(database_url, "open", "1") as killed, contender(database_url, "open", "2") as living:
        assert (killed.stdout.readline(), living.stdout.readline()) == ("recorded\n", "recorded\n")
        assert store.close_dangling_intents() == ()
        killed.kill()
        killed.wait()
        (dangling,) = close_dangling(store, 1)
        assert (dangling.intent_id, dangling.serial_number) == ("intent-1", 1)
        assert store.close_dangling_intents() == ()
        go_on(living)
        assert living.stdout.readline() == "finished\n"
    store.record_certificate(**certificate_of(own))
    assert rows("SELECT intent_id, state FROM intents ORDER BY intent_id") == [
        ("intent-0", "signed"),
        ("intent-1", "outcome-unknown"),
        ("intent-2", "signed"),
    ]
    assert rows("SELECT path FROM entries") == [("a.b.s.2",)]


def test_two_stores_of_one_process_are_two_writers(store, database_url, intent, certificate_of):
    facts = intent()
    with Store.open(database_url) as other:
        other.record_intent(**facts)
        assert store.close_dangling_intents() == ()
        other.record_certificate(**certificate_of(facts))
    assert store.close_dangling_intents() == ()


def test_two_that_look_for_the_dead_at_once_report_each_intent_once(store, database_url, intent, record_and_die):
    record_and_die(*(intent() for _ in range(20)))
    found: list[str] = []
    with Store.open(database_url) as other, ThreadPoolExecutor(2) as callers:
        while len(found) < 20:
            for closed in callers.map(Store.close_dangling_intents, (store, other)):
                found += [row.intent_id for row in closed]
    assert sorted(found) == sorted(f"intent-{number}" for number in range(20))


@pytest.mark.parametrize("same", ["place", "serial number"])
def test_two_stores_never_both_get_a_place_or_a_serial_number(store, database_url, intent, place, same):
    start = threading.Barrier(2)

    def claim(one: Store, number: int) -> bool:
        start.wait(30)
        facts = intent(entries=[place(f"a.b.s.{number}")] if same == "place" else ())
        if same == "serial number":
            facts["serial_number"] = number
        try:
            one.record_intent(**facts)
        except (AlreadyExists, StoreError):
            return False
        return True

    with Store.open(database_url) as other, ThreadPoolExecutor(2) as callers:
        for number in range(20):
            assert sorted(callers.map(claim, (store, other), (number, number))) == [False, True]


def test_two_processes_never_both_get_a_place_or_a_serial_number(database_url):
    with contender(database_url, "race", "x") as one, contender(database_url, "race", "y") as other:
        assert (one.stdout.readline(), other.stdout.readline()) == ("ready\n", "ready\n")
        go_on(one)
        go_on(other)
        with ThreadPoolExecutor(2) as readers:
            said = list(readers.map(lambda process: process.stdout.read().split(), (one, other)))
        assert (one.wait(), other.wait()) == (0, 0)
    assert sorted(int(number) for numbers in said for number in numbers) == list(range(100))


def test_the_writer_is_kept_with_its_intent(store, database_url, intent):
    with Store.open(database_url) as other:
        store.record_intent(**intent())
        store.record_intent(**intent())
        other.record_intent(**intent())
    ((first,), (second,), (third,)) = select(database_url, "SELECT writer FROM intents ORDER BY intent_id")
    assert first == second != third


def test_a_writer_that_was_cut_off_cannot_finish_what_another_has_closed(postgresql_url, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s.leaf")])
    with Store.open(postgresql_url) as store, Store.open(postgresql_url) as other:
        store.record_intent(**facts)
        with store._database._write_engine.connect() as connection:
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [process])
        close_dangling(other, 1)
        with pytest.raises(StoreUnavailable, match=r"No open intent .*: another process has closed it"):
            store.record_certificate(**certificate_of(facts))
        other.record_intent(**intent(entries=[place("a.b.s.leaf")]))
    assert select(postgresql_url, "SELECT count(*) FROM certificates") == [(0,)]


def test_a_connection_that_was_lost_leaves_nothing_to_be_closed_by_the_process_that_goes_on(
    postgresql_url, intent, certificate_of
):
    facts = intent()
    with Store.open(postgresql_url) as store:
        store.record_intent(**facts)
        with store._database._write_engine.connect() as connection:
            connection.invalidate()
        assert store.close_dangling_intents() == ()
        store.record_certificate(**certificate_of(facts))
    assert select(postgresql_url, "SELECT state FROM intents") == [("signed",)]


def test_a_writer_that_was_cut_off_finishes_what_nobody_has_closed(postgresql_url, intent, certificate_of):
    facts = intent()
    with Store.open(postgresql_url) as store:
        store.record_intent(**facts)
        with store._database._write_engine.connect() as connection:
            connection.invalidate()
        store.record_certificate(**certificate_of(facts))
    assert select(postgresql_url, "SELECT state FROM intents") == [("signed",)]
