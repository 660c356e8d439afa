"""The store as one object: ledger, certificates, keys and credentials over one open database."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sqlalchemy import literal, select

from engine.errors import StoreError
from engine.store.certificates import Certificates
from engine.store.credentials import Credentials
from engine.store.database import Database
from engine.store.keys import Keys
from engine.store.ledger import Ledger


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store(Ledger, Certificates, Keys, Credentials):
    """Everything the engine remembers. Opened once per process; thread-safe; see the four parts for the methods."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @classmethod
    def open(cls, url: str, *, now: Callable[[], datetime] = _utc_now) -> Self:
        """Open or create the database at `sqlite:////absolute/path`; `now` gives the times of the records, in UTC.

        Raises ConfigError for a URL or file that cannot be used or is in use by another engine, StoreError when the
        database fails.
        """
        return cls(Database.open(url), now)

    def close(self) -> None:
        """Commit what is waiting and let go of the database; whatever is called later raises StoreError."""
        self._database.close()

    def state(self) -> str:
        """`ready`, or in words why the store cannot be used now."""
        try:
            self._database.read(select(literal(1)))
            self._database.write(lambda connection: None)
        except StoreError as error:
            return error.message
        return "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
