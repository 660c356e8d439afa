"""Group commit, on a real file: what shares a transaction, what fails alone, what fails together."""

import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text

from engine.errors import PolicyRefusal, StoreError
from engine.store.writer import GroupWriter

INSERT = text("INSERT INTO rows (name) VALUES (:name)")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.db"


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{file}", connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE rows (name TEXT PRIMARY KEY)")
    yield engine
    engine.dispose()


@pytest.fixture
def writer(engine: Engine) -> Iterator[GroupWriter]:
    writer = GroupWriter(engine)
    yield writer
    writer.close()


def insert(name: object) -> Callable[[Connection], object]:
    def work(connection: Connection) -> object:
        connection.execute(INSERT, {"name": name})
        return name

    return work


def committed(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM rows")}


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


def test_a_write_is_committed_when_it_returns(writer, file):
    assert writer.write(insert("a")) == "a"
    assert committed(file) == {"a"}


def test_writes_that_wait_together_share_one_commit(writer, engine, file):
    commits = []
    event.listen(engine, "commit", lambda connection: commits.append(1))
    with one_batch(writer, 20) as callers:
        answers = [callers.submit(writer.write, insert(f"n{number}")) for number in range(20)]
    assert [answer.result(30) for answer in answers] == [f"n{number}" for number in range(20)]
    assert len(commits) == 2
    assert len(committed(file)) == 20


def test_a_write_that_contradicts_a_constraint_fails_alone(writer, file):
    writer.write(insert("taken"))
    with one_batch(writer, 3) as callers:
        first = callers.submit(writer.write, insert("first"))
        twin = callers.submit(writer.write, insert("taken"))
        last = callers.submit(writer.write, insert("last"))
    assert (first.result(30), last.result(30)) == ("first", "last")
    with pytest.raises(StoreError, match="contradicts"):
        twin.result(30)
    assert committed(file) == {"taken", "first", "last"}


def test_a_refused_write_leaves_nothing_of_itself(writer, file):
    def work(connection: Connection) -> None:
        connection.execute(INSERT, {"name": "half"})
        raise PolicyRefusal("Refused in the middle.")

    with pytest.raises(PolicyRefusal, match="in the middle"):
        writer.write(work)
    assert committed(file) == set()


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


@pytest.mark.parametrize("value", ["\ud800", 1 << 70, object()], ids=["surrogate", "wide-integer", "object"])
def test_a_value_the_database_cannot_keep_is_a_store_error_and_the_writer_goes_on(writer, file, value):
    with pytest.raises(StoreError):
        writer.write(insert(value))
    writer.write(insert("next"))
    assert committed(file) == {"next"}


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` octets: to SQLite, a disk that refuses to take more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_commit_fails_every_write_of_its_batch_and_the_next_batch_works(writer, file, caplog):
    writer.write(insert("before" * 20_000))
    with full_disk(file.with_name("rows.db-wal").stat().st_size):
        with one_batch(writer, 3) as callers:
            # Alone each would fit in the pages at hand; the commit has to append all of them to the log.
            lost = [callers.submit(writer.write, insert(name)) for name in ("x", "y")]
            refused = callers.submit(writer.write, insert("before" * 20_000))
        for outcome in (*lost, refused):
            with pytest.raises(StoreError, match="did not commit"):
                outcome.result(30)
    assert "was not committed" in caplog.text
    assert committed(file) == {"before" * 20_000}
    writer.write(insert("after"))
    assert committed(file) == {"before" * 20_000, "after"}


def test_an_error_nobody_foresaw_closes_the_writer_and_leaves_no_caller_waiting(engine, file):
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
        writer.close()
    finally:
        threading.excepthook = hook
    assert seen == [KeyError]
    assert committed(file) == set()


def test_closing_commits_what_waits_and_refuses_what_comes_later(engine, file):
    writer = GroupWriter(engine)
    with one_batch(writer, 5) as callers:
        waiting = [callers.submit(writer.write, insert(f"n{number}")) for number in range(5)]
        while writer.waiting < 5:
            time.sleep(0)
        closing_thread = threading.Thread(target=writer.close)
        closing_thread.start()
    closing_thread.join(30)
    assert len([answer.result(30) for answer in waiting]) == 5
    assert len(committed(file)) == 5
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
