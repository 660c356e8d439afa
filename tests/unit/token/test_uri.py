"""PKCS#11 URIs: what is read, what is refused, and what libp11-kit says of the same text."""

import dataclasses
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.token import Pkcs11Uri, load_uri
from tests.unit.token.p11kit import P11Kit

READ = {
    "pkcs11:": Pkcs11Uri(),
    "pkcs11:?": Pkcs11Uri(),
    "pkcs11:token=trial": Pkcs11Uri(token="trial"),
    "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.": Pkcs11Uri(
        token="The Software PKCS#11 Softtoken", manufacturer="Snake Oil, Inc."
    ),
    "pkcs11:serial=acf413b327f322db;token=a": Pkcs11Uri(serial="acf413b327f322db", token="a"),
    "pkcs11:model=1.0;object=my-key;type=private;id=%01%00%ff": Pkcs11Uri(
        model="1.0", object="my-key", type="private", id=b"\x01\x00\xff"
    ),
    "pkcs11:token=%c3%a9tage&co": Pkcs11Uri(token="étage&co"),
    "pkcs11:token=a=b": Pkcs11Uri(token="a=b"),
    "pkcs11:token=a+b": Pkcs11Uri(token="a+b"),
    "pkcs11:token=%74rial": Pkcs11Uri(token="trial"),
    "pkcs11:slot-id=327;slot-description=Slot;slot-manufacturer=Me": Pkcs11Uri(
        slot_id=327, slot_description="Slot", slot_manufacturer="Me"
    ),
    "pkcs11:library-manufacturer=Me;library-description=Soft;library-version=2.40": Pkcs11Uri(
        library_manufacturer="Me", library_description="Soft", library_version="2.40"
    ),
    "pkcs11:token=a?pin-source=/run/pin": Pkcs11Uri(token="a", pin_source="/run/pin"),
    "pkcs11:token=a?pin-source=file:/run/pin": Pkcs11Uri(token="a", pin_source="/run/pin"),
    "pkcs11:token=a?pin-source=file:///run/pin": Pkcs11Uri(token="a", pin_source="/run/pin"),
    "pkcs11:token=a?pin-source=file://localhost/run/a%2520b": Pkcs11Uri(token="a", pin_source="/run/a b"),
    "pkcs11:?module-path=/usr/lib/x.so&module-name=x": Pkcs11Uri(module_path="/usr/lib/x.so", module_name="x"),
}

REFUSED = {
    "": "beginning with 'pkcs11:'",
    "token=trial": "beginning with 'pkcs11:'",
    "PKCS11:token=trial": "beginning with 'pkcs11:'",
    "pkcs12:token=trial": "beginning with 'pkcs11:'",
    " pkcs11:token=trial": "beginning with 'pkcs11:'",
    "pkcs11:token=a;token=a": "'token' is given more than once",
    "pkcs11:token=a?module-path=/a&module-path=/b": "'module-path' is given more than once",
    "pkcs11:token=a;colour=red": "'colour', which is not one",
    "pkcs11:token=a;x-vendor=1": "'x-vendor', which is not one",
    "pkcs11:token=a;Token=b": "'Token', which is not one",
    "pkcs11:pin-source=/run/pin": "'pin-source', which is not one",
    "pkcs11:?token=a": "'token', which is not one",
    "pkcs11:token": "'token' has no value",
    "pkcs11:token=": "'token' has no value",
    "pkcs11:token=a;": "without a name",
    "pkcs11:;token=a": "without a name",
    "pkcs11:token=a?&": "without a name",
    "pkcs11:token=a b": "'token' has a character that must be percent-encoded",
    "pkcs11:token=a/b": "'token' has a character that must be percent-encoded",
    "pkcs11:token=é": "'token' has a character that must be percent-encoded",
    "pkcs11:token=a#fragment": "'token' has a character that must be percent-encoded",
    "pkcs11:token=100%": "'token' has a character that must be percent-encoded",
    "pkcs11:token=%4": "'token' has a character that must be percent-encoded",
    "pkcs11:token=%zz": "'token' has a character that must be percent-encoded",
    "pkcs11:token=%ff": "'token' is not UTF-8",
    "pkcs11:token=a%00b": "'token' holds a zero byte",
    "pkcs11:token=" + "a" * 33: "'token' is 33 bytes long, expected at most 32",
    "pkcs11:serial=" + "1" * 17: "'serial' is 17 bytes long, expected at most 16",
    "pkcs11:type=secret": "'type' must be one of public, private",
    "pkcs11:slot-id=0x1": "'slot-id' must be a decimal number",
    "pkcs11:slot-id=-1": "'slot-id' must be a decimal number",
    "pkcs11:slot-id=%D9%A1": "'slot-id' must be a decimal number",
    "pkcs11:library-version=2.": "'library-version' must be a version",
    "pkcs11:library-version=2.400": "'library-version' must be a version",
    "pkcs11:token=a?pin-value=hunter2": "holds a PIN in 'pin-value'",
    "pkcs11:token=a?pin-source=|/bin/hunter2": "'pin-source' is a command",
    "pkcs11:token=a?pin-source=%7C/bin/hunter2": "'pin-source' is a command",
    "pkcs11:token=a?pin-source=run/pin": "'pin-source' must be an absolute path",
    "pkcs11:token=a?pin-source=https://example.com/pin": "'pin-source' must be an absolute path",
    "pkcs11:token=a?pin-source=file:run/pin": "'pin-source' must be a file on this machine",
    "pkcs11:token=a?pin-source=file://other/run/pin": "'pin-source' must be a file on this machine",
    "pkcs11:token=a?pin-source=file:////run/pin": "'pin-source' must be a file on this machine",
    "pkcs11:token=a?pin-source=file:/run/pin%3Fquery": "'pin-source' must be a file on this machine",
    "pkcs11:token=a?pin-source=file:/run/%2500": "'pin-source' holds a zero byte",
}

