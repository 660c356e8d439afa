"""Every look-up finds its rows through an index: a store is as quick with a million certificates as with ten."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from engine.errors import NotFound
from engine.store import Store

LOOK_UPS: Mapping[str, Callable[[Store], object]] = {
    "find_entry": lambda store: store.find_entry("a.b.s.leaf"),
    "list_entries": lambda store: store.list_entries("a.b.s", 100, 10),
    "list_entries after a path": lambda store: store.list_entries("a.b.s", 100, after="a.b.s.leaf"),
    "list_entry_paths": lambda store: store.list_entry_paths("a.b.s", 100, 10),
    "find_ca_certificates": lambda store: store.find_ca_certificates(["a.b.s", "a.b.t"], "a" * 64, "a.b.x"),
    "find_trusted_ca_certificates": lambda store: store.find_trusted_ca_certificates(["a.b.s"], b"name", "a.b.x"),
    "is_ca_key": lambda store: store.is_ca_key("a" * 64, "a"),
    "delete_entry": lambda store: store.delete_entry("a.b.s.leaf"),
    "find_key": lambda store: store.find_key("a.b.k.ca"),
    "list_keys": lambda store: store.list_keys("a.b.k"),
    "list_keys_page": lambda store: store.list_keys_page("a.b.k", 100, 10),
    "list_keys_by_object": lambda store: store.list_keys_by_object("trial", "ca", b"\x01"),
    "list_keys_by_spki": lambda store: store.list_keys_by_spki("a" * 64),
    "has_issued": lambda store: store.has_issued("a" * 64),
    "has_signed": lambda store: store.has_signed(["a.b.k.ca", "jwk:aa"], even_in_vain=False),
    "find_former_credential": lambda store: store.find_former_credential("a" * 64),
    "find_making": lambda store: store.find_making(b"\x01"),
    "find_credential": lambda store: store.find_credential("a" * 64),
    "revoke_credential": lambda store: store.revoke_credential("key-1"),
    "count_attempt": lambda store: store.count_attempt("person@example.com", lambda failures: None),
    "find_resource": lambda store: store.find_resource("a.b.s"),
    "find_attached": lambda store: store.find_attached("a.b.x"),
    "list_resources": lambda store: store.list_resources("a"),
    "delete_resource": lambda store: store.delete_resource("a.b.s"),
    "find_issued_at": lambda store: store.evidence_records().find_issued_at("a.b.s.leaf"),
    "find_issued by SHA-256": lambda store: store.evidence_records().find_issued("a" * 64),
    "find_issued by serial number": lambda store: store.evidence_records().find_issued("77"),
    "list_custody_events": lambda store: store.evidence_records().list_custody_events("a.b.k.ca"),
    "find_statement": lambda store: store.evidence_records().find_statement("a" * 64),
    "find_kept_answer": lambda store: store.find_kept_answer("key-1", "again"),
    "record_failure": lambda store: store.record_failure(intent_id="open", reason="SigningFailed"),
    "close_dangling_intents": lambda store: store.close_dangling_intents(),
}
OPEN_ONES = "ix_intents_open"
"""An index of what is open, which is never much."""


@pytest.fixture
def statements(store: Store, intent: Callable[..., dict[str, Any]]) -> dict[str, list[tuple[str, Any]]]:
    """What each look-up has the database do, with its parameters."""
    found: dict[str, list[tuple[str, Any]]] = {}

    def keep(connection: object, cursor: object, statement: str, parameters: Any, context: object, many: bool) -> None:
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
            found[name].append((statement, parameters[0] if many else parameters))

    store.record_intent(**intent(intent_id="open"))
    engines = (store._database._read_engine, store._database._write_engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", keep)
    for name, look_up in LOOK_UPS.items():
        found[name] = []
        with suppress(NotFound):
            look_up(store)
    return found


def sqlite_scans(connection: sqlite3.Connection, statement: str, parameters: Any) -> list[str]:
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    return [step for step in plan if step.startswith("SCAN") and step != "SCAN page" and OPEN_ONES not in step]


def postgresql_scans(connection: psycopg.Connection[Any], statement: str, parameters: Any) -> list[str]:
    [(plan,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchall()
    steps = [plan[0]["Plan"]]
    for step in steps:
        steps += step.get("Plans", [])
    return [
        json.dumps(step)
        for step in steps
        if step["Node Type"] == "Seq Scan"
        or ("Index Name" in step and "Index Cond" not in step and step["Index Name"] != OPEN_ONES)
    ]


def test_no_look_up_goes_through_a_whole_table(statements, database_url):
    assert all(statements.values())
    if database_url.startswith("sqlite:"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            scans = {name: [sqlite_scans(connection, *one) for one in all_of] for name, all_of in statements.items()}
    else:
        with psycopg.connect(database_url) as connection:
            # Otherwise it does so with tables that are small.
            connection.execute("SET enable_seqscan TO off")
            scans = {name: [postgresql_scans(connection, *one) for one in of] for name, of in statements.items()}
    assert {name: found for name, found in scans.items() if any(found)} == {}
