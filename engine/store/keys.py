"""Which path stands for which token key, and what the token said about it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from engine.errors import AlreadyExists, NotFound
from engine.store.database import Database, read_beside
from engine.store.rows import KeyRow
from engine.store.schema import keys, parent_path

_ADD = insert(keys)
_FIND = select(keys).where(keys.c.path == bindparam("path"))
_LIST = select(keys).where(keys.c.kms_path == bindparam("kms_path")).order_by(keys.c.path)
_LIST_BY_SPKI = select(keys).where(keys.c.spki_sha256 == bindparam("spki_sha256")).order_by(keys.c.path)
_RECORD_CUSTODY = update(keys).where(keys.c.path == bindparam("key_path"))


class Keys:
    """The part of the store that knows keys."""

    _database: Database
    _now: Callable[[], datetime]

    def add_key(
        self,
        *,
        path: str,
        token: str,
        label: str,
        key_id: bytes,
        key_type: str,
        spki: bytes,
        spki_sha256: str,
        origin: str,
        custody: Mapping[str, object],
        checked_at: datetime,
    ) -> None:
        """Bind `path` to a token key. `key_id` is CKA_ID, `spki` DER. Raises AlreadyExists, StoreError."""
        row = {
            "path": path,
            "kms_path": parent_path(path),
            "token": token,
            "label": label,
            "key_id": key_id,
            "key_type": key_type,
            "spki": spki,
            "spki_sha256": spki_sha256,
            "origin": origin,
            "custody": dict(custody),
            "checked_at": checked_at,
            "created_at": self._now(),
        }

        def work(connection: Connection) -> None:
            connection.execute(_ADD, row)

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_FIND, {"path": path}).first() is None:
                return None
            return AlreadyExists(f"A key already exists at {path}.", target=path)

        self._database.write(work, explain)

    def record_custody(self, path: str, custody: Mapping[str, object], checked_at: datetime) -> None:
        """Replace the custody record of the key at `path`. Raises NotFound, StoreError."""
        row = {"key_path": path, "custody": dict(custody), "checked_at": checked_at}

        def work(connection: Connection) -> None:
            if connection.execute(_RECORD_CUSTODY, row).rowcount != 1:
                raise NotFound(f"No key is at {path}.")

        self._database.write(work)

    def find_key(self, path: str) -> KeyRow:
        """The key at `path`. Raises NotFound, StoreError."""
        rows = self._database.read(_FIND, {"path": path})
        if not rows:
            raise NotFound(f"No key is at {path}.")
        return _load_key(rows[0])

    def list_keys(self, kms_path: str) -> tuple[KeyRow, ...]:
        """The keys of one KMS, in the order of their paths. Raises StoreError."""
        return tuple(_load_key(row) for row in self._database.read(_LIST, {"kms_path": kms_path}))

    def list_keys_by_spki(self, spki_sha256: str) -> tuple[KeyRow, ...]:
        """Every key with this public half (SHA-256 of the SubjectPublicKeyInfo, hex). Raises StoreError."""
        return tuple(_load_key(row) for row in self._database.read(_LIST_BY_SPKI, {"spki_sha256": spki_sha256}))


def read_keys(url: str) -> tuple[KeyRow, ...]:
    """Every registered key, in the order of paths, also while an engine uses the database. ConfigError, StoreError."""
    return tuple(_load_key(row) for row in read_beside(url, select(keys).order_by(keys.c.path)))


def _load_key(row: Row[Any]) -> KeyRow:
    return KeyRow(
        path=row.path,
        token=row.token,
        label=row.label,
        key_id=row.key_id,
        key_type=row.key_type,
        spki=row.spki,
        spki_sha256=row.spki_sha256,
        origin=row.origin,
        custody=row.custody,
        checked_at=row.checked_at,
        created_at=row.created_at,
    )
