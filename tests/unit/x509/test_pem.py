"""RFC 7468 text: what is accepted around an object, and what is not."""

import pytest

from engine.errors import MalformedRequest
from engine.x509.pem import load_pem, render_pem

DER = bytes(range(100))
PEM = render_pem("CERTIFICATE REQUEST", DER)


def load(text: str) -> bytes:
    return load_pem(text, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")


def test_rendered_text_has_lines_of_64_columns_lf_and_no_trailing_newline() -> None:
    lines = PEM.split("\n")
    assert lines[0] == "-----BEGIN CERTIFICATE REQUEST-----"
    assert [len(line) for line in lines[1:-1]] == [64, 64, 8]
    assert lines[-1] == "-----END CERTIFICATE REQUEST-----"
    assert "\r" not in PEM


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM + "\n",
        f"\n \t{PEM}\r\n\r\n",
        PEM.replace("\n", "\r\n"),
        PEM.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        PEM.replace("-----\n", "-----!", 1).replace("\n", "", 1).replace("-----!", "-----\n"),
    ],
    ids=["as rendered", "trailing newline", "white space around", "CRLF", "the other label", "longer lines"],
)
def test_accepted_text(text: str) -> None:
    assert load(text) == DER


REFUSED = {
    "no object": ("hello", "labelled CERTIFICATE REQUEST or NEW CERTIFICATE REQUEST was expected, found other text"),
    "nothing": ("", "found other text"),
    "text before": ("hello\n" + PEM, "found other text"),
    "text after": (PEM + "\nhello", "Exactly one PEM object CERTIFICATE REQUEST was expected, found text after it"),
    "two objects": (PEM + "\n" + PEM, "found text after it"),
    "another label": (PEM.replace("CERTIFICATE REQUEST", "CERTIFICATE"), "found CERTIFICATE."),
    "two labels": (PEM.replace("END CERTIFICATE REQUEST", "END CERTIFICATE"), "found END CERTIFICATE."),
    "a header": (PEM.replace("-----\n", "-----\nProc-Type: 4\n\n", 1), "found other text"),
    "an empty object": ("-----BEGIN CERTIFICATE REQUEST-----\n\n-----END CERTIFICATE REQUEST-----", "canonical base64"),
    "padding left out": (PEM.replace("=", ""), "canonical base64"),
    "padding bits set": (PEM.replace("Yw==", "Yx=="), "canonical base64"),
    "text after padding": (PEM.replace("==", "==AA"), "canonical base64"),
    "foreign characters": (PEM.replace("AAEC", "AA-C"), "found other text"),
    "white space within": (PEM.replace("AAEC", "AAE C"), "found other text"),
    "another script": (PEM.replace("AAEC", "\u0410\u0410EC"), "found other text"),
}


@pytest.mark.parametrize(("text", "fault"), REFUSED.values(), ids=REFUSED)
def test_refused_text(text: str, fault: str) -> None:
    assert text != PEM
    with pytest.raises(MalformedRequest) as refusal:
        load(text)
    assert fault in refusal.value.message


def test_more_than_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedRequest, match="at most 65536 characters, found 65537"):
        load(" " * (65537 - len(PEM)) + PEM)
    assert load(" " * (65536 - len(PEM)) + PEM) == DER


def test_a_refusal_shows_nothing_of_the_content() -> None:
    with pytest.raises(MalformedRequest) as refusal:
        load(PEM.replace("CERTIFICATE REQUEST", "PRIVATE KEY"))
    assert "AAEC" not in refusal.value.message
    assert "PRIVATE KEY" in refusal.value.message
