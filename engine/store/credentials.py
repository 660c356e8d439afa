"""Which credentials are known. A secret enters this room only as its SHA-256."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from engine.errors import AlreadyExists
from engine.store.database import Database
from engine.store.rows import CredentialRow
from engine.store.schema import credentials

_ADD = insert(credentials)
_TAKEN = select(credentials.c.credential_id).where(credentials.c.credential_id == bindparam("credential_id"))
_FIND = select(credentials.c.credential_id, credentials.c.scope, credentials.c.roles, credentials.c.created_at).where(
    credentials.c.secret_sha256 == bindparam("secret_sha256"), credentials.c.revoked_at.is_(None)
)


class Credentials:
    """The part of the store that knows credentials."""

    _database: Database
    _now: Callable[[], datetime]

    def add_credential(self, *, credential_id: str, secret_sha256: str, scope: str, roles: Sequence[str]) -> None:
        """Make a credential known. `secret_sha256` is lower-case hex. Raises AlreadyExists, StoreError."""
        row = {
            "credential_id": credential_id,
            "secret_sha256": secret_sha256,
            "scope": scope,
            "roles": list(roles),
            "created_at": self._now(),
        }

        def work(connection: Connection) -> None:
            connection.execute(_ADD, row)

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_TAKEN, {"credential_id": credential_id}).first() is None:
                return None
            return AlreadyExists(f"A credential {credential_id} already exists.", target=credential_id)

        self._database.write(work, explain)

    def find_credential(self, secret_sha256: str) -> CredentialRow | None:
        """The credential whose secret has this SHA-256 and that is not revoked, or None. Raises StoreError."""
        rows = self._database.read(_FIND, {"secret_sha256": secret_sha256})
        if not rows:
            return None
        row = rows[0]
        return CredentialRow(
            credential_id=row.credential_id, scope=row.scope, roles=tuple(row.roles), created_at=row.created_at
        )
