"""Certificates and their places in certificate stores."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from engine.errors import AlreadyExists, MalformedRequest, NotFound
from engine.store.chain import Detail, canonical, sha256_hex
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.resources import check_places
from engine.store.rows import ENGINE, Actor, CaCertificate, CertificateFacts, StoredCertificate
from engine.store.schema import certificates, encode_serial_number, entries, events, intents, keys, parent_path

ADD_CERTIFICATE = insert(certificates)
ADD_ENTRIES = insert(entries)

_SIGNATURES = ("certificate-signed", "request-signed", "rate-measured")

_TAKEN = select(entries.c.path).where(entries.c.path.in_(bindparam("paths", expanding=True))).order_by(entries.c.path)
# Two callers, of two processes perhaps, may bring the same certificate.
_ADD_UNLESS_KNOWN = {
    "sqlite": sqlite.insert(certificates).on_conflict_do_nothing(index_elements=["sha256"]),
    "postgresql": postgresql.insert(certificates).on_conflict_do_nothing(index_elements=["sha256"]),
}
# The inner join leaves reservations out: an entry is there when its certificate is.
_ENTRY = select(entries.c.path, entries.c.type, certificates.c.der, entries.c.metadata).join_from(
    entries, certificates, entries.c.certificate_sha256 == certificates.c.sha256
)
_FIND = _ENTRY.where(entries.c.path == bindparam("path"))
_LIST_PATHS = (
    select(entries.c.path)
    .where(
        entries.c.store_path == bindparam("store_path"),
        entries.c.certificate_sha256.is_not(None),
        entries.c.path > bindparam("after"),
    )
    .order_by(entries.c.path)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
# The page is chosen in the index alone; only its own certificates are then read.
_PAGE = _LIST_PATHS.subquery("page")
_LIST = _ENTRY.join(_PAGE, _PAGE.c.path == entries.c.path).order_by(entries.c.path)
# Names of their own, since an UPDATE claims its columns' names for the new values.
_FILLED = (entries.c.path == bindparam("of_path"), entries.c.certificate_sha256.is_not(None))
_SAME = entries.c.certificate_sha256 == bindparam("new_sha256", type_=String)
_REPLACE = (
    update(entries)
    .where(*_FILLED)
    .values(
        type=bindparam("new_type"),
        metadata=bindparam("new_metadata", type_=entries.c.metadata.type),
        # What another certificate was believed for, this one is not.
        intent_id=case((_SAME, entries.c.intent_id)),
        vouched_below=func.coalesce(
            bindparam("new_vouched_below", type_=String), case((_SAME, entries.c.vouched_below))
        ),
        self_signed=bindparam("new_self_signed"),
        certificate_sha256=bindparam("new_sha256", type_=String),
    )
    .returning(entries.c.vouched_below)
)
_DELETE = (
    delete(entries)
    .where(*_FILLED)
    .returning(
        entries.c.certificate_sha256,
        select(certificates.c.serial_number)
        .where(certificates.c.sha256 == entries.c.certificate_sha256)
        .scalar_subquery()
        .label("serial_number"),
    )
)
_SPKI = certificates.c.spki_sha256 == bindparam("spki_sha256")
# Entries are looked up for the few certificates with a key or a name. With the column itself SQLite would rather look
# through all that is in the stores.
_ISSUED = select(certificates.c.sha256).where(_SPKI, certificates.c.intent_id.is_not(None)).limit(1)
# What a key has signed that is neither its own proof nor a checkpoint. Intents have no index by key: all of them are
# looked through, before the first checkpoint of a key.
_NAMES: BindParameter[list[str]] = bindparam("names", expanding=True)
_SIGNED = select(events.c.sequence).where(events.c.signing_key.in_(_NAMES), events.c.kind.in_(_SIGNATURES)).limit(1)
_INTENDED = select(intents.c.intent_id).where(intents.c.signing_key.in_(_NAMES), intents.c.kind != "proof").limit(1)
_STORES = (entries.c.store_path + "").in_(bindparam("store_paths", expanding=True))
_VOUCHED_BELOW = entries.c.vouched_below + "."
_TRUSTED = or_(
    entries.c.intent_id.is_not(None),
    func.substr(bindparam("service_path", type_=String) + ".", 1, func.length(_VOUCHED_BELOW)) == _VOUCHED_BELOW,
)
_FIND_CA = (
    select(certificates.c.der, func.max(case((_TRUSTED, 1), else_=0)).label("trusted"))
    .join_from(certificates, entries, entries.c.certificate_sha256 == certificates.c.sha256)
    .where(_SPKI, certificates.c.is_ca, _STORES)
    .group_by(certificates.c.sha256)
    .order_by(certificates.c.not_before, certificates.c.sha256)
)
_FIND_TRUSTED_CA_BY_SUBJECT = (
    select(certificates.c.der)
    .join_from(certificates, entries, entries.c.certificate_sha256 == certificates.c.sha256)
    .where(certificates.c.subject == bindparam("subject"), certificates.c.is_ca, _STORES, _TRUSTED)
    .group_by(certificates.c.sha256)
    .order_by(certificates.c.not_before, certificates.c.sha256)
)


def _is_below(path: Column[str]) -> ColumnElement[bool]:
    """Whether a path begins with the parameter `below`. Not by LIKE, to which an underscore, which ids have, is any
    character."""
    return func.substr(path, 1, func.length(bindparam("below"))) == bindparam("below")


# A caller can put a foreign CA certificate for any public key into a store. It says something about an organization
# only if it is in a store of the organization, the key is one of its own, and not just anybody says so.
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
            and_(
                select(keys.c.path)
                .where(
                    keys.c.spki_sha256 == bindparam("spki_sha256"),
                    _is_below(keys.c.path),
                )
                .exists(),
                select(entries.c.path)
                .where(
                    entries.c.certificate_sha256 == certificates.c.sha256,
                    _is_below(entries.c.path),
                    or_(
                        entries.c.intent_id.is_not(None),
                        entries.c.vouched_below.is_not(None),
                        entries.c.self_signed,
                    ),
                )
                .exists(),
            ),
        ),
    )
    .limit(1)
)


class Certificates(Trail):
    """The part of the store that knows certificates and entries."""

    _database: Database
    _now: Callable[[], datetime]
    _declared: Mapping[str, str] | None

    def add_entry(
        self,
        *,
        path: str,
        type: str,
        metadata: Mapping[str, object] | None = None,
        vouched_below: str | None = None,
        self_signed: bool = False,
        by: Actor = ENGINE,
        **certificate: Unpack[CertificateFacts],
    ) -> None:
        """Put a certificate that was not issued here, or issued earlier, at `path`.

        `vouched_below` is the path at and below which it is believed, if it is a CA's, on the word of who puts it
        here; `self_signed` says that its signature verifies under its own key. Raises AlreadyExists when the path is
        taken or reserved, NotFound if its store was deleted meanwhile, MalformedRequest for a serial number that RFC
        5280 section 4.1.2.2 does not allow for, StoreError.
        """
        certificate_row = _certificate_row(certificate)
        entry_row = {
            "path": path,
            "store_path": parent_path(path),
            "type": type,
            "metadata": None if metadata is None else dict(metadata),
            "intent_id": None,
            "certificate_sha256": certificate["sha256"],
            "created_at": self._now(),
            "vouched_below": vouched_below,
            "self_signed": self_signed,
        }

        def work(connection: Connection) -> None:
            check_places(connection, [parent_path(path)], self._declared)
            connection.execute(_ADD_UNLESS_KNOWN[connection.dialect.name], certificate_row)
            connection.execute(ADD_ENTRIES, entry_row)
            told = _told(type, metadata, vouched_below, self_signed, certificate)
            self._tell_of(connection, "entry-added", by, path, told)

        self._database.write(work, lambda connection: explain_taken(connection, [path]))

    def replace_entry(
        self,
        *,
        path: str,
        type: str,
        metadata: Mapping[str, object] | None = None,
        vouched_below: str | None = None,
        self_signed: bool = False,
        by: Actor = ENGINE,
        **certificate: Unpack[CertificateFacts],
    ) -> None:
        """Put another certificate, or the same one with other metadata, at `path`, where one is.

        The arguments are those of `add_entry`. An entry that keeps its certificate keeps what that is believed for;
        what was issued here stays recorded whatever its entry holds. Raises NotFound, also for a place that is only
        reserved; MalformedRequest, StoreError.
        """
        certificate_row = _certificate_row(certificate)
        replacement = {
            "of_path": path,
            "new_type": type,
            "new_metadata": None if metadata is None else dict(metadata),
            "new_sha256": certificate["sha256"],
            "new_vouched_below": vouched_below,
            "new_self_signed": self_signed,
        }

        def work(connection: Connection) -> None:
            connection.execute(_ADD_UNLESS_KNOWN[connection.dialect.name], certificate_row)
            replaced = connection.execute(_REPLACE, replacement).first()
            if replaced is None:
                raise _nothing_at(path)
            told = _told(type, metadata, replaced.vouched_below, self_signed, certificate)
            self._tell_of(connection, "entry-replaced", by, path, told)

        self._database.write(work)

    def delete_entry(self, path: str, *, by: Actor = ENGINE) -> None:
        """Take the certificate at `path` out of its store; it stays recorded.

        Raises NotFound, also for a place that is only reserved; StoreError.
        """

        def work(connection: Connection) -> None:
            deleted = connection.execute(_DELETE, {"of_path": path}).first()
            if deleted is None:
                raise _nothing_at(path)
            told = {"certificateSha256": deleted.certificate_sha256, "serialNumber": deleted.serial_number}
            self._tell_of(connection, "entry-deleted", by, path, told)

        self._database.write(work)

    def find_entry(self, path: str) -> StoredCertificate:
        """The certificate at `path`. Raises NotFound, also for a place that is only reserved; StoreError."""
        rows = self._database.read(_FIND, {"path": path})
        if not rows:
            raise _nothing_at(path)
        return _load_entry(rows[0])

    def list_entries(
        self, store_path: str, limit: int, offset: int = 0, after: str = ""
    ) -> tuple[StoredCertificate, ...]:
        """A page of a store's certificates in the order of their paths, `offset` of them left out from the path
        `after` on. A page after a path costs the same wherever it is. Raises StoreError."""
        page = {"store_path": store_path, "limit": limit, "offset": offset, "after": after}
        return tuple(_load_entry(row) for row in self._database.read(_LIST, page))

    def list_entry_paths(self, store_path: str, limit: int, offset: int = 0, after: str = "") -> tuple[str, ...]:
        """The paths that `list_entries` would list. Raises StoreError."""
        page = {"store_path": store_path, "limit": limit, "offset": offset, "after": after}
        return tuple(row.path for row in self._database.read(_LIST_PATHS, page))

    def find_ca_certificates(
        self, store_paths: Collection[str], spki_sha256: str, service_path: str
    ) -> tuple[CaCertificate, ...]:
        """The CA certificates in these stores that carry this public key, oldest first, each once.

        Each says whether the service at `service_path` may trust it for where it came from. Expired ones too: the
        caller has the clock. Raises StoreError.
        """
        wanted = {"store_paths": list(store_paths), "spki_sha256": spki_sha256, "service_path": service_path}
        return tuple(CaCertificate(row.der, bool(row.trusted)) for row in self._database.read(_FIND_CA, wanted))

    def find_trusted_ca_certificates(
        self, store_paths: Collection[str], subject: bytes, service_path: str
    ) -> tuple[bytes, ...]:
        """The CA certificates (DER) in these stores that have this subject (DER Name) and that the service at
        `service_path` may trust, oldest first, each once. Expired ones too. Raises StoreError."""
        wanted = {"store_paths": list(store_paths), "subject": subject, "service_path": service_path}
        return tuple(row.der for row in self._database.read(_FIND_TRUSTED_CA_BY_SUBJECT, wanted))

    def has_issued(self, spki_sha256: str) -> bool:
        """Whether a certificate for a key (SHA-256 of its SubjectPublicKeyInfo, hex) was issued here. StoreError."""
        return bool(self._database.read(_ISSUED, {"spki_sha256": spki_sha256}))

    def has_signed(self, names: Sequence[str], *, even_in_vain: bool) -> bool:
        """Whether a key of these names has signed a certificate, a certification request or to be measured. StoreError.

        With `even_in_vain` also whether it was to sign one and nothing came of it, or no trail was kept then.
        """
        wanted = {"names": list(names)}
        return bool(self._database.read(_SIGNED, wanted) or (even_in_vain and self._database.read(_INTENDED, wanted)))

    def is_ca_key(self, spki_sha256: str, organization: str) -> bool:
        """Whether a certificate authority of the organization uses the key. Raises StoreError.

        It does if a CA certificate for the key was issued for the organization; or if the key is one of the
        organization's and a CA certificate for it, self-signed or put there by one who may issue, is in a store of
        the organization's.
        """
        return bool(self._database.read(_IS_CA_KEY, {"spki_sha256": spki_sha256, "below": f"{organization}."}))


def explain_taken(connection: Connection, paths: Collection[str]) -> AlreadyExists | None:
    """The first of `paths` that has an entry, as the error to raise; None when all are free."""
    taken = connection.execute(_TAKEN, {"paths": list(paths)}).first()
    if taken is None:
        return None
    return AlreadyExists(f"A certificate already exists at {taken.path}.", target=taken.path)


def _load_entry(row: Row[Any]) -> StoredCertificate:
    return StoredCertificate(path=row.path, type=row.type, der=row.der, metadata=row.metadata)


def _nothing_at(path: str) -> NotFound:
    return NotFound(f"No certificate is at {path}.")


def digest_metadata(metadata: Mapping[str, object] | None) -> str | None:
    """What the audit trail has of complementary metadata: SHA-256 of canonical JSON, lower-case hex."""
    return None if metadata is None else sha256_hex(canonical(metadata).encode())


def _told(
    type: str,
    metadata: Mapping[str, object] | None,
    vouched_below: str | None,
    self_signed: bool,
    certificate: CertificateFacts,
) -> Mapping[str, Detail | None]:
    """What events say of a certificate that was put into a store."""
    return {
        "type": type,
        "vouchedBelow": vouched_below,
        "selfSigned": self_signed,
        "metadataSha256": digest_metadata(metadata),
        "certificateSha256": certificate["sha256"],
        "serialNumber": encode_serial_number(certificate["serial_number"]),
        "issuerSha256": sha256_hex(certificate["issuer"]),
        "spkiSha256": certificate["spki_sha256"],
        "isCa": certificate["is_ca"],
    }


def _certificate_row(certificate: CertificateFacts) -> dict[str, object]:
    """The row of a certificate that was not issued here."""
    try:
        serial_digits = encode_serial_number(certificate["serial_number"])
    except ValueError as error:
        raise MalformedRequest(
            "The certificate to be stored has a serial number that is negative or longer than 20 octets."
        ) from error
    facts: dict[str, object] = {**certificate, "serial_number": serial_digits, "intent_id": None}
    return {"der": facts.pop("certificate"), **facts}
