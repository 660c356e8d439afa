"""Which path stands for which token key, what the token said about it, and for which path a token key was made.

A token key that the engine makes has the id of an intent for its CKA_ID: the intent that is open from before it is
made until it is registered, in one transaction with that. So a token key whose intent is closed and that no path stands
for is of no use to anybody: making it failed, or its path was removed and its destruction did not come after.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Text, and_, bindparam, delete, func, insert, or_, select, update

from engine.errors import AlreadyExists, NotFound, StoreError
from engine.store.address import Secret
from engine.store.chain import Detail, canonical, custody_sha256
from engine.store.database import Database, read_beside
from engine.store.events import Trail
from engine.store.intents import close_signed
from engine.store.left_open import LeftOpen
from engine.store.resources import check_places
from engine.store.rows import ENGINE, Actor, KeyInUse, KeyMaking, KeyRow, RemovedKey
from engine.store.schema import INTENDED, SIGNED, certificates, entries, intents, keys, parent_path
from engine.store.statements import keep_statement

_ADD = insert(keys)
_FIND = select(keys).where(keys.c.path == bindparam("path"))
_LIST = select(keys).where(keys.c.kms_path == bindparam("kms_path")).order_by(keys.c.path)
_PAGE = _LIST.limit(bindparam("limit")).offset(bindparam("offset"))
_ALL = select(keys).order_by(keys.c.path)
_LIST_BY_SPKI = select(keys).where(keys.c.spki_sha256 == bindparam("spki_sha256")).order_by(keys.c.path)
_LIST_BY_OBJECT = (
    select(keys)
    .where(keys.c.token == bindparam("token"), keys.c.label == bindparam("label"), keys.c.key_id == bindparam("key_id"))
    .order_by(keys.c.path)
)
_LIST_BY_LABELS = (
    select(keys)
    .where(keys.c.token == bindparam("token"), keys.c.label.in_(bindparam("labels", expanding=True)))
    .order_by(keys.c.path)
)
_RECORD_CUSTODY = (
    update(keys)
    .where(keys.c.path == bindparam("key_path"), keys.c.key_id == bindparam("examined"))
    .returning(keys.c.spki_sha256)
)
_REMOVE = delete(keys).where(keys.c.path == bindparam("path"))
_MAKING = select(intents.c.signing_key, intents.c.state).where(
    intents.c.intent_id == bindparam("intent_id"), intents.c.kind == "proof"
)
_BELOW = bindparam("below", type_=Text)
# Issued for the organization, or in one of its stores: whoever put it there, somebody expects the key to issue.
_IN_USE = (
    select(certificates.c.sha256, certificates.c.not_after)
    .join_from(certificates, intents, certificates.c.intent_id == intents.c.intent_id, isouter=True)
    .where(
        certificates.c.spki_sha256 == bindparam("spki_sha256"),
        certificates.c.is_ca,
        certificates.c.not_after >= bindparam("now"),
        or_(
            func.substr(intents.c.target, 1, func.length(_BELOW)) == _BELOW,
            # Recorded before targets were: whose it is cannot be told.
            and_(certificates.c.intent_id.is_not(None), intents.c.target.is_(None)),
            select(entries.c.path)
            .where(
                entries.c.certificate_sha256 == certificates.c.sha256,
                func.substr(entries.c.path, 1, func.length(_BELOW)) == _BELOW,
            )
            .exists(),
        ),
    )
    .order_by(certificates.c.not_after.desc(), certificates.c.sha256)
    .limit(1)
)


class Keys(Trail):
    """The part of the store that knows keys."""

    _database: Database
    _now: Callable[[], datetime]
    _declared: Mapping[str, str] | None
    _left_open: LeftOpen

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
        intent_id: str | None = None,
    ) -> KeyRow:
        """Bind `path` to a token key, and close the intent of the signature that has proven it, if there is one.

        `key_id` is CKA_ID, `spki` DER. Raises AlreadyExists; NotFound if its KMS was deleted meanwhile; StoreError,
        also when the intent is not open.
        """
        created_at = self._now()
        key = KeyRow(
            path=path,
            token=token,
            label=label,
            key_id=key_id,
            key_type=key_type,
            spki=spki,
            spki_sha256=spki_sha256,
            origin=origin,
            custody=dict(custody),
            checked_at=checked_at,
            created_at=created_at,
        )
        row = {one.name: getattr(key, one.name) for one in fields(key)} | {"kms_path": parent_path(path)}
        close = {"of_intent": intent_id, "state": SIGNED, "closed_at": created_at}

        def work(connection: Connection) -> None:
            check_places(connection, [parent_path(path)], self._declared)
            connection.execute(_ADD, row)
            keep_statement(connection, canonical(custody), created_at)
            if intent_id is None:
                self._tell_of(connection, f"key-{origin}", ENGINE, path, describe_key(key))
                return
            proof = close_signed(connection, close)
            if proof is None:
                raise StoreError(f"The key {path} was not registered: the intent of its proof is not open any more.")
            registered = replace(proof, kind=f"key-{origin}", target=path, details=describe_key(key))
            self._tell(connection, proof, registered)

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_FIND, {"path": path}).first() is None:
                return None
            return AlreadyExists(f"A key already exists at {path}.", target=path)

        self._database.write(work, explain)
        if intent_id is not None:
            self._left_open.end(intent_id)
        return key

    def remove_key(
        self, path: str, *, organization: str, even_in_use: bool, by: Actor = ENGINE
    ) -> RemovedKey | KeyInUse:
        """Have `path` stand for nothing any more; unless `even_in_use`, not while the key is a CA's, which is returned.

        A CA certificate that has not expired speaks for that, issued for the organization or in one of its stores.
        Raises NotFound, StoreError.
        """
        now = self._now()

        def work(connection: Connection) -> RemovedKey | KeyInUse:
            found = connection.execute(_FIND, {"path": path}).first()
            if found is None:
                raise _nothing_at(path)
            if not even_in_use:
                wanted = {"spki_sha256": found.spki_sha256, "now": now, "below": f"{organization}."}
                use = connection.execute(_IN_USE, wanted).first()
                if use is not None:
                    return KeyInUse(certificate_sha256=use.sha256, not_after=use.not_after)
            if connection.execute(_REMOVE, {"path": path}).rowcount != 1:
                raise _nothing_at(path)
            row = _load_key(found)
            others = connection.execute(_LIST_BY_OBJECT, _of_object(row.token, row.label, row.key_id)).first()
            self._tell_of(connection, "key-unbound", by, path, {**describe_key(row), "isLast": others is None})
            return RemovedKey(row, is_last=others is None)

        return self._database.write(work)

    def record_custody(
        self,
        path: str,
        key_id: bytes,
        custody: Mapping[str, object],
        checked_at: datetime,
        *,
        by: Actor = ENGINE,
    ) -> None:
        """Replace the custody record of the key with CKA_ID `key_id` at `path`. Raises NotFound, StoreError."""
        row = {"key_path": path, "examined": key_id, "custody": dict(custody), "checked_at": checked_at}
        now = self._now()

        def work(connection: Connection) -> None:
            examined = connection.execute(_RECORD_CUSTODY, row).first()
            if examined is None:
                raise _nothing_at(path)
            keep_statement(connection, canonical(custody), now)
            told = {
                "signingKey": path,
                "keyId": key_id.hex(),
                "spkiSha256": examined.spki_sha256,
                "custodySha256": custody_sha256(custody),
            }
            self._tell_of(connection, "key-examined", by, path, told)

        self._database.write(work)

    def find_key(self, path: str) -> KeyRow:
        """The key at `path`. Raises NotFound, StoreError."""
        rows = self._database.read(_FIND, {"path": path})
        if not rows:
            raise _nothing_at(path)
        return _load_key(rows[0])

    def list_keys(self, kms_path: str) -> tuple[KeyRow, ...]:
        """The keys of one KMS, in the order of their paths. Raises StoreError."""
        return tuple(_load_key(row) for row in self._database.read(_LIST, {"kms_path": kms_path}))

    def list_keys_page(self, kms_path: str, limit: int, offset: int) -> tuple[KeyRow, ...]:
        """A page of the keys of one KMS, in the order of their paths. Raises StoreError."""
        page = {"kms_path": kms_path, "limit": limit, "offset": offset}
        return tuple(_load_key(row) for row in self._database.read(_PAGE, page))

    def list_keys_by_object(self, token: str, label: str, key_id: bytes) -> tuple[KeyRow, ...]:
        """Every path of the token key with this CKA_LABEL and CKA_ID. Raises StoreError."""
        wanted = _of_object(token, label, key_id)
        return tuple(_load_key(row) for row in self._database.read(_LIST_BY_OBJECT, wanted))

    def list_keys_by_labels(self, token: str, labels: Collection[str]) -> tuple[KeyRow, ...]:
        """Every path of a token key with one of these CKA_LABELs. Raises StoreError."""
        wanted = {"token": token, "labels": list(labels)}
        return tuple(_load_key(row) for row in self._database.read(_LIST_BY_LABELS, wanted))

    def find_making(self, key_id: bytes) -> KeyMaking | None:
        """For which path the engine has made the token key with this CKA_ID; None if it has not. Raises StoreError."""
        rows = self._database.read(_MAKING, {"intent_id": key_id.hex()})
        return KeyMaking(path=rows[0].signing_key, is_open=rows[0].state == INTENDED) if rows else None

    def list_keys_by_spki(self, spki_sha256: str) -> tuple[KeyRow, ...]:
        """Every key with this public half (SHA-256 of the SubjectPublicKeyInfo, hex). Raises StoreError."""
        return tuple(_load_key(row) for row in self._database.read(_LIST_BY_SPKI, {"spki_sha256": spki_sha256}))


def read_keys(url: str, password: Secret | None = None) -> tuple[KeyRow, ...]:
    """Every registered key, in the order of paths, also while engines use the database. ConfigError, StoreError."""
    return tuple(_load_key(row) for row in read_beside(url, password, keys, _ALL))


def describe_key(row: KeyRow) -> dict[str, Detail | None]:
    """What events say of a key."""
    return {
        "signingKey": row.path,
        "token": row.token,
        "label": row.label,
        "keyId": row.key_id.hex(),
        "keyType": row.key_type,
        "spkiSha256": row.spki_sha256,
        "origin": row.origin,
        "custodySha256": custody_sha256(row.custody),
    }


def _of_object(token: str, label: str, key_id: bytes) -> dict[str, object]:
    return {"token": token, "label": label, "key_id": key_id}


def _nothing_at(path: str) -> NotFound:
    return NotFound(f"No key is at {path}.")


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
