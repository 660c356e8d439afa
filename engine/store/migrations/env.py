"""What Alembic runs for a command: the revisions, on the connection and in the transaction that the caller has open."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
