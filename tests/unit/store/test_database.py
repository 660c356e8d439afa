"""Opening, locking and closing the database file."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from engine.errors import ConfigError, StoreError
from engine.store import Store


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://user:hunter2@host/db", "postgresql"),
        ("sqlite+aiosqlite:////tmp/x.db", "aiosqlite"),
        ("sqlite://", "absolute"),
        ("sqlite:///relative.db", "absolute"),
        ("sqlite:///:memory:", "absolute"),
        ("sqlite:////tmp/x.db?mode=ro", "nothing before or after"),
        ("/tmp/x.db", "no database URL"),
    ],
)
def test_a_url_that_is_not_an_absolute_sqlite_file_is_refused(url, found):
    with pytest.raises(ConfigError, match=found) as refusal:
        Store.open(url)
    assert "hunter2" not in str(refusal.value)


def test_what_was_stored_is_there_after_reopening(database, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s.leaf")])
    with Store.open(f"sqlite:///{database}") as store:
        store.record_intent(**facts)
        store.record_certificate(**certificate_of(facts))
    with Store.open(f"sqlite:///{database}") as store:
        assert store.find_entry("a.b.s.leaf").der == certificate_of(facts)["certificate"]


def test_the_database_and_its_side_files_are_private(store, database, intent):
    store.record_intent(**intent())
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in database.parent.iterdir()}
    assert modes == dict.fromkeys(["engine.db", "engine.db-wal", "engine.db-shm", "engine.db.lock"], "0o600")


def test_every_commit_waits_for_the_disk(store):
    engine = store._database._write_engine
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_second_engine_in_another_process_is_kept_out(store, database):
    script = "import sys; from engine.store import Store; Store.open(sys.argv[1])"
    second = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{database}"], capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert "engine.errors.ConfigError: Another engine uses the database" in second.stderr
    assert f"{database}.lock" in second.stderr


def test_closing_lets_the_next_engine_in(database):
    Store.open(f"sqlite:///{database}").close()
    Store.open(f"sqlite:///{database}").close()


def test_a_refused_opening_lets_go_of_the_lock(database):
    database.write_bytes(b"this is not a database, it is a note" * 100)
    with pytest.raises(StoreError, match=str(database)):
        Store.open(f"sqlite:///{database}")
    database.unlink()
    Store.open(f"sqlite:///{database}").close()


def test_a_closed_store_says_so(database, intent):
    store = Store.open(f"sqlite:///{database}")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.record_intent(**intent())
    with pytest.raises(StoreError, match="closed"):
        store.find_credential("1" * 64)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        Store.open(f"sqlite:///{tmp_path}/nowhere/engine.db")


def test_a_database_with_other_tables_is_refused_at_once(database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE intents (intent_id TEXT PRIMARY KEY, state TEXT)")
    with pytest.raises(ConfigError, match=r"another version of the engine: see intents"):
        Store.open(f"sqlite:///{database}")


def test_readers_see_only_what_is_committed_and_cannot_write(store, foreign):
    store.add_entry(path="a.b.s.one", **foreign())
    with store._database._write_engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM entries")
        assert store.list_entry_paths("a.b.s", 10, 0) == ("a.b.s.one",)
    assert store.list_entry_paths("a.b.s", 10, 0) == ()
    with store._database._read_engine.connect() as reader, pytest.raises(OperationalError, match="readonly"):
        reader.exec_driver_sql("DELETE FROM certificates")


def test_a_query_the_database_cannot_answer_is_a_store_error(store, database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE credentials")
        connection.commit()
    with pytest.raises(StoreError, match="did not answer"):
        store.find_credential("1" * 64)


def test_a_query_with_text_that_is_not_unicode_is_a_store_error(store):
    with pytest.raises(StoreError, match="did not answer"):
        store.find_entry("\ud800")


def test_statement_parameters_do_not_reach_the_error_that_is_logged(store, caplog):
    with pytest.raises(StoreError) as refusal:
        store.add_credential(credential_id="c1", secret_sha256="short", scope="scope-to-be-hidden", roles=[])
    assert refusal.value.__cause__ is not None
    assert "scope-to-be-hidden" not in repr(refusal.value.__cause__) + str(refusal.value.__cause__)
    assert os.linesep not in refusal.value.message
