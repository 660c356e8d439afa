"""RFC 4514: what a distinguished name in text says, and what is none."""

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from engine.errors import MalformedRequest
from engine.x509.distinguished_name import load_distinguished_name

OIDS = {
    "country": NameOID.COUNTRY_NAME,
    "state_or_province_name": NameOID.STATE_OR_PROVINCE_NAME,
    "locality_name": NameOID.LOCALITY_NAME,
    "organization_name": NameOID.ORGANIZATION_NAME,
    "organizational_unit_name": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "common_name": NameOID.COMMON_NAME,
}


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        (
            "C=US,CN=Example,ST=Utah",
            [("country", "US"), ("common_name", "Example"), ("state_or_province_name", "Utah")],
        ),
        ("cn=a,Ou=b", [("common_name", "a"), ("organizational_unit_name", "b")]),
        ("2.5.4.3=a,2.5.4.6=US", [("common_name", "a"), ("country", "US")]),
        ("CN=a b", [("common_name", "a b")]),
        ("CN=a=b#c", [("common_name", "a=b#c")]),
        ("CN=", [("common_name", "")]),
        (r"CN=a\,b\+c\"d\\e\<f\>g\;h\=i", [("common_name", 'a,b+c"d\\e<f>g;h=i')]),
        (r"CN=\#a", [("common_name", "#a")]),
        (r"CN=\ a\ ", [("common_name", " a ")]),
        (r"CN=\ ", [("common_name", " ")]),
        (r"CN=a\20", [("common_name", "a ")]),
        (r"CN=a\\\20", [("common_name", "a\\ ")]),
        (r"CN=Lu\C4\8Di\c4\87", [("common_name", "Lučić")]),
        ("CN=Lučić", [("common_name", "Lučić")]),
        # Hexadecimal digits that follow a backslash which is itself behind one are digits.
        (r"CN=\\41", [("common_name", "\\41")]),
    ],
)
def test_text_is_read_as_the_standard_says(text: str, attributes: list[tuple[str, str]]) -> None:
    assert load_distinguished_name(text).attributes == tuple(attributes)


@pytest.mark.parametrize("value", ["plain", 'all "+,;<>\\=# of them', " spaces ", "#hash", "Łódź", "\\", "a\\ "])
def test_what_another_writer_writes_is_read_back(value: str) -> None:
    name = x509.Name([x509.NameAttribute(OIDS["common_name"], value), x509.NameAttribute(OIDS["country"], "US")])
    assert dict(load_distinguished_name(name.rfc4514_string()).attributes) == {"common_name": value, "country": "US"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "other text at character 1"),
        ("Example", "other text at character 1"),
        ("CN=a,", "other text at character 6"),
        (",CN=a", "other text at character 1"),
        ("CN=a, C=US", "without spaces"),
        ("CN =a", "other text at character 1"),
        ("CN=a;C=US", "backslash before ';'"),
        ("CN=a+C=US", "one attribute in each part"),
        ('CN="a"', "backslash before '\"'"),
        ("CN=a<b", "backslash before '<'"),
        ("CN=a\x00b", "backslash before '\\x00'"),
        ("CN= a", "before a space that begins or ends a value"),
        ("CN=a ", "before a space that begins or ends a value"),
        (r"CN=a\\ ", "before a space that begins or ends a value"),
        ("CN=#0c0161", "found one in hexadecimal"),
        ("CN=\\", "behind a backslash"),
        (r"CN=\zz", "behind a backslash"),
        (r"CN=\4", "behind a backslash"),
        (r"CN=\ff", "must be UTF-8"),
        (r"CN=\ED\A0\80", "must be UTF-8"),
        ("CN=\ud800", "must be UTF-8"),
        ("DC=example", "of the types C, ST, L, O, OU, CN, found 'DC'"),
        ("02.5.4.3=a", "found '02.5.4.3'"),
        ("2.5.4.5=a", "found '2.5.4.5'"),
        ("CN=a,C=US,cn=b", "common name twice"),
        ("CN=a,2.5.4.3=a", "common name twice"),
    ],
)
def test_other_text_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(MalformedRequest) as refusal:
        load_distinguished_name(text)
    assert sentence in refusal.value.message
