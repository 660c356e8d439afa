"""Group commit, on a real database: what shares a transaction, what fails alone, what fails together."""

import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, event, text

from engine.errors import PolicyRefusal, StoreError, StoreUnavailable
from engine.store import postgresql as postgresql_module
from engine.store import sqlite as sqlite_module
from engine.store.address import load_address
from engine.store.database import _backend
from engine.store.writer import GroupWriter, writer_of
from tests.database import select
from tests.postgresql import PostgreSQLServer

INSERT = text("INSERT INTO rows (name) VALUES (:name)")
COUNT = text("UPDATE rows SET number = number + 1 WHERE name = :name")


@contextmanager
def open_backend(url: str) -> Iterator[Engine]:
    """The write engine that a store would have."""
    backend = _backend(load_address(url), None)
    engine = backend.write_engine()
    try:
        yield engine
    finally:
        engine.dispose()
        backend.close()


@contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """The same, over one table."""
    with open_backend(url) as engine:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE rows (name TEXT PRIMARY KEY, number BIGINT DEFAULT 0)"))
        yield engine


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    with open_engine(empty_database_url) as engine:
        yield engine


@pytest.fixture
def writer(engine: Engine) -> Iterator[GroupWriter]:
    writer = GroupWriter(engine)
    yield writer
    writer.close()


@pytest.fixture
def committed(empty_database_url: str) -> Callable[[], set[str]]:
    return lambda: {name for (name,) in select(empty_database_url, "SELECT name FROM rows")}


def insert(name: object) -> Callable[[Connection], object]:
    def work(connection: Connection) -> object:
        connection.execute(INSERT, {"name": name})
        return name

    return work


@contextmanager
def one_batch(writer: GroupWriter, size: int) -> Iterator[ThreadPoolExecutor]:
    """Holds the writer in a batch of its own until `size` writes wait, so that these become one batch."""
    entered, gather = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        entered.set()
        gather.wait(30)

    with ThreadPoolExecutor(size + 1) as callers:
        holding = callers.submit(writer.write, hold)
        assert entered.wait(30)
        yield callers
        deadline = time.monotonic() + 30
        while writer.waiting < size and time.monotonic() < deadline:
            time.sleep(0)
        assert writer.waiting == size
        gather.set()
        holding.result(30)


def test_a_write_is_committed_when_it_returns(writer, committed):
    assert writer.write(insert("a")) == "a"
    assert committed() == {"a"}


def test_writes_that_wait_together_share_one_commit(writer, engine, committed):
    commits = []
    event.listen(engine, "commit", lambda connection: commits.append(1))
    with one_batch(writer, 20) as callers:
        answers = [callers.submit(writer.write, insert(f"n{number}")) for number in range(20)]
    assert [answer.result(30) for answer in answers] == [f"n{number}" for number in range(20)]
    assert len(commits) == 2
    assert len(committed()) == 20


def test_a_write_that_contradicts_a_constraint_fails_alone(writer, committed):
    writer.write(insert("taken"))
    with one_batch(writer, 3) as callers:
        first = callers.submit(writer.write, insert("first"))
        twin = callers.submit(writer.write, insert("taken"))
        last = callers.submit(writer.write, insert("last"))
    assert (first.result(30), last.result(30)) == ("first", "last")
    with pytest.raises(StoreError, match="contradicts"):
        twin.result(30)
    assert committed() == {"taken", "first", "last"}


def test_a_refused_write_leaves_nothing_of_itself(writer, committed):
    def work(connection: Connection) -> None:
        connection.execute(INSERT, {"name": "half"})
        raise PolicyRefusal("Refused in the middle.")

    with pytest.raises(PolicyRefusal, match="in the middle"):
        writer.write(work)
    assert committed() == set()


def test_what_is_in_the_way_is_explained_after_the_write_was_undone(writer):
    writer.write(insert("taken"))

    def work(connection: Connection) -> None:
        connection.execute(INSERT, {"name": "half"})
        connection.execute(INSERT, {"name": "taken"})

    def explain(connection: Connection) -> PolicyRefusal:
        names = connection.execute(text("SELECT name FROM rows")).scalars().all()
        return PolicyRefusal(f"In the way: {', '.join(names)}.")

    with pytest.raises(PolicyRefusal, match=r"In the way: taken\."):
        writer.write(work, explain)


