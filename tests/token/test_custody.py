"""The custody record: attributes read back, and what a token does when somebody tries to take a key out of it."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag, ObjectClass
from pkcs11.exceptions import AttributeSensitive
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Session

from engine.directory.custody import find_shortfalls
from engine.errors import TokenError, TokenKeyAmbiguous, TokenKeyNotFound
from engine.token import KeyReference, Token, TokenSettings
from tests.token.conftest import NewKey
from tests.token.devices import Device
from tests.token.interposer import answering, counted

P256 = bytes.fromhex("06082a8648ce3d030107")
KEY_TYPES = ("secp256r1", "RSA", "Ed25519")


@pytest.fixture
def make_pair(raw_session: Session, token: Token, device: Device) -> Iterator[Callable[..., KeyReference]]:
    """Make a P-256 key pair with other software, as in a key ceremony, with a private template of one's own."""
    device.skip_unless("secp256r1")
    made: list[KeyReference] = []

    def make(**private: bool) -> KeyReference:
        key_id = os.urandom(16)
        parameters = raw_session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: P256}, local=True)
        parameters.generate_keypair(
            id=key_id,
            label="ceremony",
            store=True,
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            public_template=dict.fromkeys((Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP), DEFAULT),
            private_template={Attribute[name.upper()]: value for name, value in private.items()},
        )
        found = token.find_key("ceremony", key_id)
        made.append(KeyReference("ceremony", key_id, hashlib.sha256(found.spki).hexdigest()))
        return made[-1]

    yield make
    for reference in made:
        token.destroy_key(reference)


