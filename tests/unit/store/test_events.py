"""What is told to the audit trail is committed with what it tells of, or not at all, and every chain stays whole."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from sqlalchemy import text

from engine.errors import AlreadyExists, NotFound, StoreError
from engine.store import KINDS, Operator, Store
from engine.store.schema import events
from tests.database import change
from tests.trail import check_chains, read_trail
from tests.unit.store.conftest import close_dangling

WHO = Operator("credential-1", "192.0.2.7", "request-1")


def kinds(url):
    return [one.kind for one in read_trail(url)]


def test_every_event_has_its_place_in_the_chain_of_its_writer(store, database_url, intent, certificate_of):
    for _ in range(3):
        facts = intent()
        store.record_intent(**facts)
        store.record_certificate(**certificate_of(facts))
    assert check_chains(database_url).popitem()[1] == 6
    assert kinds(database_url) == ["signature-intended", "certificate-signed"] * 3


def test_a_certificate_is_told_of_before_and_after(store, database_url, intent, certificate_of, place):
    facts = intent(entries=[place("a.b.s.leaf")], source="192.0.2.7")
    store.record_intent(**facts)
    certificate = certificate_of(facts)
    store.record_certificate(**certificate)
    before, after = read_trail(database_url)
    for one in (before, after):
        assert (one.actor, one.source, one.target, one.request_id) == (
            "credential-1",
            "192.0.2.7",
            "test.tenant1.x509-service-1",
            "request-1",
        )
        assert one.details["tbsSha256"] == facts["tbs_sha256"]
        assert one.details["serialNumber"] == f"{facts['serial_number']:040x}"
        assert one.details["signingKey"] == "test.tenant1.kms1.ca"
        assert len(one.details["issuerSha256"]) == 64
        assert one.details["intentId"] == facts["intent_id"]
    assert (before.outcome, after.outcome) == ("pending", "success")
    assert before.details["entries"] == [{"path": "a.b.s.leaf", "type": "base"}]
    assert after.details["certificateSha256"] == certificate["sha256"]


def test_what_is_refused_is_not_told_and_leaves_no_gap(store, database_url, intent, place):
    taken = intent(entries=[place("a.b.s.leaf")])
    store.record_intent(**taken)
    with ThreadPoolExecutor(8) as pool:
        facts = [intent(entries=[place("a.b.s.leaf")] if number % 3 == 0 else ()) for number in range(60)]
        refused = [
            isinstance(done.exception(), AlreadyExists)
            for done in [pool.submit(store.record_intent, **one) for one in facts]
        ]
    assert refused == [number % 3 == 0 for number in range(60)]
    assert check_chains(database_url).popitem()[1] == 41
    told = {one.details["intentId"] for one in read_trail(database_url)}
    assert told == {taken["intent_id"], *(one["intent_id"] for one, no in zip(facts, refused, strict=True) if not no)}


def test_an_event_that_cannot_be_written_undoes_what_it_tells_of_and_nothing_else(store, database_url, intent, rows):
    with ThreadPoolExecutor(8) as pool:
        # PostgreSQL has no text with a zero octet, and neither has a database text that is not Unicode.
        bad = [pool.submit(store.record_intent, **intent(caller=f"{text_}")) for text_ in ("\ud800", "a\ud800")]
        good = [pool.submit(store.record_intent, **intent()) for _ in range(20)]
        for one in good:
            one.result()
        for one in bad:
            with pytest.raises(StoreError):
                one.result()
    assert rows("SELECT count(*) FROM intents") == [(20,)]
    assert check_chains(database_url).popitem()[1] == 20


def test_nothing_is_recorded_where_no_event_can_be(store, database_url, intent, rows):
    store.record_intent(**intent())
    taken = read_trail(database_url)[0]
    # Somebody else has taken the next place in the chain.
    values = {**taken.row, "sequence": 2, "recorded_at": taken.recorded_at, "hash": "f" * 64}
    store._database.write(lambda connection: connection.execute(events.insert(), values))
    for _ in range(2):
        with pytest.raises(StoreError):
            store.record_intent(**intent())
    assert rows("SELECT count(*) FROM intents") == [(1,)]


def test_every_opening_of_a_database_is_a_writer_with_a_chain_of_its_own(database_url, intent):
    for _ in range(2):
        with Store.open(database_url) as one, Store.open(database_url) as other:
            one.record_intent(**intent())
            other.record_intent(**intent())
            one.record_intent(**intent())
    assert sorted(check_chains(database_url).values()) == [1, 1, 2, 2]


def test_a_connection_that_is_made_anew_begins_a_chain(store, database_url, intent):
    store.record_intent(**intent())
    store._database.write(lambda connection: connection.execute(text("SELECT 1")).close())
    store._database._write_engine.dispose()
    store.record_intent(**intent())
    assert sorted(check_chains(database_url).values()) == [1, 1]


def test_an_unknown_kind_is_refused(store, database_url):
    with pytest.raises(StoreError):
        store.record_event("something", WHO)
    with pytest.raises(StoreError):
        store.record_event("log-in", WHO, outcome="perhaps")
    assert kinds(database_url) == []


def test_what_is_told_may_be_any_text(store, database_url):
    target = 'ä"\\\n\u0085\u2028\U0001f511'
    store.record_event("token-lost", WHO, target, {"cause": target, "count": 3, "list": [target], "yes": True})
    (one,) = read_trail(database_url)
    assert (one.target, one.details) == (target, {"cause": target, "count": 3, "list": [target], "yes": True})
    assert "\\u00e4" not in one.row["details"]
    check_chains(database_url)


def test_the_end_of_an_intent_that_nobody_recorded_is_told_of_in_the_name_of_who_asked(
    store, database_url, intent, request_intent, record_and_die
):
    record_and_die(intent(), request_intent())
    close_dangling(store, 2)
    told = [one for one in read_trail(database_url) if one.kind == "signature-outcome-unknown"]
    assert [(one.actor, one.outcome, one.target) for one in told] == [
        ("credential-1", "unknown", "test.tenant1.x509-service-1")
    ] * 2
    assert len(check_chains(database_url)) == 2


@pytest.mark.parametrize("kind", ["certificate-signed", "request-signed", "rate-measured", "proof-signed"])
def test_what_a_key_has_signed_is_known_by_its_path(store, kind):
    store.record_event(kind, WHO, details={"signingKey": "a.b.k.one"})
    assert store.has_signed(["a.b.k.none", "a.b.k.one"], even_in_vain=False) == (kind != "proof-signed")
    assert not store.has_signed(["a.b.k.other"], even_in_vain=True)


@pytest.mark.parametrize("kind", ["certificate", "request", "proof"])
def test_what_a_key_was_to_sign_is_known_as_well(store, intent, request_intent, kind):
    facts = intent() if kind == "certificate" else request_intent(kind=kind)
    store.record_intent(**facts)
    store.record_failure(intent_id=facts["intent_id"], reason="SigningFailed")
    assert not store.has_signed([facts["signing_key"]], even_in_vain=False)
    assert store.has_signed([facts["signing_key"]], even_in_vain=True) == (kind != "proof")


def test_a_failure_is_told_of_with_the_class_of_its_error(store, database_url, intent):
    facts = intent()
    store.record_intent(**facts)
    store.record_failure(intent_id=facts["intent_id"], reason="SigningFailed")
    one = read_trail(database_url)[-1]
    assert (one.kind, one.outcome, one.details["reason"]) == ("signature-failed", "failure", "SigningFailed")


def test_what_could_not_be_recorded_is_closed_by_its_own_process(store, database_url, intent, certificate_of, rows):
    """As when the disk was full: the certificate's record is refused, and the process lives on."""
    facts, other = intent(), intent()
    store.record_intent(**facts)
    store.record_intent(**other)
    assert store.close_dangling_intents() == ()
    with pytest.raises(StoreError):
        store.record_certificate(**certificate_of(facts, not_after="never"))
    (closed,) = store.close_dangling_intents()
    assert closed.intent_id == facts["intent_id"]
    assert store.close_dangling_intents() == ()
    assert rows(f"SELECT state FROM intents WHERE intent_id = '{facts['intent_id']}'") == [("outcome-unknown",)]
    assert rows(f"SELECT state FROM intents WHERE intent_id = '{other['intent_id']}'") == [("intended",)]
    assert kinds(database_url)[-1] == "signature-outcome-unknown"


