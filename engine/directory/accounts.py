"""People: accounts with a password, and the sessions that they open with it.

Passwords are kept as argon2id (RFC 9106), and compared by it alone. A log-in counts as failed before its password is
looked at, in the database, so that engines that share one share the count, and guesses that are made together are no
more than guesses made one by one. After FAILURES in a row an account is locked, for longer with each further one, and
no password is tried meanwhile. Whatever is wrong, the refusal is the same and so is the work before it.

One hash takes 64 MiB and every core that is free, so an engine makes one at a time, in a thread of its own, and no more
than a bounded number of log-ins wait for it: whoever sends more is refused, and the engine goes on signing.
"""

import asyncio
import base64
import logging
import re
import secrets
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from engine.directory.credentials import hash_secret
from engine.directory.refusals import Refusals
from engine.errors import CredentialRequired, EngineBusy, PolicyRefusal, StoreError
from engine.store import ENGINE, Actor, AttemptRow, Operator, Store
from engine.store.credentials import ACCOUNT_PREFIX

T = TypeVar("T")

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256
"""Characters; so long a one is still a small request, however JSON writes it."""
FAILURES = 5
"""Wrong passwords in a row that lock an account."""
LONGEST_LOCK = timedelta(minutes=15)
TOKEN_OCTETS = 32
"""256 random bits, so that a plain SHA-256 of the token is enough to store it safely."""
WAITING = 32
"""Log-ins that wait while one is worked on."""

_REFUSED = "The email and the password are not those of an account that may log in now."
# RFC 5322's dot-atom, loosely, before a host name; letters of other scripts would have more than one spelling.
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,186}[A-Za-z0-9])?")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was opened; its token is shown once and kept nowhere."""

    id: str
    token: str = field(repr=False)


def create_account(
    store: Store,
    *,
    email: str,
    password: str,
    scope: str,
    roles: Sequence[str],
    hasher: PasswordHasher | None = None,
    by: Actor = ENGINE,
) -> None:
    """Make an account. Raises PolicyRefusal for an email or a password that will not do, AlreadyExists, StoreError."""
    address = load_email(email)
    store.add_account(
        account_id=str(uuid.uuid4()),
        email=address,
        password_hash=_new_hash(password, hasher or PasswordHasher()),
        scope=scope,
        roles=roles,
        by=by,
    )


def set_password(store: Store, *, email: str, password: str, by: Actor = ENGINE) -> None:
    """Give an account another password, which ends its sessions. Raises PolicyRefusal, NotFound, StoreError."""
    store.set_password(load_email(email), _new_hash(password, PasswordHasher()), by=by)


def load_email(text: str) -> str:
    """An email as accounts are known by it: in lower case. Raises PolicyRefusal."""
    if not _EMAIL.fullmatch(text):
        raise PolicyRefusal(f"Expected an email address such as name@example.com, in ASCII, found {text[:64]!a}.")
    return text.lower()


def lock_after(failures: int) -> timedelta | None:
    """For how long so many failures in a row lock an account: 2^failures seconds, 15 minutes at most; None: not yet."""
    if failures < FAILURES:
        return None
    return min(timedelta(seconds=2 ** min(failures, 32)), LONGEST_LOCK)


def _new_hash(password: str, hasher: PasswordHasher) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PolicyRefusal(
            f"Expected a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, found {len(password)}."
        )
    return hasher.hash(_octets(password))


def _octets(password: str) -> bytes:
    """The same for all ways to type it: an accent may come as a character of its own or not (RFC 8265 section 4.2)."""
    return unicodedata.normalize("NFC", password).encode()


class Accounts:
    """Who logs in. `run` belongs to the event loop; the rest may be called from any thread."""

    def __init__(
        self,
        store: Store,
        *,
        session_hours: float,
        hasher: PasswordHasher | None = None,
        waiting: int = WAITING,
        refusals: Refusals | None = None,
    ) -> None:
        """`waiting` log-ins wait while one is worked on. `hasher`: the defaults of argon2-cffi if there is none.

        `refusals` counts what is refused here; by itself if there are none.
        """
        self._store = store
        self._refusals = refusals or Refusals(store)
        self._session = timedelta(hours=session_hours)
        self._hasher = hasher or PasswordHasher()
        self._no_password = _unmatchable(self._hasher)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-in")
        self._limit = 1 + waiting
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, a log-in, in the thread that is there for it. Raises EngineBusy if too many wait already."""
        if self._waiting >= self._limit:
            raise EngineBusy(f"{self._waiting} log-ins wait already; try again later.")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        await asyncio.wait({future})  # which leaves it to run, and counted, when whoever waits here is cancelled
        return future.result()

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()

    def log_in(self, email: str, password: str, by: Actor = ENGINE) -> Session:
        """Open a session; `by` says where the request came from.

        Raises CredentialRequired, with one sentence whatever is wrong, EngineBusy or StoreError.
        """
        # What cannot be an email is looked up all the same: no account has that one.
        address = email.lower() if _EMAIL.fullmatch(email) else ""
        attempt = self._store.count_attempt(address, lock_after, by=by)
        password_hash = self._no_password if attempt is None else attempt.password_hash
        right = self._verify(password_hash, _octets(password))
        if attempt is None or not right:
            if attempt is not None and attempt.locked_until is not None:
                _LOG.warning(
                    "account %s is locked until %s: %d log-ins in a row failed",
                    address,
                    attempt.locked_until.isoformat(timespec="seconds"),
                    attempt.failures,
                )
            raise self._refuse(by, attempt)
        if self._hasher.check_needs_rehash(password_hash):
            password_hash = self._hash(_octets(password))
        session = Session(str(uuid.uuid4()), secrets.token_urlsafe(TOKEN_OCTETS))
        opened = self._store.open_session(
            attempt,
            password_hash=password_hash,
            session_id=session.id,
            token_sha256=hash_secret(session.token),
            duration=self._session,
            by=Operator(f"{ACCOUNT_PREFIX}{address}", by.source, by.request_id),
        )
        if not opened:
            raise self._refuse(by, attempt)
        _LOG.info("account %s opened session %s", address, session.id)
        return session

    def _refuse(self, by: Actor, attempt: AttemptRow | None) -> CredentialRequired:
        """What to raise. An email that no account has is not told of: people type passwords there."""
        tell = self._refusals.count("log-in-refused", by, "" if attempt is None else attempt.email)
        if tell is not None:
            tell()
        return CredentialRequired(_REFUSED)

    def _verify(self, password_hash: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            raise EngineBusy("There is not enough memory to look at a password; try again later.") from error
        except InvalidHashError as error:
            raise StoreError("The database holds a password hash that is none.") from error

    def _hash(self, password: bytes) -> str:
        try:
            return self._hasher.hash(password)
        except HashingError as error:
            raise EngineBusy("There is not enough memory to look at a password; try again later.") from error

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True)


def _unmatchable(hasher: PasswordHasher) -> str:
    """A hash of no password, which takes as long to compare with as any other of `hasher` (PHC string format)."""
    salt, tag = (
        base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
        for length in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${tag}"
