"""Whatever arrives as a certification request or a certificate, only an EngineError comes out, or a proven value."""

import contextlib
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.x509.certificate import load_certificate
from engine.x509.pem import load_pem, render_pem
from engine.x509.request import load_request
from tests.api.bodies import certification_request, outside_certificate, outside_key

REQUEST = certification_request()
CERTIFICATE = outside_certificate(outside_key("fuzz"))
Text = TypeVar("Text", str, bytes)
SETTINGS = settings(max_examples=600, deadline=None)

edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.text(max_size=3)), max_size=4)
octet_edits = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
)


def edited(text: Text, changes: list[tuple[int, int, Text]]) -> Text:
    """`text` with stretches of it taken out and others put in."""
    for position, length, replacement in changes:
        at = position % (len(text) + 1)
        text = text[:at] + replacement + text[at + length :]
    return text


@SETTINGS
@given(text=st.text(max_size=300) | st.builds(edited, st.just(REQUEST), edits))
def test_any_text_as_a_certification_request_is_proven_or_refused(text: str) -> None:
    with contextlib.suppress(EngineError):
        assert load_request(text).public_key == load_request(REQUEST).public_key


@SETTINGS
@given(changes=octet_edits)
def test_any_octets_in_a_certification_request_are_proven_or_refused(changes: list[tuple[int, int, bytes]]) -> None:
    der = edited(load_pem(REQUEST, "CERTIFICATE REQUEST"), changes)
    with contextlib.suppress(EngineError):
        assert load_request(render_pem("CERTIFICATE REQUEST", der)).der == load_request(REQUEST).der


@SETTINGS
@given(changes=octet_edits)
def test_any_octets_in_a_certificate_are_read_as_they_are_or_refused(changes: list[tuple[int, int, bytes]]) -> None:
    der = edited(load_pem(CERTIFICATE, "CERTIFICATE"), changes)
    with contextlib.suppress(EngineError):
        assert load_certificate(der).der == der
