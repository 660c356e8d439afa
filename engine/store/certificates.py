"""Certificates and their places in certificate stores."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, and_, bindparam, func, insert, or_, select

from engine.errors import AlreadyExists, MalformedRequest, NotFound
from engine.store.database import Database
from engine.store.rows import StoredCertificate
from engine.store.schema import certificates, encode_serial_number, entries, intents, keys, parent_path

ADD_CERTIFICATE = insert(certificates)
ADD_ENTRIES = insert(entries)

_TAKEN = select(entries.c.path).where(entries.c.path.in_(bindparam("paths", expanding=True))).order_by(entries.c.path)
_KNOWN = select(certificates.c.sha256).where(certificates.c.sha256 == bindparam("sha256"))
# The inner join leaves reservations out: an entry is there when its certificate is.
_ENTRY = select(entries.c.path, entries.c.type, certificates.c.der, entries.c.metadata).join_from(
    entries, certificates, entries.c.certificate_sha256 == certificates.c.sha256
)
_IN_STORE = entries.c.store_path == bindparam("store_path")
_FIND = _ENTRY.where(entries.c.path == bindparam("path"))
_LIST = _ENTRY.where(_IN_STORE).order_by(entries.c.path).limit(bindparam("limit")).offset(bindparam("offset"))
_LIST_PATHS = (
    select(entries.c.path)
    .where(_IN_STORE, entries.c.certificate_sha256.is_not(None))
    .order_by(entries.c.path)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_SPKI = certificates.c.spki_sha256 == bindparam("spki_sha256")
_FIND_CA = (
    select(certificates.c.der, certificates.c.not_before, certificates.c.sha256)
    .join_from(certificates, entries, entries.c.certificate_sha256 == certificates.c.sha256)
    .where(_SPKI, certificates.c.is_ca, entries.c.store_path.in_(bindparam("store_paths", expanding=True)))
    .order_by(certificates.c.not_before, certificates.c.sha256)
    .distinct()
)
_FIND_CA_BY_SUBJECT = (
    select(certificates.c.der, certificates.c.not_before, certificates.c.sha256)
    .join_from(certificates, entries, entries.c.certificate_sha256 == certificates.c.sha256)
    .where(
        certificates.c.subject == bindparam("subject"),
        certificates.c.is_ca,
        entries.c.store_path.in_(bindparam("store_paths", expanding=True)),
    )
    .order_by(certificates.c.not_before, certificates.c.sha256)
    .distinct()
)


def _is_below(path: Column[str]) -> ColumnElement[bool]:
    """Whether a path begins with the parameter `below`. Not by LIKE, to which an underscore, which ids have, is any
    character."""
    return func.substr(path, 1, func.length(bindparam("below"))) == bindparam("below")


# A caller can put a foreign CA certificate for any public key into a store. It says something about an organization
# only if the key is one of its own.
_IS_CA_KEY = (
    select(certificates.c.sha256)
    .join_from(certificates, intents, certificates.c.intent_id == intents.c.intent_id, isouter=True)
    .where(
        _SPKI,
        certificates.c.is_ca,
        or_(
            _is_below(intents.c.target),
            # Recorded before targets were: whose it is cannot be told, so it counts for everybody.
            and_(certificates.c.intent_id.is_not(None), intents.c.target.is_(None)),
            select(keys.c.path)
            .where(
                keys.c.spki_sha256 == bindparam("spki_sha256"),
                _is_below(keys.c.path),
            )
            .exists(),
        ),
    )
    .limit(1)
)


class Certificates:
    """The part of the store that knows certificates and entries."""

    _database: Database
    _now: Callable[[], datetime]

    def add_entry(
        self,
        *,
        path: str,
        type: str,
        certificate: bytes,
        sha256: str,
        subject: bytes,
        issuer: bytes,
        serial_number: int,
        spki_sha256: str,
        is_ca: bool,
        not_before: datetime,
        not_after: datetime,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Put a certificate that was not issued here, or issued earlier, at `path`.

        `certificate`, `subject` and `issuer` are DER; digests lower-case hex. Raises AlreadyExists when the path is
        taken or reserved, MalformedRequest for a serial number that RFC 5280 section 4.1.2.2 does not allow for,
        StoreError.
        """
        try:
            serial_digits = encode_serial_number(serial_number)
        except ValueError as error:
            raise MalformedRequest(
                "The certificate to be stored has a serial number that is negative or longer than 20 octets."
            ) from error
        certificate_row = {
            "sha256": sha256,
            "intent_id": None,
            "der": certificate,
            "subject": subject,
            "issuer": issuer,
            "serial_number": serial_digits,
            "spki_sha256": spki_sha256,
            "is_ca": is_ca,
            "not_before": not_before,
            "not_after": not_after,
        }
        entry_row = {
            "path": path,
            "store_path": parent_path(path),
            "type": type,
            "metadata": None if metadata is None else dict(metadata),
            "intent_id": None,
            "certificate_sha256": sha256,
            "created_at": self._now(),
        }

        def work(connection: Connection) -> None:
            if connection.execute(_KNOWN, {"sha256": sha256}).first() is None:
                connection.execute(ADD_CERTIFICATE, certificate_row)
            connection.execute(ADD_ENTRIES, entry_row)

        self._database.write(work, lambda connection: explain_taken(connection, [path]))

    def find_entry(self, path: str) -> StoredCertificate:
        """The certificate at `path`. Raises NotFound, also for a place that is only reserved; StoreError."""
        rows = self._database.read(_FIND, {"path": path})
        if not rows:
            raise NotFound(f"No certificate is at {path}.")
        return _load_entry(rows[0])

    def list_entries(self, store_path: str, limit: int, offset: int) -> tuple[StoredCertificate, ...]:
        """A page of a store's certificates, in the order of their paths. Raises StoreError."""
        page = {"store_path": store_path, "limit": limit, "offset": offset}
        return tuple(_load_entry(row) for row in self._database.read(_LIST, page))

    def list_entry_paths(self, store_path: str, limit: int, offset: int) -> tuple[str, ...]:
        """A page of the paths of a store's certificates, in order. Raises StoreError."""
        page = {"store_path": store_path, "limit": limit, "offset": offset}
        return tuple(row.path for row in self._database.read(_LIST_PATHS, page))

    def find_ca_certificates(self, store_paths: Collection[str], spki_sha256: str) -> tuple[bytes, ...]:
        """The CA certificates (DER) in these stores that carry this public key, oldest first, each once.

        Expired ones too: the caller has the clock. Raises StoreError.
        """
        found = self._database.read(_FIND_CA, {"store_paths": list(store_paths), "spki_sha256": spki_sha256})
        return tuple(row.der for row in found)

    def find_ca_certificates_by_subject(self, store_paths: Collection[str], subject: bytes) -> tuple[bytes, ...]:
        """The CA certificates (DER) in these stores with this subject (DER Name), oldest first, each once.

        Expired ones too: the caller has the clock. Raises StoreError.
        """
        found = self._database.read(_FIND_CA_BY_SUBJECT, {"store_paths": list(store_paths), "subject": subject})
        return tuple(row.der for row in found)

    def is_ca_key(self, spki_sha256: str, organization: str) -> bool:
        """Whether a certificate authority of the organization uses the key: a CA certificate for it was issued for the
        organization, or was stored here and the key is one of the organization's. Raises StoreError."""
        return bool(self._database.read(_IS_CA_KEY, {"spki_sha256": spki_sha256, "below": f"{organization}."}))


def explain_taken(connection: Connection, paths: Collection[str]) -> AlreadyExists | None:
    """The first of `paths` that has an entry, as the error to raise; None when all are free."""
    taken = connection.execute(_TAKEN, {"paths": list(paths)}).first()
    if taken is None:
        return None
    return AlreadyExists(f"A certificate already exists at {taken.path}.", target=taken.path)


def _load_entry(row: Row[Any]) -> StoredCertificate:
    return StoredCertificate(path=row.path, type=row.type, der=row.der, metadata=row.metadata)
