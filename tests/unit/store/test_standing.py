"""Keys, credentials and accounts that are not what the audit trail has told of them are named by the sweep."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.store import ENGINE, Store, reading_records
from engine.store.chain import REFUSED
from engine.sweep import Counts, Sweep
from tests.database import change

KEY = "test.tenant1.kms1.ca"


def sweep(url: str, progress: Any = lambda what, done, total: None) -> tuple[list[str], Counts]:
    """Its lines and its counts."""
    with reading_records(url) as records:
        one = Sweep(records, progress)
        return [str(line) for line in one.run()], one.counts


def add_key(store: Store, path: str, *, origin: str = "generated", custody: object = True) -> None:
    spki = path.encode()
    store.add_key(
        path=path,
        token="test",
        label=path,
        key_id=b"\x01\x02",
        key_type="secp256r1",
        spki=spki,
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        origin=origin,
        custody={"sensitive": custody, "mechanism": "é"},
        checked_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


@pytest.fixture
def url(database_url: str) -> str:
    """Of a database in which every kind of event is told that is about what stands."""
    with Store.open(database_url) as store, Store.open(database_url) as other:
        for name, origin in (
            ("ca", "generated"),
            ("imported", "imported"),
            ("adopted", "adopted"),
            ("gone", "adopted"),
        ):
            add_key(store, f"test.tenant1.kms1.{name}", origin=origin)
        other.record_custody(KEY, b"\x01\x02", {"sensitive": False}, datetime.now(UTC))
        other.remove_key("test.tenant1.kms1.gone", organization="test", even_in_use=True)
        add_key(other, "test.tenant1.kms1.again")
        other.remove_key("test.tenant1.kms1.again", organization="test", even_in_use=True)
        add_key(other, "test.tenant1.kms1.again", custody=2)
        for name in ("reader", "revoked"):
            store.add_credential(
                credential_id=name,
                secret_sha256=hashlib.sha256(name.encode()).hexdigest(),
                scope="test.tenant1",
                roles=["reader", "issuer"],
            )
        other.revoke_credential("revoked")
        other.record_event("credential-revoked", ENGINE, "reader", outcome=REFUSED)
        for name in ("a", "disabled", "enabled"):
            store.add_account(
                account_id=name, email=f"{name}@example.com", password_hash="x", scope="test", roles=["reader"]
            )
        store.disable_account("disabled@example.com")
        store.disable_account("enabled@example.com")
        store.enable_account("enabled@example.com")
    return database_url


def test_nothing_is_found_in_what_nobody_has_touched(url: str) -> None:
    found, counts = sweep(url)
    assert found == []
    assert (counts.keys, counts.credentials, counts.accounts, counts.faults) == (4, 2, 3, 0)
    assert "keys: 4, credentials: 2, accounts: 3" in list(counts.lines())


OF_KEYS = {
    "custody = '{\"sensitive\":true}'": "its custodySha256 is ",
    "spki = key_id": "its spki does not have the SHA-256 kept with it",
    f"spki_sha256 = '{'a' * 64}'": f"its spkiSha256 is {'a' * 64}, and its event key-examined has ",
    "key_id = spki": f"its keyId is {KEY.encode().hex()}, and its event key-examined has 0102",
    "token = 'other'": "its token is other, and its event key-generated has test",
    "label = 'other'": f"its label is other, and its event key-generated has {KEY}",
    "key_type = 'RSA'": "its keyType is RSA, and its event key-generated has secp256r1",
    "origin = 'adopted'": "its origin is adopted, and its event key-generated has generated",
}


@pytest.mark.parametrize(("edit", "what"), OF_KEYS.items())
def test_a_key_that_is_otherwise_than_it_was_told_is_named(url: str, edit: str, what: str) -> None:
    change(url, f"UPDATE keys SET {edit} WHERE path = '{KEY}'")
    faults = sweep(url)[0]
    assert any(one.startswith(f"key {KEY}: {what}") for one in faults), faults
    assert all(one.startswith(f"key {KEY}: ") for one in faults)


OF_PEOPLE = {
    "credentials SET roles = '[\"administrator\"]' WHERE credential_id = 'reader'": (
        'credential reader: its roles is ["administrator"], and its event credential-created has ["reader", "issuer"]'
    ),
    "credentials SET scope = 'test' WHERE credential_id = 'reader'": (
        "credential reader: its scope is test, and its event credential-created has test.tenant1"
    ),
    "credentials SET revoked_at = NULL WHERE credential_id = 'revoked'": (
        "credential revoked: it was revoked, and is not any more"
    ),
    "credentials SET revoked_at = '2100-01-01' WHERE credential_id = 'reader'": (
        "credential reader: it is revoked, and no event tells of that"
    ),
    "accounts SET roles = '[]' WHERE email = 'a@example.com'": (
        'account a@example.com: its roles is [], and its event account-created has ["reader"]'
    ),
    "accounts SET scope = 'other' WHERE email = 'a@example.com'": (
        "account a@example.com: its scope is other, and its event account-created has test"
    ),
    "accounts SET disabled_at = NULL WHERE email = 'disabled@example.com'": (
        "account disabled@example.com: it was disabled, and is not any more"
    ),
    "accounts SET disabled_at = '2100-01-01' WHERE email = 'enabled@example.com'": (
        "account enabled@example.com: it is disabled, and no event tells of that"
    ),
}


@pytest.mark.parametrize(("edit", "fault"), OF_PEOPLE.items())
def test_a_credential_or_account_that_is_otherwise_than_it_was_told_is_named(url: str, edit: str, fault: str) -> None:
    change(url, f"UPDATE {edit}")
    assert sweep(url)[0] == [fault]


GONE = {
    f"keys WHERE path = '{KEY}'": f"key {KEY}",
    "keys WHERE path = 'test.tenant1.kms1.again'": "key test.tenant1.kms1.again",
    "credentials WHERE credential_id = 'revoked'": "credential revoked",
    "accounts WHERE email = 'a@example.com'": "account a@example.com",
}


@pytest.mark.parametrize(("where", "row"), GONE.items())
def test_what_is_gone_without_an_event_is_named(url: str, where: str, row: str) -> None:
    change(url, f"DELETE FROM {where}")
    assert sweep(url)[0] == [f"{row}: it is not there, and no event tells that it was removed"]


def test_what_is_there_without_an_event_is_named(url: str) -> None:
    change(
        url,
        "INSERT INTO credentials (credential_id, secret_sha256, scope, roles, created_at) SELECT 'smuggled', "
        f"'{'b' * 64}', scope, roles, created_at FROM credentials WHERE credential_id = 'reader'",
    )
    assert sweep(url)[0] == ["credential smuggled: no event tells of it"]
    change(url, "UPDATE credentials SET created_at = '2020-01-01 00:00:00.000000' WHERE credential_id = 'smuggled'")
    found, counts = sweep(url)
    what = "no event tells of it: it is from before there was an audit trail, or says so"
    assert (found, counts.faults) == ([f"note: credential smuggled: {what}"], 0)


def test_a_key_that_was_unbound_and_is_there_again_is_named(database_url: str) -> None:
    with Store.open(database_url) as store:
        add_key(store, KEY)
        store.remove_key(KEY, organization="test", even_in_use=True)
        add_key(store, "test.tenant1.kms1.other")
    change(database_url, f"UPDATE keys SET path = '{KEY}' WHERE path = 'test.tenant1.kms1.other'")
    faults = sweep(database_url)[0]
    assert faults[0] == f"key {KEY}: it is there, and the audit trail has unbound it"
    assert faults[-1] == "key test.tenant1.kms1.other: it is not there, and no event tells that it was removed"


def test_what_is_told_while_events_are_read_is_no_fault(url: str) -> None:
    """By a writer whose events were read already."""
    done = []
    with Store.open(url) as store:
        add_key(store, "test.tenant1.kms1.first")

        def tell(what: str, *_: object) -> None:
            if what != "events" or done:
                return
            done.append(what)
            add_key(store, "test.tenant1.kms1.meanwhile")
            store.remove_key("test.tenant1.kms1.adopted", organization="test", even_in_use=True)
            store.record_custody(KEY, b"\x01\x02", {"sensitive": 3}, datetime.now(UTC))
            store.revoke_credential("reader")
            store.enable_account("disabled@example.com")

        assert sweep(url, tell)[0] == []
    assert done


@pytest.mark.parametrize("column", ["keys.token", "keys.spki", "keys.custody", "credentials.scope", "accounts.scope"])
def test_text_that_is_not_utf_8_is_named_and_stops_nothing(url: str, column: str) -> None:
    if url.startswith("postgresql:"):
        return  # it has no such text
    table, _, name = column.partition(".")
    change(url, f"UPDATE {table} SET {name} = CAST(X'ff' AS TEXT)")
    faults = sweep(url)[0]
    named = [one for one in faults if one.endswith(f"the column {column} holds text that is not UTF-8")]
    assert len(named) == {"keys": 4, "credentials": 2, "accounts": 3}[table]


def test_clocks_of_two_writers_that_differ_are_no_fault(database_url: str) -> None:
    """A key that one engine has registered, and that another one has unbound by an earlier clock."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    late = Store.open(database_url, now=lambda: moment)
    early = Store.open(database_url, now=lambda: moment - timedelta(seconds=20))
    with late, early:
        add_key(late, KEY)
        early.remove_key(KEY, organization="test", even_in_use=True)
        assert sweep(database_url)[0] == []
        add_key(late, KEY)
    assert sweep(database_url)[0] == []
