"""How many issuances a second the store makes durable, which is an intent and a certificate each: group commit against
a transaction per row, and what the audit trail costs.

    scripts/bench store [FOLDER | URL]

On an empty database at the URL, or on SQLite and PostgreSQL with their files in the folder, which should be on the disk
that a deployment would use (default: the current one) and reachable for the user `postgres`. Every round runs each mode
once for a short slice, so that a noisy machine is noisy for all of them; the medians are printed. Both modes run the
same statements on the same kind of connection; "row by row" commits each alone, behind a lock, without the writer
thread. "no trail" is group commit of the same rows, of which nothing is told.
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
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from engine.issuance import NewEntry
from engine.store import Store
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.writer import chain_of
from tests.postgresql import new_database, postgresql_server

ROUNDS = 15
ISSUANCES = 160
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ISSUER = b"\x30" * 80
GROUP, ALONE, UNTOLD = "group commit", "row by row", "no trail"


def record(store: Store) -> None:
    tbs, intent_id, serial_number = secrets.token_bytes(600), uuid.uuid4().hex, secrets.randbits(158)
    store.record_intent(
        intent_id=intent_id,
        kind="certificate",
        profile="generic",
        issuer=ISSUER,
        serial_number=serial_number,
        tbs=tbs,
        tbs_sha256=secrets.token_hex(32),
        signing_key="bench.tenant.kms.ca",
        caller="bench",
        target="bench.tenant.x509-service",
        request_id=str(uuid.uuid4()),
        request_digest=secrets.token_hex(32),
        entries=[NewEntry(f"bench.tenant.store.{intent_id}")],
        source="192.0.2.7",
    )
    store.record_certificate(
        intent_id=intent_id,
        certificate=tbs + bytes(80),
        sha256=secrets.token_hex(32),
        subject=secrets.token_bytes(60),
        issuer=ISSUER,
        serial_number=serial_number,
        spki_sha256=secrets.token_hex(32),
        is_ca=False,
        not_before=NOW,
        not_after=NOW,
    )


def rate(store: Store, threads: int) -> float:
    """Issuances a second with so many threads, each recording its share of ISSUANCES."""

    def share() -> None:
        for _ in range(ISSUANCES // threads):
            record(store)

    with ThreadPoolExecutor(threads) as workers:
        begin = time.perf_counter()
        for done in [workers.submit(share) for _ in range(threads)]:
            done.result()  # what was not recorded is no rate
        return ISSUANCES / (time.perf_counter() - begin)


def row_by_row(database: Database) -> Callable[..., object]:
    """A `write` that is one transaction per row."""
    lock = threading.Lock()
    engine = database._write_engine

    def write(work: Callable[..., object], explain: object = None) -> object:
        with lock, engine.begin() as connection:
            answer = work(connection)
            chain_of(connection).write(connection)
            return answer

    return write


def measure(url: str) -> None:
    with Store.open(url) as store:
        alone = row_by_row(store._database)
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for threads in (1, 16):
                rates.setdefault((GROUP, threads), []).append(rate(store, threads))
                with patch.object(store._database, "write", alone):
                    rates.setdefault((ALONE, threads), []).append(rate(store, threads))
                with patch.object(Trail, "_tell", lambda *told: None):
                    rates.setdefault((UNTOLD, threads), []).append(rate(store, threads))
        for (mode, threads), found in rates.items():
            low, high = min(found), max(found)
            print(
                f"{mode:12}  {threads:2} threads  {statistics.median(found):6.0f} a second  ({low:.0f} to {high:.0f})"
            )
        for threads in (1, 16):
            for other in (ALONE, UNTOLD):
                ratios = [a / b for a, b in zip(rates[GROUP, threads], rates[other, threads], strict=True)]
                print(f"{GROUP} / {other}, {threads:2} threads: {statistics.median(ratios):.2f}")


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
