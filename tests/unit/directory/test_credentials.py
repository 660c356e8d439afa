"""Credentials, roles and scopes: what a secret opens, and what a role allows."""

import hashlib
from pathlib import Path

import pytest

from engine.directory.credentials import Credential, create_api_key, find_credential
from engine.directory.roles import ROLES, Permission, permissions_of
from engine.store import Store
from tests.database import new_database_url, select

ALLOWED = {
    "reader": {"read"},
    "issuer": {"read", "issue"},
    "store-manager": {"read", "store"},
    "key-manager": {"read", "manage-keys"},
    "administrator": {"read", "issue", "store", "manage-keys", "manage-resources"},
}


def test_each_role_allows_what_the_table_says() -> None:
    assert {role: {one.value for one in permissions} for role, permissions in ROLES.items()} == ALLOWED


def test_roles_add_up_and_one_that_is_not_known_allows_nothing() -> None:
    assert permissions_of(["store-manager", "key-manager"]) == {
        Permission.READ,
        Permission.STORE,
        Permission.MANAGE_KEYS,
    }
    assert permissions_of(["auditor-of-a-later-version"]) == frozenset()
    assert permissions_of([]) == frozenset()


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("test.tenant1", True),
        ("test.tenant1.kms1.key", True),
        ("test", False),
        ("test.tenant10", False),
        ("test.tenant2", False),
        ("other.tenant1", False),
        ("test.tenant1-", False),
    ],
)
def test_a_scope_is_a_path_and_what_lies_below_it(path: str, inside: bool) -> None:
    assert Credential(id="a", scope="test.tenant1", roles=()).may_use(path) is inside


def test_an_api_key_has_256_random_bits_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    url = new_database_url(tmp_path)
    with Store.open(url) as store:
        first, second = (
            create_api_key(store, credential_id=name, scope="test", roles=["issuer"]) for name in ("first", "second")
        )
        assert len(first) == len(second) == 43
        assert first != second
        assert find_credential(store, first) == Credential(id="first", scope="test", roles=("issuer",))
        assert find_credential(store, first[:-1]) is None
        assert find_credential(store, hashlib.sha256(first.encode()).hexdigest()) is None
    kept = select(url, "SELECT secret_sha256 FROM credentials WHERE credential_id = 'first'")
    assert kept == [(hashlib.sha256(first.encode()).hexdigest(),)]
