"""The tables.

An intent is written before a token signs and closed after it. Its states:

    intended ──► signed            the signature was verified and recorded
       ├───────► failed            nothing was released; `reason` says what happened
       └───────► outcome-unknown   the process ended in between

Intents are never deleted, so a serial number that was once intended for an issuer is never used again (RFC 5280
section 4.1.2.2). An entry with an intent and no certificate is a reservation. Only types and constraints that
SQLite and PostgreSQL both have are used. What is here is what `migrations` leads to; a test compares the two.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

INTENDED = "intended"
SIGNED = "signed"
FAILED = "failed"
OUTCOME_UNKNOWN = "outcome-unknown"
ENGINE_STARTED = "engine-started"
TELLS_CUSTODY = "kind IN ('key-generated', 'key-imported', 'key-adopted', 'key-examined')"
"""Of events: they have the digest of a key's custody record."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC also where the database forgets the zone, as SQLite does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses a naive time: its zone would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("Expected a time with a zone, found a naive one.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _bytewise(length: int | None = None) -> TypeEngine[str]:
    """Text that is ordered by its octets, as SQLite orders all text. PostgreSQL would ask the server's language."""
    plain, ordered = (String(length), String(length, "C")) if length else (Text(), Text(collation="C"))
    return plain.with_variant(ordered, "postgresql")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

