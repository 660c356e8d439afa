"""However much somebody unknown sends, the audit trail grows by one event for each source and ten seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.directory.refusals import MOST, NOBODY, OTHERS, SECONDS, Refusal, Refusals
from engine.errors import PolicyRefusal, StoreError, TokenBusy, TokenUnavailable
from engine.store import Operator, Store
from tests.database import new_database_url
from tests.trail import read_trail

KIND = "credential-refused"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class House:
    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock()
        self.store = Store.open(url)
        self.refusals = Refusals(self.store, clock=self.clock)

    def refuse(self, source: str = "192.0.2.7", account: str = "") -> bool:
        """Whether that was told."""
        tell = self.refusals.count(KIND, Operator("", source, "request"), account)
        if tell is not None:
            tell()
        return tell is not None

    def told(self) -> list[tuple[str, int]]:
        return [(one.source, one.details["count"]) for one in read_trail(self.url)]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(new_database_url(tmp_path))
    yield house
    house.store.close()


def test_a_flood_is_one_event_and_then_its_count(house: House) -> None:
    assert [house.refuse() for _ in range(1000)] == [True] + [False] * 999
    house.clock.now += SECONDS
    assert house.refuse()
    assert house.told() == [("192.0.2.7", 1), ("192.0.2.7", 1000)]


def test_what_was_counted_is_told_when_nobody_comes_any_more(house: House) -> None:
    for _ in range(5):
        house.refuse()
    house.refusals.tell_counted()
    assert house.told() == [("192.0.2.7", 1)]
    house.clock.now += SECONDS
    house.refusals.tell_counted()
    house.refusals.tell_counted()
    assert house.told() == [("192.0.2.7", 1), ("192.0.2.7", 4)]


def test_at_the_end_everything_is_told(house: House) -> None:
    for _ in range(5):
        house.refuse()
    house.refusals.tell_counted(is_over=True)
    assert house.told() == [("192.0.2.7", 1), ("192.0.2.7", 4)]


def test_sources_are_told_apart_up_to_a_number_of_them(house: House) -> None:
    for number in range(MOST + 50):
        house.refuse(f"192.0.2.{number}")
    assert len(house.told()) == MOST + 1
    assert house.told()[-1] == (OTHERS, 1)


@pytest.mark.parametrize(
    ("addresses", "source"),
    [
        (["2001:db8:1:2::1", "2001:db8:1:2:ffff::9"], "2001:db8:1:2::/64"),
        (["::ffff:192.0.2.7", "192.0.2.7"], "192.0.2.7"),
        (["testclient", "testclient"], "testclient"),
        (["", ""], ""),
    ],
)
def test_one_network_is_one_source(house: House, addresses: list[str], source: str) -> None:
    assert [house.refuse(address) for address in addresses] == [True, False]
    assert house.told() == [(source, 1)]


def test_accounts_are_named_but_not_without_number(house: House) -> None:
    for number in range(100):
        house.refuse(account=f"{number}@example.com")
    house.refusals.tell_counted(is_over=True)
    first, rest = (one.details for one in read_trail(house.url))
    assert first == {"count": 1, "accounts": ["0@example.com"]}
    assert rest == {"count": 99, "accounts": [f"{number}@example.com" for number in range(1, 9)]}


def test_what_cannot_be_told_is_not_forgotten(house: House, monkeypatch: Any) -> None:
    house.refuse()
    house.refuse()
    house.clock.now += SECONDS
    house.store.close()
    with pytest.raises(StoreError):
        house.refuse()
    with pytest.raises(StoreError):
        house.refusals.tell_counted(is_over=True)
    house.store = house.refusals._store = Store.open(house.url)
    house.refusals.tell_counted(is_over=True)
    assert house.told() == [("192.0.2.7", 1), ("192.0.2.7", 2)]


def fault(house: House, error: Exception, credential: str = "one") -> None:
    by = Operator(credential, f"192.0.2.{house.clock.now:.0f}", "request")
    tell = house.refusals.count_fault(Refusal(by, "a.b.s", error, "POST /", "work", "f" * 64, "a.b.k.ca"))
    if tell is not None:
        tell()


def test_an_outage_is_one_event_for_each_credential_and_error_and_then_its_count(house: House) -> None:
    for _ in range(500):
        fault(house, TokenUnavailable("Away."))
        fault(house, TokenUnavailable("Away."), "other")
        fault(house, KeyError("a secret"))
    house.clock.now += SECONDS
    house.refusals.tell_counted()
    told = read_trail(house.url)
    wanted = [("one", "TokenUnavailable"), ("other", "TokenUnavailable"), ("one", "KeyError")]
    assert [(one.actor, one.details["error"], one.details["count"]) for one in told] == [
        *((*one, 1) for one in wanted),
        *((*one, 499) for one in wanted),
    ]
    assert [one.outcome for one in told[:3]] == ["refused", "refused", "failure"]
    assert {(one.kind, one.source, one.target, one.request_id) for one in told} == {
        ("request-refused", "192.0.2.100", "a.b.s", "request")
    }
    assert told[0].details == {
        "error": "TokenUnavailable",
        "call": "POST /",
        "step": "work",
        "requestSha256": "f" * 64,
        "signingKey": "a.b.k.ca",
        "count": 1,
    }
    assert "a secret" not in str([one.row for one in told])


def test_a_flood_that_nobody_has_looked_at_is_counted_by_its_source(house: House) -> None:
    for _ in range(3):
        fault(house, TokenBusy("Too many."), NOBODY)
    house.refusals.tell_counted(is_over=True)
    assert [(one.actor, one.source, one.details["count"]) for one in read_trail(house.url)] == [
        (NOBODY, "192.0.2.100", 1),
        (NOBODY, "192.0.2.100", 2),
    ]


def test_the_codes_of_findings_are_told_and_nothing_of_their_sentences(house: House) -> None:
    error = PolicyRefusal("sent", details=["a.b: sent"], codes=["a.b"])
    house.refusals.record(Refusal(Operator("one"), "a.b.s", error, "POST /", "work"))
    (one,) = read_trail(house.url)
    assert one.details == {"error": "PolicyRefusal", "call": "POST /", "step": "work", "reason": ["a.b"]}


def test_credentials_that_were_known_are_named_but_not_without_number(house: House) -> None:
    for number in range(100):
        tell = house.refusals.count(
            KIND, Operator("", "192.0.2.7", "request"), credential=f"key-{number}", call="GET /"
        )
        if tell is not None:
            tell()
    house.refusals.tell_counted(is_over=True)
    first, rest = (one.details for one in read_trail(house.url))
    assert first == {"count": 1, "credentials": ["key-0"], "call": "GET /"}
    assert rest == {"count": 99, "credentials": [f"key-{number}" for number in range(1, 9)], "call": "GET /"}
