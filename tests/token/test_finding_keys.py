"""Exactly one key, or an error that says which attribute to name or to change."""

import os
from collections.abc import Callable, Iterator

import pytest
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Session

from engine.errors import MalformedRequest, TokenKeyAmbiguous, TokenKeyNotFound, UnsupportedRequest
from engine.token import KeyReference, Token
from tests.token.conftest import NewKey
from tests.token.devices import Device

P256 = bytes.fromhex("06082a8648ce3d030107")


@pytest.fixture
def foreign_pair(raw_session: Session, device: Device) -> Iterator[Callable[..., tuple[object, object]]]:
    """Key pairs made by other software than the engine, destroyed after the test."""
    made: set[bytes] = set()

    def generate(label: str, key_id: bytes, parameters: bytes = P256) -> tuple[object, object]:
        options = {
            "id": key_id,
            "label": label,
            "store": True,
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
            "public_template": dict.fromkeys((Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP), DEFAULT),
        }
        if device.key_type == "RSA":
            pair = raw_session.generate_keypair(KeyType.RSA, 2048, **options)
        else:
            curve = raw_session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: parameters}, local=True)
            pair = curve.generate_keypair(mechanism=Mechanism.EC_KEY_PAIR_GEN, **options)
        made.add(key_id)
        return pair

    yield generate
    for key_id in made:
        for key in list(raw_session.get_objects({Attribute.ID: key_id})):
            key.destroy()


def test_a_key_is_found_by_label_by_id_and_by_both(token: Token, new_key: Callable[..., NewKey]) -> None:
    key = new_key()
    label, key_id = key.reference.label, key.reference.id
    for found in (token.find_key(label, None), token.find_key(None, key_id), token.find_key(label, key_id)):
        assert (found.spki, found.label, found.id) == (key.spki, label, key_id)


@pytest.mark.parametrize(("label", "key_id"), [("no such label", None), (None, b"no such id"), ("neither", b"nor")])
def test_a_key_that_is_not_there_is_not_found(label: str | None, key_id: bytes | None, token: Token) -> None:
    with pytest.raises(TokenKeyNotFound, match="has no private key with"):
        token.find_key(label, key_id)


def test_two_keys_of_one_label_are_ambiguous_until_the_id_is_named(
    token: Token, foreign_pair: Callable[..., tuple[object, object]]
) -> None:
    foreign_pair("twice", b"first")
    foreign_pair("twice", b"second")
    with pytest.raises(TokenKeyAmbiguous, match="2 private keys with label 'twice'; name the id as well"):
        token.find_key("twice", None)
    assert token.find_key("twice", b"second").id == b"second"


def test_two_keys_of_one_id_are_ambiguous_until_the_label_is_named(
    token: Token, foreign_pair: Callable[..., tuple[object, object]], device: Device
) -> None:
    device.skip_unless("two keys of one id")
    foreign_pair("one", b"same id")
    foreign_pair("other", b"same id")
    with pytest.raises(TokenKeyAmbiguous, match="name the label as well"):
        token.find_key(None, b"same id")
    assert token.find_key("other", b"same id").label == "other"


def test_two_keys_of_one_label_and_id_are_ambiguous_whatever_is_named(
    token: Token, foreign_pair: Callable[..., tuple[object, object]], device: Device
) -> None:
    device.skip_unless("two keys of one id")
    foreign_pair("twin", b"twin")
    foreign_pair("twin", b"twin")
    with pytest.raises(TokenKeyAmbiguous, match="change CKA_ID of all but one"):
        token.find_key("twin", b"twin")


def test_a_private_key_without_its_public_key_is_not_found(
    token: Token, foreign_pair: Callable[..., tuple[object, object]]
) -> None:
    public_key, _ = foreign_pair("half", b"half")
    public_key.destroy()
    with pytest.raises(TokenKeyNotFound, match="has no public key with the same id"):
        token.find_key("half", b"half")


def test_a_key_on_another_curve_is_refused_naming_those_that_are_supported(
    token: Token, foreign_pair: Callable[..., tuple[object, object]], device: Device
) -> None:
    device.skip_unless("secp256k1")
    foreign_pair("k1", b"k1", bytes.fromhex("06052b8104000a"))
    with pytest.raises(UnsupportedRequest, match="P-256, P-384, P-521"):
        token.find_key("k1", b"k1")


def test_a_search_by_nothing_is_refused(token: Token) -> None:
    with pytest.raises(MalformedRequest, match="label, its id or both"):
        token.find_key(None, None)


@pytest.mark.parametrize("label", ["\ud800", "", "zero\x00inside", 7])
def test_a_label_that_no_token_could_hold_is_refused_and_the_process_lives(
    label: object, token: Token, device: Device
) -> None:
    with pytest.raises(MalformedRequest, match=r"label|LABEL"):
        token.find_key(label, None)
    with pytest.raises(MalformedRequest, match=r"label|LABEL"):
        token.generate_key(device.key_type, label, os.urandom(16))
    with pytest.raises(MalformedRequest, match=r"label|LABEL"):
        token.sign(KeyReference(label, b"id", "00" * 32), device.algorithm, b"message")


def test_a_label_may_be_any_text(token: Token, new_key: Callable[..., NewKey]) -> None:
    key = new_key(label="clé d'émission № 7 🔑" + "x" * 300)
    token.sign(key.reference, key.algorithm, b"message")
