"""Opening, reading and closing a database."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from signal import SIGCONT, SIGINT, SIGQUIT, SIGSTOP

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import DBAPIError

from engine.errors import ConfigError, StoreError, StoreUnavailable
from engine.store import Store, read_keys
from engine.store import postgresql as postgresql_module
from engine.store.address import load_address
from tests.database import select
from tests.postgresql import PostgreSQLServer


@dataclass(frozen=True)
class Password:
    """What the store asks of a Secret."""

    octets: bytes

    def reveal(self) -> bytes:
        return self.octets


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("mysql://user@host/db", "mysql"),
        ("sqlite+aiosqlite:////tmp/x.db", "aiosqlite"),
        ("postgresql+psycopg2://user@host/db", "psycopg2"),
        ("sqlite://", "absolute"),
        ("sqlite:///relative.db", "absolute"),
        ("sqlite:///:memory:", "absolute"),
        ("sqlite:////tmp/x.db?mode=ro", "nothing before or after"),
        ("sqlite://user@/tmp/x.db", "nothing before or after"),
        ("postgresql://user@host", "no name of a database"),
        ("postgresql://user@host:port/db", "no database URL"),
        ("/tmp/x.db", "no database URL"),
    ],
)
def test_a_url_that_names_no_database_the_engine_can_use_is_refused(url, found):
    with pytest.raises(ConfigError, match=found):
        Store.open(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://user:hunter2@host/db", "store.password = { file"),
        ("postgresql://:hunter2@host/db", "store.password = { file"),
        ("postgresql+psycopg://user:hunter2@host:port/db", "no database URL"),
        ("postgresql://user@host/db?password=hunter2", "found password"),
        ("postgresql://user@host/db?sslpassword=hunter2", "found sslpassword"),
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url, said, caplog):
    with pytest.raises(ConfigError) as refusal:
        Store.open(url)
    assert said in refusal.value.message
    assert "hunter2" not in f"{refusal.value!r} {refusal.value.__cause__!r} {refusal.value.details} {caplog.text}"


def test_the_options_of_a_connection_may_be_said_in_the_url(postgresql_url):
    url = f"{postgresql_url}?application_name=of-its-own&connect_timeout=3&sslmode=disable"
    with Store.open(url) as store:
        applications = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()"
        with store._database._read_engine.connect() as connection:
            assert connection.exec_driver_sql(applications).all() == [("of-its-own",)]


def test_a_sqlite_database_takes_no_password(database):
    with pytest.raises(ConfigError, match=r"store\.password: expected none"):
        Store.open(f"sqlite:///{database}", Password(b"hunter2"))


@pytest.fixture
def guarded_url(postgresql: PostgreSQLServer, postgresql_url: str) -> Iterator[str]:
    """A database that asks for a password: that of its user is `correct horse`."""
    url = postgresql_url.replace("//postgres@", "//guarded@")
    rules = postgresql.data / "pg_hba.conf"
    before = rules.read_text()
    postgresql.execute(sql.SQL("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'correct horse'"))
    rules.write_text(f"host all guarded all scram-sha-256\n{before}")
    postgresql.execute(sql.SQL("SELECT pg_reload_conf()"))
    with suppress(psycopg.OperationalError):
        while True:  # until the server has read its rules again
            psycopg.connect(url).close()
    yield url
    rules.write_text(before)
    postgresql.execute(sql.SQL("SELECT pg_reload_conf()"))
    postgresql.execute(sql.SQL("DROP ROLE guarded"))


def test_the_password_is_given_to_the_server(guarded_url):
    with Store.open(guarded_url, Password(b"correct horse")) as store:
        assert store.state() == "ready"
        assert read_keys(guarded_url, Password(b"correct horse")) == ()


def test_the_password_is_given_to_nobody_else(guarded_url, caplog):
    caplog.set_level(logging.DEBUG)
    with Store.open(guarded_url, Password(b"correct horse")) as store:
        urls = [engine.url for engine in (store._database._read_engine, store._database._write_engine)]
    with pytest.raises(StoreUnavailable, match=r"guarded@.* cannot be opened") as refusal:
        Store.open(guarded_url, Password(b"wrong horse"))
    assert "password authentication failed" in caplog.text
    said = [caplog.text, repr(refusal.value), repr(refusal.value.__cause__)]
    assert "horse" not in " ".join([*said, *(url.render_as_string(hide_password=False) for url in urls)])


def test_a_password_that_is_not_utf_8_is_refused():
    with pytest.raises(ConfigError, match=r"store\.password: expected UTF-8"):
        Store.open("postgresql://user@127.0.0.1:1/db", Password(b"\xff"))


def test_a_server_that_is_away_is_named(caplog):
    with pytest.raises(StoreUnavailable, match=r"postgresql://user@127\.0\.0\.1:1/db cannot be opened") as refusal:
        Store.open("postgresql+psycopg://user@127.0.0.1:1/db", Password(b"hunter2"))
    assert "Connection refused" in caplog.text
    assert "hunter2" not in f"{refusal.value!r} {refusal.value.__cause__!r} {caplog.text}"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////tmp/x.db", "/tmp/x.db"),
        ("postgresql://user@host:5433/db?sslmode=verify-full", "postgresql://user@host:5433/db"),
        ("postgresql+psycopg://user@/db?host=%2Frun%2Fpostgresql", "postgresql://user@/db?host=%2Frun%2Fpostgresql"),
    ],
)
def test_a_database_is_called_by_its_place(url, name):
    assert load_address(url).name == name


def test_what_was_stored_is_there_after_reopening(database_url, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s.leaf")])
    with Store.open(database_url) as store:
        store.record_intent(**facts)
        store.record_certificate(**certificate_of(facts))
    with Store.open(database_url) as store:
        assert store.find_entry("a.b.s.leaf").der == certificate_of(facts)["certificate"]


def test_the_database_and_its_side_files_are_private(database, intent):
    with Store.open(f"sqlite:///{database}") as store:
        store.record_intent(**intent())
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in database.parent.iterdir()}
    assert modes == dict.fromkeys(["engine.db", "engine.db-wal", "engine.db-shm", "engine.db.lock"], "0o600")


def test_every_commit_waits_for_the_disk(database):
    with (
        Store.open(f"sqlite:///{database}") as store,
        store._database._write_engine.connect() as connection,
    ):
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_server_that_does_not_wait_for_its_disk_is_told_of(postgresql_url, database):
    off = [name for name in ("fsync", "full_page_writes") if select(postgresql_url, f"SHOW {name}") == [("off",)]]
    assert "fsync" in off
    with Store.open(postgresql_url) as store:
        assert store.list_risks() == off
    with Store.open(f"sqlite:///{database}") as store:
        assert store.list_risks() == []


def test_a_file_that_is_no_database_is_refused_and_named(database):
    database.write_bytes(b"this is not a database, it is a note" * 100)
    with pytest.raises(StoreError, match=str(database)):
        Store.open(f"sqlite:///{database}")
    database.unlink()
    Store.open(f"sqlite:///{database}").close()


def test_a_closed_store_says_so(database_url, intent):
    store = Store.open(database_url)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.record_intent(**intent())
    with pytest.raises(StoreError, match="closed"):
        store.find_credential("1" * 64)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        Store.open(f"sqlite:///{tmp_path}/nowhere/engine.db")


def test_readers_see_only_what_is_committed_and_cannot_write(store, foreign):
    store.add_entry(path="a.b.s.one", **foreign())
    with store._database._write_engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM entries")
        assert store.list_entry_paths("a.b.s", 10, 0) == ("a.b.s.one",)
    assert store.list_entry_paths("a.b.s", 10, 0) == ()
    with store._database._read_engine.connect() as reader, pytest.raises(DBAPIError, match=r"read-?only"):
        reader.exec_driver_sql("DELETE FROM certificates")


def test_a_query_the_database_cannot_answer_is_a_store_error(store):
    with store._database._write_engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE credentials")
    with pytest.raises(StoreError, match="did not answer") as refusal:
        store.find_credential("1" * 64)
    assert not isinstance(refusal.value, StoreUnavailable)


def test_a_store_that_can_be_written_to_is_ready(store):
    assert store.state() == "ready"


def test_a_server_that_takes_no_writes_is_not_ready(postgresql, postgresql_url):
    with Store.open(postgresql_url) as store:
        name = sql.Identifier(postgresql_url.rpartition("/")[2])
        postgresql.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only TO on").format(name))
        with store._database._write_engine.connect() as connection:
            connection.invalidate()
        assert store.state() == "The database did not commit the record: it is read-only."


@pytest.mark.parametrize("side", ["", "-wal", "-shm", ".lock"])
def test_a_file_that_was_moved_away_under_an_open_store_is_not_written_to_until_it_is_back(database, intent, side):
    path, elsewhere = database.with_name(f"{database.name}{side}"), database.with_name("elsewhere")
    with Store.open(f"sqlite:///{database}") as store:
        path.rename(elsewhere)
        with pytest.raises(StoreUnavailable, match="moved, replaced or removed"):
            store.record_intent(**intent())
        assert "moved, replaced or removed" in store.state()
        assert not path.exists()
        path.write_bytes(b"another")
        assert "moved, replaced or removed" in store.state()
        elsewhere.replace(path)
        assert store.state() == "ready"
        store.record_intent(**intent())
    assert select(f"sqlite:///{database}", "SELECT count(*) FROM intents") == [(1,)]


def test_a_link_leads_to_the_database_its_locks_and_its_side_files(database, intent):
    link = database.with_name("link.db")
    link.symlink_to(database)
    with Store.open(f"sqlite:///{database}") as first, Store.open(f"sqlite:///{link}") as second:
        first.record_intent(**intent())
        assert second.close_dangling_intents() == ()  # whoever recorded it lives
        wal = database.with_name(f"{database.name}-wal")
        wal.rename(database.with_name("elsewhere"))
        with pytest.raises(StoreUnavailable, match="moved, replaced or removed"):
            second.record_intent(**intent())


def test_a_commit_into_a_file_that_is_gone_by_then_is_never_taken_for_success(database):
    with Store.open(f"sqlite:///{database}") as store, pytest.raises(StoreUnavailable, match="is not known"):
        store._database.write(lambda connection: database.rename(database.with_name("elsewhere")))


def test_a_reader_makes_no_database_where_there_is_none_any_more(database):
    with Store.open(f"sqlite:///{database}") as store:
        store._database._read_engine.dispose()
        database.rename(database.with_name("elsewhere"))
        with pytest.raises(StoreUnavailable, match="its file cannot be opened"):
            store.find_credential("1" * 64)
        assert not database.exists()


def test_keys_are_read_beside_an_open_store_without_a_trace(store, database_url):
    store.add_key(
        path="a.b.k.ca",
        token="trial",
        label="ca",
        key_id=b"\x01",
        key_type="secp256r1",
        spki=b"spki",
        spki_sha256="c" * 64,
        origin="generated",
        custody={},
        checked_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert [row.path for row in read_keys(database_url)] == ["a.b.k.ca"]


def test_a_database_without_tables_has_no_keys_and_gets_no_tables(empty_database_url, database):
    assert read_keys(empty_database_url) == ()
    if empty_database_url.startswith("postgresql:"):
        assert select(empty_database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    else:
        assert not database.exists()


def test_a_query_with_text_that_is_not_unicode_is_a_store_error(store):
    with pytest.raises(StoreError, match="did not answer"):
        store.find_entry("\ud800")


def test_statement_parameters_do_not_reach_the_error_that_is_logged(store, caplog):
    with pytest.raises(StoreError) as refusal:
        store.add_credential(credential_id="c1", secret_sha256="short", scope="scope-to-be-hidden", roles=[])
    assert refusal.value.__cause__ is not None
    assert "scope-to-be-hidden" not in repr(refusal.value.__cause__) + str(refusal.value.__cause__)
    assert os.linesep not in refusal.value.message


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0)


@pytest.mark.parametrize("signal", [SIGINT, SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_goes_and_comes_back_loses_nothing_that_was_acknowledged(
    postgresql, postgresql_url, intent, signal
):
    """Under an open store, while four threads record."""
    acknowledged: list[str] = []
    faults: list[StoreError] = []
    over = threading.Event()

    def record(store: Store) -> None:
        while not over.is_set():
            facts = intent()
            try:
                store.record_intent(**facts)
            except StoreError as error:
                faults.append(error)
            else:
                acknowledged.append(facts["intent_id"])

    with Store.open(postgresql_url) as store, ThreadPoolExecutor(4) as threads:
        try:
            recording = [threads.submit(record, store) for _ in range(4)]
            wait_for(lambda: len(acknowledged) > 20)
            postgresql.stop(signal)
            with pytest.raises(StoreUnavailable):
                store.find_credential("1" * 64)
            wait_for(lambda: any(isinstance(error, StoreUnavailable) for error in faults))
            assert store.state() != "ready"
            before = len(acknowledged)
            postgresql.start()
            wait_for(lambda: len(acknowledged) > before + 20)
        finally:
            over.set()
            postgresql.start()
        for one in recording:
            one.result(60)
        assert store.find_credential("1" * 64) is None
        assert store.state() == "ready"
    kept = {intent_id for (intent_id,) in select(postgresql_url, "SELECT intent_id FROM intents")}
    assert kept >= set(acknowledged)


def test_a_server_process_that_answers_no_more_is_left_for_another(postgresql_url, monkeypatch):
    with Store.open(postgresql_url) as store:
        with store._database._read_engine.connect() as connection:
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        monkeypatch.setattr(postgresql_module, "ANSWER_SECONDS", 0.3)
        os.kill(process, SIGSTOP)
        try:
            assert store.find_credential("1" * 64) is None
        finally:
            os.kill(process, SIGCONT)