intents = Table(
    "intents",
    metadata,
    Column("intent_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("issuer", LargeBinary),
    Column("serial_number", String(40)),
    Column("tbs", LargeBinary),
    Column("tbs_sha256", String(64), nullable=False),
    Column("signing_key", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    # The path that the request was sent to; None for what was recorded before this column was.
    Column("target", _bytewise()),
    # The address that the request came from; None as above, or when it came from nowhere.
    Column("source", Text),
    # The connection that wrote the intent: while it lives, so may the request. None as above.
    Column("writer", BigInteger),
    # An Idempotency-Key of one credential; both None again when nothing came of the intent, so that it can be used
    # once more.
    Column("idempotency_scope", Text),
    Column("idempotency_key", Text),
    # SHA-256 of method, target and body, lower-case hex: the key stands for this request and no other.
    Column("idempotency_digest", String(64)),
    # The answer's JSON, to be given again.
    Column("answer", Text),
    # On which grounds a certificate was signed: canonical JSON, of which the audit trail has the digest. None for what
    # is no certificate, and for what was recorded before this column was.
    Column("grounds", Text),
    UniqueConstraint("issuer", "serial_number"),
    UniqueConstraint("idempotency_scope", "idempotency_key"),
    CheckConstraint("kind IN ('certificate', 'request', 'proof')", name="kind"),
    CheckConstraint("state IN ('intended', 'signed', 'failed', 'outcome-unknown')", name="state"),
    CheckConstraint("(state = 'intended') = (closed_at IS NULL)", name="closed"),
    CheckConstraint("(state = 'failed') = (reason IS NOT NULL)", name="reason"),
    CheckConstraint(
        "(kind = 'certificate' AND issuer IS NOT NULL AND serial_number IS NOT NULL AND tbs IS NOT NULL)"
        " OR (kind <> 'certificate' AND issuer IS NULL AND serial_number IS NULL)",
        name="certificate",
    ),
    CheckConstraint("length(serial_number) = 40", name="serial_number"),
    CheckConstraint("length(tbs_sha256) = 64", name="tbs_sha256"),
)

# Only the open ones are ever looked up by state, so only they are in the index.
Index(
    "ix_intents_open",
    intents.c.writer,
    sqlite_where=intents.c.state == INTENDED,
    postgresql_where=intents.c.state == INTENDED,
)

certificates = Table(
    "certificates",
    metadata,
    Column("sha256", String(64), primary_key=True),
    # None: not issued here, but put into a certificate store by a caller.
    Column("intent_id", String(64), ForeignKey("intents.intent_id"), unique=True),
    Column("der", LargeBinary, nullable=False),
    Column("subject", LargeBinary, nullable=False),
    Column("issuer", LargeBinary, nullable=False),
    Column("serial_number", String(40), nullable=False),
    Column("spki_sha256", String(64), nullable=False, index=True),
    Column("is_ca", Boolean, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("not_after", UtcDateTime, nullable=False),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("length(serial_number) = 40", name="serial_number"),
    CheckConstraint("length(spki_sha256) = 64", name="spki_sha256"),
    # A name may be longer than what fits into PostgreSQL's usual index.
    Index(None, "subject", postgresql_using="hash"),
)

entries = Table(
    "entries",
    metadata,
    Column("path", _bytewise(), primary_key=True),
    Column("store_path", _bytewise(), nullable=False),
    Column("type", String(32), nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    Column("intent_id", String(64), ForeignKey("intents.intent_id"), index=True),
    Column("certificate_sha256", String(64), ForeignKey("certificates.sha256"), index=True),
    Column("created_at", UtcDateTime, nullable=False),
    # For certificates that callers put here. At this path and below, a CA certificate is believed on the word of who
    # put it here: the scope of a credential that may issue. None: nobody's word.
    Column("vouched_below", _bytewise()),
    # Whether the certificate's signature verifies under its own key.
    Column("self_signed", Boolean),
    CheckConstraint("intent_id IS NOT NULL OR certificate_sha256 IS NOT NULL", name="reserved_or_filled"),
    # With the certificate, so that a page is found without looking into the table.
    Index(None, "store_path", "path", "certificate_sha256"),
)

keys = Table(
    "keys",
    metadata,
    Column("path", _bytewise(), primary_key=True),
    Column("kms_path", _bytewise(), nullable=False),
    Column("token", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("key_id", LargeBinary, nullable=False, index=True),
    Column("key_type", String(32), nullable=False),
    Column("spki", LargeBinary, nullable=False),
    # Not unique: the same key may be known by two paths.
    Column("spki_sha256", String(64), nullable=False, index=True),
    Column("origin", Text, nullable=False),
    Column("custody", JSON, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("length(spki_sha256) = 64", name="spki_sha256"),
    Index(None, "kms_path", "path"),
)

# What grounds and events name by its digest: which key has signed on which token, and how that was held. It can be
# shown after the key was examined anew, or is gone. And the policy that a start was made with.
statements = Table(
    "statements",
    metadata,
    Column("sha256", String(64), primary_key=True),
    # Canonical JSON.
    Column("statement", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    CheckConstraint("length(sha256) = 64", name="sha256"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("credential_id", _bytewise(256), primary_key=True),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("scope", _bytewise(), nullable=False),
    # Names of roles, a JSON list.
    Column("roles", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    CheckConstraint("length(secret_sha256) = 64", name="secret_sha256"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(36), primary_key=True),
    # Lower case.
    Column("email", _bytewise(), nullable=False, unique=True),
    # argon2id in PHC string format, salt and parameters included.
    Column("password_hash", Text, nullable=False),
    Column("scope", _bytewise(), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    # Wrong passwords in a row, and until when no password is tried.
    Column("failures", Integer, nullable=False),
    Column("locked_until", UtcDateTime),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(36), primary_key=True),
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("account_id", String(36), ForeignKey("accounts.account_id"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    CheckConstraint("length(token_sha256) = 64", name="token_sha256"),
)

# Tenants and services made over the API. What the configuration file declares is not here.
resources = Table(
    "resources",
    metadata,
    Column("path", _bytewise(), primary_key=True),
    Column("parent_path", _bytewise(), nullable=False),
    Column("type", String(32), nullable=False),
    Column("name", Text),
    Column("settings", JSON, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("type IN ('tenant', 'kms', 'x509-service', 'x509-store')", name="type"),
    Index(None, "parent_path", "path"),
)

# What is attached to an X.509 service that was made over the API.
dependencies = Table(
    "dependencies",
    metadata,
    Column("service_path", _bytewise(), ForeignKey("resources.path"), primary_key=True),
    Column("dependency_path", _bytewise(), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "dependency_path"),
)

# What happened, in chains: one for each writer, each event with the hash of the one before. `events` says what is
# hashed; signing_key and serial_number repeat what is in the details, to be looked up by.
events = Table(
    "events",
    metadata,
    Column("writer", BigInteger, primary_key=True, autoincrement=False),
    # From 1, without gaps.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    # What is absent is empty here and below.
    Column("actor", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("request_id", Text, nullable=False),
    # Canonical JSON, to the octet as it was hashed.
    Column("details", Text, nullable=False),
    Column("signing_key", Text),
    Column("serial_number", String(40)),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("checkpoint", Integer, ForeignKey("checkpoints.number")),
    CheckConstraint("sequence > 0", name="sequence"),
    CheckConstraint("length(previous_hash) = 64", name="previous_hash"),
    CheckConstraint("length(hash) = 64", name="hash"),
    Index(None, "recorded_at", "writer", "sequence"),
)
Index(
    "ix_events_signing_key",
    events.c.signing_key,
    events.c.recorded_at,
    sqlite_where=events.c.signing_key.is_not(None),
    postgresql_where=events.c.signing_key.is_not(None),
)
Index(
    "ix_events_serial_number",
    events.c.serial_number,
    sqlite_where=events.c.serial_number.is_not(None),
    postgresql_where=events.c.serial_number.is_not(None),
)
# Of a key that signs much, few events say how it is held.
Index(
    "ix_events_custody",
    events.c.signing_key,
    events.c.kind,
    sqlite_where=text(TELLS_CUSTODY),
    postgresql_where=text(TELLS_CUSTODY),
)
# Those that no checkpoint covers yet.
Index(
    "ix_events_uncovered",
    events.c.writer,
    events.c.sequence,
    sqlite_where=events.c.checkpoint.is_(None),
    postgresql_where=events.c.checkpoint.is_(None),
)
# The last start is looked for at every start.
Index(
    "ix_events_started",
    events.c.recorded_at,
    sqlite_where=events.c.kind == ENGINE_STARTED,
    postgresql_where=events.c.kind == ENGINE_STARTED,
)

# Signed statements about all events up to a moment. Without a signature, one is being made.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    # Canonical JSON, to the octet as it is signed.
    Column("statement", Text, nullable=False),
    Column("signature", LargeBinary),
    # The public half of the key that signs, DER SubjectPublicKeyInfo.
    Column("spki", LargeBinary, nullable=False),
    Column("signed_at", UtcDateTime),
    CheckConstraint("number > 0", name="number"),
    CheckConstraint("(signature IS NULL) = (signed_at IS NULL)", name="signed"),
)


def encode_serial_number(serial_number: int) -> str:
    """40 hex digits: one serial has one spelling. A number that does not fit 20 octets is a ValueError."""
    if not 0 <= serial_number < 1 << 160:
        raise ValueError("Expected a serial number of at most 20 octets and not negative.")
    return f"{serial_number:040x}"


def parent_path(path: str) -> str:
    """The path of the service that `path` lies under: everything before the last dot."""
    return path.rpartition(".")[0]
