"""A private JWK becomes a token key that signs, cannot leave, and is not said to have been made there."""

import hashlib
import os
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import Object, Session

from engine.errors import IssuanceDefect, TokenError, TokenKeyAmbiguous, TokenKeyNotFound, UnsupportedRequest
from engine.token import KeyReference, Token, TokenSettings, load_private_jwk
from tests.token.conftest import NewKey, verify
from tests.token.devices import Device
from tests.token.interposer import Function, answering, interposed
from tests.token.test_generated_keys import PRIVATE_NUMBERS, extractable_made
from tests.token.test_jwk_signing import EC_KEY, IMPORTING, KEYS, RSA_KEY, PrivateKey, render_jwk

PAST = "telling the past of imported keys"
USUAL: dict[str, PrivateKey] = {"secp256r1": EC_KEY, "RSA": RSA_KEY}


def spki_of(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def imported(token: Token, device: Device) -> Iterator[Callable[[PrivateKey], KeyReference]]:
    """Import a key under a label and id of its own; destroyed after the test."""
    device.skip_unless(IMPORTING)
    made: list[KeyReference] = []

    def import_key(key: PrivateKey) -> KeyReference:
        key_id = os.urandom(16)
        reference = KeyReference(f"import {key_id.hex()}", key_id, hashlib.sha256(spki_of(key)).hexdigest())
        token.import_key(load_private_jwk(render_jwk(key)), reference.label, key_id)
        made.append(reference)
        return reference

    yield import_key
    for reference in made:
        token.destroy_leftovers(reference.label, reference.id)


def objects(session: Session, key_id: bytes) -> list[Object]:
    return list(session.get_objects({Attribute.ID: key_id}))


def private_object(session: Session, key: KeyReference) -> Object:
    [found] = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: key.id})
    return found


@pytest.mark.parametrize("name", KEYS)
def test_an_imported_key_signs_and_pyca_verifies(
    name: str, imported: Callable[[PrivateKey], KeyReference], token: Token, device: Device
) -> None:
    key, algorithm = KEYS[name]
    device.skip_unless(algorithm)
    reference = imported(key)
    assert token.find_key(reference.label, reference.id).spki == spki_of(key)
    message = os.urandom(700)
    for sign in (token.prove, token.sign):
        verify(spki_of(key), algorithm, sign(reference, algorithm, message), message)


def test_importing_signs_nothing(imported: Callable[[PrivateKey], KeyReference], token: Token, device: Device) -> None:
    """Proving the key is another call, which is recorded before it is made."""
    before = token.signatures
    imported(USUAL[device.key_type])
    assert token.signatures == before


def test_an_imported_key_is_sensitive_and_sign_only_and_its_record_says_that_it_came_from_outside(
    imported: Callable[[PrivateKey], KeyReference], token: Token, device: Device
) -> None:
    custody = token.custody(imported(USUAL[device.key_type]))
    said = {name: custody[name] for name in ("private", "sensitive", "extractable", "sign", "local")}
    assert said == {"private": True, "sensitive": True, "extractable": False, "sign": True, "local": False}
    assert not any(custody[name] for name in ("decrypt", "unwrap", "derive", "sign_recover"))
    if device.supported(PAST):
        assert (custody["always_sensitive"], custody["never_extractable"]) == (False, False)
    assert custody["origin"] == "unknown"
    if device.supported("refusing to wrap"):
        assert custody["negative_tests"]["read"]["result"] == "refused"
        assert custody["negative_tests"]["wrap"]["result"] == "refused"


@pytest.mark.parametrize("name", ["P-256", "RSA", "Ed25519"])
def test_no_private_number_of_an_imported_key_can_be_read_back(
    name: str, imported: Callable[[PrivateKey], KeyReference], raw_session: Session, device: Device
) -> None:
    key, algorithm = KEYS[name]
    device.skip_unless(algorithm)
    private_key = private_object(raw_session, imported(key))
    for attribute in PRIVATE_NUMBERS:
        with pytest.raises(PKCS11Error):
            private_key[attribute]


def test_the_public_half_of_an_imported_key_only_verifies(
    imported: Callable[[PrivateKey], KeyReference], raw_session: Session, device: Device
) -> None:
    device.skip_unless("public capabilities")
    key = imported(RSA_KEY)
    [public_key] = raw_session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key.id})
    assert public_key[Attribute.VERIFY]
    assert not any(public_key[attribute] for attribute in (Attribute.ENCRYPT, Attribute.WRAP, Attribute.VERIFY_RECOVER))


