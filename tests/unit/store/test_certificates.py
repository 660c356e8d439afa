"""Certificates and their places."""

from datetime import UTC, datetime

import pytest

from engine.errors import AlreadyExists, MalformedRequest, NotFound, StoreError


def test_a_certificate_put_into_a_store_is_found_there(store, foreign):
    facts = foreign(type="vical-entry", metadata={"docType": ["org.iso.18013.5.1.mDL"], "nested": {"a": None}})
    store.add_entry(path="a.b.s.root", **facts)
    found = store.find_entry("a.b.s.root")
    assert (found.path, found.type, found.der) == ("a.b.s.root", "vical-entry", facts["certificate"])
    assert found.metadata == facts["metadata"]


def test_nothing_at_a_path_is_said_so(store):
    with pytest.raises(NotFound, match=r"No certificate is at a\.b\.s\.none"):
        store.find_entry("a.b.s.none")


def test_a_taken_path_is_refused_and_keeps_its_certificate(store, foreign):
    first = foreign(b"first")
    store.add_entry(path="a.b.s.root", **first)
    with pytest.raises(AlreadyExists, match="already exists") as refusal:
        store.add_entry(path="a.b.s.root", **foreign(b"second"))
    assert refusal.value.target == "a.b.s.root"
    assert store.find_entry("a.b.s.root").der == first["certificate"]


def test_a_reserved_path_is_refused(store, foreign, intent, place):
    store.record_intent(**intent(entries=[place("a.b.s.root")]))
    with pytest.raises(AlreadyExists, match="already exists"):
        store.add_entry(path="a.b.s.root", **foreign())


def test_the_same_certificate_may_be_in_several_places(store, foreign):
    for path in ("a.b.s.one", "a.b.s.two", "a.b.t.one"):
        store.add_entry(path=path, **foreign())
    assert store.list_entry_paths("a.b.s", 10, 0) == ("a.b.s.one", "a.b.s.two")


def test_an_issued_certificate_may_be_put_into_another_store(store, intent, certificate_of):
    facts = intent()
    store.record_intent(**facts)
    certificate = certificate_of(facts)
    store.record_certificate(**certificate)
    del certificate["intent_id"]
    store.add_entry(path="a.b.s.copy", type="base", **certificate)
    assert store.find_entry("a.b.s.copy").der == certificate["certificate"]


def test_foreign_certificates_may_share_issuer_and_serial_number(store, foreign):
    store.add_entry(path="a.b.s.one", **foreign(b"one", serial_number=1))
    store.add_entry(path="a.b.s.two", **foreign(b"two", serial_number=1))
    assert len(store.list_entries("a.b.s", 10, 0)) == 2


@pytest.mark.parametrize("serial_number", [-1, 1 << 160])
def test_a_serial_number_beyond_20_octets_is_refused(store, foreign, serial_number):
    with pytest.raises(MalformedRequest, match="20 octets"):
        store.add_entry(path="a.b.s.root", **foreign(serial_number=serial_number))


def test_a_time_without_a_zone_is_refused(store, foreign):
    with pytest.raises(StoreError):
        store.add_entry(path="a.b.s.root", **foreign(not_before=datetime(2026, 1, 1)))


def test_metadata_that_json_cannot_hold_is_refused(store, foreign):
    with pytest.raises(StoreError, match="cannot keep"):
        store.add_entry(path="a.b.s.root", **foreign(metadata={"value": object()}))
    assert store.list_entry_paths("a.b.s", 10, 0) == ()


def test_lists_hold_one_store_in_the_order_of_paths_page_by_page(store, foreign):
    for name in ("d", "b", "a", "c"):
        store.add_entry(path=f"a.b.s.{name}", **foreign(name.encode()))
    store.add_entry(path="a.b.s-other.x", **foreign(b"x"))
    pages = [store.list_entry_paths("a.b.s", 3, offset) for offset in (0, 3, 6)]
    assert pages == [("a.b.s.a", "a.b.s.b", "a.b.s.c"), ("a.b.s.d",), ()]
    assert [entry.path for entry in store.list_entries("a.b.s", 2, 1)] == ["a.b.s.b", "a.b.s.c"]


def test_ca_certificates_are_found_by_key_in_the_named_stores_oldest_first(store, foreign):
    key = "a" * 64
    for name, year, is_ca in (("new", 2025, True), ("old", 2020, True), ("leaf", 2021, False)):
        facts = foreign(name.encode(), spki_sha256=key, is_ca=is_ca, not_before=datetime(year, 1, 1, tzinfo=UTC))
        store.add_entry(path=f"a.b.s.{name}", **facts)
        store.add_entry(path=f"a.b.t.{name}", **facts)
    store.add_entry(path="a.b.s.other", **foreign(b"other", is_ca=True))
    assert store.find_ca_certificates(["a.b.s", "a.b.t"], key) == (b"certificate old", b"certificate new")
    assert store.find_ca_certificates(["a.b.u"], key) == ()
    assert store.find_ca_certificates([], key) == ()


def test_the_key_of_an_issued_ca_certificate_is_a_ca_key(store, intent, certificate_of):
    leaf, ca = intent(), intent()
    for facts in (leaf, ca):
        store.record_intent(**facts)
    store.record_certificate(**certificate_of(leaf))
    store.record_certificate(**certificate_of(ca, is_ca=True))
    assert store.is_ca_key(certificate_of(ca)["spki_sha256"], "test")
    assert not store.is_ca_key(certificate_of(leaf)["spki_sha256"], "test")
    assert not store.is_ca_key(certificate_of(ca)["spki_sha256"], "tes")


def test_a_foreign_ca_certificate_makes_only_our_own_key_a_ca_key(store, foreign):
    facts = foreign(is_ca=True)
    store.add_entry(path="a.b.s.root", **facts)
    assert not store.is_ca_key(facts["spki_sha256"], "a")
    store.add_key(
        path="a.b.k.root",
        token="trial",
        label="root",
        key_id=b"\x01",
        key_type="secp256r1",
        spki=b"spki",
        spki_sha256=facts["spki_sha256"],
        origin="adopted",
        custody={},
        checked_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert store.is_ca_key(facts["spki_sha256"], "a")
    assert not store.is_ca_key(facts["spki_sha256"], "b")
