"""The audit trail: events in chains, and checkpoints over them; and what evidence of a certificate is made from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_STARTED = sa.text("kind = 'engine-started'")
_HAS_KEY = sa.text("signing_key IS NOT NULL")
_HAS_SERIAL = sa.text("serial_number IS NOT NULL")
_TELLS_CUSTODY = sa.text("kind IN ('key-generated', 'key-imported', 'key-adopted', 'key-examined')")
_UNCOVERED = sa.text("checkpoint IS NULL")
metadata = sa.MetaData()

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("number", sa.Integer, autoincrement=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("signature", sa.LargeBinary),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    sa.Column("signed_at", sa.DateTime(timezone=True)),
    sa.PrimaryKeyConstraint("number", name="pk_checkpoints"),
    sa.CheckConstraint("number > 0", name="ck_checkpoints_number"),
    sa.CheckConstraint("(signature IS NULL) = (signed_at IS NULL)", name="ck_checkpoints_signed"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("writer", sa.BigInteger, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, autoincrement=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("signing_key", sa.Text),
    sa.Column("serial_number", sa.String(40)),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("checkpoint", sa.Integer),
    sa.PrimaryKeyConstraint("writer", "sequence", name="pk_events"),
    sa.ForeignKeyConstraint(["checkpoint"], ["checkpoints.number"], name="fk_events_checkpoint"),
    sa.CheckConstraint("sequence > 0", name="ck_events_sequence"),
    sa.CheckConstraint("length(previous_hash) = 64", name="ck_events_previous_hash"),
    sa.CheckConstraint("length(hash) = 64", name="ck_events_hash"),
    sa.Index("ix_events_recorded_at_writer_sequence", "recorded_at", "writer", "sequence"),
    sa.Index("ix_events_signing_key", "signing_key", "recorded_at", sqlite_where=_HAS_KEY, postgresql_where=_HAS_KEY),
    sa.Index("ix_events_serial_number", "serial_number", sqlite_where=_HAS_SERIAL, postgresql_where=_HAS_SERIAL),
    sa.Index("ix_events_custody", "signing_key", "kind", sqlite_where=_TELLS_CUSTODY, postgresql_where=_TELLS_CUSTODY),
    sa.Index("ix_events_uncovered", "writer", "sequence", sqlite_where=_UNCOVERED, postgresql_where=_UNCOVERED),
    sa.Index("ix_events_started", "recorded_at", sqlite_where=_STARTED, postgresql_where=_STARTED),
)

statements = sa.Table(
    "statements",
    metadata,
    sa.Column("sha256", sa.String(64)),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("sha256", name="pk_statements"),
    sa.CheckConstraint("length(sha256) = 64", name="ck_statements_sha256"),
)


def upgrade() -> None:
    """Make what is new; an intent says where its request came from, and on which grounds the certificate is signed."""
    op.add_column("intents", sa.Column("source", sa.Text))
    op.add_column("intents", sa.Column("grounds", sa.Text))
    metadata.create_all(op.get_bind(), checkfirst=False)
