"""Several engines on one database, repeats of a request, roles, accounts, resources made over the API."""

import sqlalchemy as sa
from alembic import op

from engine.store.migrations.versions import revision_0001 as before

revision = "0002"
down_revision = "0001"

_OPEN = sa.text("state = 'intended'")
metadata = sa.MetaData()


def _bytewise(length: int | None = None) -> sa.types.TypeEngine[str]:
    plain, ordered = (sa.String(length), sa.String(length, "C")) if length else (sa.Text(), sa.Text(collation="C"))
    return plain.with_variant(ordered, "postgresql")


accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account_id", sa.String(36)),
    sa.Column("email", _bytewise(), nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("scope", _bytewise(), nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("disabled_at", sa.DateTime(timezone=True)),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", sa.DateTime(timezone=True)),
    sa.PrimaryKeyConstraint("account_id", name="pk_accounts"),
    sa.UniqueConstraint("email", name="uq_accounts_email"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_id", sa.String(36)),
    sa.Column("token_sha256", sa.String(64), nullable=False),
    sa.Column("account_id", sa.String(36), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
    sa.CheckConstraint("length(token_sha256) = 64", name="ck_sessions_token_sha256"),
    sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_sessions_account_id"),
    sa.UniqueConstraint("token_sha256", name="uq_sessions_token_sha256"),
    sa.Index("ix_sessions_account_id", "account_id"),
    sa.Index("ix_sessions_expires_at", "expires_at"),
)

resources = sa.Table(
    "resources",
    metadata,
    sa.Column("path", _bytewise()),
    sa.Column("parent_path", _bytewise(), nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("path", name="pk_resources"),
    sa.CheckConstraint("type IN ('tenant', 'kms', 'x509-service', 'x509-store')", name="ck_resources_type"),
    sa.Index("ix_resources_parent_path_path", "parent_path", "path"),
)

dependencies = sa.Table(
    "dependencies",
    metadata,
    sa.Column("service_path", _bytewise()),
    sa.Column("dependency_path", _bytewise()),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("service_path", "dependency_path", name="pk_dependencies"),
    sa.ForeignKeyConstraint(["service_path"], ["resources.path"], name="fk_dependencies_service_path"),
    sa.Index("ix_dependencies_dependency_path", "dependency_path"),
)


def upgrade() -> None:
    """Change the tables there are, and make those that are new."""
    op.drop_index("ix_intents_open", "intents")
    with op.batch_alter_table("intents", copy_from=_without_indexes(before.intents)) as intents:
        intents.add_column(sa.Column("target", _bytewise()))
        intents.add_column(sa.Column("writer", sa.BigInteger))
        intents.add_column(sa.Column("idempotency_scope", sa.Text))
        intents.add_column(sa.Column("idempotency_key", sa.Text))
        intents.add_column(sa.Column("idempotency_digest", sa.String(64)))
        intents.add_column(sa.Column("answer", sa.Text))
        intents.create_unique_constraint(
            "uq_intents_idempotency_scope_idempotency_key", ["idempotency_scope", "idempotency_key"]
        )
        intents.drop_constraint("ck_intents_kind", type_="check")
        intents.create_check_constraint("ck_intents_kind", "kind IN ('certificate', 'request', 'proof')")
        intents.drop_constraint("ck_intents_certificate", type_="check")
        intents.create_check_constraint(
            "ck_intents_certificate",
            "(kind = 'certificate' AND issuer IS NOT NULL AND serial_number IS NOT NULL AND tbs IS NOT NULL)"
            " OR (kind <> 'certificate' AND issuer IS NULL AND serial_number IS NULL)",
        )
    op.create_index("ix_intents_open", "intents", ["writer"], sqlite_where=_OPEN, postgresql_where=_OPEN)

    op.drop_index("ix_certificates_subject", "certificates")
    op.create_index("ix_certificates_subject", "certificates", ["subject"], postgresql_using="hash")

    op.add_column("entries", sa.Column("vouched_below", _bytewise()))
    op.add_column("entries", sa.Column("self_signed", sa.Boolean))
    op.drop_index("ix_entries_store_path_path", "entries")
    op.create_index(
        "ix_entries_store_path_path_certificate_sha256", "entries", ["store_path", "path", "certificate_sha256"]
    )

    op.create_index("ix_keys_key_id", "keys", ["key_id"])

    # Until now every credential could do what an issuer can.
    op.add_column("credentials", sa.Column("roles", sa.JSON))
    op.add_column("credentials", sa.Column("revoked_at", sa.DateTime(timezone=True)))
    op.execute("""UPDATE credentials SET roles = '["issuer"]'""")
    credentials = _without_indexes(before.credentials)
    credentials.append_column(sa.Column("roles", sa.JSON))
    credentials.append_column(sa.Column("revoked_at", sa.DateTime(timezone=True)))
    with op.batch_alter_table("credentials", copy_from=credentials) as batch:
        batch.alter_column("roles", existing_type=sa.JSON, nullable=False)

    metadata.create_all(op.get_bind(), checkfirst=False)


def _without_indexes(table: sa.Table) -> sa.Table:
    """What SQLite is to take for the table as it is: it does not say all of it by itself."""
    copy = table.to_metadata(sa.MetaData())
    copy.indexes.clear()
    return copy
