"""Certificates and their places."""

from datetime import UTC, datetime

import pytest

from engine.errors import AlreadyExists, MalformedRequest, NotFound, StoreError
from engine.store import CaCertificate

SERVICE = "a.b.service"


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


def test_a_page_after_a_path_goes_on_behind_it_whether_or_not_that_is_still_there(store, foreign):
    for name in ("D", "a", "b-1", "b_1", "c"):
        store.add_entry(path=f"a.b.s.{name}", **foreign(name.encode()))
    whole = store.list_entry_paths("a.b.s", 10)
    assert whole == ("a.b.s.D", "a.b.s.a", "a.b.s.b-1", "a.b.s.b_1", "a.b.s.c")
    assert store.list_entry_paths("a.b.s", 2, after="a.b.s.a") == whole[2:4]
    assert store.list_entry_paths("a.b.s", 2, 1, "a.b.s.D") == whole[2:4]
    store.delete_entry("a.b.s.a")
    assert tuple(entry.path for entry in store.list_entries("a.b.s", 10, after="a.b.s.a")) == whole[2:]
    assert store.list_entries("a.b.s", 10, after="a.b.s.c") == ()


def test_a_reservation_is_in_no_list(store, intent, place):
    store.record_intent(**intent(entries=[place("a.b.s.reserved")]))
    assert store.list_entries("a.b.s", 10) == ()
    assert store.list_entry_paths("a.b.s", 10) == ()


def test_an_entry_may_be_replaced_in_every_part(store, foreign):
    store.add_entry(path="a.b.s.one", **foreign(b"one"))
    other = foreign(b"other", type="vical-entry", metadata={"docType": ["x"]})
    store.replace_entry(path="a.b.s.one", **other)
    found = store.find_entry("a.b.s.one")
    assert (found.type, found.der, found.metadata) == ("vical-entry", other["certificate"], {"docType": ["x"]})
    store.replace_entry(path="a.b.s.one", **foreign(b"other"))
    assert store.find_entry("a.b.s.one").metadata is None


def test_a_certificate_that_was_replaced_or_deleted_stays_recorded(store, rows, foreign, intent, certificate_of, place):
    for name in ("replaced", "deleted"):
        facts = intent(entries=[place(f"a.b.s.{name}")])
        store.record_intent(**facts)
        store.record_certificate(**certificate_of(facts))
    recorded = "SELECT count(*) FROM certificates JOIN intents USING (intent_id) WHERE state = 'signed'"
    assert rows(recorded) == [(2,)]
    store.replace_entry(path="a.b.s.replaced", **foreign())
    store.delete_entry("a.b.s.deleted")
    assert rows(recorded) == [(2,)]
    assert store.list_entry_paths("a.b.s", 10) == ("a.b.s.replaced",)


def test_where_there_is_no_certificate_nothing_is_replaced_or_deleted(store, foreign, intent, place):
    store.record_intent(**intent(entries=[place("a.b.s.reserved")]))
    for path in ("a.b.s.reserved", "a.b.s.none"):
        with pytest.raises(NotFound, match=f"No certificate is at {path}"):
            store.replace_entry(path=path, **foreign())
        with pytest.raises(NotFound, match=f"No certificate is at {path}"):
            store.delete_entry(path)
    with pytest.raises(AlreadyExists):
        store.add_entry(path="a.b.s.reserved", **foreign())


def test_a_place_is_free_again_when_its_entry_was_deleted(store, foreign, intent, place):
    store.add_entry(path="a.b.s.one", **foreign())
    store.delete_entry("a.b.s.one")
    store.record_intent(**intent(entries=[place("a.b.s.one")]))


def test_a_replacement_that_cannot_be_kept_changes_nothing(store, foreign):
    store.add_entry(path="a.b.s.one", **foreign(b"one"))
    with pytest.raises(MalformedRequest, match="20 octets"):
        store.replace_entry(path="a.b.s.one", **foreign(serial_number=-1))
    with pytest.raises(StoreError, match="cannot keep"):
        store.replace_entry(path="a.b.s.one", **foreign(metadata={"value": object()}))
    assert store.find_entry("a.b.s.one").der == b"certificate one"


# What a service may believe


def test_ca_certificates_are_found_by_key_in_the_named_stores_oldest_first(store, foreign):
    key = "a" * 64
    for name, year, is_ca in (("new", 2025, True), ("old", 2020, True), ("leaf", 2021, False)):
        facts = foreign(name.encode(), spki_sha256=key, is_ca=is_ca, not_before=datetime(year, 1, 1, tzinfo=UTC))
        store.add_entry(path=f"a.b.s.{name}", **facts)
        store.add_entry(path=f"a.b.t.{name}", **facts)
    store.add_entry(path="a.b.s.other", **foreign(b"other", is_ca=True))
    assert [one.der for one in store.find_ca_certificates(["a.b.s", "a.b.t"], key, SERVICE)] == [
        b"certificate old",
        b"certificate new",
    ]
    assert store.find_ca_certificates(["a.b.u"], key, SERVICE) == ()
    assert store.find_ca_certificates([], key, SERVICE) == ()


