"""What a custody record must say before its key may sign where custody is required."""

from typing import Any

import pytest

from engine.directory.custody import CustodyWatch, find_shortfalls

SPKI = "ab" * 32
GOOD: dict[str, Any] = {
    "key_type": "CKK_EC",
    "private": True,
    "sensitive": True,
    "always_sensitive": True,
    "extractable": False,
    "never_extractable": True,
    "local": True,
    "sign": True,
    "sign_recover": False,
    "decrypt": False,
    "unwrap": False,
    "derive": False,
    "negative_tests": {
        "read": {"attribute": "CKA_VALUE", "result": "refused", "answer": "CKR_ATTRIBUTE_SENSITIVE"},
        "wrap": {"mechanism": "CKM_AES_KEY_WRAP_PAD", "result": "refused", "answer": "CKR_KEY_UNEXTRACTABLE"},
        "copy": {"result": "refused", "answer": "CKR_ATTRIBUTE_READ_ONLY"},
    },
}


def outcomes(**results: object) -> dict[str, Any]:
    """The good record with other results of negative tests; None takes one out."""
    tests = {
        **GOOD["negative_tests"],
        **{name: {**GOOD["negative_tests"][name], "result": result} for name, result in results.items() if result},
    }
    return {**GOOD, "negative_tests": {name: test for name, test in tests.items() if results.get(name, True)}}


@pytest.mark.parametrize("origin", ["generated", "adopted"])
def test_a_key_made_on_its_token_that_cannot_leave_it_is_sufficient(origin: str) -> None:
    assert find_shortfalls(GOOD, origin) == ()


@pytest.mark.parametrize(
    ("attribute", "value", "shortfall"),
    [
        ("private", False, "private is False, expected True"),
        ("sensitive", False, "sensitive is False, expected True"),
        ("always_sensitive", False, "always_sensitive is False, expected True"),
        ("extractable", True, "extractable is True, expected False"),
        ("never_extractable", False, "never_extractable is False, expected True"),
        ("sign", False, "sign is False, expected True"),
        ("sign_recover", True, "sign_recover is True, expected False"),
        ("decrypt", True, "decrypt is True, expected False"),
        ("unwrap", True, "unwrap is True, expected False"),
        ("derive", True, "derive is True, expected False"),
    ],
)
def test_an_attribute_that_is_not_as_it_must_be_is_named(attribute: str, value: object, shortfall: str) -> None:
    assert find_shortfalls({**GOOD, attribute: value}, "generated") == (shortfall,)


@pytest.mark.parametrize("attribute", ["private", "sensitive", "always_sensitive", "extractable", "never_extractable"])
@pytest.mark.parametrize("told", [True, False])
def test_what_the_token_does_not_tell_is_not_assumed(attribute: str, told: bool) -> None:
    record = {**GOOD, attribute: None} if told else {name: value for name, value in GOOD.items() if name != attribute}
    [shortfall] = find_shortfalls(record, "generated")
    assert shortfall.startswith(f"{attribute} is not told by the token")


def test_a_capability_that_the_token_does_not_have_is_no_shortfall() -> None:
    assert find_shortfalls({**GOOD, "derive": None, "sign_recover": None}, "generated") == ()


def test_an_imported_key_falls_short_also_if_the_token_calls_it_its_own() -> None:
    assert find_shortfalls(GOOD, "imported") == ("the key was imported, whatever the token says of it",)


@pytest.mark.parametrize("origin", ["imported", "adopted", "generated"])
def test_a_key_that_was_not_made_on_the_token_falls_short(origin: str) -> None:
    [shortfall] = find_shortfalls({**GOOD, "local": False}, origin)
    assert shortfall == f"local is False, expected True: the key was not made on the token ({origin})"


def test_where_the_token_never_says_local_the_engines_own_generation_counts_and_nothing_else() -> None:
    record = {**GOOD, "local": False, "local_not_told": "It answers false for every key."}
    assert find_shortfalls(record, "generated") == ()
    for origin in ("imported", "adopted"):
        assert len(find_shortfalls(record, origin)) == 1


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (outcomes(read="readable"), "read the private key was not refused: readable CKA_VALUE"),
        (outcomes(read="inconclusive"), "read the private key was not refused: inconclusive"),
        (outcomes(read="not tested"), "read the private key was not refused: not tested"),
        (outcomes(read=None), "read the private key was not refused: not tried"),
        (outcomes(wrap="wrapped"), "wrap the private key was not refused: wrapped CKM_AES_KEY_WRAP_PAD"),
        (outcomes(wrap="inconclusive"), "wrap the private key was not refused: inconclusive"),
        (outcomes(wrap=None), "wrap the private key was not refused: not tried"),
        (outcomes(copy="copied"), "copy the private key was not refused: copied"),
        (outcomes(copy=None), "copy the private key was not refused: not tried"),
        ({**GOOD, "negative_tests": None}, "nobody has tried to take the key out"),
        ({name: value for name, value in GOOD.items() if name != "negative_tests"}, "nobody has tried"),
    ],
)
def test_a_negative_test_that_was_not_refused_is_named(record: dict[str, Any], words: str) -> None:
    [shortfall] = find_shortfalls(record, "generated")
    assert words in shortfall


def test_a_token_that_has_nothing_to_wrap_or_copy_with_is_sufficient() -> None:
    assert find_shortfalls(outcomes(wrap="not tested", copy="not tested"), "generated") == ()


def test_every_shortfall_is_named_at_once() -> None:
    record = {**outcomes(read="readable", wrap="wrapped"), "extractable": True, "sensitive": False, "local": False}
    assert len(find_shortfalls(record, "adopted")) == 5


def test_an_empty_record_is_not_sufficient() -> None:
    assert len(find_shortfalls({}, "generated")) >= 8


def test_a_finding_counts_for_its_key_its_connection_and_its_time_only() -> None:
    now = 100.0
    watch, connection = CustodyWatch(lambda: now), object()
    assert not watch.is_recent("a", SPKI, connection, 60)
    watch.record("a", SPKI, now, connection, is_sufficient=True)
    now = 159.0
    assert watch.is_recent("a", SPKI, connection, 60)
    assert not watch.is_recent("b", SPKI, connection, 60)
    assert not watch.is_recent("a", SPKI, object(), 60)
    assert not watch.is_recent("a", SPKI, connection, 0)
    now = 160.0
    assert not watch.is_recent("a", SPKI, connection, 60)


def test_another_key_made_under_the_path_of_an_examined_one_was_not_examined() -> None:
    watch, connection = CustodyWatch(lambda: 0.0), object()
    watch.record("a", SPKI, 0.0, connection, is_sufficient=True)
    assert not watch.is_recent("a", "cd" * 32, connection, 60)
    watch.record("a", "cd" * 32, 0.0, connection, is_sufficient=True)
    assert watch.is_recent("a", "cd" * 32, connection, 60)
    assert not watch.is_recent("a", SPKI, connection, 60)


def test_a_later_finding_that_falls_short_ends_what_counted() -> None:
    watch, connection = CustodyWatch(lambda: 0.0), object()
    watch.record("a", SPKI, 0.0, connection, is_sufficient=True)
    watch.record("a", SPKI, 0.0, connection, is_sufficient=False)
    assert not watch.is_recent("a", SPKI, connection, 60)
