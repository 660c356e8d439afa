"""How long the store's calls take when it holds very many certificates.

    scripts/bench rows [--rows 1000,100000,1000000] [--database both|sqlite|postgresql] [--folder DIR]

The folder (default: the current one) should be on the disk that a deployment would use; a million rows take 4 GB in
each database while this runs. Every call is made again and again, each time for another row; the median and the worst
are printed, in milliseconds. Calls that write return when what they wrote is durable.
"""

import argparse
import gc
import hashlib
import itertools
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine.errors import NotFound
from engine.store import Store
from tests.bench.filling import (
    AUTHORITIES,
    BEGIN,
    CREDENTIALS,
    KEYS,
    KMS,
    SERVICE,
    SMALL_STORES,
    STORE,
    Made,
    fill,
    secret_sha256,
    spki_sha256,
    subject,
)
from tests.postgresql import new_database, postgresql_server

CALLS = 200
SECONDS = 5.0
"""A call that is slow is made less often, but three times."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Place:
    path: str
    type: str = "base"
    metadata: None = None


class Calls:
    """The calls of a store that holds the certificates with the numbers from 0 to before `rows`."""

    def __init__(self, store: Store, rows: int) -> None:
        self._store = store
        self._rows = rows

    def all(self) -> dict[str, Call]:
        """By name; each chooses another row whenever it is called."""
        store, few, last = self._store, SMALL_STORES[0], self._rows - self._rows // 1000
        stores = [STORE, few]
        return {
            "find_entry": lambda: store.find_entry(self._leaf().path),
            "find_entry: none there": lambda: expect_none(lambda: store.find_entry(f"{STORE}.none")),
            "list_entries: 100": lambda: store.list_entries(STORE, 100),
            "list_entries: 1000": lambda: store.list_entries(STORE, 1000),
            "list_entries: 100 after a path": lambda: store.list_entries(STORE, 100, after=self._leaf().path),
            "list_entries: 100 from the middle": lambda: store.list_entries(STORE, 100, last // 2),
            "list_entries: last 100": lambda: store.list_entries(STORE, 100, last - 100),
            "list_entries: 100 past the end": lambda: store.list_entries(STORE, 100, last + 10**6),
            "list_entries: 100 of a small store": lambda: store.list_entries(few, 100),
            "list_entry_paths: 1000": lambda: store.list_entry_paths(STORE, 1000),
            "list_entry_paths: 1000 after a path": lambda: store.list_entry_paths(STORE, 1000, after=self._leaf().path),
            "list_entry_paths: last 100": lambda: store.list_entry_paths(STORE, 100, last - 100),
            "find_ca_certificates": lambda: store.find_ca_certificates(stores, self._ca_spki(), SERVICE),
            "find_ca_certificates: leaf's key": lambda: store.find_ca_certificates(stores, self._leaf().spki, SERVICE),
            "find_trusted_ca_certificates": lambda: store.find_trusted_ca_certificates(
                stores, subject(random.randrange(AUTHORITIES)), SERVICE
            ),
            "is_ca_key": lambda: store.is_ca_key(self._ca_spki(), "test"),
            "is_ca_key: leaf's key": lambda: store.is_ca_key(self._leaf().spki, "test"),
            "is_ca_key: unknown key": lambda: store.is_ca_key(secrets.token_hex(32), "test"),
            "find_kept_answer": self._find_kept_answer,
            "close_dangling_intents": store.close_dangling_intents,
            "find_key": lambda: store.find_key(f"{KMS}.key-{random.randrange(KEYS):04}"),
            "list_keys: 500": lambda: store.list_keys(KMS),
            "list_keys_by_spki": lambda: store.list_keys_by_spki(spki_sha256(random.randrange(KEYS))),
            "find_credential": lambda: store.find_credential(secret_sha256(random.randrange(CREDENTIALS))),
            "list_credentials: 500": store.list_credentials,
            "find_resource": lambda: store.find_resource(f"test.tenant1.store-{random.randrange(1000):04}"),
            "list_resources: 1000": lambda: store.list_resources("test"),
            "record_intent": self._intend,
            "record_intent, record_certificate": self._issue,
            "add_entry": lambda: self._add(secrets.token_bytes(700)),
            "add_entry: known certificate": lambda: self._add(self._leaf().der),
            "delete_entry after add_entry": lambda: store.delete_entry(self._add(secrets.token_bytes(700))),
        }

    def _leaf(self) -> Made:
        return Made(random.randrange(AUTHORITIES, self._rows))

    def _ca_spki(self) -> str:
        return spki_sha256(random.randrange(AUTHORITIES))

    def _find_kept_answer(self) -> None:
        number = random.randrange(self._rows)
        assert self._store.find_kept_answer(f"credential-{number % CREDENTIALS}", f"key-{number}") is not None

    def _intend(self) -> tuple[str, int, bytes]:
        intent_id, serial_number, tbs = str(uuid.uuid4()), secrets.randbits(158), secrets.token_bytes(700)
        self._store.record_intent(
            intent_id=intent_id,
            kind="certificate",
            profile="generic",
            issuer=subject(0),
            serial_number=serial_number,
            tbs=tbs,
            tbs_sha256=secrets.token_hex(32),
            signing_key=f"{KMS}.key-0000",
            caller="credential-0",
            target=SERVICE,
            request_id=str(uuid.uuid4()),
            request_digest=secrets.token_hex(32),
            entries=(Place(f"{STORE}.{intent_id}"),),
        )
        return intent_id, serial_number, tbs

    def _issue(self) -> None:
        intent_id, serial_number, tbs = self._intend()
        self._store.record_certificate(intent_id=intent_id, **facts(tbs, serial_number))

    def _add(self, der: bytes) -> str:
        path = f"{STORE}.{uuid.uuid4()}"
        self._store.add_entry(path=path, type="base", **facts(der, secrets.randbits(158)))
        return path


def facts(der: bytes, serial_number: int) -> Any:
    """What the store is told of a leaf certificate."""
    return {
        "certificate": der,
        "sha256": hashlib.sha256(der).hexdigest(),
        "subject": der[:80],
        "issuer": subject(0),
        "serial_number": serial_number,
        "spki_sha256": hashlib.sha256(der[80:]).hexdigest(),
        "is_ca": False,
        "not_before": BEGIN,
        "not_after": BEGIN + timedelta(days=365),
    }


def expect_none(call: Call) -> None:
    try:
        call()
    except NotFound:
        return
    raise AssertionError("something was found")


def milliseconds(call: Call) -> tuple[float, float]:
    """Median and worst."""
    call()  # what is prepared and cached once
    found: list[float] = []
    over = time.perf_counter() + SECONDS
    while len(found) < CALLS and (len(found) < 3 or time.perf_counter() < over):
        begin = time.perf_counter()
        call()
        found.append((time.perf_counter() - begin) * 1000)
    return statistics.median(found), max(found)


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/engine.db"


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    with postgresql_server(folder) as server:
        yield new_database(server)


def measure(kind: Callable[[Path], Any], sizes: list[int], folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Median and worst of each call, by its name, for each size."""
    results: dict[str, list[tuple[float, float]]] = {}
    with kind(folder) as url:
        Store.open(url).close()
        for begin, end in itertools.pairwise([0, *sizes]):
            at = time.perf_counter()
            fill(url, begin, end)
            print(f"{kind.__name__}: {end:,} rows ({time.perf_counter() - at:.0f} s to fill)", file=sys.stderr)
            with closing(Store.open(url)) as store:
                gc.collect()
                for name, call in Calls(store, end).all().items():
                    results.setdefault(name, []).append(milliseconds(call))
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="1000,100000,1000000", help="certificates, rising, comma-separated")
    parser.add_argument("--database", choices=["both", "sqlite", "postgresql"], default="both")
    parser.add_argument("--folder", type=Path, default=Path())
    options = parser.parse_args()
    sizes = [int(size) for size in options.rows.split(",")]
    for kind in (sqlite, postgresql):
        if options.database not in ("both", kind.__name__):
            continue
        folder = Path(tempfile.mkdtemp(dir=options.folder)).resolve()
        try:
            results = measure(kind, sizes, folder)
        finally:
            shutil.rmtree(folder)
        print(f"\n{kind.__name__ + ', ms: median (worst)':36}" + "".join(f"{size:>19,}" for size in sizes))
        for name, times in results.items():
            print(f"{name:36}" + "".join(f"{median:10.2f} {f'({worst:.1f})':>8}" for median, worst in times))


if __name__ == "__main__":
    main()