@pytest.mark.parametrize(
    ("vouched_below", "trusted"),
    [
        (None, False),
        ("a", True),
        ("a.b", True),
        (SERVICE, True),
        ("a.b.serv", False),
        ("a.b.service-2", False),
        ("a.b.service.x", False),
        ("a.b.s", False),
        ("c", False),
    ],
)
def test_a_ca_certificate_is_trusted_where_who_stored_it_may_issue(store, foreign, vouched_below, trusted):
    facts = foreign(is_ca=True)
    store.add_entry(path="a.b.s.ca", vouched_below=vouched_below, self_signed=True, **facts)
    expected = CaCertificate(facts["certificate"], trusted)
    assert store.find_ca_certificates(["a.b.s"], facts["spki_sha256"], SERVICE) == (expected,)
    by_subject = store.find_trusted_ca_certificates(["a.b.s"], facts["subject"], SERVICE)
    assert by_subject == ((facts["certificate"],) if trusted else ())


def test_a_ca_certificate_is_trusted_in_the_store_it_was_issued_into(store, foreign, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s.ca")])
    store.record_intent(**facts)
    certificate = certificate_of(facts, is_ca=True)
    store.record_certificate(**certificate)
    del certificate["intent_id"]
    key = certificate["spki_sha256"]
    store.add_entry(path="a.b.t.copy", type="base", **certificate)
    assert [one.trusted for one in store.find_ca_certificates(["a.b.s"], key, SERVICE)] == [True]
    assert [one.trusted for one in store.find_ca_certificates(["a.b.t"], key, SERVICE)] == [False]
    assert [one.trusted for one in store.find_ca_certificates(["a.b.s", "a.b.t"], key, SERVICE)] == [True]


def test_trust_goes_with_the_certificate_and_not_with_its_place(store, foreign, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s.issued")])
    store.record_intent(**facts)
    issued = certificate_of(facts, is_ca=True)
    store.record_certificate(**issued)
    del issued["intent_id"]
    vouched = foreign(b"vouched", is_ca=True)
    store.add_entry(path="a.b.s.vouched", vouched_below="a", **vouched)

    def trusted(facts):
        return [one.trusted for one in store.find_ca_certificates(["a.b.s"], facts["spki_sha256"], SERVICE)]

    for path, facts in (("a.b.s.issued", issued | {"type": "base"}), ("a.b.s.vouched", vouched)):
        store.replace_entry(path=path, **facts | {"metadata": {"docType": []}})
        assert trusted(facts) == [True]
        other = foreign(path.encode(), is_ca=True)
        store.replace_entry(path=path, **other)
        assert trusted(other) == [False]
        store.replace_entry(path=path, **facts)
        assert trusted(facts) == [False]
        store.replace_entry(path=path, vouched_below="a.b", **facts)
        assert trusted(facts) == [True]


def test_the_key_of_an_issued_ca_certificate_is_a_ca_key(store, intent, certificate_of):
    leaf, ca = intent(), intent()
    for facts in (leaf, ca):
        store.record_intent(**facts)
    store.record_certificate(**certificate_of(leaf))
    store.record_certificate(**certificate_of(ca, is_ca=True))
    assert store.is_ca_key(certificate_of(ca)["spki_sha256"], "test")
    assert not store.is_ca_key(certificate_of(leaf)["spki_sha256"], "test")
    assert not store.is_ca_key(certificate_of(ca)["spki_sha256"], "tes")


@pytest.mark.parametrize(
    ("facts", "entry", "counts"),
    [
        ({"self_signed": True}, "a.b.s.root", True),
        ({"vouched_below": "a.b"}, "a.b.s.root", True),
        # Else anybody could stop a key of another's from being certified.
        ({}, "a.b.s.root", False),
        ({"self_signed": True, "vouched_below": "c"}, "c.b.s.root", False),
        ({"self_signed": True, "is_ca": False}, "a.b.s.root", False),
    ],
)
def test_a_foreign_ca_certificate_makes_only_our_own_key_a_ca_key(store, foreign, facts, entry, counts):
    facts = foreign(is_ca=True) | facts
    store.add_entry(path=entry, **facts)
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
    assert store.is_ca_key(facts["spki_sha256"], "a") is counts
    assert not store.is_ca_key(facts["spki_sha256"], "b")
