"""The queries of `stored_records`. Columns of tables that are joined are labelled with the table's name."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
    tuple_,
)

from engine.store.raw_values import raw, raw_columns
from engine.store.schema import (
    INTENDED,
    TELLS_CUSTODY,
    accounts,
    certificates,
    credentials,
    entries,
    events,
    intents,
    keys,
)

_CLOSING = ("certificate-signed", "signature-failed", "signature-outcome-unknown")
_OF_SIGNATURES = ("signature-intended", *_CLOSING)
_PUT = ("entry-added", "entry-replaced")


_INTENT = raw_columns(
    intents.c.intent_id,
    intents.c.kind,
    intents.c.issuer,
    intents.c.serial_number,
    intents.c.tbs_sha256,
    intents.c.signing_key,
    intents.c.state,
    intents.c.recorded_at,
    intents.c.writer,
)
_WHOLE_INTENT = [
    *_INTENT,
    *raw_columns(
        intents.c.profile,
        intents.c.tbs,
        intents.c.caller,
        intents.c.request_id,
        intents.c.request_digest,
        intents.c.grounds,
        intents.c.answer,
    ),
]
_CERTIFICATE = raw_columns(
    certificates.c.sha256,
    certificates.c.intent_id,
    certificates.c.der,
    certificates.c.subject,
    certificates.c.issuer,
    certificates.c.serial_number,
    certificates.c.spki_sha256,
    certificates.c.is_ca,
    certificates.c.not_before,
    certificates.c.not_after,
)
_EVENT = (
    events.c.writer,
    events.c.sequence,
    raw(events.c.recorded_at).label("recorded_at"),
    events.c.kind,
    events.c.actor,
    events.c.target,
    events.c.outcome,
    events.c.request_id,
    events.c.details,
)
_LIMIT: BindParameter[int] = bindparam("page")
CERTIFICATES: Select[Any] = (
    select(*_CERTIFICATE, *_WHOLE_INTENT)
    .join_from(certificates, intents, certificates.c.intent_id == intents.c.intent_id, isouter=True)
    .order_by(certificates.c.sha256)
    .limit(_LIMIT)
)
# What was issued is taken out of a store as well.
EVENTS_OF_SERIALS: Select[Any] = select(*_EVENT).where(
    events.c.serial_number.in_(bindparam("serials", expanding=True)),
    events.c.kind.in_((*_OF_SIGNATURES, "entry-deleted")),
)
# As text also where the driver would read it.
_METADATA = cast(entries.c.metadata, Text).label("entries_metadata")
ENTRIES_OF_INTENTS: Select[Any] = select(
    *raw_columns(entries.c.path, entries.c.intent_id, entries.c.type), _METADATA
).where(entries.c.intent_id.in_(bindparam("intents", expanding=True)))
PUT_EVENT = (
    select(events.c.details)
    .where(
        events.c.serial_number == bindparam("serial_number"),
        events.c.kind.in_((*_PUT, "entry-deleted")),
        events.c.details.contains(bindparam("told")),
    )
    .limit(1)
)
PUT_AT = select(func.min(raw(entries.c.created_at))).where(entries.c.certificate_sha256 == bindparam("sha256"))
INTENT_OF_SERIAL: Select[Any] = select(*_WHOLE_INTENT).where(
    intents.c.issuer == bindparam("issuer"), intents.c.serial_number == bindparam("serial_number")
)
# In the order of the index that keeps a serial number from being used twice.
INTENTS: Select[Any] = (
    select(*_INTENT, intents.c.grounds.is_not(None).label("has_grounds"), raw(certificates.c.sha256))
    .join_from(intents, certificates, certificates.c.intent_id == intents.c.intent_id, isouter=True)
    .where(intents.c.kind == "certificate")
    .order_by(intents.c.issuer, intents.c.serial_number, intents.c.intent_id)
    .limit(_LIMIT)
)
ENTRIES: Select[Any] = (
    select(
        *raw_columns(entries.c.path, entries.c.store_path, entries.c.intent_id, entries.c.certificate_sha256),
        *raw_columns(entries.c.type, entries.c.created_at, entries.c.vouched_below, entries.c.self_signed),
        _METADATA,
        *raw_columns(certificates.c.sha256, certificates.c.intent_id),
        *raw_columns(intents.c.intent_id, intents.c.state, intents.c.recorded_at),
    )
    .join_from(entries, certificates, entries.c.certificate_sha256 == certificates.c.sha256, isouter=True)
    .join(intents, entries.c.intent_id == intents.c.intent_id, isouter=True)
    .order_by(entries.c.path)
    .limit(_LIMIT)
)
ENTRIES_AT: Select[Any] = ENTRIES.where(entries.c.path.in_(bindparam("paths", expanding=True)))
# A literal, since the index of the open ones is of no use to a statement whose state is a parameter. And not the id
# itself, by which SQLite would rather look through all that were ever recorded.
OPEN_ID = intents.c.intent_id + ""
OPEN: Select[Any] = (
    select(*_INTENT).where(intents.c.state == literal_column(f"'{INTENDED}'")).order_by(OPEN_ID).limit(_LIMIT)
)
IS_OPEN = select(intents.c.intent_id).where(
    intents.c.intent_id == bindparam("intent_id"), intents.c.state == literal_column(f"'{INTENDED}'")
)
EVENTS: Select[Any] = (
    select(*_EVENT)
    .where(
        tuple_(events.c.writer, events.c.sequence)
        > tuple_(bindparam("writer", type_=BigInteger), bindparam("sequence", type_=BigInteger))
    )
    .order_by(events.c.writer, events.c.sequence)
    .limit(_LIMIT)
)
KNOWN_INTENTS = select(intents.c.intent_id).where(intents.c.intent_id.in_(bindparam("those", expanding=True)))
KNOWN_CERTIFICATES = select(certificates.c.sha256).where(certificates.c.sha256.in_(bindparam("those", expanding=True)))
# Literal, as the index of these events has it.
CUSTODY_EVENT = (
    select(events.c.sequence)
    .where(events.c.signing_key == bindparam("path"), text(TELLS_CUSTODY), events.c.details.contains(bindparam("told")))
    .limit(1)
)
KEY: Select[Any] = select(*raw_columns(keys.c.spki, keys.c.created_at)).where(keys.c.path == bindparam("path"))
OF_KEY: Select[Any] = (
    select(*raw_columns(certificates.c.der)).where(certificates.c.spki_sha256 == bindparam("spki_sha256")).limit(1)
)
_MOST_AUTHORITIES = 1000
AUTHORITIES: Select[Any] = (
    select(*raw_columns(certificates.c.der, certificates.c.intent_id))
    .where(certificates.c.subject == bindparam("subject"), certificates.c.is_ca)
    .order_by(certificates.c.not_after.desc(), certificates.c.sha256)
    .limit(_MOST_AUTHORITIES)
)
# Of what happens to keys, credentials, accounts and places in certificate stores.
LATE_EVENTS: Select[Any] = select(*_EVENT).where(
    events.c.recorded_at >= bindparam("since"), events.c.kind.in_(bindparam("kinds", expanding=True))
)
LATE_EVENTS_AT: Select[Any] = LATE_EVENTS.where(events.c.target.in_(bindparam("paths", expanding=True)))
KEYS: Select[Any] = (
    select(
        *raw_columns(keys.c.path, keys.c.token, keys.c.label, keys.c.key_id, keys.c.key_type, keys.c.spki),
        *raw_columns(keys.c.spki_sha256, keys.c.origin, keys.c.created_at),
        cast(keys.c.custody, Text).label("keys_custody"),
    )
    .order_by(keys.c.path)
    .limit(_LIMIT)
)
CREDENTIALS: Select[Any] = (
    select(
        *raw_columns(credentials.c.credential_id, credentials.c.scope, credentials.c.created_at),
        raw(credentials.c.revoked_at),
        cast(credentials.c.roles, Text).label("credentials_roles"),
    )
    .order_by(credentials.c.credential_id)
    .limit(_LIMIT)
)
ACCOUNTS: Select[Any] = (
    select(
        *raw_columns(accounts.c.email, accounts.c.scope, accounts.c.created_at, accounts.c.disabled_at),
        cast(accounts.c.roles, Text).label("accounts_roles"),
    )
    .order_by(accounts.c.email)
    .limit(_LIMIT)
)
COUNTS = {
    "certificates": select(func.count()).select_from(certificates),
    "intents": select(func.count()).select_from(intents).where(intents.c.issuer.is_not(None)),
    "entries": select(func.count()).select_from(entries),
    "events": select(func.count()).select_from(events),
}
TRAIL_BEGINS = select(func.min(raw(events.c.recorded_at)))
