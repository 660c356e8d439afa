"""What the ledger promises the corridor."""

from datetime import UTC, datetime

import pytest

from engine.errors import AlreadyExists, NotFound, StoreError
from engine.store import Store
from tests.unit.store.conftest import close_dangling


def test_an_intent_is_committed_when_record_intent_returns(store, intent, rows):
    facts = intent()
    store.record_intent(**facts)
    assert rows("SELECT intent_id, state, tbs, tbs_sha256, serial_number FROM intents") == [
        (facts["intent_id"], "intended", facts["tbs"], facts["tbs_sha256"], f"{facts['serial_number']:040x}")
    ]


def test_the_record_says_who_asked_and_with_which_key(store, intent, rows):
    store.record_intent(**intent())
    query = "SELECT signing_key, caller, request_id, request_digest, profile, recorded_at FROM intents"
    [(*who, recorded_at)] = rows(query)
    assert who == ["test.tenant1.kms1.ca", "credential-1", "request-1", "d" * 64, "generic"]
    when = datetime.fromisoformat(recorded_at).replace(tzinfo=UTC) if isinstance(recorded_at, str) else recorded_at
    assert when == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_signed_certificate_appears_at_every_place_its_intent_reserved(store, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s1.leaf"), place("a.b.s2.leaf", "vical-entry", {"docType": ["mDL"]})])
    store.record_intent(**facts)
    certificate = certificate_of(facts)
    store.record_certificate(**certificate)
    first, second = store.find_entry("a.b.s1.leaf"), store.find_entry("a.b.s2.leaf")
    assert (first.der, first.type, first.metadata) == (certificate["certificate"], "base", None)
    assert (second.der, second.type) == (certificate["certificate"], "vical-entry")
    assert second.metadata == {"docType": ["mDL"]}


def test_a_reserved_place_is_not_readable(store, intent, place):
    store.record_intent(**intent(entries=[place("a.b.s.leaf")]))
    with pytest.raises(NotFound, match=r"a\.b\.s\.leaf"):
        store.find_entry("a.b.s.leaf")
    assert store.list_entries("a.b.s", 10, 0) == ()
    assert store.list_entry_paths("a.b.s", 10, 0) == ()


@pytest.mark.parametrize("signed", [False, True])
def test_a_taken_place_is_refused_naming_it(store, intent, certificate_of, place, signed, rows):
    first = intent(entries=[place("a.b.s.leaf")])
    store.record_intent(**first)
    if signed:
        store.record_certificate(**certificate_of(first))
    with pytest.raises(AlreadyExists, match="already exists") as refusal:
        store.record_intent(**intent(entries=[place("a.b.s.free"), place("a.b.s.leaf")]))
    assert refusal.value.target == "a.b.s.leaf"
    assert rows("SELECT count(*) FROM intents") == [(1,)]
    assert rows("SELECT path FROM entries") == [("a.b.s.leaf",)]


def test_a_serial_number_that_the_issuer_has_used_is_refused(store, intent):
    first = intent()
    store.record_intent(**first)
    with pytest.raises(StoreError, match="has used the serial number before"):
        store.record_intent(**intent(serial_number=first["serial_number"]))


def test_another_issuer_may_use_the_same_serial_number(store, intent, rows):
    first = intent()
    store.record_intent(**first)
    store.record_intent(**intent(serial_number=first["serial_number"], issuer=b"another name"))
    assert rows("SELECT count(*) FROM intents") == [(2,)]


def test_a_serial_number_stays_used_after_a_failure(store, intent):
    first = intent()
    store.record_intent(**first)
    store.record_failure(intent_id=first["intent_id"], reason="SigningFailed")
    with pytest.raises(StoreError, match="has used the serial number before"):
        store.record_intent(**intent(serial_number=first["serial_number"]))


def test_a_failure_frees_the_places_and_keeps_the_reason(store, intent, certificate_of, place, rows):
    first = intent(entries=[place("a.b.s.leaf")])
    store.record_intent(**first)
    store.record_failure(intent_id=first["intent_id"], reason="SigningFailed")
    assert rows("SELECT state, reason FROM intents") == [("failed", "SigningFailed")]
    second = intent(entries=[place("a.b.s.leaf")])
    store.record_intent(**second)
    store.record_certificate(**certificate_of(second))
    assert store.find_entry("a.b.s.leaf").der == certificate_of(second)["certificate"]


def test_a_certificate_without_an_intent_is_refused(store, intent, certificate_of, rows):
    with pytest.raises(StoreError, match="No open intent"):
        store.record_certificate(**certificate_of(intent()))
    assert rows("SELECT count(*) FROM certificates") == [(0,)]


@pytest.mark.parametrize("change", [{"serial_number": 5}, {"issuer": b"another name"}])
def test_a_certificate_other_than_the_intended_one_is_refused(store, intent, certificate_of, change, rows):
    facts = intent()
    store.record_intent(**facts)
    with pytest.raises(StoreError, match="No open intent"):
        store.record_certificate(**certificate_of(facts) | change)
    assert rows("SELECT state FROM intents") == [("intended",)]


@pytest.mark.parametrize("end", ["signed", "failed", "outcome-unknown"])
def test_a_closed_intent_is_never_closed_again(store, intent, certificate_of, record_and_die, end, rows):
    facts = intent()
    if end == "outcome-unknown":
        record_and_die(facts)
    else:
        store.record_intent(**facts)
    if end == "signed":
        store.record_certificate(**certificate_of(facts))
    elif end == "failed":
        store.record_failure(intent_id=facts["intent_id"], reason="SigningFailed")
    else:
        close_dangling(store, 1)
    with pytest.raises(StoreError):
        store.record_certificate(**certificate_of(facts, certificate=b"second", sha256="e" * 64))
    with pytest.raises(StoreError):
        store.record_failure(intent_id=facts["intent_id"], reason="late")
    assert rows("SELECT state FROM intents") == [(end,)]
    assert rows("SELECT count(*) FROM certificates") == [(1 if end == "signed" else 0,)]


def test_a_signed_request_leaves_its_record_and_nothing_else(store, request_intent, rows):
    facts = request_intent()
    store.record_intent(**facts)
    store.record_signed(intent_id=facts["intent_id"])
    assert rows("SELECT kind, state, issuer, serial_number, tbs FROM intents") == [
        ("request", "signed", None, None, None)
    ]
    assert rows("SELECT count(*) FROM certificates") == [(0,)]


def test_the_intent_of_a_certificate_cannot_be_closed_as_a_request(store, intent):
    facts = intent()
    store.record_intent(**facts)
    with pytest.raises(StoreError, match="certification request"):
        store.record_signed(intent_id=facts["intent_id"])


@pytest.mark.parametrize("missing", ["issuer", "serial_number", "tbs"])
def test_the_intent_of_a_certificate_needs_all_that_names_it(store, intent, missing):
    with pytest.raises(StoreError):
        store.record_intent(**intent(**{missing: None}))


def test_dangling_intents_are_reported_closed_and_their_places_freed(
    store, intent, request_intent, certificate_of, place, record_and_die, rows
):
    signed, open_one, open_request = intent(), intent(entries=[place("a.b.s.leaf")]), request_intent()
    store.record_intent(**signed)
    store.record_certificate(**certificate_of(signed))
    record_and_die(open_one, open_request)
    dangling = close_dangling(store, 2)
    assert [(row.intent_id, row.kind, row.issuer, row.serial_number) for row in dangling] == [
        (open_one["intent_id"], "certificate", b"issuer name", open_one["serial_number"]),
        (open_request["intent_id"], "request", None, None),
    ]
    assert {row.recorded_at.utcoffset().total_seconds() for row in dangling} == {0}
    assert rows("SELECT state FROM intents ORDER BY intent_id") == [
        ("signed",),
        ("outcome-unknown",),
        ("outcome-unknown",),
    ]
    assert store.close_dangling_intents() == ()
    store.record_intent(**intent(entries=[place("a.b.s.leaf")]))


def test_what_a_writer_had_finished_before_it_died_stays_finished(
    store, database_url, intent, certificate_of, place, rows
):
    signed, failed, left_open = intent(entries=[place("a.b.s.leaf")]), intent(), intent()
    with Store.open(database_url) as dying:
        for facts in (signed, failed, left_open):
            dying.record_intent(**facts)
        dying.record_certificate(**certificate_of(signed))
        dying.record_failure(intent_id=failed["intent_id"], reason="SigningFailed")
    (dangling,) = close_dangling(store, 1)
    assert dangling.intent_id == left_open["intent_id"]
    assert rows("SELECT state FROM intents ORDER BY intent_id") == [("signed",), ("failed",), ("outcome-unknown",)]
    assert store.list_entry_paths("a.b.s", 10, 0) == ("a.b.s.leaf",)


def test_the_serial_number_of_a_dangling_intent_is_never_used_again(store, intent, record_and_die):
    facts = intent()
    record_and_die(facts)
    close_dangling(store, 1)
    with pytest.raises(StoreError, match="has used the serial number before"):
        store.record_intent(**intent(serial_number=facts["serial_number"]))


def test_closing_dangling_intents_keeps_the_places_of_signed_certificates(
    store, intent, certificate_of, place, record_and_die
):
    facts = intent(entries=[place("a.b.s.leaf")])
    store.record_intent(**facts)
    store.record_certificate(**certificate_of(facts))
    record_and_die(intent())
    close_dangling(store, 1)
    assert store.list_entry_paths("a.b.s", 10, 0) == ("a.b.s.leaf",)
