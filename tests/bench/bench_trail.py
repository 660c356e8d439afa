"""How large the records of very many issuances are, and how long it takes to verify them.

    scripts/bench trail [--folder DIR] [--database sqlite|postgresql] [--issuances N]

Issues so many certificates (default: 100000) by sixteen threads, with a P-256 key of a SoftHSM token, checkpoints and a
witness, into a database whose files are in the folder (default: the current one); then verifies the trail in the
database, exports it, has the verifier that stands alone read the export, and sweeps.
"""

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg

from engine.audit import verifier
from engine.audit.keeper import making_checkpoints
from engine.audit.stored import verify_stored
from engine.commands.audit import _exported
from engine.store import Store, WantedEvents, reading_trail
from engine.token import Token
from tests.bench.scene import build_keeper, databases, softhsm
from tests.issuing import Load, Workshop
from tests.unit.store.auditing import make_maker, make_signer

THREADS = 16
SWEEP = """
import resource, sys
from engine.store import reading_records
from engine.sweep import Sweep
with reading_records(sys.argv[1]) as records:
    one = Sweep(records, lambda what, done, total: None)
    assert list(one.run()) == []
print(one.counts.issued, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
TABLES = ("events", "checkpoints", "intents", "certificates", "entries")


def sizes(url: str) -> dict[str, int]:
    """Octets of each table with its indexes."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            return {
                table: connection.execute("SELECT pg_total_relation_size(%s::regclass)", [table]).fetchall()[0][0]
                for table in TABLES
            }
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        query = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = ?)"
        return {table: connection.execute(query, [table]).fetchone()[0] for table in TABLES}


def timed(what: Callable[[], int]) -> tuple[int, float]:
    """What it returns and the seconds it took."""
    begin = time.perf_counter()
    return what(), time.perf_counter() - begin


def measure(kind: str, url: str, token: Token, issuances: int, folder: Path) -> None:
    witness, export = folder / f"{kind}.witness", folder / f"{kind}.jsonl"
    with Store.open(url) as store:
        keeper = build_keeper(store, make_maker(store, make_signer(token), witness))
        load = Load(Workshop(store, token))
        empty = sizes(url)
        begin = time.perf_counter()
        with making_checkpoints(keeper):
            load.issue_many(issuances, THREADS)
        seconds = time.perf_counter() - begin
    full = sizes(url)
    grown = {table: full[table] - empty[table] for table in TABLES}

    def verify() -> int:
        with reading_trail(url) as trail:
            report = verify_stored(trail, [witness], None)
        assert (report.faults, report.uncovered) == ([], 0)
        return report.events

    def write_export() -> int:
        with reading_trail(url) as trail, export.open("w", encoding="utf-8") as file:
            return sum(file.write(f"{line}\n") for line in _exported(trail, WantedEvents()))

    def verify_alone() -> int:
        command = [sys.executable, "-I", verifier.__file__, export, "--witness", witness]
        subprocess.run(command, check=True, capture_output=True)
        return events

    def sweep() -> int:
        """In a process of its own, for its memory. It includes the start of the process."""
        done = subprocess.run([sys.executable, "-c", SWEEP, url], check=True, capture_output=True, text=True)
        issued, memory = map(int, done.stdout.split())
        assert issued >= issuances
        return memory

    events, verified = timed(verify)
    exported, wrote = timed(write_export)
    _, alone = timed(verify_alone)
    memory, sweeping = timed(sweep)
    print(f"{kind}: {issuances} issuances, {events} events")
    print(f"  issued             {issuances / seconds:8.0f} a second by {THREADS} threads, {seconds:.0f} s")
    print(f"  verified           {verified / events * 1e5:8.2f} s per 100000 events, in the database")
    print(f"  exported           {wrote / events * 1e5:8.2f} s per 100000 events, {exported / events:.0f} octets each")
    print(f"  verified alone     {alone / events * 1e5:8.2f} s per 100000 events, from the export")
    print(f"  swept              {issuances / sweeping:8.0f} certificates a second, {memory / 1024:.0f} MiB at most")
    print(f"  an event           {grown['events'] / events:8.0f} octets with its indexes")
    print(f"  an issuance        {sum(grown.values()) / issuances:8.0f} octets in all tables:")
    for table, octets in grown.items():
        print(f"    {table:16} {octets / issuances:8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    parser.add_argument("--issuances", type=int, default=100_000)
    options = parser.parse_args()
    kinds = (options.database,) if options.database else ("sqlite", "postgresql")
    with softhsm() as token, databases(options.folder, kinds) as urls:
        for kind in kinds:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                measure(kind, urls[kind], token, options.issuances, Path(folder))


if __name__ == "__main__":
    main()
