"""The tables, brought from whatever revision a database has to the one that this code works with.

Each revision is a module in `versions`; its number is kept in the database. A new database goes through all of them, so
that there is one way to the tables and not two. Everything is done in one transaction, by one process at a time.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine, String, column, inspect, select, table

from engine.errors import ConfigError

HEAD = "0003"
KNOWN = ("0001", "0002", HEAD)
_VERSION = select(column("version_num", String)).select_from(table("alembic_version"))
# Alembic keeps what it is at in variables of its modules.
_one_at_a_time = threading.Lock()


def migrate(engine: Engine, migrating: Callable[[], AbstractContextManager[Connection]], name: str) -> None:
    """Bring the tables of the database `name` up to date; `migrating` gives the transaction, which commits at its end.

    Raises ConfigError, having changed nothing, for tables that this code does not know.
    """
    with engine.connect() as connection:
        if find_revision(connection, name) == HEAD:
            return
    with _one_at_a_time, migrating() as connection:
        revision = find_revision(connection, name)
        if revision == HEAD:
            return  # another process has been faster
        # Imported here and below, since almost every start finds the tables as they should be.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        if revision is None and _has_first_tables(connection, name):
            command.stamp(config, "0001")
        command.upgrade(config, HEAD)


def find_revision(connection: Connection, name: str) -> str | None:
    """The revision that the database says it has, or None. Raises ConfigError for one that is not known."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(_VERSION).scalar_one_or_none()
    if revision is not None and revision not in KNOWN:
        raise ConfigError(
            f"The database {name} was made by a later version of the engine: its tables have revision {revision}, "
            f"and this version knows those up to {HEAD}."
        )
    return None if revision is None else str(revision)


def _has_first_tables(connection: Connection, name: str) -> bool:
    """Whether the tables of the first revision are there. Raises ConfigError for others of the same names."""
    from engine.store.migrations.versions import revision_0001

    inspector = inspect(connection)
    first = revision_0001.metadata.tables
    found = first.keys() & set(inspector.get_table_names())
    for known in first.values() if found else ():
        has = {column["name"] for column in inspector.get_columns(known.name)} if known.name in found else set()
        if has != set(known.columns.keys()):
            raise ConfigError(f"The database {name} was made by another version of the engine: see {known.name}.")
    return bool(found)