VALUES = [{"name": "\ud800"}, {"name": "wide", "number": 1 << 70}, {"name": object()}]


@pytest.mark.parametrize("row", VALUES, ids=["surrogate", "wide-integer", "object"])
def test_a_value_the_database_cannot_keep_fails_alone(writer, committed, row):
    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO rows (name, number) VALUES (:name, :number)"), {"number": 0} | row)

    with one_batch(writer, 2) as callers:
        refused, other = callers.submit(writer.write, work), callers.submit(writer.write, insert("next"))
    assert other.result(30) == "next"
    with pytest.raises(StoreError, match="cannot keep"):
        refused.result(30)
    assert committed() == {"next"}


def test_a_write_that_is_repeated_for_the_sake_of_another_counts_once(writer, empty_database_url):
    writer.write(insert("taken"))
    with one_batch(writer, 2) as callers:
        counted = callers.submit(writer.write, lambda connection: connection.execute(COUNT, {"name": "taken"}).rowcount)
        twin = callers.submit(writer.write, insert("taken"))
    assert counted.result(30) == 1
    assert isinstance(twin.exception(30), StoreError)
    assert select(empty_database_url, "SELECT number FROM rows") == [(1,)]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` octets: to SQLite, a disk that refuses to take more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_commit_fails_every_write_of_its_batch_and_the_next_batch_works(database, caplog):
    names = f"sqlite:///{database}", "SELECT name FROM rows"
    with open_engine(names[0]) as engine, closing(GroupWriter(engine)) as writer:
        writer.write(insert("before" * 20_000))
        with full_disk(database.with_name("engine.db-wal").stat().st_size):
            with one_batch(writer, 3) as callers:
                # Alone each would fit in the pages at hand; the commit has to append all of them to the log.
                lost = [callers.submit(writer.write, insert(name)) for name in ("x", "y")]
                refused = callers.submit(writer.write, insert("before" * 20_000))
            for outcome in (*lost, refused):
                with pytest.raises(StoreUnavailable, match="did not commit"):
                    outcome.result(30)
        assert "was not committed" in caplog.text
        assert select(*names) == [("before" * 20_000,)]
        writer.write(insert("after"))
        assert {name for (name,) in select(*names)} == {"before" * 20_000, "after"}


def test_a_sqlite_file_that_another_process_writes_to_for_too_long_is_unavailable(database, monkeypatch):
    monkeypatch.setattr(sqlite_module, "_DURABLE", ("busy_timeout=50", "journal_mode=WAL"))
    with open_engine(f"sqlite:///{database}") as engine, closing(GroupWriter(engine)) as writer:
        with closing(sqlite3.connect(database)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="did not commit"):
                writer.write(insert("x"))
        assert writer.write(insert("x")) == "x"


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_write_for_which_there_is_no_memory_is_refused_and_the_next_is_not(engine, committed, error):
    with closing(GroupWriter(engine)) as writer:

        def work(connection: Connection) -> None:
            raise error

        with one_batch(writer, 2) as callers:
            outcomes = [callers.submit(writer.write, insert("x")), callers.submit(writer.write, work)]
        for outcome in outcomes:
            with pytest.raises(StoreUnavailable, match="did not commit the record: there is not enough memory"):
                outcome.result(30)
        assert writer.write(insert("y")) == "y"
        assert not writer.has_stopped
    assert committed() == {"y"}
    assert not writer.has_stopped


def test_an_error_nobody_foresaw_closes_the_writer_and_leaves_no_caller_waiting(engine, committed):
    seen: list[type[BaseException]] = []
    hook, threading.excepthook = threading.excepthook, lambda args: seen.append(args.exc_type)
    try:
        writer = GroupWriter(engine)

        def work(connection: Connection) -> None:
            raise KeyError("a fault in the engine")

        with one_batch(writer, 2) as callers:
            outcomes = [callers.submit(writer.write, insert("x")), callers.submit(writer.write, work)]
        for outcome in outcomes:
            with pytest.raises(StoreError, match="has stopped"):
                outcome.result(30)
        with pytest.raises(StoreError, match="closed"):
            writer.write(insert("later"))
        deadline = time.monotonic() + 30
        while not writer.has_stopped:
            assert time.monotonic() < deadline
        writer.close()
    finally:
        threading.excepthook = hook
    assert seen == [KeyError]
    assert committed() == set()


def test_closing_commits_what_waits_and_refuses_what_comes_later(engine, committed):
    writer = GroupWriter(engine)
    with one_batch(writer, 5) as callers:
        waiting = [callers.submit(writer.write, insert(f"n{number}")) for number in range(5)]
        while writer.waiting < 5:
            time.sleep(0)
        closing_thread = threading.Thread(target=writer.close)
        closing_thread.start()
    closing_thread.join(30)
    assert len([answer.result(30) for answer in waiting]) == 5
    assert len(committed()) == 5
    with pytest.raises(StoreError, match="closed"):
        writer.write(insert("late"))


def test_a_full_queue_refuses_after_its_deadline(engine):
    writer = GroupWriter(engine, queue_limit=2, queue_seconds=0.01)
    try:
        with one_batch(writer, 2) as callers:
            waiting = [callers.submit(writer.write, insert(name)) for name in ("a", "b")]
            while writer.waiting < 2:
                time.sleep(0)
            with pytest.raises(StoreError, match="behind by 2 records"):
                writer.write(insert("c"))
        assert [answer.result(30) for answer in waiting] == ["a", "b"]
    finally:
        writer.close()


@pytest.fixture
def server_engine(postgresql_url: str) -> Iterator[Engine]:
    with open_engine(postgresql_url) as engine:
        yield engine


@pytest.fixture
def server_writer(server_engine: Engine) -> Iterator[GroupWriter]:
    with closing(GroupWriter(server_engine)) as writer:
        yield writer


def cut_off(url: str) -> None:
    """End the connection of every engine to this database, and return when they are gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        others = (
            "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name = 'signing-engine'"
        )
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
        while connection.execute(f"SELECT count(*) {others}").fetchone() != (0,):
            time.sleep(0)


def test_a_connection_lost_between_two_writes_is_replaced_by_another_writer(server_writer, postgresql_url):
    first = server_writer.write(writer_of)
    cut_off(postgresql_url)
    assert server_writer.write(insert("next")) == "next"
    assert server_writer.write(writer_of) != first


def test_a_connection_lost_in_the_middle_of_a_batch_loses_and_doubles_nothing(server_writer, postgresql_url):
    cuts = [postgresql_url]

    def work(connection: Connection) -> None:
        connection.execute(INSERT, {"name": "second"})
        if cuts:
            cut_off(cuts.pop())

    with one_batch(server_writer, 3) as callers:
        outcomes = [callers.submit(server_writer.write, one) for one in (insert("first"), work, insert("third"))]
    for outcome in outcomes:
        outcome.result(30)
    assert sorted(select(postgresql_url, "SELECT name FROM rows")) == [("first",), ("second",), ("third",)]


def test_a_connection_lost_during_the_commit_is_never_answered_as_success(server_writer, server_engine, postgresql_url):
    cuts = [postgresql_url]
    event.listen(server_engine, "commit", lambda connection: cuts and cut_off(cuts.pop()))
    with pytest.raises(StoreUnavailable, match="is not known"):
        server_writer.write(insert("unknown"))
    assert server_writer.write(insert("next")) == "next"


@pytest.fixture
def without_standby(postgresql: PostgreSQLServer) -> Iterator[None]:
    """Every COMMIT waits for the word of a standby that is not there."""
    postgresql.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = 'nobody'"))
    postgresql.execute(sql.SQL("SELECT pg_reload_conf()"))
    yield
    postgresql.execute(sql.SQL("ALTER SYSTEM RESET synchronous_standby_names"))
    postgresql.execute(sql.SQL("SELECT pg_reload_conf()"))


def write_until_it_fails(writer: GroupWriter) -> None:
    for number in range(100_000):  # the server takes its time to read its settings again
        writer.write(insert(f"n{number}"))


def test_a_commit_that_is_not_answered_is_never_taken_for_success(server_writer, without_standby, monkeypatch):
    monkeypatch.setattr(postgresql_module, "ANSWER_SECONDS", 0.3)
    with pytest.raises(StoreError, match="is not known"):
        write_until_it_fails(server_writer)


def test_a_commit_whose_wait_for_a_standby_was_cancelled_is_never_taken_for_success(
    server_writer, postgresql_url, without_standby
):
    with ThreadPoolExecutor(1) as caller, psycopg.connect(postgresql_url, autocommit=True) as other:
        outcome = caller.submit(write_until_it_fails, server_writer)
        while not outcome.done():
            other.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        with pytest.raises(StoreError, match="is not known"):
            outcome.result(0)


def test_two_writers_that_lock_each_other_out_both_come_through(server_engine, postgresql_url):
    gate, holding, met = threading.Event(), threading.Barrier(3), threading.Barrier(2)

    def hold(connection: Connection) -> None:
        holding.wait(30)
        gate.wait(30)

    def count(name: str, meet: list[threading.Barrier]) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            connection.execute(COUNT, {"name": name})
            if meet:
                meet.pop().wait(30)

        return work

    with (
        open_backend(postgresql_url) as other_engine,
        closing(GroupWriter(server_engine)) as one,
        closing(GroupWriter(other_engine)) as other,
        ThreadPoolExecutor(6) as callers,
    ):
        for name in "ab":
            one.write(insert(name))
        outcomes = [callers.submit(writer.write, hold) for writer in (one, other)]
        holding.wait(30)
        for writer, (first, second) in ((one, "ab"), (other, "ba")):
            for waiting, work in enumerate((count(first, [met]), count(second, [])), 1):
                outcomes.append(callers.submit(writer.write, work))
                while writer.waiting != waiting:
                    time.sleep(0)
        gate.set()
        for outcome in outcomes:
            outcome.result(30)
    assert select(postgresql_url, "SELECT number FROM rows ORDER BY name") == [(2,), (2,)]


def test_two_single_writes_that_lock_each_other_out_both_come_through(server_engine, postgresql_url):
    met = threading.Barrier(2)

    def count_both(names: str) -> Callable[[Connection], None]:
        meet = [met]

        def work(connection: Connection) -> None:
            connection.execute(COUNT, {"name": names[0]})
            if meet:
                meet.pop().wait(30)
            connection.execute(COUNT, {"name": names[1]})

        return work

    with (
        open_backend(postgresql_url) as other_engine,
        closing(GroupWriter(server_engine)) as one,
        closing(GroupWriter(other_engine)) as other,
        ThreadPoolExecutor(2) as callers,
    ):
        for name in "ab":
            one.write(insert(name))
        outcomes = [callers.submit(one.write, count_both("ab")), callers.submit(other.write, count_both("ba"))]
        for outcome in outcomes:
            outcome.result(30)
    assert select(postgresql_url, "SELECT number FROM rows ORDER BY name") == [(2,), (2,)]


def test_a_row_that_another_holds_for_too_long_is_unavailable_and_delays_nobody_else(postgresql_url, monkeypatch):
    monkeypatch.setitem(postgresql_module._WRITING, "lock_timeout", "'100ms'")
    with open_engine(postgresql_url) as engine, closing(GroupWriter(engine)) as writer:
        writer.write(insert("held"))
        with psycopg.connect(postgresql_url) as other:
            other.execute("SELECT * FROM rows FOR UPDATE")
            with one_batch(writer, 2) as callers:
                held = callers.submit(writer.write, lambda connection: connection.execute(COUNT, {"name": "held"}))
                free = callers.submit(writer.write, insert("free"))
            assert free.result(30) == "free"
            with pytest.raises(StoreUnavailable, match="did not commit"):
                held.result(30)


def test_a_server_that_takes_no_writes_now_is_left_for_a_new_connection(server_writer, server_engine):
    server_writer.write(insert("before"))
    with server_engine.begin() as connection:
        connection.execute(text("SET default_transaction_read_only TO on"))
    with pytest.raises(StoreUnavailable, match="did not commit"):
        server_writer.write(insert("refused"))
    assert server_writer.write(insert("after")) == "after"


@pytest.mark.parametrize(("said", "kept"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_a_commit_waits_for_the_disk_whatever_the_servers_default_is(postgresql, postgresql_url, said, kept):
    name = sql.Identifier(postgresql_url.rpartition("/")[2])
    postgresql.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit TO {}").format(name, sql.Literal(said)))
    with open_engine(postgresql_url) as engine, closing(GroupWriter(engine)) as writer:
        show = text("SHOW synchronous_commit")
        assert writer.write(lambda connection: connection.execute(show).scalar_one()) == kept
