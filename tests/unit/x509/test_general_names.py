"""General names: what is normalised, and what is refused."""

import ipaddress

import pytest

from engine.errors import MalformedRequest
from engine.x509.extensions import load_general_name
from engine.x509.general_names import GeneralName, encode_general_name

ACCEPTED = [
    ("dNSName", "leaf.example.com", "leaf.example.com"),
    ("dNSName", "Leaf.EXAMPLE.com", "leaf.example.com"),
    ("dNSName", "localhost", "localhost"),
    ("dNSName", "*.example.com", "*.example.com"),
    ("dNSName", "münchen.example", "xn--mnchen-3ya.example"),
    ("dNSName", "MÜNCHEN.example", "xn--mnchen-3ya.example"),
    ("dNSName", "mu\u0308nchen.example", "xn--mnchen-3ya.example"),
    ("dNSName", "*.münchen.example", "*.xn--mnchen-3ya.example"),
    ("dNSName", "XN--MNCHEN-3YA.example", "xn--mnchen-3ya.example"),
    ("dNSName", "a" * 63 + ".example", "a" * 63 + ".example"),
    ("rfc822Name", "First.Last+tag@Example.com", "First.Last+tag@example.com"),
    ("rfc822Name", '"a b"@example.com', '"a b"@example.com'),
    ("rfc822Name", "x@münchen.example", "x@xn--mnchen-3ya.example"),
    ("uniformResourceIdentifier", "https://example.com:8443/a/b?c=d#e", "https://example.com:8443/a/b?c=d#e"),
    ("uniformResourceIdentifier", "https://example.com", "https://example.com"),
    ("uniformResourceIdentifier", "http://[2001:db8::1]/x%20y", "http://[2001:db8::1]/x%20y"),
    ("uniformResourceIdentifier", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", None),
    ("uniformResourceIdentifier", "spiffe://example.org/ns/default", None),
    ("uniformResourceIdentifier", "ldap://example.com/cn=x,c=US?crl", None),
    ("uniformResourceIdentifier", "mailto:a@example.com", None),
    ("iPAddress", "192.0.2.1", "192.0.2.1"),
    ("iPAddress", "2001:0DB8:0:0::0001", "2001:db8::1"),
    ("iPAddress", "::", "::"),
]


@pytest.mark.parametrize(("kind", "text", "value"), ACCEPTED)
def test_accepted_names_are_normalised(kind: str, text: str, value: str | None) -> None:
    name = load_general_name(kind, text)
    assert name == GeneralName(kind, value or text)
    assert load_general_name(kind, name.value) == name


REFUSED = [
    *(("dNSName", text) for text in ("", ".", "example.com.", ".example.com", "a..b", "a_b.example", "-a.example")),
    *(
        ("dNSName", text)
        for text in ("a-.example", "a b.example", "a" * 64 + ".example", "ab--c.example", "xn--a.example")
    ),
    *(("dNSName", text) for text in ("*", "f*.example", "a.*.example", "*.*.example", "*a.example", "192.0.2.1")),
    *(("dNSName", text) for text in ("☃.example", "a。b", "\ud800.example", "example.com\n", "a" * 50 + (".b" * 120))),
    *(
        ("dNSName", text)
        for text in ("http://example.com", "example.com:443", "example.com/", "xn--.example", "a\0b.example")
    ),
    *(("rfc822Name", text) for text in ("", "@", "a", "a@", "@b", "a..b@c", ".a@b", "a b@c", "é@example.com", "a@b@c")),
    *(
        ("rfc822Name", text)
        for text in ("A <a@b>", "a@*.example", "a@[192.0.2.1]", "a@b\n", "x" * 65 + "@b", '"a"b"@c', "a@1")
    ),
    *(("uniformResourceIdentifier", text) for text in ("", "example.com", "/path", "//host/path", "http:", "http://")),
    *(
        ("uniformResourceIdentifier", text)
        for text in ("http:///path", "http://a b", "http://a/%zz", "http://é/", "1a:b")
    ),
    *(
        ("uniformResourceIdentifier", text)
        for text in ("http://a/\n", "http://a/<x>", "http://a#b#c", "http://[::1", "http://a:b/")
    ),
    *(
        ("iPAddress", text)
        for text in ("", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4/24", "fe80::1%eth0", "::g")
    ),
    ("directoryName", "CN=x"),
]


@pytest.mark.parametrize(("kind", "text"), REFUSED)
def test_refused_names(kind: str, text: str) -> None:
    with pytest.raises(MalformedRequest):
        load_general_name(kind, text)


def test_addresses_are_encoded_in_four_or_sixteen_octets() -> None:
    for text in ("192.0.2.1", "2001:db8::1"):
        assert encode_general_name(load_general_name("iPAddress", text))[2:] == ipaddress.ip_address(text).packed


@pytest.mark.parametrize(
    "uri", ["HTTP://Example.COM:80/%41", "http://[2001:db8::1]:80/", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]
)
def test_a_uri_is_encoded_as_it_was_written(uri: str) -> None:
    name = load_general_name("uniformResourceIdentifier", uri)
    assert encode_general_name(name) == bytes([0x86, len(uri)]) + uri.encode()


@pytest.mark.parametrize(
    "name", [GeneralName("dNSName", "é"), GeneralName("dNSName", ""), GeneralName("iPAddress", "x")]
)
def test_a_name_that_was_not_normalised_is_not_encoded(name: GeneralName) -> None:
    with pytest.raises(MalformedRequest):
        encode_general_name(name)