POLICIES = ('{"a":1,"b":{"c":2}}', '{"a":1,"b":{"c":3}}')
DIGESTS = tuple(sha256(policy.encode()).hexdigest() for policy in POLICIES)


def start(store, policy=POLICIES[0], configuration="c" * 64):
    store.record_start(
        version="1", configuration_sha256=configuration, policy=policy, purpose="serve", host="h", source="local:uid=7"
    )


def test_a_policy_that_is_not_the_one_of_the_start_before_is_told_of_with_what_differs(store, database_url, rows):
    for policy in (POLICIES[0], POLICIES[0], POLICIES[1]):
        start(store, policy)
    assert kinds(database_url) == ["engine-started"] * 3 + ["policy-changed"]
    started, changed = (one.details for one in read_trail(database_url)[-2:])
    assert (started["policySha256"], started["host"]) == (DIGESTS[1], "h")
    assert {(one.actor, one.source) for one in read_trail(database_url)} == {("engine", "local:uid=7")}
    assert changed == {"policySha256": DIGESTS[1], "previousPolicySha256": DIGESTS[0], "changed": ["b.c"]}
    assert sorted(rows("SELECT sha256, statement FROM statements")) == sorted(zip(DIGESTS, POLICIES, strict=True))


def test_a_policy_before_policies_were_kept_is_told_of_without_what_differs(store, database_url):
    start(store)
    change(database_url, "DELETE FROM statements")
    start(store, POLICIES[1])
    changed = read_trail(database_url)[-1].details
    assert changed == {"policySha256": DIGESTS[1], "previousPolicySha256": DIGESTS[0]}


