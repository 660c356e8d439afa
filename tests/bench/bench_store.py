"""How many intents a second the store makes durable: group commit against a transaction per row.

    scripts/bench store [FOLDER | URL]

On an empty database at the URL, or on SQLite and PostgreSQL with their files in the folder, which should be on the disk
that a deployment would use (default: the current one) and reachable for the user `postgres`. Every round runs each mode
once for a short slice, so that a noisy machine is noisy for all of them; the medians are printed. Both modes run the
same statements on the same kind of connection; "row by row" commits each alone, behind a lock, without the writer
thread.
"""

import secrets
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from engine.store import Store
from engine.store.database import Database
from tests.postgresql import new_database, postgresql_server

ROUNDS = 15
ROWS = 160


def record(store: Store) -> None:
    tbs = secrets.token_bytes(600)
    store.record_intent(
        intent_id=str(uuid.uuid4()),
        kind="certificate",
        profile="generic",
        issuer=b"\x30" * 80,
        serial_number=int.from_bytes(secrets.token_bytes(20), "big"),
        tbs=tbs,
        tbs_sha256=secrets.token_hex(32),
        signing_key="bench.tenant.kms.ca",
        caller="bench",
        target="bench.tenant.x509-service",
        request_id=str(uuid.uuid4()),
        request_digest=secrets.token_hex(32),
        entries=(),
    )


def rate(store: Store, threads: int) -> float:
    """Rows a second with so many threads, each recording its share of ROWS."""

    def share() -> None:
        for _ in range(ROWS // threads):
            record(store)

    with ThreadPoolExecutor(threads) as workers:
        begin = time.perf_counter()
        for done in [workers.submit(share) for _ in range(threads)]:
            done.result()  # what was not recorded is no rate
        return ROWS / (time.perf_counter() - begin)


def row_by_row(database: Database) -> Callable[..., object]:
    """A `write` that is one transaction per row."""
    lock = threading.Lock()
    engine = database._write_engine

    def write(work: Callable[..., object], explain: object = None) -> object:
        with lock, engine.begin() as connection:
            return work(connection)

    return write


def measure(url: str) -> None:
    with Store.open(url) as store:
        alone = row_by_row(store._database)
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for threads in (1, 16):
                rates.setdefault(("group commit", threads), []).append(rate(store, threads))
                with patch.object(store._database, "write", alone):
                    rates.setdefault(("row by row", threads), []).append(rate(store, threads))
        for (mode, threads), found in rates.items():
            low, high = min(found), max(found)
            print(f"{mode:12}  {threads:2} threads  {statistics.median(found):6.0f} rows/s  ({low:.0f} to {high:.0f})")
        for threads in (1, 16):
            ratios = [a / b for a, b in zip(rates["group commit", threads], rates["row by row", threads], strict=True)]
            print(f"group commit / row by row, {threads:2} threads: {statistics.median(ratios):.2f}")


def main() -> None:
    where = sys.argv[1] if len(sys.argv) > 1 else "."
    if "://" in where:
        measure(where)
        return
    with tempfile.TemporaryDirectory(dir=where) as folder:
        print("sqlite")
        measure(f"sqlite:///{Path(folder).resolve()}/bench.db")
    with tempfile.TemporaryDirectory(dir=where) as folder, postgresql_server(Path(folder).resolve()) as server:
        print("postgresql")
        measure(new_database(server))


if __name__ == "__main__":
    main()
