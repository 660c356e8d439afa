"""Passwords and log-ins: what a password must be, how it is kept, and that every refusal costs the same."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import CHEAPEST

from engine.directory.accounts import Accounts, create_account, load_email, lock_after, set_password
from engine.errors import CredentialRequired, NotFound, PolicyRefusal, StoreError
from engine.store import Store
from tests.database import new_database_url, select

EMAIL = "alice@example.com"
PASSWORD = "correct horse battery"


class CountingHasher(PasswordHasher):
    """Cheap, and remembers which hashes passwords were compared with."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.compared: list[str] = []

    def verify(self, hash: Any, password: Any) -> Any:
        self.compared.append(hash)
        return super().verify(hash, password)


@dataclass
class Place:
    """A database with one account, and who logs in there."""

    url: str
    store: Store
    hasher: CountingHasher
    accounts: Accounts
    now: datetime = field(default=datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    url = new_database_url(tmp_path)
    hasher = CountingHasher()
    with Store.open(url, now=lambda: made.now) as store:
        accounts = Accounts(store, session_hours=1, hasher=hasher)
        made = Place(url, store, hasher, accounts)
        create_account(
            store, email="Alice@Example.com", password=PASSWORD, scope="test", roles=["reader"], hasher=hasher
        )
        yield made
        accounts.close()


def test_a_new_password_is_kept_as_argon2id_with_the_defaults_of_its_library(place: Place) -> None:
    set_password(place.store, email=EMAIL, password=PASSWORD)
    ((kept,),) = select(place.url, "SELECT password_hash FROM accounts")
    assert kept.startswith("$argon2id$v=19$")
    assert not PasswordHasher().check_needs_rehash(kept)
    assert PasswordHasher().verify(kept, PASSWORD)


def test_the_case_of_an_email_does_not_matter(place: Place) -> None:
    assert place.accounts.log_in("ALICE@example.COM", PASSWORD).token


def test_an_accent_may_be_typed_either_way(place: Place) -> None:
    set_password(place.store, email=EMAIL, password="cre\u0300me bru\u0302le\u0301e!")
    assert place.accounts.log_in(EMAIL, "cr\u00e8me br\u00fbl\u00e9e!").token


@pytest.mark.parametrize("length", [0, 11, 257])
def test_a_password_too_short_or_too_long_is_refused_saying_what_is_expected(place: Place, length: int) -> None:
    with pytest.raises(PolicyRefusal, match=rf"Expected a password of 12 to 256 characters, found {length}\."):
        set_password(place.store, email=EMAIL, password="x" * length)
    with pytest.raises(PolicyRefusal, match="12 to 256"):
        create_account(place.store, email="b@example.com", password="x" * length, scope="test", roles=[])
    assert len(place.store.list_accounts()) == 1


@pytest.mark.parametrize(
    "text",
    ["", "alice", "@example.com", "alice@", "a b@example.com", "alice@example.com\n", "älice@example.com", "a@b@c"],
)
def test_what_is_no_email_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefusal, match="Expected an email address"):
        load_email(text)


@pytest.mark.parametrize(("failures", "seconds"), [(5, 32), (6, 64), (9, 512), (10, 900), (11, 900), (10_000_000, 900)])
def test_a_lock_doubles_up_to_a_quarter_of_an_hour(failures: int, seconds: int) -> None:
    assert lock_after(failures) == timedelta(seconds=seconds)


def test_four_failures_do_not_lock() -> None:
    assert [lock_after(failures) for failures in range(5)] == [None] * 5


def refusal(log_in: Callable[[], object]) -> str:
    with pytest.raises(CredentialRequired) as refused:
        log_in()
    return refused.value.message


def test_every_refusal_is_one_sentence_after_one_comparison_that_costs_the_same(place: Place) -> None:
    def log_in(email: str = EMAIL, password: str = "wrong password") -> str:
        return refusal(lambda: place.accounts.log_in(email, password))

    said = [log_in(), log_in("nobody@example.com"), log_in("no email\x00"), log_in(EMAIL, ""), log_in("", "")]
    for _ in range(3):
        said.append(log_in())
    said.append(log_in(EMAIL, PASSWORD))  # locked by now
    place.store.enable_account(EMAIL)
    place.store.disable_account(EMAIL)
    said.append(log_in(EMAIL, PASSWORD))
    assert len(set(said)) == 1
    assert len(place.hasher.compared) == len(said)
    parameters = extract_parameters(place.hasher.hash("x"))
    assert all(extract_parameters(one) == parameters for one in place.hasher.compared)


def test_no_password_is_tried_while_the_account_is_locked(place: Place) -> None:
    ((kept,),) = select(place.url, "SELECT password_hash FROM accounts")
    for _ in range(5):
        refusal(lambda: place.accounts.log_in(EMAIL, "wrong password"))
    assert place.hasher.compared == [kept] * 5
    place.now += timedelta(seconds=31)
    refusal(lambda: place.accounts.log_in(EMAIL, PASSWORD))
    assert kept not in place.hasher.compared[5:]
    place.now += timedelta(seconds=1)
    assert place.accounts.log_in(EMAIL, PASSWORD).token
    (row,) = place.store.list_accounts()
    assert (row.failures, row.locked_until) == (0, None)


def test_engines_over_one_database_share_the_count(place: Place) -> None:
    replica = Accounts(place.store, session_hours=1, hasher=place.hasher)
    for accounts in (place.accounts, replica, place.accounts, replica, place.accounts):
        refusal(lambda each=accounts: each.log_in(EMAIL, "wrong password"))
    assert "may log in now" in refusal(lambda: replica.log_in(EMAIL, PASSWORD))
    replica.close()


def test_a_hash_with_older_parameters_is_replaced_at_the_next_log_in(place: Place) -> None:
    older = PasswordHasher.from_parameters(CHEAPEST)
    assert place.hasher.time_cost == older.time_cost
    newer = Accounts(place.store, session_hours=1, hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    assert newer.log_in(EMAIL, PASSWORD).token
    ((kept,),) = select(place.url, "SELECT password_hash FROM accounts")
    assert (extract_parameters(kept).time_cost, extract_parameters(kept).memory_cost) == (2, 16)
    assert newer.log_in(EMAIL, PASSWORD).token
    assert select(place.url, "SELECT password_hash FROM accounts") == [(kept,)]
    newer.close()


def test_a_hash_that_is_none_is_a_fault_of_the_database_and_not_of_the_password(place: Place) -> None:
    place.store.set_password(EMAIL, "no hash at all")
    with pytest.raises(StoreError, match="holds a password hash that is none"):
        place.accounts.log_in(EMAIL, PASSWORD)


def test_a_lock_and_a_session_are_logged_without_a_secret(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        session = place.accounts.log_in(EMAIL, PASSWORD)
        for _ in range(5):
            refusal(lambda: place.accounts.log_in(EMAIL, "wrong password"))
        refusal(lambda: place.accounts.log_in("a password typed too early", PASSWORD))
    assert f"account {EMAIL} opened session {session.id}" in caplog.text
    assert f"account {EMAIL} is locked until 2026-03-01T12:00:32+00:00: 5 log-ins in a row failed" in caplog.text
    for secret in (PASSWORD, "wrong password", session.token, "typed too early"):
        assert secret not in caplog.text
    assert session.token not in repr(session)


def test_the_password_of_an_account_that_is_not_there_cannot_be_set(place: Place) -> None:
    with pytest.raises(NotFound):
        set_password(place.store, email="nobody@example.com", password=PASSWORD)
