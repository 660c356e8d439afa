"""The DER gate, one fault at a time, and the encoders."""

import pytest
from asn1crypto import core

from engine.errors import MalformedRequest
from engine.x509 import der

NOT_DER = {
    "no octets": ("", "there are no octets at octet 0"),
    "a tag alone": ("30", "it is cut short at octet 1"),
    "a content cut short": ("020201", "an element longer than what holds it at octet 0"),
    "octets after the element": ("050000", "octets follow the element at octet 2"),
    "an indefinite length": ("30800000", "there is an indefinite length at octet 0"),
    "a long form for a short length": ("02810105", "a length that is not minimal at octet 0"),
    "a length with a leading zero": ("3082000302010" + "5", "a length that is not minimal at octet 0"),
    "a length of five octets": ("30850000000000", "a length of more than four octets at octet 0"),
    "the reserved length": ("30ff", "a length of more than four octets at octet 0"),
    "a child longer than its parent": ("3003020200", "an element longer than what holds it at octet 2"),
    "a BOOLEAN of 01": ("010101", "a BOOLEAN that is neither 00 nor FF at octet 0"),
    "a BOOLEAN of two octets": ("0102ffff", "a BOOLEAN that is neither 00 nor FF at octet 0"),
    "an INTEGER without octets": ("0200", "an INTEGER without octets at octet 0"),
    "an INTEGER with a needless zero": ("3004" + "0202007f", "an INTEGER that is not minimal at octet 2"),
    "an INTEGER with a needless FF": ("0202ff80", "an INTEGER that is not minimal at octet 0"),
    "an ENUMERATED with a needless zero": ("0a020001", "an INTEGER that is not minimal at octet 0"),
    "a BIT STRING without octets": ("0300", "a BIT STRING without octets at octet 0"),
    "eight unused bits": ("030208ff", "unused bits are not zero at octet 0"),
    "unused bits of nothing": ("030101", "unused bits are not zero at octet 0"),
    "unused bits that are one": ("030201ff", "unused bits are not zero at octet 0"),
    "a NULL with octets": ("050100", "a NULL with octets at octet 0"),
    "an OBJECT IDENTIFIER without octets": ("0600", "an OBJECT IDENTIFIER that is cut short at octet 0"),
    "an OBJECT IDENTIFIER cut short": ("06022a86", "an OBJECT IDENTIFIER that is cut short at octet 0"),
    "an arc with a leading 80": ("06032a8001", "an arc that is not minimal at octet 0"),
    "a first arc with a leading 80": ("0602802a", "an arc that is not minimal at octet 0"),
    "a SET OF in descending order": ("3106020102020101", "a SET OF that is not in ascending order at octet 5"),
    "a constructed OCTET STRING": ("2403040100", "the constructed tag 0x24 at octet 0"),
    "a primitive SEQUENCE": ("1000", "the tag 0x10 at octet 0"),
    "a tag number of 31": ("1f00", "the tag 0x1f at octet 0"),
    "a context tag number of 31": ("bf00", "the constructed tag 0xbf at octet 0"),
    "an EXTERNAL": ("2800", "the constructed tag 0x28 at octet 0"),
    "a UTF8String that is Latin-1": ("0c01e9", "a UTF8String that is not UTF-8 at octet 0"),
    "a BMPString of one octet": ("1e0141", "a BMPString that is not a multiple of two octets at octet 0"),
    "a UniversalString of two octets": ("1c020041", "not a multiple of four octets at octet 0"),
    "a UTCTime without seconds": ("170b" + b"2501010000Z".hex(), "a UTCTime that is not of the form"),
    "a UTCTime with an offset": ("1711" + b"250101000000+0000".hex(), "a UTCTime that is not of the form"),
    "a GeneralizedTime without Z": ("180e" + b"20500101000000".hex(), "a GeneralizedTime that is not of the form"),
    "a fraction with a trailing zero": ("1812" + b"20500101000000.10Z".hex(), "a GeneralizedTime that is not of"),
}


@pytest.mark.parametrize(("octets", "fault"), NOT_DER.values(), ids=NOT_DER)
def test_what_is_not_der_is_refused_by_naming_the_fault_and_the_octet(octets: str, fault: str) -> None:
    with pytest.raises(MalformedRequest) as refusal:
        der.check_der(bytes.fromhex(octets), "The thing")
    assert refusal.value.message.startswith("The thing must be DER, but ")
    assert fault in refusal.value.message


@pytest.mark.parametrize(
    "octets",
    [
        *("0500", "0101ff", "010100", "020100", "0201ff", "0202ff7f", "02020080", "030100", "03020780"),
        *("3000", "3100", "3106020101020102", "3106020101020101", "0c02c3a9", "8000", "a0020500", "0400"),
        *("180f" + b"20500101000000Z".hex(), "1811" + b"20500101000000.5Z".hex(), "048180" + "00" * 128),
    ],
)
def test_der_is_accepted(octets: str) -> None:
    der.check_der(bytes.fromhex(octets), "The thing")


def test_nesting_is_bounded() -> None:
    octets = b"\x05\x00"
    for _ in range(32):
        octets = der.encode_tlv(der.SEQUENCE, octets)
    der.check_der(octets, "The thing")
    with pytest.raises(MalformedRequest, match="nested deeper than 32"):
        der.check_der(der.encode_tlv(der.SEQUENCE, octets), "The thing")


def test_a_refusal_does_not_show_the_octets() -> None:
    secret = b"correct horse battery staple\xff"
    with pytest.raises(MalformedRequest) as refusal:
        der.check_der(der.encode_tlv(der.UTF8_STRING, secret), "The thing")
    assert "horse" not in refusal.value.message
    assert secret.hex() not in refusal.value.message
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("length", [0, 127, 128, 65536])
def test_one_element_is_read_and_neither_two_nor_none(length: int) -> None:
    octets = der.encode_tlv(der.OCTET_STRING, bytes(length))
    assert der.read_element(octets) == (der.OCTET_STRING, bytes(length), octets)
    assert [der.read_element(octets)] == der.read_children(octets)
    for others in (octets + b"\x05\x00", octets + octets, b""):
        with pytest.raises((ValueError, IndexError)):
            der.read_element(others)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_are_written_as_asn1crypto_writes_them(length: int) -> None:
    assert der.encode_tlv(der.OCTET_STRING, bytes(length)) == core.OctetString(bytes(length)).dump()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, -1, -128, -129, 2**159 - 1, 2**63, -(2**63)])
def test_integers_are_written_as_asn1crypto_writes_them(number: int) -> None:
    assert der.encode_integer(number) == core.Integer(number).dump()


@pytest.mark.parametrize("dotted", ["1.2.840.113549", "0.39", "1.0.18013.5.1.2", "2.5.29.17", "2.999.3", "2.16.840.1"])
def test_object_identifiers_are_written_as_asn1crypto_writes_them_and_read_back(dotted: str) -> None:
    octets = der.encode_object_identifier(dotted)
    assert octets == core.ObjectIdentifier(dotted).dump()
    assert der.load_object_identifier(octets[2:]) == dotted


@pytest.mark.parametrize(
    "dotted", ["", "1", "1.", ".1.2", "1.02", "3.1", "1.40", "0.40", "1.2.-3", "1.2.x", "1.2\n", "\uff11.2"]
)
def test_what_is_no_object_identifier_is_refused(dotted: str) -> None:
    with pytest.raises(MalformedRequest):
        der.encode_object_identifier(dotted)
