"""Bodies that are not one plain JSON object are refused before anybody looks inside."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.json_body import DEPTH_LIMIT, check_content_type, load_json_object
from engine.errors import MalformedRequest


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"", "to be JSON"),
        (b"{", "to be JSON"),
        (b'{"a": 1} x', "to be JSON"),
        (b'{"a": 1,}', "to be JSON"),
        (b"{'a': 1}", "to be JSON"),
        (b'{"a": 01}', "to be JSON"),
        (b'{"a": "\x00"}', "control character"),
        (b'{"a": "\x1f"}', "control character"),
        (b'\xef\xbb\xbf{"a": 1}', "to be JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": "\xff"}', "UTF-8, found an octet that is not at offset 7"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\uDFFF": 1}', "surrogate"),
        (b'{"a": [{"b": "\\ud83dx"}]}', "surrogate"),
        (b'{"a": 1, "a": 2}', "found 'a' twice"),
        (b'{"a": {"b": 1, "c": 2, "b": 1}}', "found 'b' twice"),
        (b'{"a": 1, "\\u0061": 1}', "found 'a' twice"),
        (b'{"a": NaN}', "found NaN"),
        (b'{"a": -Infinity}', "found -Infinity"),
        (b'{"a": 1e999}', "a double can hold"),
        (b'{"a": ' + b"9" * 5000 + b"}", "ordinary length"),
        (b"[]", "JSON object"),
        (b'"text"', "JSON object"),
        (b"null", "JSON object"),
        (b'{"a": ' + b"[" * 100_000, "levels"),
        (b'{"a": ' + b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT + b"}", "levels"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, "levels"),
    ],
)
def test_a_body_that_is_not_one_plain_json_object_is_refused(octets: bytes, sentence: str) -> None:
    with pytest.raises(MalformedRequest, match=sentence):
        load_json_object(octets)


def test_the_deepest_allowed_body_is_read() -> None:
    deepest = b'{"a": ' + b"[" * (DEPTH_LIMIT - 1) + b"]" * (DEPTH_LIMIT - 1) + b"}"
    assert list(load_json_object(deepest)) == ["a"]


def test_brackets_inside_strings_are_not_depth() -> None:
    text = '[{"' * 200
    assert load_json_object(json.dumps({"a": text, "b": "\\" * 99}).encode()) == {"a": text, "b": "\\" * 99}


def test_many_lists_side_by_side_are_not_depth() -> None:
    document = {"a": [[], {}] * 100}
    assert load_json_object(json.dumps(document).encode()) == document


def test_a_string_that_never_ends_is_refused_in_linear_time() -> None:
    # Quadratic reading of these 256 KiB would take minutes.
    with pytest.raises(MalformedRequest, match="to be JSON"):
        load_json_object(b'{"a": ' + b"[]" * 40 + b'"' + b'\\"' * 130_000)


def test_line_breaks_inside_a_string_are_taken_as_the_api_documentation_prints_them() -> None:
    assert load_json_object(b'{"csrPEM": "-----BEGIN\r\nMIIB\n\t-----END"}') == {
        "csrPEM": "-----BEGIN\r\nMIIB\n\t-----END"
    }


def test_a_surrogate_pair_is_one_character() -> None:
    assert load_json_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_every_ordinary_json_object_is_read_as_it_is(document: dict[str, object], ascii_only: bool) -> None:
    assert load_json_object(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(st.binary(max_size=64))
def test_arbitrary_octets_are_read_or_refused_and_nothing_else(octets: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        assert isinstance(load_json_object(octets), dict)


@pytest.mark.parametrize("label", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_labels_are_accepted(label: str) -> None:
    check_content_type(label)


@pytest.mark.parametrize("label", [None, "", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"])
def test_other_labels_are_refused(label: str | None) -> None:
    with pytest.raises(MalformedRequest, match="Expected Content-Type application/json, found"):
        check_content_type(label)


@pytest.mark.parametrize("broken", ["\n", "\r\n"])
def test_a_string_may_hold_line_breaks_as_they_are_since_the_documented_examples_do(broken: str) -> None:
    assert load_json_object(f'{{"csrPEM": "a{broken}b"}}'.encode()) == {"csrPEM": f"a{broken}b"}
