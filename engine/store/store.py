"""The store as one object: ledger, certificates, keys, credentials, accounts and resources over one open database."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sqlalchemy import literal, select, update

from engine.errors import StoreError
from engine.store.accounts import Accounts
from engine.store.address import Secret
from engine.store.certificates import Certificates
from engine.store.checkpoints import Checkpoints
from engine.store.credentials import Credentials
from engine.store.database import Database
from engine.store.evidence import EvidenceRecords
from engine.store.keys import Keys
from engine.store.ledger import Ledger
from engine.store.left_open import LeftOpen
from engine.store.proofs import Proofs
from engine.store.resources import Resources
from engine.store.schema import intents
from engine.store.statements import KnownStatements

_PROBE = select(literal(1))
# Changes nothing, and is refused where nothing can be changed.
_WRITE_PROBE = update(intents).where(intents.c.intent_id == "").values(reason=None)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store(Ledger, Proofs, Certificates, Keys, Credentials, Accounts, Resources, Checkpoints):
    """Everything the engine remembers. Opened once per process; thread-safe; see the parts for the methods."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._left_open = LeftOpen()
        self._known_statements = KnownStatements()

    @classmethod
    def open(cls, url: str, password: Secret | None = None, *, now: Callable[[], datetime] = _utc_now) -> Self:
        """Open the database at `sqlite:////absolute/path` (made if there is none) or `postgresql://user@host/database`.

        `now` gives the times of the records, in UTC. Other processes may have the same database open. Raises
        ConfigError for a URL, file or tables that cannot be used, StoreUnavailable for a database that is away,
        StoreError when it fails in another way.
        """
        return cls(Database.open(url, password), now)

    def close(self) -> None:
        """Commit what is waiting and let go of the database; whatever is called later raises StoreError."""
        self._database.close()

    def evidence_records(self) -> EvidenceRecords:
        """What evidence of certificates is made from."""
        return EvidenceRecords(self._database.read)

    def state(self) -> str:
        """`ready`, or in words why the store cannot be used now."""
        try:
            self._database.read(_PROBE)
            self._database.write(lambda connection: connection.execute(_WRITE_PROBE).rowcount)
        except StoreError as error:
            return error.message
        return "ready"

    def list_risks(self) -> list[str]:
        """Settings of the database's server by which it may lose what it has confirmed. Raises StoreError."""
        return self._database.list_risks()

    @property
    def has_stopped(self) -> bool:
        """Whether nothing will be recorded any more in this process, for a reason that nobody has foreseen."""
        return self._database.has_stopped

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
