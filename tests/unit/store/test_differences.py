"""Where two policies differ is said by name, and never what is there."""

from typing import Any

import pytest

from engine.store.differences import MOST, list_differences


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": {"b": 1}}, {"a": {}, "d": {"e": 1}}, ["a.b", "d"]),
        ({"s": {"x.y.z": {"t": 1}}}, {"s": {"x.y.z": {"t": 2}}}, ['s."x.y.z".t']),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
        ({"a": None}, {"a": {"b": 1}}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": 1}, {}, ["a"]),
    ],
)
def test_what_differs_is_named(before: Any, after: Any, names: list[str]) -> None:
    assert list_differences(before, after) == names
    assert list_differences(after, before) == names


def test_no_more_are_named_than_so_many() -> None:
    many = {f"{number:03}": number for number in range(MOST + 5)}
    assert list_differences({}, many) == [*list(many)[:MOST], "and 5 more"]
    assert len(list_differences({}, dict(list(many.items())[:MOST]))) == MOST
