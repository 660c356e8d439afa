"""The host of a Host header: port and spelling do not matter, and nothing else passes for a host."""

import pytest

from engine.host import load_host, load_host_field


@pytest.mark.parametrize(
    ("field", "host"),
    [
        ("engine.example.com", "engine.example.com"),
        ("Engine.Example.COM:8443", "engine.example.com"),
        ("engine.example.com.", "engine.example.com"),
        ("engine.example.com.:80", "engine.example.com"),
        ("engine.example.com:", "engine.example.com"),
        (" engine.localhost ", "engine.localhost"),
        ("my_org.localhost", "my_org.localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:8080", "[::1]"),
        ("[0:0:0:0:0:0:0:1]:8080", "[::1]"),
        ("[2001:DB8::0:A]", "[2001:db8::a]"),
    ],
)
def test_a_host_is_found_in_one_spelling(field: str, host: str) -> None:
    assert load_host_field(field) == host


@pytest.mark.parametrize(
    "field",
    [
        "",
        ":8080",
        ".",
        "a..b",
        "a b",
        "a,b",
        "a/b",
        "user@a",
        "a:80:80",
        "a:port",
        "a:123456",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::g]",
        "[127.0.0.1]",
        "[::1]a",
        "-a",
        "a-",
        "\u00e4.example",
        "a" * 64,
        ".".join(["a" * 60] * 5),
    ],
)
def test_what_is_no_host_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="Expected"):
        load_host_field(field)


def test_an_alias_has_no_port() -> None:
    with pytest.raises(ValueError, match="without a port"):
        load_host("engine.example.com:443")
