"""A database with very many certificates: made-up rows, written past the store and as fast as the database takes them.

Every certificate has the intent it was issued under and a place in a store. Sizes and what points to what are as in the
field; the DER is random octets, which the store never looks into.
"""

import hashlib
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import UUID

import psycopg
from psycopg import sql

from engine.store.schema import encode_serial_number

SERVICE = "test.tenant1.x509-service-1"
STORE = "test.tenant1.x509-store-1"
SMALL_STORES = tuple(f"test.tenant{number}.x509-store-1" for number in range(2, 22))
"""Each has one certificate in a thousand; STORE has the rest."""
KMS = "test.tenant1.kms1"
AUTHORITIES = 50
KEYS = 500
CREDENTIALS = 500
RENEWALS = 4
"""Certificates that a leaf's key gets."""
CHUNK = 5000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Row = Mapping[str, object]


def spki_sha256(number: int) -> str:
    return hashlib.sha256(b"key %d" % number).hexdigest()


def secret_sha256(number: int) -> str:
    return hashlib.sha256(b"secret %d" % number).hexdigest()


def subject(number: int) -> bytes:
    return b"\x30\x40" + hashlib.sha512(b"subject %d" % number).digest()


def store_path(number: int) -> str:
    return SMALL_STORES[number // 1000 % len(SMALL_STORES)] if number % 1000 == 999 else STORE


class Made:
    """The certificate with a number and what stands beside it, the same whenever it is made. The first AUTHORITIES are
    CA certificates."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._random = random.Random(number)
        self.intent_id = str(UUID(bytes=self._random.randbytes(16), version=4))
        self.serial_number = encode_serial_number(self._random.getrandbits(159))
        self.der = self._random.randbytes(self._random.randint(500, 900))

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def is_ca(self) -> bool:
        return self.number < AUTHORITIES

    @property
    def spki(self) -> str:
        """Its SHA-256."""
        return spki_sha256(self.number if self.is_ca else self.number // RENEWALS)

    @property
    def path(self) -> str:
        return f"{store_path(self.number)}.{self.intent_id}"

    @property
    def issuer(self) -> bytes:
        return subject(self.number if self.is_ca else self.number % AUTHORITIES)

    @property
    def at(self) -> datetime:
        return BEGIN + timedelta(seconds=self.number)

    def intent(self) -> Row:
        return {
            "intent_id": self.intent_id,
            "kind": "certificate",
            "profile": "generic",
            "issuer": self.issuer,
            "serial_number": self.serial_number,
            "tbs": self.der[:-80],
            "tbs_sha256": hashlib.sha256(self.der[:-80]).hexdigest(),
            "signing_key": f"{KMS}.key-{self.number % AUTHORITIES}",
            "caller": f"credential-{self.number % CREDENTIALS}",
            "request_id": str(UUID(bytes=self._random.randbytes(16), version=4)),
            "request_digest": self.sha256,
            "state": "signed",
            "recorded_at": self.at,
            "closed_at": self.at,
            "target": SERVICE,
            "writer": self._random.getrandbits(62),
            "idempotency_scope": f"credential-{self.number % CREDENTIALS}",
            "idempotency_key": f"key-{self.number}",
            "idempotency_digest": self.sha256,
            "answer": "{}",
        }

    def certificate(self) -> Row:
        return {
            "sha256": self.sha256,
            "intent_id": self.intent_id,
            "der": self.der,
            "subject": subject(self.number),
            "issuer": self.issuer,
            "serial_number": self.serial_number,
            "spki_sha256": self.spki,
            "is_ca": self.is_ca,
            "not_before": self.at,
            "not_after": self.at + timedelta(days=365),
        }

    def entry(self) -> Row:
        return {
            "path": self.path,
            "store_path": store_path(self.number),
            "type": "base",
            "metadata": None,
            "intent_id": self.intent_id,
            "certificate_sha256": self.sha256,
            "created_at": self.at,
        }


def _key(number: int) -> Row:
    path = f"{KMS}.key-{number:04}"
    return {
        "path": path,
        "kms_path": KMS,
        "token": "trial",
        "label": path,
        "key_id": hashlib.sha256(path.encode()).digest()[:16],
        "key_type": "secp256r1",
        "spki": hashlib.sha512(path.encode()).digest(),
        "spki_sha256": spki_sha256(number),
        "origin": "generated",
        "custody": "{}",
        "checked_at": BEGIN,
        "created_at": BEGIN,
    }


def _credential(number: int) -> Row:
    return {
        "credential_id": f"credential-{number}",
        "secret_sha256": secret_sha256(number),
        "scope": "test",
        "roles": '["issuer"]',
        "created_at": BEGIN,
    }


def _resource(number: int) -> Row:
    return {
        "path": f"test.tenant1.store-{number:04}",
        "parent_path": "test.tenant1",
        "type": "x509-store",
        "settings": "{}",
        "created_by": "credential-0",
        "created_at": BEGIN,
    }


def fill(url: str, begin: int, end: int) -> None:
    """Add the certificates from number `begin` to before `end`, all else with number 0; then look at the statistics, as
    a server does by itself after a while."""
    write = _fill_postgresql if url.startswith("postgresql:") else _fill_sqlite
    write(url, _tables(begin, end))


def _tables(begin: int, end: int) -> Iterator[tuple[str, Sequence[Row]]]:
    if begin == 0:
        yield "keys", [_key(number) for number in range(KEYS)]
        yield "credentials", [_credential(number) for number in range(CREDENTIALS)]
        yield "resources", [_resource(number) for number in range(1000)]
    for first in range(begin, end, CHUNK):
        chunk = [Made(number) for number in range(first, min(first + CHUNK, end))]
        yield "intents", [one.intent() for one in chunk]
        yield "certificates", [one.certificate() for one in chunk]
        yield "entries", [one.entry() for one in chunk]


def _fill_postgresql(url: str, tables: Iterator[tuple[str, Sequence[Row]]]) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # the foreign keys hold as it is
        for table, rows in tables:
            columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
            copying = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
            with connection.cursor().copy(copying) as copy:
                for row in rows:
                    copy.write_row(tuple(row.values()))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _fill_sqlite(url: str, tables: Iterator[tuple[str, Sequence[Row]]]) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for setting in ("synchronous = OFF", "cache_size = -1000000", "foreign_keys = OFF"):
            connection.execute(f"PRAGMA {setting}")
        for table, rows in tables:
            names = ", ".join(rows[0])
            places = ", ".join("?" * len(rows[0]))
            values = (tuple(_sqlite_value(value) for value in row.values()) for row in rows)
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", values)
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sqlite_value(value: object) -> object:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value
