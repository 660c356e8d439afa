"""What a generated key is, and what can be done with it and not."""

import ctypes
import hashlib
import os
from collections.abc import Callable

import pytest
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Session

from engine.errors import (
    IssuanceDefect,
    MalformedRequest,
    TokenError,
    TokenKeyAmbiguous,
    TokenKeyNotFound,
    UnsupportedRequest,
)
from engine.token import KeyReference, Token, TokenSettings
from tests.token.conftest import NewKey, verify
from tests.token.devices import Device
from tests.token.interposer import Function, answering, interposed

ALGORITHMS = {
    "secp256r1": ("ecdsa-with-SHA256", "ecdsa-with-SHA384", "ecdsa-with-SHA512"),
    "secp384r1": ("ecdsa-with-SHA384",),
    "secp521r1": ("ecdsa-with-SHA512",),
    "RSA": ("sha256WithRSAEncryption", "id-RSASSA-PSS-SHA256"),
    "RSA3072": ("sha256WithRSAEncryption",),
    "RSA4096": ("sha256WithRSAEncryption",),
    "Ed25519": ("id-Ed25519",),
}
PRIVATE_NUMBERS = (
    Attribute.VALUE,
    Attribute.PRIVATE_EXPONENT,
    Attribute.PRIME_1,
    Attribute.PRIME_2,
    Attribute.EXPONENT_1,
    Attribute.EXPONENT_2,
    Attribute.COEFFICIENT,
)


@pytest.mark.parametrize("key_type", ALGORITHMS)
def test_a_generated_key_signs_and_pyca_verifies(
    key_type: str, new_key: Callable[..., NewKey], token: Token, device: Device
) -> None:
    key = new_key(key_type)
    for algorithm in device.supported(*ALGORITHMS[key_type]):
        message = os.urandom(700)
        verify(key.spki, algorithm, token.sign(key.reference, algorithm, message), message)


def test_the_custody_record_says_sign_only_and_never_extractable(
    new_key: Callable[..., NewKey], token: Token, device: Device
) -> None:
    key = new_key()
    said = {
        name: key.custody[name]
        for name in ("private", "sensitive", "always_sensitive", "extractable", "never_extractable", "sign", "origin")
    }
    assert said == {
        "private": True,
        "sensitive": True,
        "always_sensitive": True,
        "extractable": False,
        "never_extractable": True,
        "sign": True,
        "origin": "generated",
    }
    assert not any(key.custody[name] for name in ("decrypt", "unwrap", "derive", "sign_recover"))
    assert set(key.custody["token"]) == {"label", "manufacturer", "model", "serial", "firmware"}
    # A key that was not seen to be generated is known to be so by CKA_LOCAL only.
    origin = "generated" if device.supported("CKA_LOCAL") else "unknown"
    now = token.custody(key.reference)
    assert {name: now[name] for name in key.custody} == {**key.custody, "origin": origin}


@pytest.mark.parametrize("key_type", ["secp256r1", "RSA", "Ed25519"])
def test_no_private_number_of_a_generated_key_can_be_read(
    key_type: str, new_key: Callable[..., NewKey], raw_session: Session
) -> None:
    key = new_key(key_type)
    private_key = find(raw_session, ObjectClass.PRIVATE_KEY, key)
    refused = []
    for attribute in PRIVATE_NUMBERS:
        with pytest.raises(PKCS11Error) as caught:
            private_key[attribute]
        refused.append(caught.type)
    # A TPM has none of them to refuse.
    assert AttributeSensitive in refused or set(refused) == {AttributeTypeInvalid}


def test_a_generated_key_cannot_be_made_extractable(
    new_key: Callable[..., NewKey], raw_session: Session, device: Device
) -> None:
    device.skip_unless("refusing to change CKA_EXTRACTABLE")
    private_key = find(raw_session, ObjectClass.PRIVATE_KEY, new_key())
    for attribute, value in ((Attribute.EXTRACTABLE, True), (Attribute.SENSITIVE, False)):
        with pytest.raises(PKCS11Error):
            private_key[attribute] = value
        device.skip_unless("refusing extractable copies")
        with pytest.raises(PKCS11Error):
            private_key.copy({attribute: value, Attribute.TOKEN: False})


@pytest.mark.parametrize("key_type", ["secp256r1", "RSA"])
def test_a_generated_key_cannot_be_wrapped(
    key_type: str, new_key: Callable[..., NewKey], raw_session: Session, device: Device
) -> None:
    device.skip_unless("AES keys", "refusing to wrap")
    private_key = find(raw_session, ObjectClass.PRIVATE_KEY, new_key(key_type))
    wrapping_key = raw_session.generate_key(
        KeyType.AES, 256, mechanism=Mechanism.AES_KEY_GEN, template={Attribute.WRAP: True}
    )
    for mechanism in (Mechanism.AES_KEY_WRAP, Mechanism.AES_KEY_WRAP_PAD):
        with pytest.raises(PKCS11Error):
            wrapping_key.wrap_key(private_key, mechanism=mechanism)
    wrapping_key.destroy()


def test_the_public_half_of_a_generated_key_only_verifies(
    new_key: Callable[..., NewKey], raw_session: Session, device: Device
) -> None:
    device.skip_unless("public capabilities")
    public_key = find(raw_session, ObjectClass.PUBLIC_KEY, new_key("RSA"))
    assert public_key[Attribute.VERIFY]
    assert not any(public_key[attribute] for attribute in (Attribute.ENCRYPT, Attribute.WRAP, Attribute.VERIFY_RECOVER))


