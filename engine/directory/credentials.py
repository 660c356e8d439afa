"""What a caller presents, and what it opens."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from engine.directory.roles import Permission, permissions_of
from engine.store import ENGINE, Actor, Store

API_KEY_OCTETS = 32
"""256 random bits, so that a plain SHA-256 of the secret is enough to store it safely."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A known API key, or the session of an account, by its id; the secret is not kept.

    `scope` is the path it may act on and below.
    """

    id: str
    scope: str
    roles: tuple[str, ...]

    def may(self, permission: Permission) -> bool:
        """Whether one of its roles has the permission."""
        return permission in permissions_of(self.roles)

    def may_use(self, path: str) -> bool:
        """Whether `path` is the scope or lies below it."""
        return path == self.scope or path.startswith(f"{self.scope}.")

    @property
    def issues_below(self) -> str | None:
        """The path at and below which it may issue; None: it may not."""
        return self.scope if self.may(Permission.ISSUE) else None


def hash_secret(secret: str) -> str:
    """SHA-256 of the secret in UTF-8, lower-case hex: what the store keeps."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_api_key(store: Store, *, credential_id: str, scope: str, roles: Sequence[str], by: Actor = ENGINE) -> str:
    """Make and store a new API key; its secret is returned once and kept nowhere."""
    secret = secrets.token_urlsafe(API_KEY_OCTETS)
    store.add_credential(
        credential_id=credential_id, secret_sha256=hash_secret(secret), scope=scope, roles=roles, by=by
    )
    return secret


def find_credential(store: Store, secret: str) -> Credential | None:
    """The credential with this secret, or None: an API key that is not revoked, or an account's session before its end.

    What was revoked, disabled or has expired a moment ago is found no more: every call asks the database.
    """
    row = store.find_credential(hash_secret(secret))
    return None if row is None else Credential(id=row.credential_id, scope=row.scope, roles=row.roles)


def find_former_credential(store: Store, secret: str) -> str | None:
    """The id of the credential that this secret was of, and is no more; None: of none that is remembered."""
    return store.find_former_credential(hash_secret(secret))
