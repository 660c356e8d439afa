"""Statements that are kept by their content, once however many records name them by their digest."""

import threading
from datetime import datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from engine.store.chain import sha256_hex
from engine.store.schema import statements

FIND_STATEMENT = select(statements.c.statement).where(statements.c.sha256 == bindparam("sha256"))
_MOST_KNOWN = 4096
# The same may have been kept before, by another process too.
_KEEP = {
    "sqlite": sqlite.insert(statements).on_conflict_do_nothing(index_elements=["sha256"]),
    "postgresql": postgresql.insert(statements).on_conflict_do_nothing(index_elements=["sha256"]),
}


def keep_statement(connection: Connection, statement: str, now: datetime) -> None:
    """For work: canonical JSON, to be found by its SHA-256."""
    row = {"sha256": sha256_hex(statement.encode()), "statement": statement, "recorded_at": now}
    connection.execute(_KEEP[connection.dialect.name], row)


class KnownStatements:
    """Those that are known to be kept, so that what names one for the thousandth time costs nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def is_new(self, statement: str | None) -> bool:
        """Whether it may have to be kept."""
        return statement is not None and statement not in self._known

    def remember(self, statement: str | None) -> None:
        """It was committed."""
        if statement is not None and statement not in self._known:
            with self._lock:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known.add(statement)
