"""A private JWK signs as a session object and leaves nothing behind."""

import base64
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.types import Session

from engine.errors import MalformedRequest, TokenError, UnsupportedRequest
from engine.token import Token, TokenSettings
from tests.token.conftest import verify
from tests.token.devices import Device
from tests.token.interposer import Function, answering, interposed

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _number(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8))


def render_jwk(key: PrivateKey) -> dict[str, str]:
    """A private JWK, written here and not by the engine."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers, width = key.private_numbers(), (key.curve.key_size + 7) // 8
        point = numbers.public_numbers
        values = {"x": point.x, "y": point.y, "d": numbers.private_value}
        return {
            "kty": "EC",
            "crv": f"P-{key.curve.key_size}",
            **{name: _text(value.to_bytes(width)) for name, value in values.items()},
        }
    if isinstance(key, rsa.RSAPrivateKey):
        private = key.private_numbers()
        values = {
            "n": private.public_numbers.n,
            "e": private.public_numbers.e,
            "d": private.d,
            "p": private.p,
            "q": private.q,
            "dp": private.dmp1,
            "dq": private.dmq1,
            "qi": private.iqmp,
        }
        return {"kty": "RSA", **{name: _number(value) for name, value in values.items()}}
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _text(key.public_key().public_bytes_raw()),
        "d": _text(key.private_bytes_raw()),
    }


def short_p256_key() -> ec.EllipticCurvePrivateKey:
    """A private number that begins with a zero octet, which the token must still get at full width."""
    return ec.derive_private_key(2**240 + 12345, ec.SECP256R1())


RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, tuple[PrivateKey, str]] = {
    "P-256": (EC_KEY, "ecdsa-with-SHA256"),
    "P-256, short d": (short_p256_key(), "ecdsa-with-SHA256"),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), "ecdsa-with-SHA384"),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), "ecdsa-with-SHA512"),
    "RSA": (RSA_KEY, "sha256WithRSAEncryption"),
    "RSA PSS": (RSA_KEY, "id-RSASSA-PSS-SHA256"),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), "id-Ed25519"),
}


USUAL = {"secp256r1": EC_KEY, "RSA": RSA_KEY}
IMPORTING = "importing private keys"


def session_keys(session: Session) -> list[object]:
    return list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: False}))


@pytest.mark.parametrize("name", KEYS)
def test_a_jwk_signs_pyca_verifies_and_no_object_is_left(
    name: str, token: Token, raw_session: Session, device: Device
) -> None:
    key, algorithm = KEYS[name]
    device.skip_unless(IMPORTING, algorithm)
    message = os.urandom(700)
    before = token.signatures
    signature = token.sign_with_jwk(render_jwk(key), algorithm, message)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    verify(spki, algorithm, signature, message)
    assert session_keys(raw_session) == []
    assert token.signatures == before + 1


@pytest.mark.parametrize("name", ["P-256", "RSA", "Ed25519"])
def test_an_imported_key_is_sensitive_sign_only_and_not_extractable_while_it_exists(
    name: str, token: Token, token_settings: TokenSettings, device: Device, raw_session: Session
) -> None:
    seen: list[dict[Attribute, object]] = []
    names = ("TOKEN", "PRIVATE", "SENSITIVE", "EXTRACTABLE", "SIGN", "DECRYPT", "UNWRAP", "DERIVE")

    def look(_: str, original: Function) -> Function:
        def call(*arguments: int) -> int:
            [key] = session_keys(raw_session)
            seen.append({name: key[Attribute[name]] for name in names})
            return original(*arguments)

        return call

    key, algorithm = KEYS[name]
    device.skip_unless(IMPORTING, algorithm)
    with interposed(token_settings.module, look, ["C_SignInit"]):
        token.sign_with_jwk(render_jwk(key), algorithm, b"message")
    assert seen == [dict(zip(names, (False, True, True, False, True, False, False, False), strict=True))]


@pytest.mark.parametrize("codes", [(0x31,), (0x30, 0x30)])
def test_no_object_is_left_when_signing_fails(
    codes: tuple[int, ...], token: Token, token_settings: TokenSettings, device: Device, raw_session: Session
) -> None:
    device.skip_unless(IMPORTING)
    with answering(token_settings.module, "C_Sign", *codes), pytest.raises(TokenError):
        token.sign_with_jwk(render_jwk(USUAL[device.key_type]), device.algorithm, b"message")
    assert session_keys(raw_session) == []


def test_no_object_is_left_when_even_destroying_it_fails(
    token: Token, token_settings: TokenSettings, device: Device, raw_session: Session
) -> None:
    device.skip_unless(IMPORTING)
    """The object ends with its session, and what was signed is not signed again."""
    before = token.signatures
    with answering(token_settings.module, "C_DestroyObject", 0x31) as calls:
        assert token.sign_with_jwk(render_jwk(USUAL[device.key_type]), device.algorithm, b"message")
    assert (calls["C_DestroyObject"], token.signatures) == (1, before + 1)
    assert session_keys(raw_session) == []


def test_no_object_is_left_by_an_algorithm_of_another_kind(token: Token, device: Device, raw_session: Session) -> None:
    device.skip_unless(IMPORTING)
    with pytest.raises(UnsupportedRequest, match="algorithm for EC keys was expected"):
        token.sign_with_jwk(render_jwk(EC_KEY), "sha256WithRSAEncryption", b"message")
    assert session_keys(raw_session) == []


@pytest.mark.parametrize("name", ["P-256", "RSA", "Ed25519"])
def test_a_jwk_that_lacks_a_member_is_refused_naming_it(name: str, token: Token) -> None:
    key, algorithm = KEYS[name]
    whole = render_jwk(key)
    for member in whole.keys() - {"kty", "crv"}:
        lacking = {other: value for other, value in whole.items() if other != member}
        with pytest.raises(MalformedRequest, match=f"lacks '{member}'") as caught:
            token.sign_with_jwk(lacking, algorithm, b"message")
        assert caught.value.details == (member,)


@pytest.mark.parametrize("spoil", ["{}=", "{}A", "{}AAAA", "AAAA{}", " {}", "{}\n", "é{}", "{}+/", ""])
@pytest.mark.parametrize("name", ["P-256", "RSA", "Ed25519"])
def test_a_badly_encoded_private_number_is_refused_without_repeating_it(name: str, spoil: str, token: Token) -> None:
    key, algorithm = KEYS[name]
    whole = render_jwk(key)
    with pytest.raises(MalformedRequest, match=r"member '[dnp]'") as caught:
        token.sign_with_jwk({**whole, "d" if name != "RSA" else "p": spoil.format(whole["d"])}, algorithm, b"message")
    assert whole["d"][:8] not in str(caught.value)


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        ({"kty": "oct", "k": "c2VjcmV0"}, "kty EC, RSA or OKP"),
        ({}, "kty EC, RSA or OKP"),
        ({**render_jwk(EC_KEY), "crv": "secp256k1"}, "crv P-256, P-384 or P-521"),
        ({**render_jwk(EC_KEY), "kty": "OKP", "crv": "X25519"}, "crv Ed25519"),
        ({**render_jwk(RSA_KEY), "oth": "[]"}, "two primes"),
        ({**render_jwk(EC_KEY), "y": render_jwk(EC_KEY)["x"]}, "not an uncompressed point"),
        ({**render_jwk(EC_KEY), "d": _text(bytes(32))}, "not a private key on its curve"),
        ({**render_jwk(EC_KEY), "d": _text(b"\xff" * 32)}, "not a private key on its curve"),
        ({**render_jwk(EC_KEY), "d": _text(bytes(31))}, "31 octets long, expected 32"),
        ({**render_jwk(EC_KEY), "d": 7}, "not base64url"),
        ({**render_jwk(EC_KEY), "crv": ["P-256"]}, "crv P-256, P-384 or P-521"),
        ({**render_jwk(RSA_KEY), "q": render_jwk(RSA_KEY)["p"]}, "not the product"),
        ({**render_jwk(RSA_KEY), "e": "AAEAAQ"}, "without leading zero octets"),
    ],
)
def test_a_jwk_that_is_not_a_supported_private_key_is_refused(jwk: dict[str, str], message: str, token: Token) -> None:
    with pytest.raises((MalformedRequest, UnsupportedRequest), match=message):
        token.sign_with_jwk(jwk, "ecdsa-with-SHA256", b"message")