def objects(session: Session) -> int:
    """How many keys there are, session objects of every session included."""
    classes = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    return sum(len(list(session.get_objects({Attribute.CLASS: one}))) for one in classes)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_reading_the_private_number_of_a_generated_key_is_refused(
    key_type: str, token: Token, new_key: Callable[..., NewKey]
) -> None:
    read = token.custody(new_key(key_type).reference)["negative_tests"]["read"]
    assert read["attribute"] == ("CKA_PRIVATE_EXPONENT" if key_type == "RSA" else "CKA_VALUE")
    assert read["result"] == "refused"
    assert read["answer"] in ("CKR_ATTRIBUTE_SENSITIVE", "CKR_ATTRIBUTE_TYPE_INVALID")


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_wrapping_a_generated_key_is_refused(
    key_type: str, token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    device.skip_unless("AES keys", "refusing to wrap")
    wrap = token.custody(new_key(key_type).reference)["negative_tests"]["wrap"]
    assert wrap["mechanism"] in ("CKM_AES_KEY_WRAP_PAD", "CKM_AES_CBC_PAD", "CKM_RSA_PKCS")
    assert (wrap["result"], wrap["answer"]) == ("refused", "CKR_KEY_UNEXTRACTABLE")


def test_a_token_that_has_nothing_to_wrap_with_is_said_not_to_be_tested(
    token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    if not device.supported("AES keys"):
        wrap = token.custody(new_key().reference)["negative_tests"]["wrap"]
    else:
        reference = new_key().reference
        with answering(device.module, "C_GenerateKey", 0x54) as calls, _no_rsa_wrapping(token):
            wrap = token.custody(reference)["negative_tests"]["wrap"]
        assert calls["C_GenerateKey"] <= 1
    assert wrap["result"] == "not tested"
    assert "CKM_AES_KEY_WRAP" in wrap["reason"]


@contextlib.contextmanager
def _no_rsa_wrapping(token: Token) -> Iterator[None]:
    """The token without CKM_RSA_PKCS, for the time being."""
    recovery = token._recovery
    whole = recovery._connection
    recovery._connection = replace(whole, usable=whole.usable - {Mechanism.RSA_PKCS})
    yield
    recovery._connection = whole


def test_a_token_that_wraps_or_copies_a_key_in_spite_of_its_attributes_falls_short(
    token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    if device.supported("refusing to wrap") or device.supported("refusing extractable copies"):
        pytest.skip(f"{device.name} refuses")
    custody = token.custody(new_key().reference)
    assert custody["extractable"] is False
    assert custody["negative_tests"]["wrap"]["result"] == "wrapped"
    assert custody["negative_tests"]["copy"]["result"] == "copied"
    assert [fault.split(" the ")[0] for fault in find_shortfalls(custody, "generated")] == [
        "trying to wrap",
        "trying to copy",
    ]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_generated_key_is_sufficient(
    key_type: str, token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    device.skip_unless("refusing to wrap", "refusing extractable copies")
    key = new_key(key_type)
    assert find_shortfalls(token.custody(key.reference), "generated") == ()


def test_a_key_that_can_be_read_and_wrapped_is_said_so_and_its_value_is_not_in_the_record(
    token: Token, make_pair: Callable[..., KeyReference], raw_session: Session, device: Device
) -> None:
    device.skip_unless("extractable keys", "AES keys")
    reference = make_pair(extractable=True, sensitive=False)
    [private_key] = raw_session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: reference.id})
    try:
        value = private_key[Attribute.VALUE]
    except AttributeSensitive:
        pytest.skip(f"{device.name} lacks private keys that can be read")
    custody = token.custody(reference)
    assert (custody["sensitive"], custody["extractable"], custody["never_extractable"]) == (False, True, False)
    assert custody["negative_tests"]["read"] == {"attribute": "CKA_VALUE", "result": "readable", "answer": "CKR_OK"}
    assert custody["negative_tests"]["copy"]["result"] == "copied"
    shown = repr(custody)
    assert value.hex() not in shown
    assert repr(value)[2:-1] not in shown
    shortfalls = find_shortfalls(custody, "adopted")
    assert {"sensitive is False, expected True", "extractable is True, expected False"} <= set(shortfalls)
    assert any("read the private key was not refused: readable CKA_VALUE" in one for one in shortfalls)


def test_softhsm_wraps_a_key_that_is_extractable_so_that_its_refusals_mean_something(
    token: Token, make_pair: Callable[..., KeyReference], device: Device
) -> None:
    if device.name != "softhsm":
        pytest.skip("the others are not known that well")
    wrap = token.custody(make_pair(extractable=True, sensitive=True))["negative_tests"]["wrap"]
    assert wrap == {"mechanism": "CKM_AES_KEY_WRAP_PAD", "result": "wrapped", "answer": "CKR_OK"}


def test_an_examination_leaves_nothing_on_the_token(
    token: Token, new_key: Callable[..., NewKey], raw_session: Session, device: Device
) -> None:
    reference = new_key().reference
    before = objects(raw_session)
    with counted(device.module) as calls:
        token.custody(reference)
    assert objects(raw_session) == before
    assert calls["C_Sign"] == 0
    assert calls["C_OpenSession"] == calls["C_CloseSession"]


def test_a_record_says_when_it_was_made(token: Token, new_key: Callable[..., NewKey]) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    checked_at = datetime.fromisoformat(token.custody(new_key().reference)["checked_at"])
    assert before <= checked_at <= before + timedelta(seconds=30)


def test_an_answer_that_is_not_about_the_key_is_no_refusal(
    token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    device.skip_unless("AES keys", "refusing to wrap")
    reference = new_key().reference
    with answering(device.module, "C_WrapKey", 0x68, 0x68, 0x68, 0x68, 0x68, 0x68):
        custody = token.custody(reference)
    wrap = custody["negative_tests"]["wrap"]
    assert (wrap["result"], wrap["answer"]) == ("inconclusive", "CKR_KEY_FUNCTION_NOT_PERMITTED")
    assert any(
        "wrap the private key was not refused: inconclusive" in one for one in find_shortfalls(custody, "generated")
    )


def test_a_device_that_fails_meanwhile_is_an_error_and_not_a_refusal(
    token: Token, new_key: Callable[..., NewKey], device: Device
) -> None:
    device.skip_unless("AES keys")
    key = new_key()
    with answering(device.module, "C_WrapKey", 0x30), pytest.raises(TokenError, match="device reported an error"):
        token.custody(key.reference)
    token.sign(key.reference, key.algorithm, b"message")


def test_only_the_pinned_key_is_examined(token: Token, new_key: Callable[..., NewKey]) -> None:
    key = new_key().reference
    with pytest.raises(TokenKeyAmbiguous, match="expected the pinned"):
        token.custody(replace(key, spki_sha256="00" * 32))
    with pytest.raises(TokenKeyNotFound):
        token.custody(replace(key, id=os.urandom(16)))


def test_the_mark_of_a_connection_stays_until_another_is_made(
    token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey]
) -> None:
    mark = token.connected()
    token.custody(new_key().reference)
    assert token.connected() is mark
    other = Token.open(token_settings)
    assert other.connected() is not mark
    other.close()
