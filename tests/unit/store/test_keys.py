"""Keys and credentials."""

import hashlib
import json
from datetime import UTC, datetime

import pytest

from engine.errors import AlreadyExists, NotFound, StoreError
from tests.unit.store.conftest import NOW


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
    store.record_custody("a.b.k.ca", b"\x00\xff", {"sensitive": False}, later)
    found = store.find_key("a.b.k.ca")
    changed = key("a.b.k.ca", custody={"sensitive": False}, checked_at=later)
    assert {name: getattr(found, name) for name in changed} == changed
    other = store.find_key("a.b.k.other")
    assert {name: getattr(other, name) for name in changed} == key("a.b.k.other")


def test_custody_of_a_key_that_is_not_there_is_not_recorded(store):
    with pytest.raises(NotFound, match=r"No key is at a\.b\.k\.ca"):
        store.record_custody("a.b.k.ca", b"\x00\xff", {}, datetime(2026, 3, 2, tzinfo=UTC))


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


def test_keys_come_in_pages(store):
    for name in ("c", "a", "b"):
        store.add_key(**key(f"a.b.k.{name}"))
    store.add_key(**key("a.b.other.a"))
    assert [row.path for row in store.list_keys_page("a.b.k", 2, 1)] == ["a.b.k.b", "a.b.k.c"]
    assert store.list_keys_page("a.b.k", 2, 3) == ()


def test_adding_a_key_answers_with_what_is_found_later(store):
    assert store.add_key(**key("a.b.k.ca")) == store.find_key("a.b.k.ca")


def proof(intent, path: str, key_id: bytes) -> dict[str, object]:
    facts = {"kind": "proof", "profile": "", "issuer": None, "serial_number": None, "tbs": None}
    return intent(**facts, intent_id=key_id.hex(), signing_key=path)


def test_a_key_and_the_end_of_its_intent_are_recorded_together(store, intent):
    store.record_intent(**proof(intent, "a.b.k.ca", b"\x01" * 16))
    making = store.find_making(b"\x01" * 16)
    assert (making.path, making.is_open) == ("a.b.k.ca", True)
    store.add_key(**key("a.b.k.ca", key_id=b"\x01" * 16), intent_id=(b"\x01" * 16).hex())
    assert store.find_making(b"\x01" * 16).is_open is False
    assert store.find_making(b"\x02" * 16) is None


def test_a_key_whose_intent_is_closed_is_not_registered(store, intent):
    """Somebody may be destroying it already."""
    store.record_intent(**proof(intent, "a.b.k.ca", b"\x01" * 16))
    store.record_failure(intent_id=(b"\x01" * 16).hex(), reason="Interrupted")
    with pytest.raises(StoreError, match="not open any more"):
        store.add_key(**key("a.b.k.ca", key_id=b"\x01" * 16), intent_id=(b"\x01" * 16).hex())
    with pytest.raises(NotFound):
        store.find_key("a.b.k.ca")


def test_a_key_that_loses_its_path_to_another_leaves_its_intent_open(store, intent):
    store.add_key(**key("a.b.k.ca"))
    store.record_intent(**proof(intent, "a.b.k.ca", b"\x01" * 16))
    with pytest.raises(AlreadyExists):
        store.add_key(**key("a.b.k.ca", key_id=b"\x01" * 16), intent_id=(b"\x01" * 16).hex())
    assert store.find_making(b"\x01" * 16).is_open is True


def test_the_intent_of_a_certificate_is_not_that_of_a_key(store, intent):
    store.record_intent(**intent(intent_id=(b"\x01" * 16).hex()))
    assert store.find_making(b"\x01" * 16) is None
    with pytest.raises(StoreError):
        store.add_key(**key("a.b.k.ca"), intent_id=(b"\x01" * 16).hex())


def remove(store, path: str, **changes: object):
    return store.remove_key(path, **{"organization": path.partition(".")[0], "even_in_use": False} | changes)


