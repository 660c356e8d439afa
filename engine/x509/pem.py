"""Textual encodings of RFC 7468, strict: one object, nothing around it but white space, canonical base64."""

import binascii
import re

from engine.errors import MalformedRequest

_WHITE_SPACE = " \t\r\n"
_OBJECT = re.compile(
    r"-----BEGIN (?P<begin>[A-Z0-9 ]{1,64})-----\r?\n"
    r"(?P<body>[A-Za-z0-9+/=\r\n]*)\r?\n"
    r"-----END (?P<end>[A-Z0-9 ]{1,64})-----"
)


def load_pem(text: str, *labels: str, limit: int = 65536) -> bytes:
    """Return the octets of the one PEM object in `text`, which must carry one of `labels`.

    White space around the object, CRLF and lines of any length are accepted. Text before or after it, a
    second object, headers, another label, base64 that is not canonical, or more than `limit` characters are
    refused with MalformedRequest. A refusal names labels and never the content.
    """
    expected = " or ".join(labels)
    if len(text) > limit:
        raise MalformedRequest(f"A PEM object must have at most {limit} characters, found {len(text)}.")
    match = _OBJECT.match(text.strip(_WHITE_SPACE))
    if match is None:
        raise MalformedRequest(f"A PEM object labelled {expected} was expected, found other text.")
    found = match["begin"]
    if found not in labels:
        raise MalformedRequest(f"A PEM object labelled {expected} was expected, found {found}.")
    if match["end"] != found:
        raise MalformedRequest(f"The PEM object {found} must end with END {found}, found END {match['end']}.")
    if match.end() != len(match.string):
        raise MalformedRequest(f"Exactly one PEM object {found} was expected, found text after it.")
    body = match["body"].replace("\r", "").replace("\n", "").encode("ascii")
    try:
        octets = binascii.a2b_base64(body)
    except binascii.Error:
        octets = b""
    # The decoder skips what it does not understand; only one text may stand for these octets.
    if not octets or binascii.b2a_base64(octets, newline=False) != body:
        raise MalformedRequest(f"The PEM object {found} must hold canonical base64, found other text.")
    return octets


def render_pem(label: str, der: bytes) -> str:
    """Return `der` as PEM: LF, 64 columns, no trailing newline."""
    body = binascii.b2a_base64(der, newline=False).decode("ascii")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"))
