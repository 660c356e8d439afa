"""Distinguished names: string types, bounds, and what no name may hold."""

import pytest
from cryptography import x509

from engine.errors import MalformedRequest
from engine.x509.names import Name, build_name, load_name
from engine.x509.reference import build_name_reference
from tests.unit.x509.forging import NULL, oid, sequence, set_of, tlv

FULL = Name(
    (
        ("country", "US"),
        ("state_or_province_name", "Genève"),
        ("locality_name", "東京"),
        ("organization_name", "Example Org"),
        ("organizational_unit_name", "Unit"),
        ("common_name", "Example Leaf"),
        ("serial_number", "A-17/b"),
        ("email_address", "leaf@example.com"),
    )
)


def test_a_name_is_encoded_as_the_reference_encodes_it_and_read_back() -> None:
    der = build_name(FULL)
    assert der == build_name_reference(FULL)
    assert load_name(der) == FULL


def test_country_and_serial_number_are_printable_strings_and_the_rest_utf8() -> None:
    der = build_name(Name((("country", "US"), ("common_name", "x"), ("serial_number", "1"), ("email_address", "a@b"))))
    assert tlv(0x13, b"US") in der
    assert tlv(0x0C, b"x") in der
    assert tlv(0x13, b"1") in der
    assert tlv(0x16, b"a@b") in der


def test_the_order_of_attributes_is_kept() -> None:
    names = [Name((("country", "US"), ("common_name", "x"))), Name((("common_name", "x"), ("country", "US")))]
    assert load_name(build_name(names[0])) == names[0]
    assert load_name(build_name(names[1])) == names[1]


def test_no_attributes_give_the_empty_sequence() -> None:
    assert build_name(Name(())) == b"\x30\x00"


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ("common_name", 64),
        ("organization_name", 64),
        ("organizational_unit_name", 64),
        ("locality_name", 128),
        ("state_or_province_name", 128),
        ("serial_number", 64),
    ],
)
def test_upper_bounds_count_characters(kind: str, bound: int) -> None:
    letter = "x" if kind == "serial_number" else "é"
    assert load_name(build_name(Name(((kind, letter * bound),)))).attributes[0][1] == letter * bound
    with pytest.raises(MalformedRequest, match=f"at most {bound} characters, found {bound + 1}"):
        build_name(Name(((kind, letter * (bound + 1)),)))


REFUSED = {
    "empty": ("common_name", "", "found an empty or blank one"),
    "blank": ("common_name", " \u00a0", "found an empty or blank one"),
    "a line feed": ("common_name", "a\nb", "found a control character"),
    "NUL": ("common_name", "example.com\0.evil", "found a control character"),
    "a C1 control": ("organization_name", "a\x9b", "found a control character"),
    "a lone surrogate": ("common_name", "a\ud800", "Unicode without surrogates"),
    "a country of three letters": ("country", "USA", "must be two letters, found 'USA'"),
    "a country of digits": ("country", "12", "must be two letters"),
    "a country in another script": ("country", "ÜS", "must be two letters"),
    "a serial number with @": ("serial_number", "a@b", "must be a PrintableString"),
    "an address that is not ASCII": ("email_address", "é@example.com", "must be ASCII text"),
    "an unknown type": ("title", "Dr", "found 'title'"),
}


@pytest.mark.parametrize(("kind", "value", "fault"), REFUSED.values(), ids=REFUSED)
def test_refused_values(kind: str, value: str, fault: str) -> None:
    with pytest.raises(MalformedRequest) as refusal:
        build_name(Name(((kind, value),)))
    assert fault in refusal.value.message


def test_foreign_attributes_keep_their_dotted_type_and_what_is_not_text_becomes_hexadecimal() -> None:
    der = sequence(
        set_of(sequence(oid("0.9.2342.19200300.100.1.25"), tlv(0x16, b"example"))),
        set_of(sequence(oid("2.5.4.45"), tlv(3, b"\x00\x01"))),
        set_of(
            sequence(oid("2.5.4.3"), tlv(0x1E, "é".encode("utf-16-be"))), sequence(oid("2.5.4.4"), tlv(0x14, b"\xe9"))
        ),
    )
    assert load_name(der).attributes == (
        ("0.9.2342.19200300.100.1.25", "example"),
        ("2.5.4.45", "#03020001"),
        ("2.5.4.4", "é"),
        ("common_name", "é"),
    )


@pytest.mark.parametrize(
    "der",
    [
        NULL,
        sequence(NULL),
        sequence(set_of()),
        sequence(set_of(NULL)),
        sequence(set_of(sequence(oid("2.5.4.3")))),
        sequence(sequence(oid("2.5.4.3"), NULL)),
        sequence(set_of(sequence(oid("2.5.4.3"), NULL, NULL))),
        b"\x30\x80\x00\x00",
    ],
)
def test_octets_that_are_no_name_are_refused(der: bytes) -> None:
    with pytest.raises(MalformedRequest):
        load_name(der)


def test_pyca_reads_every_attribute() -> None:
    name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.5.4.3"), "x")])
    assert build_name(Name((("common_name", "x"),))) == name.public_bytes()
