"""How people name a certificate: by its serial number or its SHA-256, in hex as programs print it."""

import re

from engine.errors import ConfigError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SERIAL_NUMBER = re.compile(r"[0-9a-f]{1,40}")
_BETWEEN = re.compile(r"[\s:]")


def load_certificate_name(text: str) -> tuple[str | None, str | None]:
    """A serial number of 40 hex digits, or a SHA-256 of 64; the other is None. Raises ConfigError.

    Colons, spaces, a leading 0x and capitals are as good.
    """
    digits = _BETWEEN.sub("", text.lower()).removeprefix("0x")
    if _SHA256.fullmatch(digits):
        return None, digits
    digits = digits.lstrip("0") or digits[:1]
    if _SERIAL_NUMBER.fullmatch(digits):
        return digits.zfill(40), None
    raise ConfigError(
        f"Expected a serial number of at most 40 hex digits, or a SHA-256 of 64, found {text[:80]!a}; a decimal serial "
        "number is to be written in hex."
    )