def test_a_file_that_says_the_same_in_another_way_is_told_of(store, database_url):
    for configuration in ("c" * 64, "d" * 64, "d" * 64):
        start(store, configuration=configuration)
    assert kinds(database_url) == [*["engine-started"] * 2, "configuration-changed", "engine-started"]
    changed = read_trail(database_url)[2].details
    assert changed == {"configurationSha256": "d" * 64, "previousConfigurationSha256": "c" * 64}


def test_a_policy_that_changes_with_its_file_is_told_of_once(store, database_url):
    start(store)
    start(store, POLICIES[1], "d" * 64)
    assert kinds(database_url) == ["engine-started"] * 2 + ["policy-changed"]


def test_who_changes_what_is_told_of_with_their_name_and_place(store, database_url, foreign):
    store.add_entry(path="a.b.s.one", by=WHO, **foreign())
    store.delete_entry("a.b.s.one", by=WHO)
    store.add_credential(credential_id="c", secret_sha256="5" * 64, scope="a", roles=["issuer"], by=WHO)
    store.revoke_credential("c", by=WHO)
    store.revoke_credential("c", by=WHO)
    with pytest.raises(NotFound):
        store.delete_entry("a.b.s.one", by=WHO)
    told = read_trail(database_url)
    assert [one.kind for one in told] == ["entry-added", "entry-deleted", "credential-created", "credential-revoked"]
    assert {(one.actor, one.source, one.request_id) for one in told} == {("credential-1", "192.0.2.7", "request-1")}
    assert "5" * 64 not in json.dumps([one.details for one in told])


def test_every_kind_fits_its_column_and_has_a_sentence():
    assert all(len(kind) <= 32 and sentence.endswith(".") for kind, sentence in KINDS.items())


def test_times_are_utc_with_microseconds(database_url):
    when = datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC)
    with Store.open(database_url, now=lambda: when) as store:
        store.record_event("engine-stopped", WHO)
    assert read_trail(database_url)[0].recorded_at == when
    check_chains(database_url)
