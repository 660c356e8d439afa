"""Keys and credentials."""

from datetime import UTC, datetime

import pytest

from engine.errors import AlreadyExists, NotFound, StoreError


def key(path: str, **changes: object) -> dict[str, object]:
    return {
        "path": path,
        "token": "trial",
        "label": "ca",
        "key_id": b"\x00\xff",
        "key_type": "secp256r1",
        "spki": b"\x30\x59",
        "spki_sha256": "c" * 64,
        "origin": "generated",
        "custody": {"sensitive": True, "token": {"serial": "1234"}},
        "checked_at": datetime(2026, 3, 1, 11, 59, tzinfo=UTC),
    } | changes


def test_a_key_is_found_as_it_was_added(store):
    store.add_key(**key("a.b.k.ca"))
    found = store.find_key("a.b.k.ca")
    assert {name: getattr(found, name) for name in key("a.b.k.ca")} == key("a.b.k.ca")
    assert found.created_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_taken_key_path_is_refused_and_keeps_its_key(store):
    store.add_key(**key("a.b.k.ca"))
    with pytest.raises(AlreadyExists, match="already exists") as refusal:
        store.add_key(**key("a.b.k.ca", label="another"))
    assert refusal.value.target == "a.b.k.ca"
    assert store.find_key("a.b.k.ca").label == "ca"


def test_a_later_custody_record_takes_the_place_of_the_former_and_of_nothing_else(store):
    store.add_key(**key("a.b.k.ca"))
    store.add_key(**key("a.b.k.other"))
    later = datetime(2026, 3, 2, tzinfo=UTC)
    store.record_custody("a.b.k.ca", {"sensitive": False}, later)
    found = store.find_key("a.b.k.ca")
    changed = key("a.b.k.ca", custody={"sensitive": False}, checked_at=later)
    assert {name: getattr(found, name) for name in changed} == changed
    other = store.find_key("a.b.k.other")
    assert {name: getattr(other, name) for name in changed} == key("a.b.k.other")


def test_custody_of_a_key_that_is_not_there_is_not_recorded(store):
    with pytest.raises(NotFound, match=r"No key is at a\.b\.k\.ca"):
        store.record_custody("a.b.k.ca", {}, datetime(2026, 3, 2, tzinfo=UTC))


def test_every_path_of_one_public_half_is_found(store):
    for path in ("a.b.k.two", "a.b.other.one"):
        store.add_key(**key(path))
    store.add_key(**key("a.b.k.else", spki_sha256="d" * 64))
    assert [row.path for row in store.list_keys_by_spki("c" * 64)] == ["a.b.k.two", "a.b.other.one"]


def test_the_same_key_may_be_known_by_two_paths(store):
    store.add_key(**key("a.b.k.two"))
    store.add_key(**key("a.b.k.one"))
    store.add_key(**key("a.b.other.one"))
    assert [row.path for row in store.list_keys("a.b.k")] == ["a.b.k.one", "a.b.k.two"]


def test_no_key_at_a_path_is_said_so(store):
    with pytest.raises(NotFound, match=r"No key is at a\.b\.k\.none"):
        store.find_key("a.b.k.none")


def test_a_credential_is_found_by_the_digest_of_its_secret(store):
    store.add_credential(credential_id="c1", secret_sha256="1" * 64, scope="a.b", roles=["issuer"])
    found = store.find_credential("1" * 64)
    assert (found.credential_id, found.scope) == ("c1", "a.b")
    assert store.find_credential("2" * 64) is None


def test_a_taken_credential_id_is_refused(store):
    store.add_credential(credential_id="c1", secret_sha256="1" * 64, scope="a.b", roles=["issuer"])
    with pytest.raises(AlreadyExists) as refusal:
        store.add_credential(credential_id="c1", secret_sha256="2" * 64, scope="a.b", roles=["issuer"])
    assert refusal.value.target == "c1"


def test_one_secret_never_stands_for_two_credentials(store):
    store.add_credential(credential_id="c1", secret_sha256="1" * 64, scope="a.b", roles=["issuer"])
    with pytest.raises(StoreError):
        store.add_credential(credential_id="c2", secret_sha256="1" * 64, scope="c.d", roles=["issuer"])
    assert store.find_credential("1" * 64).credential_id == "c1"


def test_a_secret_that_is_no_digest_is_refused(store):
    with pytest.raises(StoreError) as refusal:
        store.add_credential(credential_id="c1", secret_sha256="the secret itself", scope="a.b", roles=["issuer"])
    assert "the secret itself" not in f"{refusal.value} {refusal.value.__cause__}"
