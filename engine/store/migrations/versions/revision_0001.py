"""The first tables.

Databases with these tables were made without a record of their revision. Whatever happens to engine.store.schema, this
stays as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_OPEN = sa.text("state = 'intended'")
metadata = sa.MetaData()


def _bytewise(length: int | None = None) -> sa.types.TypeEngine[str]:
    plain, ordered = (sa.String(length), sa.String(length, "C")) if length else (sa.Text(), sa.Text(collation="C"))
    return plain.with_variant(ordered, "postgresql")


intents = sa.Table(
    "intents",
    metadata,
    sa.Column("intent_id", sa.String(64)),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("profile", sa.String(64), nullable=False),
    sa.Column("issuer", sa.LargeBinary),
    sa.Column("serial_number", sa.String(40)),
    sa.Column("tbs", sa.LargeBinary),
    sa.Column("tbs_sha256", sa.String(64), nullable=False),
    sa.Column("signing_key", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("request_digest", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("closed_at", sa.DateTime(timezone=True)),
    sa.PrimaryKeyConstraint("intent_id", name="pk_intents"),
    sa.CheckConstraint(
        "(kind = 'certificate' AND issuer IS NOT NULL AND serial_number IS NOT NULL AND tbs IS NOT NULL)"
        " OR (kind = 'request' AND issuer IS NULL AND serial_number IS NULL)",
        name="ck_intents_certificate",
    ),
    sa.CheckConstraint("(state = 'intended') = (closed_at IS NULL)", name="ck_intents_closed"),
    sa.CheckConstraint("kind IN ('certificate', 'request')", name="ck_intents_kind"),
    sa.CheckConstraint("(state = 'failed') = (reason IS NOT NULL)", name="ck_intents_reason"),
    sa.CheckConstraint("length(serial_number) = 40", name="ck_intents_serial_number"),
    sa.CheckConstraint("state IN ('intended', 'signed', 'failed', 'outcome-unknown')", name="ck_intents_state"),
    sa.CheckConstraint("length(tbs_sha256) = 64", name="ck_intents_tbs_sha256"),
    sa.UniqueConstraint("issuer", "serial_number", name="uq_intents_issuer_serial_number"),
    sa.Index("ix_intents_open", "recorded_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("sha256", sa.String(64)),
    sa.Column("intent_id", sa.String(64)),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("subject", sa.LargeBinary, nullable=False),
    sa.Column("issuer", sa.LargeBinary, nullable=False),
    sa.Column("serial_number", sa.String(40), nullable=False),
    sa.Column("spki_sha256", sa.String(64), nullable=False),
    sa.Column("is_ca", sa.Boolean, nullable=False),
    sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
    sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("sha256", name="pk_certificates"),
    sa.CheckConstraint("length(serial_number) = 40", name="ck_certificates_serial_number"),
    sa.CheckConstraint("length(sha256) = 64", name="ck_certificates_sha256"),
    sa.CheckConstraint("length(spki_sha256) = 64", name="ck_certificates_spki_sha256"),
    sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name="fk_certificates_intent_id"),
    sa.UniqueConstraint("intent_id", name="uq_certificates_intent_id"),
    sa.Index("ix_certificates_spki_sha256", "spki_sha256"),
    sa.Index("ix_certificates_subject", "subject"),
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("path", _bytewise()),
    sa.Column("store_path", _bytewise(), nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("metadata", sa.JSON),
    sa.Column("intent_id", sa.String(64)),
    sa.Column("certificate_sha256", sa.String(64)),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("path", name="pk_entries"),
    sa.CheckConstraint("intent_id IS NOT NULL OR certificate_sha256 IS NOT NULL", name="ck_entries_reserved_or_filled"),
    sa.ForeignKeyConstraint(["certificate_sha256"], ["certificates.sha256"], name="fk_entries_certificate_sha256"),
    sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name="fk_entries_intent_id"),
    sa.Index("ix_entries_certificate_sha256", "certificate_sha256"),
    sa.Index("ix_entries_intent_id", "intent_id"),
    sa.Index("ix_entries_store_path_path", "store_path", "path"),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("path", _bytewise()),
    sa.Column("kms_path", _bytewise(), nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("key_id", sa.LargeBinary, nullable=False),
    sa.Column("key_type", sa.String(32), nullable=False),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    sa.Column("spki_sha256", sa.String(64), nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("custody", sa.JSON, nullable=False),
    sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("path", name="pk_keys"),
    sa.CheckConstraint("length(spki_sha256) = 64", name="ck_keys_spki_sha256"),
    sa.Index("ix_keys_kms_path_path", "kms_path", "path"),
    sa.Index("ix_keys_spki_sha256", "spki_sha256"),
)

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("credential_id", _bytewise(256)),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("scope", _bytewise(), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("credential_id", name="pk_credentials"),
    sa.CheckConstraint("length(secret_sha256) = 64", name="ck_credentials_secret_sha256"),
    sa.UniqueConstraint("secret_sha256", name="uq_credentials_secret_sha256"),
)


def upgrade() -> None:
    """Make them."""
    metadata.create_all(op.get_bind(), checkfirst=False)
