"""What evidence of a certificate is made from is found by what people call the certificate."""

from datetime import timedelta
from hashlib import sha256

import pytest

from engine.audit.evidence import find_recorded
from engine.errors import ConfigError, NotFound, StoreError
from engine.store import ENGINE, Store, reading_evidence
from tests.unit.store.conftest import NOW


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


KEY = '{"custodySha256":null,"path":"jwk:0"}'
GROUNDS = f'{{"issuingKeySha256":"{digest_of(KEY)}"}}'


def issue(store, intended, certificate):
    store.record_intent(**intended)
    store.record_certificate(**certificate)
    return certificate["sha256"]


def test_a_certificate_is_found_by_its_serial_number_and_its_digest(store, database_url, intent, certificate_of):
    facts = intent(grounds=GROUNDS)
    digest = issue(store, facts, certificate_of(facts))
    serial = f"{facts['serial_number']:x}"
    with reading_evidence(database_url) as records:
        for text in (serial, f"0x{serial}", f"00:{serial.upper()}", digest, digest.upper()):
            found = records.find_issued(text)
            assert (found.sha256, found.intent_id, found.tbs) == (digest, facts["intent_id"], facts["tbs"])
            assert found.grounds == GROUNDS
        kinds = [row.kind for row in records.list_signature_events(found)]
    assert kinds == ["signature-intended", "certificate-signed"]


def test_a_serial_number_of_two_issuers_names_no_certificate(store, intent, certificate_of):
    one = intent()
    other = intent(serial_number=one["serial_number"], issuer=b"another issuer")
    digests = [issue(store, facts, certificate_of(facts)) for facts in (one, other)]
    records = store.evidence_records()
    with pytest.raises(ConfigError, match="2 certificates have the serial number") as refusal:
        records.find_issued(f"{one['serial_number']:x}")
    assert sorted(refusal.value.details) == sorted(digests)
    for facts, digest in zip((one, other), digests, strict=True):
        found = records.find_issued(digest)
        assert (found.sha256, found.intent_id) == (digest, facts["intent_id"])
        # Each has the events of its own signature, and not those of the other.
        assert [row.details.count(facts["intent_id"]) for row in records.list_signature_events(found)] == [1, 1]


def test_what_was_issued_before_grounds_were_kept_has_no_evidence(store, intent, certificate_of):
    facts = intent()
    records = store.evidence_records()
    found = records.find_issued(issue(store, facts, certificate_of(facts)))
    with pytest.raises(NotFound, match="did not keep on which grounds"):
        find_recorded(records, found)


def test_a_key_whose_record_no_event_tells_of_gives_no_evidence(store, intent, certificate_of):
    held = KEY.replace("null", f'"{"a" * 64}"')
    facts = intent(grounds=GROUNDS.replace(digest_of(KEY), digest_of(held)), issuing_key=held)
    records = store.evidence_records()
    found = records.find_issued(issue(store, facts, certificate_of(facts)))
    with pytest.raises(NotFound, match=r"no event tells how the key is held\. Have it examined"):
        find_recorded(records, found)


@pytest.mark.parametrize("is_other_writer", [False, True])
def test_a_record_that_was_told_of_after_the_signature_was_intended_gives_no_evidence_of_that(
    store, database_url, intent, certificate_of, is_other_writer
):
    held = KEY.replace("null", f'"{"a" * 64}"').replace("jwk:0", "test.tenant1.kms1.ca")
    made = {"grounds": GROUNDS.replace(digest_of(KEY), digest_of(held)), "issuing_key": held}
    records = store.evidence_records()

    def issued():
        facts = intent(**made)
        return records.find_issued(issue(store, facts, certificate_of(facts)))

    def tell(teller):
        told = {"signingKey": "test.tenant1.kms1.ca", "custodySha256": "a" * 64}
        teller.record_event("key-examined", ENGINE, "test.tenant1.kms1.ca", told)

    before = issued()
    if is_other_writer:
        with Store.open(database_url, now=lambda: NOW + timedelta(microseconds=1)) as other:
            tell(other)
    else:
        tell(store)
    with pytest.raises(NotFound, match=r"no event tells how the key is held\. Have it examined"):
        find_recorded(records, before)
    if is_other_writer:
        with Store.open(database_url, now=lambda: NOW) as other:
            tell(other)
        told = find_recorded(records, before).events[0]
    else:
        told = find_recorded(records, issued()).events[0]
    assert told.kind == "key-examined"


def test_the_intention_tells_the_digest_of_the_grounds(store, intent, certificate_of):
    facts = intent(grounds=GROUNDS, issuing_key=KEY)
    records = store.evidence_records()
    found = records.find_issued(issue(store, facts, certificate_of(facts)))
    recorded = find_recorded(records, found)
    digest = sha256(GROUNDS.encode()).hexdigest()
    assert f'"groundsSha256":"{digest}"' in recorded.events[0].details
    assert recorded.is_covered() is False
    assert recorded.build_evidence() is None


def test_a_certificate_is_found_where_it_was_issued_and_not_where_it_was_put(
    store, place, foreign, intent, certificate_of
):
    facts = intent(entries=[place("a.b.s.leaf"), place("a.b.t.leaf")])
    certificate = certificate_of(facts)
    digest = issue(store, facts, certificate)
    copied = {name: value for name, value in certificate.items() if name != "intent_id"}
    store.add_entry(path="a.b.t.copy", type="base", **copied)
    store.add_entry(path="a.b.t.foreign", **foreign())
    records = store.evidence_records()
    for path in ("a.b.s.leaf", "a.b.t.leaf"):
        assert records.find_issued_at(path).sha256 == digest
    for path in ("a.b.t.copy", "a.b.t.foreign"):
        with pytest.raises(NotFound, match="it was put there, not issued there"):
            records.find_issued_at(path)
    store.replace_entry(path="a.b.t.leaf", **foreign())
    with pytest.raises(NotFound, match="it was put there, not issued there"):
        records.find_issued_at("a.b.t.leaf")
    with pytest.raises(NotFound, match="No certificate is at"):
        records.find_issued_at("a.b.t.nothing")


def test_there_is_no_evidence_without_a_trail(empty_database_url):
    with (
        pytest.raises(ConfigError, match="no audit trail"),
        reading_evidence(empty_database_url),
    ):
        pass


def test_a_statement_is_kept_once_and_only_with_the_intent_that_names_it(store, database_url, intent, rows):
    for facts in (intent(grounds=GROUNDS, issuing_key=KEY), intent(grounds=GROUNDS, issuing_key=KEY)):
        store.record_intent(**facts)
    assert rows("SELECT statement FROM statements") == [(KEY,)]
    with pytest.raises(StoreError):
        store.record_intent(**facts | {"intent_id": "another", "issuing_key": '{"path":"b"}'})
    assert rows("SELECT statement FROM statements") == [(KEY,)]
    store.record_intent(**intent(issuing_key='{"path":"b"}'))
    with Store.open(database_url) as other:
        other.record_intent(**intent(issuing_key='{"path":"b"}'))
    assert sorted(rows("SELECT statement FROM statements")) == [(KEY,), ('{"path":"b"}',)]
