"""A certificate is named in hex, however a program prints it, and by nothing else."""

import pytest

from engine.errors import ConfigError
from engine.store.certificate_names import load_certificate_name

SERIAL_NUMBER, SHA256 = "7b" + "0a" * 18, "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        SERIAL_NUMBER,
        f"0x{SERIAL_NUMBER}",
        f"0X{SERIAL_NUMBER.upper()}",
        f"00{SERIAL_NUMBER}",
        f"0000{SERIAL_NUMBER}",
        ":".join(SERIAL_NUMBER[at : at + 2] for at in range(0, 38, 2)),
        " ".join(SERIAL_NUMBER[at : at + 2] for at in range(0, 38, 2)) + "\n",
        f" {SERIAL_NUMBER.upper()} ",
    ],
)
def test_a_serial_number_has_many_spellings(text: str) -> None:
    assert load_certificate_name(text) == (SERIAL_NUMBER.zfill(40), None)


def test_nought_is_a_serial_number() -> None:
    assert load_certificate_name("00") == ("0" * 40, None)


@pytest.mark.parametrize("text", [SHA256, SHA256.upper(), ":".join([SHA256[:2].upper()] * 32), f"0x{SHA256}"])
def test_a_digest_has_too(text: str) -> None:
    assert load_certificate_name(text) == (None, SHA256)


@pytest.mark.parametrize("text", ["", " ", "0x", "xyz", "7" * 41, "7" * 48, "a" * 63, "a" * 65, "-7", "7\u0667"])
def test_what_is_neither_is_refused_and_a_decimal_number_is_said_to_be_one(text: str) -> None:
    with pytest.raises(ConfigError, match="a decimal serial number is to be written in hex"):
        load_certificate_name(text)
