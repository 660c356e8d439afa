"""An Idempotency-Key in the ledger: whose it is, what it stands for, when it is free again."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from engine.errors import AlreadyExists, RequestUnderWay, StoreError
from engine.store import KeptAnswer, Store
from tests.unit.store.conftest import close_dangling


@dataclass(frozen=True)
class Again:
    """What the store asks of a Repeat."""

    scope: str = "credential-1"
    key: str = "key-1"
    digest: str = "a" * 64


def test_a_request_under_way_is_known_by_its_key(store, intent):
    store.record_intent(**intent(repeat=Again()))
    assert store.find_kept_answer("credential-1", "key-1") == KeptAnswer("a" * 64, None)


def test_the_answer_is_there_when_the_certificate_is(store, intent, certificate_of, place):
    facts = intent(repeat=Again(), entries=[place("a.b.s.leaf")])
    store.record_intent(**facts)
    store.record_certificate(**certificate_of(facts), answer='{"ä": 1}')
    assert store.find_kept_answer("credential-1", "key-1") == KeptAnswer("a" * 64, '{"ä": 1}')


def test_a_certificate_that_is_refused_leaves_no_answer(store, intent, certificate_of):
    first, second = intent(), intent(repeat=Again())
    for facts in (first, second):
        store.record_intent(**facts)
    store.record_certificate(**certificate_of(first))
    with pytest.raises(StoreError):
        store.record_certificate(
            **certificate_of(second, sha256=certificate_of(first)["sha256"]), answer="never to be seen"
        )
    assert store.find_kept_answer("credential-1", "key-1") == KeptAnswer("a" * 64, None)


@pytest.mark.parametrize("other", [Again(key="key-2"), Again(scope="credential-2"), Again("key-1", "credential-1")])
def test_another_key_or_another_credential_is_free(store, intent, other):
    store.record_intent(**intent(repeat=Again()))
    assert store.find_kept_answer(other.scope, other.key) is None
    store.record_intent(**intent(repeat=other))


@pytest.mark.parametrize("digest", ["a" * 64, "b" * 64])
@pytest.mark.parametrize("signed", [False, True])
def test_a_second_intent_with_a_key_is_refused_and_leaves_nothing(store, intent, certificate_of, place, digest, signed):
    first = intent(repeat=Again())
    store.record_intent(**first)
    if signed:
        store.record_certificate(**certificate_of(first), answer="{}")
    second = intent(repeat=Again(digest=digest), entries=[place("a.b.s.leaf")])
    with pytest.raises(RequestUnderWay):
        store.record_intent(**second)
    store.record_intent(**second | {"repeat": None})


def test_a_second_intent_with_a_key_is_refused_for_the_key_and_not_for_the_places_of_the_first(store, intent, place):
    store.record_intent(**intent(repeat=Again(), entries=[place("a.b.s.leaf")]))
    with pytest.raises(RequestUnderWay):
        store.record_intent(**intent(repeat=Again(), entries=[place("a.b.s.leaf")]))


def test_a_place_that_is_taken_is_told_also_when_a_key_comes_along(store, intent, place):
    store.record_intent(**intent(entries=[place("a.b.s.leaf")]))
    with pytest.raises(AlreadyExists):
        store.record_intent(**intent(repeat=Again(), entries=[place("a.b.s.leaf")]))
    assert store.find_kept_answer("credential-1", "key-1") is None


def test_an_intent_that_failed_gives_its_key_back(store, intent):
    first = intent(repeat=Again())
    store.record_intent(**first)
    store.record_failure(intent_id=first["intent_id"], reason="SigningFailed")
    assert store.find_kept_answer("credential-1", "key-1") is None
    store.record_intent(**intent(repeat=Again(digest="b" * 64)))
    assert store.find_kept_answer("credential-1", "key-1") == KeptAnswer("b" * 64, None)


def test_an_intent_of_unknown_outcome_gives_its_key_back(store, intent, record_and_die):
    record_and_die(intent(repeat=Again()))
    assert store.find_kept_answer("credential-1", "key-1") == KeptAnswer("a" * 64, None)
    close_dangling(store, 1)
    assert store.find_kept_answer("credential-1", "key-1") is None
    store.record_intent(**intent(repeat=Again()))


def test_of_two_replicas_that_record_a_key_at_once_one_is_told_of_the_other(store, database_url, intent, place):
    keys = [Again(key=f"key-{number}") for number in range(20)]
    refused = []
    with Store.open(database_url) as other, ThreadPoolExecutor(8) as threads:

        def record(store, keys):
            for key in keys:
                try:
                    store.record_intent(**intent(repeat=key, entries=[place(f"a.b.s.{key.key}")]))
                except RequestUnderWay:
                    refused.append(key)

        # Each key eight times, in every order.
        doing = [
            threads.submit(record, one, order)
            for one in (store, other)
            for order in (keys, keys[::-1], keys[10:] + keys[:10], keys[9::-1] + keys[:9:-1])
        ]
        for one in doing:
            one.result()
        assert Counter(refused) == dict.fromkeys(keys, 7)
        assert {store.find_kept_answer(key.scope, key.key) for key in keys} == {KeptAnswer("a" * 64, None)}
