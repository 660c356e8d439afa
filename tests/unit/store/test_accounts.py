"""Accounts and sessions in the database: attempts are counted before they are made, sessions end."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.errors import AlreadyExists, NotFound
from engine.store import AttemptRow, Store
from tests.database import select

EMAIL = "alice@example.com"
LOCK = timedelta(seconds=32)
HOUR = timedelta(hours=1)


@dataclass
class Clock:
    now: datetime = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    with Store.open(url, now=clock) as opened:
        add(opened, EMAIL)
        yield opened


def add(store: Store, email: str) -> None:
    store.add_account(
        account_id=f"id of {email}", email=email, password_hash="hash", scope="test", roles=["reader", "issuer"]
    )


def lock_from_three(failures: int) -> timedelta | None:
    return LOCK if failures >= 3 else None


def attempt(store: Store, email: str = EMAIL) -> AttemptRow | None:
    return store.count_attempt(email, lock_from_three)


def open_session(store: Store, token: str = "a", password_hash: str = "hash") -> bool:
    counted = attempt(store)
    assert counted is not None
    return store.open_session(
        counted, password_hash=password_hash, session_id=f"session {token}", token_sha256=token * 64, duration=HOUR
    )


def test_an_email_has_one_account(store: Store) -> None:
    with pytest.raises(AlreadyExists, match=r"alice@example\.com already exists"):
        add(store, EMAIL)
    assert [row.email for row in store.list_accounts()] == [EMAIL]


def test_attempts_are_counted_whether_or_not_their_outcome_is_told(store: Store) -> None:
    assert [row.failures for row in (attempt(store), attempt(store)) if row] == [1, 2]
    (row,) = store.list_accounts()
    assert (row.failures, row.locked_until) == (2, None)


def test_a_locked_account_counts_and_tries_nothing_until_the_lock_ends(store: Store, clock: Clock) -> None:
    third = [attempt(store) for _ in range(3)][-1]
    assert third is not None
    assert third.locked_until == clock.now + LOCK
    clock.now += LOCK - timedelta(seconds=1)
    assert attempt(store) is None
    (row,) = store.list_accounts()
    assert row.failures == 3
    clock.now += timedelta(seconds=1)
    fourth = attempt(store)
    assert fourth is not None
    assert (fourth.failures, fourth.locked_until) == (4, clock.now + LOCK)


def test_attempts_made_together_at_two_engines_are_no_more_than_attempts_made_one_by_one(
    store: Store, clock: Clock, url: str
) -> None:
    with Store.open(url, now=clock) as other, ThreadPoolExecutor(16) as threads:
        attempts = list(threads.map(lambda number: attempt((store, other)[number % 2]), range(64)))
    assert sorted(one.failures for one in attempts if one) == [1, 2, 3]


@pytest.mark.parametrize("email", ["nobody@example.com", "disabled@example.com", EMAIL])
def test_an_attempt_that_may_not_be_made_is_written_like_one_that_may(database: Path, clock: Clock, email: str) -> None:
    """Or the time that the disk takes would say which accounts there are."""
    with Store.open(f"sqlite:///{database}", now=clock) as store, closing(sqlite3.connect(database)) as other:
        add(store, EMAIL)
        add(store, "disabled@example.com")
        store.disable_account("disabled@example.com")
        for _ in range(3):
            attempt(store)
        before = store.list_accounts()
        written = other.execute("PRAGMA data_version").fetchone()
        assert attempt(store, email) is None
        assert other.execute("PRAGMA data_version").fetchone() != written
        assert store.list_accounts() == before


def test_an_account_that_is_not_there_or_disabled_may_not_try(store: Store) -> None:
    assert attempt(store, "nobody@example.com") is None
    assert attempt(store, "") is None
    store.disable_account(EMAIL)
    assert attempt(store) is None
    (row,) = store.list_accounts()
    assert row.failures == 0


def test_an_account_that_is_not_there_is_answered_from_an_empty_database_too(empty_database_url: str) -> None:
    with Store.open(empty_database_url) as empty:
        assert attempt(empty) is None


def test_a_session_resets_the_count_and_keeps_the_newer_hash(store: Store, url: str) -> None:
    attempt(store)
    assert open_session(store, password_hash="newer hash")
    (row,) = store.list_accounts()
    assert (row.failures, row.locked_until) == (0, None)
    assert select(url, "SELECT password_hash FROM accounts") == [("newer hash",)]


def test_a_session_is_the_credential_of_its_account_until_it_ends(store: Store, clock: Clock) -> None:
    assert open_session(store)
    clock.now += HOUR - timedelta(seconds=1)
    row = store.find_credential("a" * 64)
    assert row is not None
    assert (row.credential_id, row.scope, row.roles) == (f"account:{EMAIL}", "test", ("reader", "issuer"))
    assert store.find_credential("b" * 64) is None
    clock.now += timedelta(seconds=1)
    assert store.find_credential("a" * 64) is None


def test_sessions_that_have_ended_are_removed_by_the_next_log_in(store: Store, clock: Clock, url: str) -> None:
    assert open_session(store, "a")
    clock.now += timedelta(minutes=30)
    assert open_session(store, "b")
    clock.now += timedelta(minutes=30)
    assert open_session(store, "c")
    assert sorted(select(url, "SELECT session_id FROM sessions")) == [("session b",), ("session c",)]


@pytest.mark.parametrize("change", ["disable", "password"])
def test_a_change_ends_every_session_of_the_account_and_of_no_other(store: Store, url: str, change: str) -> None:
    add(store, "bob@example.com")
    assert open_session(store)
    counted = attempt(store, "bob@example.com")
    assert counted is not None
    assert store.open_session(counted, password_hash="hash", session_id="bob's", token_sha256="b" * 64, duration=HOUR)
    if change == "disable":
        store.disable_account(EMAIL)
    else:
        store.set_password(EMAIL, "other hash")
    assert store.find_credential("a" * 64) is None
    assert store.find_credential("b" * 64) is not None
    assert select(url, "SELECT session_id FROM sessions") == [("bob's",)]
    store.enable_account(EMAIL)
    assert store.find_credential("a" * 64) is None


@pytest.mark.parametrize("change", ["disable", "password"])
def test_a_password_that_was_right_opens_nothing_if_the_account_was_changed_meanwhile(
    store: Store, url: str, change: str
) -> None:
    counted = attempt(store)
    assert counted is not None
    if change == "disable":
        store.disable_account(EMAIL)
    else:
        store.set_password(EMAIL, "other hash")
    assert not store.open_session(
        counted, password_hash="hash", session_id="late", token_sha256="a" * 64, duration=HOUR
    )
    assert select(url, "SELECT session_id FROM sessions") == []


def test_enabling_ends_a_lock(store: Store) -> None:
    for _ in range(3):
        attempt(store)
    assert attempt(store) is None
    store.enable_account(EMAIL)
    again = attempt(store)
    assert again is not None
    assert again.failures == 1


def test_a_new_password_does_not_enable_a_disabled_account(store: Store) -> None:
    store.disable_account(EMAIL)
    store.set_password(EMAIL, "other hash")
    assert attempt(store) is None


def test_what_is_done_to_an_account_that_is_not_there_is_refused(store: Store) -> None:
    for change in (store.disable_account, store.enable_account, lambda email: store.set_password(email, "hash")):
        with pytest.raises(NotFound, match=r"There is no account nobody@example\.com"):
            change("nobody@example.com")


def test_a_revoked_credential_is_found_no_more_but_listed_and_its_id_stays_taken(store: Store, clock: Clock) -> None:
    facts = {"credential_id": "deployer", "secret_sha256": "a" * 64, "scope": "test", "roles": ["issuer"]}
    store.add_credential(**facts)
    assert store.find_credential("a" * 64) is not None
    revoked_at = clock.now
    store.revoke_credential("deployer")
    assert store.find_credential("a" * 64) is None
    clock.now += HOUR
    store.revoke_credential("deployer")
    (row,) = store.list_credentials()
    assert (row.credential_id, row.revoked_at) == ("deployer", revoked_at)
    with pytest.raises(AlreadyExists):
        store.add_credential(**(facts | {"secret_sha256": "b" * 64}))
    with pytest.raises(NotFound, match="There is no credential nobody"):
        store.revoke_credential("nobody")


def test_no_row_shows_a_password_hash_when_it_is_printed(store: Store) -> None:
    assert "'hash'" not in repr(attempt(store))
    assert "'hash'" not in repr(store.list_accounts())
