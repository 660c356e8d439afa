"""The tables of every earlier engine become those of this one, with what is in them."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect

from engine.errors import ConfigError, NotFound, StoreError
from engine.store import Store, migrations
from engine.store.schema import metadata
from tests.database import select
from tests.unit.store.conftest import close_dangling

FIRST_TABLES = Path(__file__).with_name("first_tables.sql")


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def make_first_tables(url: str) -> None:
    script = FIRST_TABLES.read_text(encoding="utf-8")
    if url.startswith("postgresql:"):
        script = script.replace("BLOB", "BYTEA").replace("DATETIME", "TIMESTAMP WITH TIME ZONE")
        script = "SET TIME ZONE 'UTC';\n" + script
        script = re.sub(r"X'(\w*)'", r"'\\x\1'", script)
        script = re.sub(r"^( +(?:\w+_)?(?:path|scope) TEXT)", r'\1 COLLATE "C"', script, flags=re.MULTILINE)
        script = script.replace("credential_id VARCHAR(256)", 'credential_id VARCHAR(256) COLLATE "C"')
    with connected(url) as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)


def described(item: Mapping[str, Any]) -> str:
    options = {name: str(value) for name, value in item.get("dialect_options", {}).items()}
    return repr(sorted({**item, "dialect_options": options}.items(), key=str))


def structure(connection: Connection) -> dict[str, Any]:
    """Whatever the database says of its tables."""
    inspector = inspect(connection)
    tables = sorted(set(inspector.get_table_names()) - {"alembic_version"})
    columns = {table: inspector.get_columns(table) for table in tables}
    for column in (column for table in columns.values() for column in table):
        column["type"] = repr(column["type"])
    lists = {
        "columns": lambda table: columns[table],
        "foreign keys": inspector.get_foreign_keys,
        "unique": inspector.get_unique_constraints,
        "checks": inspector.get_check_constraints,
        "indexes": inspector.get_indexes,
    }
    found: dict[str, Any] = {
        f"{table}: {what}": sorted(described(item) for item in get(table))
        for table in tables
        for what, get in lists.items()
    }
    return found | {f"{table}: primary key": inspector.get_pk_constraint(table) for table in tables}


def test_a_database_of_the_first_tables_keeps_its_rows(empty_database_url):
    make_first_tables(empty_database_url)
    with Store.open(empty_database_url) as store:
        leaf = store.find_entry("test.tenant1.store.leaf")
        assert (leaf.der, leaf.type, leaf.metadata) == (b"0\x03der", "vical-entry", {"docType": ["mDL"]})
        key = store.find_key("test.tenant1.kms1.ca")
        assert (key.key_id, key.custody, key.checked_at.isoformat()) == (
            b"\x00\xff",
            {"sensitive": True},
            "2026-03-01T12:00:00+00:00",
        )
        assert store.find_credential("1" * 64).roles == ("issuer",)
    states = "SELECT intent_id, state, reason, serial_number FROM intents ORDER BY intent_id"
    assert select(empty_database_url, states) == [
        ("failed", "failed", "SigningFailed", f"{2:040x}"),
        ("open", "intended", None, f"{3:040x}"),
        ("signed", "signed", None, f"{1:040x}"),
        ("unknown", "outcome-unknown", None, None),
    ]


def test_what_was_open_in_the_first_tables_is_dangling(empty_database_url, intent):
    make_first_tables(empty_database_url)
    with Store.open(empty_database_url) as store:
        (dangling,) = close_dangling(store, 1)
        assert dangling.intent_id == "open"
        with pytest.raises(StoreError, match="has used the serial number before"):
            store.record_intent(**intent(issuer=b"0\x01:", serial_number=3))
        with pytest.raises(NotFound):
            store.find_entry("test.tenant1.store.open")
    assert select(empty_database_url, "SELECT count(*) FROM entries") == [(1,)]


@pytest.mark.parametrize("first", [False, True], ids=["new", "first-tables"])
def test_the_tables_are_those_that_the_code_works_with(empty_database_url, first):
    if first:
        make_first_tables(empty_database_url)
    Store.open(empty_database_url).close()
    with connected(empty_database_url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        migrated = structure(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert migrated == structure(connection)


def test_paths_are_in_the_order_of_their_octets(store, foreign):
    names = ["B", "a", "A", "_", "-", "0", "ab", "b"]
    for name in names:
        store.add_entry(path=f"a.b.s.{name}", **foreign(name.encode()))
    assert store.list_entry_paths("a.b.s", 100, 0) == tuple(f"a.b.s.{name}" for name in sorted(names))


def test_the_newest_revision_is_the_one_that_is_asked_for():
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migrations.HEAD]
    assert sorted(script.revision for script in scripts.walk_revisions()) == sorted(migrations.KNOWN)


def test_a_database_of_a_later_engine_is_refused_and_left_alone(empty_database_url):
    with connected(empty_database_url) as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(ConfigError, match="later version of the engine: its tables have revision 9999"):
        Store.open(empty_database_url)
    with connected(empty_database_url) as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_a_database_with_other_tables_is_refused_and_left_alone(empty_database_url):
    with connected(empty_database_url) as connection:
        connection.exec_driver_sql("CREATE TABLE intents (intent_id VARCHAR(64) PRIMARY KEY, state TEXT)")
    with pytest.raises(ConfigError, match="another version of the engine: see intents"):
        Store.open(empty_database_url)
    with connected(empty_database_url) as connection:
        assert inspect(connection).get_table_names() == ["intents"]


def test_a_migration_that_fails_half_way_leaves_everything_as_it_was(empty_database_url):
    make_first_tables(empty_database_url)
    with connected(empty_database_url) as connection:
        # In the way of a table of the second revision.
        connection.exec_driver_sql("CREATE TABLE dependencies (id INTEGER PRIMARY KEY)")
        before = structure(connection)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(empty_database_url)
    with connected(empty_database_url) as connection:
        assert structure(connection) == before
        connection.exec_driver_sql("DROP TABLE dependencies")
    Store.open(empty_database_url).close()


@pytest.mark.parametrize("first", [False, True], ids=["new", "first-tables"])
def test_two_processes_that_open_a_database_at_once_both_succeed(empty_database_url, first):
    if first:
        make_first_tables(empty_database_url)
    script = "import sys; from engine.store import Store; Store.open(sys.argv[1]).close()"
    command = [sys.executable, "-W", "error", "-c", script, empty_database_url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        with closing(process.stderr):
            said = process.stderr.read()
        assert (process.wait(60), said) == (0, "")
    assert select(empty_database_url, "SELECT version_num FROM alembic_version") == [(migrations.HEAD,)]