def test_one_key_imported_twice_is_two_keys_of_which_one_may_go(
    imported: Callable[[PrivateKey], KeyReference], token: Token, device: Device
) -> None:
    key = USUAL[device.key_type]
    one, other = imported(key), imported(key)
    for reference in (one, other):
        verify(spki_of(key), device.algorithm, token.sign(reference, device.algorithm, b"message"), b"message")
    token.destroy_key(one)
    with pytest.raises(TokenKeyNotFound):
        token.find_key(one.label, one.id)
    verify(spki_of(key), device.algorithm, token.sign(other, device.algorithm, b"message"), b"message")


def test_an_id_that_is_taken_is_refused_before_anything_is_created(
    imported: Callable[[PrivateKey], KeyReference],
    new_key: Callable[..., NewKey],
    token: Token,
    raw_session: Session,
    device: Device,
) -> None:
    taken = new_key()
    with pytest.raises(TokenKeyAmbiguous, match=r"has a key with id .* already"):
        token.import_key(load_private_jwk(render_jwk(USUAL[device.key_type])), "another label", taken.reference.id)
    assert len(objects(raw_session, taken.reference.id)) == 2
    assert token.find_key(None, taken.reference.id).spki == taken.spki


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "reply lost"])
@pytest.mark.parametrize("half", ["first", "second"])
def test_an_import_that_fails_leaves_nothing(
    half: str, lost: bool, token: Token, token_settings: TokenSettings, raw_session: Session, device: Device
) -> None:
    device.skip_unless(IMPORTING)
    key_id, calls = os.urandom(16), []

    def fail(_: str, original: Function) -> Function:
        def call(*arguments: int) -> int:
            calls.append(arguments)
            if len(calls) != ("first", "second").index(half) + 1:
                return original(*arguments)
            if lost:
                original(*arguments)
            return 0x30

        return call

    with (
        interposed(token_settings.module, fail, ["C_CreateObject"]),
        pytest.raises(TokenError, match="device reported an error"),
    ):
        token.import_key(load_private_jwk(render_jwk(USUAL[device.key_type])), "fails", key_id)
    assert objects(raw_session, key_id) == []
    assert token.state() == "ready"


def test_one_failure_does_not_keep_a_key_from_being_imported(
    imported: Callable[[PrivateKey], KeyReference], token: Token, token_settings: TokenSettings, device: Device
) -> None:
    with answering(token_settings.module, "C_CreateObject", 0x05) as calls:
        reference = imported(USUAL[device.key_type])
    assert calls["C_CreateObject"] == 3
    assert token.find_key(reference.label, reference.id)


def test_a_key_that_the_token_made_extractable_is_destroyed_and_refused(
    token: Token, token_settings: TokenSettings, raw_session: Session, device: Device
) -> None:
    device.skip_unless(IMPORTING, "extractable keys")
    key_id = os.urandom(16)
    with (
        interposed(token_settings.module, lambda _, original: extractable_made(original, 1), ["C_CreateObject"]),
        pytest.raises(IssuanceDefect, match="sign-only, sensitive and not extractable") as caught,
    ):
        token.import_key(load_private_jwk(render_jwk(USUAL[device.key_type])), "unsafe", key_id)
    assert "extractable is True, expected False" in caught.value.details
    assert not any("sensitive is" in detail and "always" in detail for detail in caught.value.details)
    assert objects(raw_session, key_id) == []


def test_a_token_that_does_not_import_says_so_and_keeps_nothing(
    token: Token, raw_session: Session, device: Device
) -> None:
    if device.supported(IMPORTING):
        pytest.skip(f"{device.name} imports private keys")
    key_id = os.urandom(16)
    with pytest.raises(UnsupportedRequest):
        token.import_key(load_private_jwk(render_jwk(USUAL[device.key_type])), "not here", key_id)
    assert objects(raw_session, key_id) == []


def test_what_an_import_is_given_does_not_show() -> None:
    jwk = render_jwk(EC_KEY)
    loaded = load_private_jwk(jwk)
    assert jwk["d"] not in repr(loaded)
    assert str(EC_KEY.private_numbers().private_value.to_bytes(32)) not in repr(loaded)


@pytest.mark.parametrize("name", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
def test_the_public_half_of_a_jwk_is_read_as_pyca_writes_it(name: str) -> None:
    key, _ = KEYS[name]
    assert load_private_jwk({**render_jwk(key), "kid": 7, "use": "sig"}).public_half.spki == spki_of(key)
