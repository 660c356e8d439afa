"""Accounts of people and the sessions they have open. A password enters this room only as its argon2id hash, a session
token only as its SHA-256.

Attempts to log in are counted here, before a password is looked at and in a transaction of their own, so that all
engines over one database share the count and no number of guesses made together is more than the count allows.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from engine.errors import AlreadyExists, NotFound
from engine.store.chain import REFUSED
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.rows import ENGINE, AccountRow, Actor, AttemptRow
from engine.store.schema import accounts, sessions

_ADD = insert(accounts)
_TAKEN = select(accounts.c.account_id).where(accounts.c.email == bindparam("email"))
_LIST = select(
    accounts.c.email,
    accounts.c.scope,
    accounts.c.roles,
    accounts.c.created_at,
    accounts.c.disabled_at,
    accounts.c.failures,
    accounts.c.locked_until,
).order_by(accounts.c.email)
_ATTEMPT = (
    select(
        accounts.c.account_id,
        accounts.c.password_hash,
        accounts.c.disabled_at,
        accounts.c.failures,
        accounts.c.locked_until,
    )
    .where(accounts.c.email == bindparam("email"))
    .with_for_update()
)
# Names of their own, since an UPDATE claims its columns' names for the new values.
_CHANGE = update(accounts).where(accounts.c.account_id == bindparam("of_account"))
_OPEN = _CHANGE.where(accounts.c.password_hash == bindparam("verified_hash"), accounts.c.disabled_at.is_(None))
_CHANGE_BY_EMAIL = update(accounts).where(accounts.c.email == bindparam("of_email"))
# Forth and back: a database may notice that an update changes nothing, and then has nothing to make durable.
_STEP = (
    update(accounts)
    .where(accounts.c.account_id == select(func.min(accounts.c.account_id)).scalar_subquery())
    .values(failures=accounts.c.failures + bindparam("step"))
)
_CHANGE_NOTHING = ({"step": 1}, {"step": -1})
_ADD_SESSION = insert(sessions)
# What another engine is removing at this moment is left to it.
_REMOVE_EXPIRED = delete(sessions).where(
    sessions.c.session_id.in_(
        select(sessions.c.session_id).where(sessions.c.expires_at <= bindparam("now")).with_for_update(skip_locked=True)
    )
)
_REMOVE_SESSIONS = delete(sessions).where(
    sessions.c.account_id.in_(select(accounts.c.account_id).where(accounts.c.email == bindparam("email")))
)


class Accounts(Trail):
    """The part of the store that knows accounts and sessions."""

    _database: Database
    _now: Callable[[], datetime]

    def add_account(
        self,
        *,
        account_id: str,
        email: str,
        password_hash: str,
        scope: str,
        roles: Sequence[str],
        by: Actor = ENGINE,
    ) -> None:
        """Make an account known. `email` is in lower case. Raises AlreadyExists, StoreError."""
        row = {
            "account_id": account_id,
            "email": email,
            "password_hash": password_hash,
            "scope": scope,
            "roles": list(roles),
            "created_at": self._now(),
            "failures": 0,
        }

        def work(connection: Connection) -> None:
            connection.execute(_ADD, row)
            self._tell_of(connection, "account-created", by, email, {"scope": scope, "roles": list(roles)})

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_TAKEN, {"email": email}).first() is None:
                return None
            return AlreadyExists(f"An account {email} already exists.", target=email)

        self._database.write(work, explain)

    def list_accounts(self) -> Sequence[AccountRow]:
        """Every account, by email. Raises StoreError."""
        return [
            AccountRow(
                email=row.email,
                scope=row.scope,
                roles=tuple(row.roles),
                created_at=row.created_at,
                disabled_at=row.disabled_at,
                failures=row.failures,
                locked_until=row.locked_until,
            )
            for row in self._database.read(_LIST)
        ]

    def count_attempt(
        self, email: str, lock_after: Callable[[int], timedelta | None], *, by: Actor = ENGINE
    ) -> AttemptRow | None:
        """Count a log-in as failed until `open_session` says otherwise; None if no password may be tried now.

        `lock_after` says for how long so many failures in a row lock the account, this one included; None: not yet. An
        account that does not exist, is disabled or locked is None after the same work: time tells nobody which accounts
        there are. Raises StoreError.
        """

        def work(connection: Connection) -> AttemptRow | None:
            now = self._now()
            row = connection.execute(_ATTEMPT, {"email": email}).first()
            if row is None or row.disabled_at is not None or (row.locked_until or now) > now:
                connection.execute(_STEP, _CHANGE_NOTHING)
                return None
            failures = row.failures + 1
            lock = lock_after(failures)
            locked_until = None if lock is None else now + lock
            connection.execute(
                _CHANGE, {"of_account": row.account_id, "failures": failures, "locked_until": locked_until}
            )
            if locked_until is not None:
                told = {"failures": failures, "lockedUntil": f"{locked_until:%Y-%m-%dT%H:%M:%SZ}"}
                self._tell_of(connection, "account-locked", by, email, told, outcome=REFUSED)
            return AttemptRow(
                account_id=row.account_id,
                email=email,
                password_hash=row.password_hash,
                failures=failures,
                locked_until=locked_until,
            )

        return self._database.write(work)

    def open_session(
        self,
        attempt: AttemptRow,
        *,
        password_hash: str,
        session_id: str,
        token_sha256: str,
        duration: timedelta,
        by: Actor = ENGINE,
    ) -> bool:
        """Open a session for an attempt whose password was right, and forget the failures before it.

        `password_hash` is kept from now on; `token_sha256` is lower-case hex. False, and nothing is opened, if the
        account was disabled or given another password meanwhile. Removes sessions that have expired. Raises StoreError.
        """

        def work(connection: Connection) -> bool:
            now = self._now()
            connection.execute(_REMOVE_EXPIRED, {"now": now})
            changed = connection.execute(
                _OPEN,
                {
                    "of_account": attempt.account_id,
                    "verified_hash": attempt.password_hash,
                    "password_hash": password_hash,
                    "failures": 0,
                    "locked_until": None,
                },
            )
            if changed.rowcount == 0:
                return False
            connection.execute(
                _ADD_SESSION,
                {
                    "session_id": session_id,
                    "token_sha256": token_sha256,
                    "account_id": attempt.account_id,
                    "created_at": now,
                    "expires_at": now + duration,
                },
            )
            self._tell_of(connection, "log-in", by, attempt.email, {"sessionId": session_id})
            return True

        return self._database.write(work)

    def disable_account(self, email: str, *, by: Actor = ENGINE) -> None:
        """End its sessions and open no more. Raises NotFound, StoreError."""
        self._change(email, "account-disabled", {"disabled_at": self._now()}, by)

    def enable_account(self, email: str, *, by: Actor = ENGINE) -> None:
        """Let it log in again, also if it is locked. Raises NotFound, StoreError."""
        self._change(email, "account-enabled", {"disabled_at": None, "failures": 0, "locked_until": None}, by)

    def set_password(self, email: str, password_hash: str, *, by: Actor = ENGINE) -> None:
        """Another password: ends its sessions and its lock, but does not enable it. Raises NotFound, StoreError."""
        change = {"password_hash": password_hash, "failures": 0, "locked_until": None}
        self._change(email, "account-password-set", change, by)

    def _change(self, email: str, kind: str, values: Mapping[str, object], by: Actor) -> None:
        def work(connection: Connection) -> None:
            if connection.execute(_CHANGE_BY_EMAIL, {"of_email": email, **values}).rowcount == 0:
                raise NotFound(f"There is no account {email}.")
            connection.execute(_REMOVE_SESSIONS, {"email": email})
            self._tell_of(connection, kind, by, email)

        self._database.write(work)