def test_no_private_key_on_the_token_is_extractable_or_not_sensitive(
    new_key: Callable[..., NewKey], raw_session: Session, device: Device
) -> None:
    for key_type in device.supported("secp256r1", "RSA", "Ed25519"):
        new_key(key_type)
    private_keys = list(raw_session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
    assert len(private_keys) >= len(device.supported("secp256r1", "RSA", "Ed25519"))
    for private_key in private_keys:
        assert private_key[Attribute.SENSITIVE]
        assert not private_key[Attribute.EXTRACTABLE]


def test_an_id_that_is_taken_is_refused_before_anything_is_generated(
    new_key: Callable[..., NewKey], token: Token, device: Device
) -> None:
    key = new_key()
    with pytest.raises(TokenKeyAmbiguous, match=r"has a key with id .* already"):
        token.generate_key(device.key_type, "another label", key.reference.id)
    assert token.find_key(None, key.reference.id).spki == key.spki


def test_a_lost_reply_to_key_generation_leaves_no_key(
    token: Token, token_settings: TokenSettings, raw_session: Session, device: Device
) -> None:
    key_id = os.urandom(16)
    with (
        answering(token_settings.module, "C_GenerateKeyPair", 0x30, after=True) as calls,
        pytest.raises(TokenError, match="device reported an error"),
    ):
        token.generate_key(device.key_type, "lost", key_id)
    assert calls["C_GenerateKeyPair"] == 1
    assert list(raw_session.get_objects({Attribute.ID: key_id})) == []
    assert token.state() == "ready"


@pytest.mark.parametrize("code", [0x05, 0xD1])
def test_one_failure_does_not_lead_to_a_leaner_template(
    code: int, token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey], device: Device
) -> None:
    device.skip_unless("public capabilities")
    with answering(token_settings.module, "C_GenerateKeyPair", code) as calls:
        key = new_key()
    assert calls["C_GenerateKeyPair"] == 2
    assert key.custody["sign_recover"] is False


def test_a_key_that_the_token_made_extractable_is_destroyed_and_refused(
    token: Token, token_settings: TokenSettings, raw_session: Session, device: Device
) -> None:
    device.skip_unless("extractable keys")
    key_id = os.urandom(16)
    with (
        interposed(token_settings.module, lambda _, original: extractable_made(original), ["C_GenerateKeyPair"]),
        pytest.raises(IssuanceDefect, match="sign-only, sensitive and not extractable") as caught,
    ):
        token.generate_key(device.key_type, "unsafe", key_id)
    assert "extractable is True, expected False" in caught.value.details
    assert list(raw_session.get_objects({Attribute.ID: key_id})) == []


def test_a_destroyed_key_is_gone_for_sessions_that_knew_it(
    token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    kept, key_id = new_key(), os.urandom(16)
    generated = token.generate_key(device.key_type, "short-lived", key_id)
    found = token.find_key("short-lived", key_id)
    assert found.spki == generated.spki
    reference = KeyReference("short-lived", key_id, hashlib.sha256(generated.spki).hexdigest())
    token.sign(reference, kept.algorithm, b"message")
    token.destroy_key(reference)
    with pytest.raises(TokenKeyNotFound):
        token.sign(reference, kept.algorithm, b"message")
    token.sign(kept.reference, kept.algorithm, b"message")


def test_a_key_other_than_the_pinned_one_is_not_destroyed(token: Token, new_key: Callable[..., NewKey]) -> None:
    key = new_key()
    other = KeyReference(key.reference.label, key.reference.id, "00" * 32)
    with pytest.raises(TokenKeyAmbiguous, match="expected the pinned"):
        token.destroy_key(other)
    token.sign(key.reference, key.algorithm, b"message")


def test_a_key_type_that_is_not_known_is_refused_naming_those_that_are(token: Token) -> None:
    with pytest.raises(UnsupportedRequest, match=r"secp256r1, .*Ed25519"):
        token.generate_key("secp256k1", "label", b"\x01")


@pytest.mark.parametrize("key_id", [b"", bytes(256), "text", 7, None])
def test_a_key_id_that_is_not_1_to_255_octets_is_refused(key_id: object, token: Token, device: Device) -> None:
    with pytest.raises(MalformedRequest, match="key id"):
        token.generate_key(device.key_type, "label", key_id)


def find(session: Session, object_class: ObjectClass, key: NewKey) -> object:
    [found] = session.get_objects({Attribute.CLASS: object_class, Attribute.ID: key.reference.id})
    return found


class _Attribute(ctypes.Structure):
    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong))


def extractable_made(original: Function, place: int = 4) -> Function:
    """A function with CKA_EXTRACTABLE true in the template that is its argument at `place`, counted from 0.

    Some tokens have it so by default. The private template of C_GenerateKeyPair is at 4.
    """

    def call(*arguments: int) -> int:
        count = arguments[place + 1]
        template = (_Attribute * count).from_address(arguments[place])
        for attribute in template[:count]:
            if attribute.type == Attribute.EXTRACTABLE:
                ctypes.memset(attribute.value, 1, 1)
        return original(*arguments)

    return call