def test_a_removed_key_is_answered_with_whether_another_path_has_it(store):
    for path in ("a.b.k.one", "a.b.k.two", "b.b.k.three"):
        store.add_key(**key(path))
    store.add_key(**key("a.b.k.other", key_id=b"\x02"))
    store.add_key(**key("a.b.k.token", token="another"))
    assert [row.path for row in store.list_keys_by_object("trial", "ca", b"\x00\xff")] == [
        "a.b.k.one",
        "a.b.k.two",
        "b.b.k.three",
    ]
    assert [remove(store, path).is_last for path in ("a.b.k.one", "a.b.k.two", "b.b.k.three")] == [False, False, True]
    assert [row.path for row in store.list_keys("a.b.k")] == ["a.b.k.other", "a.b.k.token"]
    with pytest.raises(NotFound):
        remove(store, "a.b.k.one")


CA_KEY = "c" * 64


@pytest.mark.parametrize(
    ("changes", "target", "speaks"),
    [
        ({}, "a.b.service", True),
        ({}, "another.b.service", False),
        ({}, "ab.b.service", False),
        ({"is_ca": False}, "a.b.service", False),
        ({"spki_sha256": "d" * 64}, "a.b.service", False),
        ({"not_after": datetime(2026, 3, 1, 11, 59, 59, tzinfo=UTC)}, "a.b.service", False),
        ({"not_after": datetime(2026, 3, 1, 12, tzinfo=UTC)}, "a.b.service", True),
    ],
)
def test_a_ca_certificate_of_the_organization_that_has_not_expired_speaks_against_removing_its_key(
    changes, target, speaks, store, intent, certificate_of
):
    store.add_key(**key("a.b.k.ca", spki_sha256=CA_KEY))
    intended = intent(target=target)
    store.record_intent(**intended)
    certificate = certificate_of(intended, **{"spki_sha256": CA_KEY, "is_ca": True} | changes)
    store.record_certificate(**certificate)
    answer = remove(store, "a.b.k.ca")
    if not speaks:
        assert answer.is_last
        return
    assert (answer.certificate_sha256, answer.not_after) == (certificate["sha256"], certificate["not_after"])
    assert store.find_key("a.b.k.ca")
    assert remove(store, "a.b.k.ca", even_in_use=True).is_last


@pytest.mark.parametrize(("place", "speaks"), [("a.b.store.ca", True), ("other.b.store.ca", False)])
def test_so_does_one_that_was_stored_by_somebody(place, speaks, store, foreign):
    store.add_key(**key("a.b.k.ca", spki_sha256=CA_KEY))
    store.add_entry(path=place, **foreign(spki_sha256=CA_KEY, is_ca=True))
    assert hasattr(remove(store, "a.b.k.ca"), "certificate_sha256") is speaks


def test_custody_of_another_key_under_the_same_path_is_not_replaced(store):
    store.add_key(**key("a.b.k.ca"))
    with pytest.raises(NotFound):
        store.record_custody("a.b.k.ca", b"another", {}, datetime(2026, 3, 2, tzinfo=UTC))
    assert store.find_key("a.b.k.ca").custody == key("a.b.k.ca")["custody"]


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


def test_every_custody_record_is_kept_by_its_content(store, rows):
    first, second = {"sensitive": True}, {"sensitive": False, "token": {"label": "é"}}
    store.add_key(**key("a.b.k.ca", custody=first))
    store.add_key(**key("a.b.k.same", custody=first))
    for custody in (second, first, second):
        store.record_custody("a.b.k.ca", key("a.b.k.ca")["key_id"], custody, NOW)
    records = store.evidence_records()
    texts = ['{"sensitive":true}', '{"sensitive":false,"token":{"label":"é"}}']
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert [records.find_statement(digest) for digest in digests] == texts
    assert rows("SELECT count(*) FROM statements") == [(2,)]
    assert records.find_statement("0" * 64) is None
    store.remove_key("a.b.k.ca", organization="a", even_in_use=True)
    assert records.find_statement(digests[1]) == texts[1]
    told = [json.loads(row.details)["custodySha256"] for row in records.list_custody_events("a.b.k.ca")]
    assert sorted(told) == sorted([digests[0], digests[1], digests[0], digests[1]])


def test_a_custody_record_of_a_key_that_is_not_there_is_not_kept(store, rows):
    with pytest.raises(NotFound):
        store.record_custody("a.b.k.ca", b"\x01", {"sensitive": True}, NOW)
    assert rows("SELECT count(*) FROM statements") == [(0,)]
