"""Which credentials are known: API keys, and the sessions of accounts. A secret is here only as its SHA-256."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, literal, select, union_all, update

from engine.errors import AlreadyExists, NotFound
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.rows import ENGINE, Actor, CredentialRow
from engine.store.schema import accounts, credentials, sessions

ACCOUNT_PREFIX = "account:"
"""What the credential of a session is called by, before the account's email. No API key's id has a colon."""

_ADD = insert(credentials)
_TAKEN = select(credentials.c.credential_id).where(credentials.c.credential_id == bindparam("credential_id"))
_LIST = select(
    credentials.c.credential_id,
    credentials.c.scope,
    credentials.c.roles,
    credentials.c.created_at,
    credentials.c.revoked_at,
).order_by(credentials.c.credential_id)
_REVOKE = update(credentials).where(
    credentials.c.credential_id == bindparam("of_credential"), credentials.c.revoked_at.is_(None)
)
# One round trip for every request: two look-ups by unique index.
_FIND = union_all(
    select(
        credentials.c.credential_id,
        credentials.c.scope,
        credentials.c.roles,
        credentials.c.created_at,
    ).where(credentials.c.secret_sha256 == bindparam("secret_sha256"), credentials.c.revoked_at.is_(None)),
    select(
        literal(ACCOUNT_PREFIX) + accounts.c.email,
        accounts.c.scope,
        accounts.c.roles,
        sessions.c.created_at,
    )
    .join_from(sessions, accounts)
    .where(
        sessions.c.token_sha256 == bindparam("secret_sha256"),
        sessions.c.expires_at > bindparam("now"),
        accounts.c.disabled_at.is_(None),
    ),
)

# As above, whether it opens anything or not.
_FIND_FORMER = union_all(
    select(credentials.c.credential_id).where(credentials.c.secret_sha256 == bindparam("secret_sha256")),
    select((literal(ACCOUNT_PREFIX) + accounts.c.email).label("credential_id"))
    .join_from(sessions, accounts)
    .where(sessions.c.token_sha256 == bindparam("secret_sha256")),
)


class Credentials(Trail):
    """The part of the store that knows credentials."""

    _database: Database
    _now: Callable[[], datetime]

    def add_credential(
        self, *, credential_id: str, secret_sha256: str, scope: str, roles: Sequence[str], by: Actor = ENGINE
    ) -> None:
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
            told = {"scope": scope, "roles": list(roles)}
            self._tell_of(connection, "credential-created", by, credential_id, told)

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_TAKEN, {"credential_id": credential_id}).first() is None:
                return None
            return AlreadyExists(f"A credential {credential_id} already exists.", target=credential_id)

        self._database.write(work, explain)

    def find_credential(self, secret_sha256: str) -> CredentialRow | None:
        """The credential whose secret has this SHA-256, or None. Raises StoreError.

        An API key that is not revoked, or the session of an account that is not disabled, before its end.
        """
        rows = self._database.read(_FIND, {"secret_sha256": secret_sha256, "now": self._now()})
        if not rows:
            return None
        row = rows[0]
        return CredentialRow(
            credential_id=row.credential_id, scope=row.scope, roles=tuple(row.roles), created_at=row.created_at
        )

    def find_former_credential(self, secret_sha256: str) -> str | None:
        """The id of the credential whose secret has this SHA-256, also if it opens nothing any more: of an API key that
        is revoked, or of a session that is over and not removed yet. Raises StoreError."""
        rows = self._database.read(_FIND_FORMER, {"secret_sha256": secret_sha256})
        return str(rows[0].credential_id) if rows else None

    def list_credentials(self) -> Sequence[CredentialRow]:
        """Every API key, revoked ones included, by id. Raises StoreError."""
        return [
            CredentialRow(
                credential_id=row.credential_id,
                scope=row.scope,
                roles=tuple(row.roles),
                created_at=row.created_at,
                revoked_at=row.revoked_at,
            )
            for row in self._database.read(_LIST)
        ]

    def revoke_credential(self, credential_id: str, *, by: Actor = ENGINE) -> None:
        """Have an API key open nothing from now on; one that is revoked stays so. Raises NotFound, StoreError."""

        def work(connection: Connection) -> None:
            if connection.execute(_TAKEN, {"credential_id": credential_id}).first() is None:
                raise NotFound(f"There is no credential {credential_id}.")
            revoke = {"of_credential": credential_id, "revoked_at": self._now()}
            if connection.execute(_REVOKE, revoke).rowcount:
                self._tell_of(connection, "credential-revoked", by, credential_id)

        self._database.write(work)
