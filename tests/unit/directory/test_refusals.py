"""However much somebody unknown sends, the audit trail grows by one event for each source and ten seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.directory.refusals import MOST, OTHERS, SECONDS, Refusals
from engine.errors import StoreError
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