STRICTER = {
    "PKCS11:token=trial": "a scheme in capitals",
    " pkcs11:token=trial": "a blank before the scheme",
    "pkcs11:;token=a": "an empty attribute",
    "pkcs11:token=" + "a" * 33: "longer than any label, which libp11-kit takes and matches with nothing",
    "pkcs11:serial=" + "1" * 17: "longer than any serial, likewise",
    "pkcs11:token=a;token=a": "a duplicate",
    "pkcs11:token=a?module-path=/a&module-path=/b": "a duplicate",
    "pkcs11:token=a;colour=red": "an unknown attribute",
    "pkcs11:token=a;x-vendor=1": "a vendor attribute",
    "pkcs11:token=a;Token=b": "an unknown attribute",
    "pkcs11:pin-source=/run/pin": "an unknown attribute of the path",
    "pkcs11:?token=a": "an unknown attribute of the query",
    "pkcs11:token=": "no value",
    "pkcs11:token=a;": "an empty attribute",
    "pkcs11:token=a b": "a blank",
    "pkcs11:token=a/b": "a slash in the path",
    "pkcs11:token=é": "not ASCII",
    "pkcs11:token=a#fragment": "not in the grammar",
    "pkcs11:token=%ff": "not UTF-8",
    "pkcs11:token=a%00b": "a zero byte",
    "pkcs11:type=secret": "an unknown type",
    "pkcs11:token=a?pin-value=hunter2": "a PIN",
    **{uri: "a pin-source that is not a file here" for uri in REFUSED if "pin-source" in uri},
}
"""What libp11-kit accepts and the engine does not, with the reason."""

_UNRESERVED = string.ascii_letters + string.digits + "-._~"


@pytest.fixture(scope="module")
def p11kit() -> P11Kit:
    try:
        return P11Kit()
    except OSError as error:
        pytest.skip(f"libp11-kit is not installed: {error}")


@pytest.mark.parametrize("uri", READ)
def test_a_uri_is_read(uri: str) -> None:
    assert load_uri(uri) == READ[uri]


@pytest.mark.parametrize("uri", REFUSED)
def test_a_uri_that_is_not_strictly_rfc_7512_is_refused_naming_the_attribute(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_uri(uri)
    assert REFUSED[uri] in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("uri", READ)
def test_libp11_kit_reads_the_same(uri: str, p11kit: P11Kit) -> None:
    theirs = p11kit.load_uri(uri)
    assert theirs is not None
    ours = dataclasses.replace(READ[uri], library_version=None)
    if ours.pin_source is not None:  # libp11-kit leaves a file: URI to its callers
        assert theirs.pin_source is not None
        assert theirs.pin_source.endswith(quote(ours.pin_source))
        theirs = dataclasses.replace(theirs, pin_source=ours.pin_source)
    assert ours == theirs


@pytest.mark.parametrize("uri", REFUSED)
def test_what_the_engine_refuses_libp11_kit_refuses_or_the_reason_is_listed(uri: str, p11kit: P11Kit) -> None:
    assert (p11kit.load_uri(uri) is not None) == (uri in STRICTER)


def _values(most: int) -> st.SearchStrategy[str]:
    return st.text(min_size=1, max_size=most // 4).filter(
        lambda text: "\0" not in text and text == text.rstrip(" ") and text.isprintable()
    )


@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "token": _values(32),
            "serial": _values(16),
            "model": _values(16),
            "manufacturer": _values(32),
            "object": _values(255),
            "id": st.binary(min_size=1, max_size=255),
        },
    ),
    encode_all=st.booleans(),
)
def test_any_attributes_are_read_as_libp11_kit_reads_them(
    values: dict[str, str | bytes], encode_all: bool, p11kit: P11Kit
) -> None:
    def encode(value: str | bytes) -> str:
        octets = value if isinstance(value, bytes) else value.encode()
        safe = b"" if encode_all else (_UNRESERVED + ":[]@!$'()*+,=&").encode()
        return "".join(chr(octet) if octet in safe else f"%{octet:02x}" for octet in octets)

    uri = "pkcs11:" + ";".join(f"{name}={encode(value)}" for name, value in values.items())
    assert load_uri(uri) == Pkcs11Uri(**values) == p11kit.load_uri(uri)


@given(text=st.text(alphabet=_UNRESERVED + ":;=&?%|/ ", max_size=60))
def test_whatever_the_engine_accepts_libp11_kit_accepts(text: str, p11kit: P11Kit) -> None:
    uri = "pkcs11:token=a;" + text
    try:
        load_uri(uri)
    except ConfigError:
        return
    assert p11kit.load_uri(uri) is not None
