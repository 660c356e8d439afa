"""Destroying keys, what is left of keys, and not finding what must not be known of."""

import hashlib
import os
from collections.abc import Callable, Iterator

import pytest
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.types import Session

from engine.errors import TokenError, TokenKeyAmbiguous, TokenKeyNotFound
from engine.token import KeyReference, Token, TokenSettings
from tests.token.conftest import NewKey, OtherProcess
from tests.token.devices import Device
from tests.token.interposer import answering


@pytest.fixture
def doomed(token: Token, device: Device) -> Iterator[Callable[..., KeyReference]]:
    """Generate a key that the test is to destroy."""
    made: list[KeyReference] = []

    def generate(label: str | None = None) -> KeyReference:
        key_id = os.urandom(16)
        label = label or f"doomed {key_id.hex()}"
        spki = token.generate_key(device.key_type, label, key_id).spki
        made.append(KeyReference(label, key_id, hashlib.sha256(spki).hexdigest()))
        return made[-1]

    yield generate
    for key in made:
        token.destroy_leftovers(key.label, key.id)


def halves(session: Session, key: KeyReference) -> int:
    return len(list(session.get_objects({Attribute.ID: key.id})))


def test_both_halves_of_a_destroyed_key_are_gone(
    doomed: Callable[..., KeyReference], token: Token, raw_session: Session
) -> None:
    key = doomed()
    token.destroy_key(key)
    assert halves(raw_session, key) == 0
    with pytest.raises(TokenKeyNotFound):
        token.destroy_key(key)


@pytest.mark.parametrize("which", [(), (0,), (1,), (0, 1)], ids=["a pair", "half a pair", "the other half", "nothing"])
def test_what_is_left_of_a_key_is_destroyed_and_nothing_else(
    which: tuple[int, ...],
    doomed: Callable[..., KeyReference],
    new_key: Callable[..., NewKey],
    token: Token,
    raw_session: Session,
) -> None:
    key = doomed()
    same_label = new_key(label=key.label)
    classes = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    for index in which:
        [half] = raw_session.get_objects({Attribute.CLASS: classes[index], Attribute.ID: key.id})
        half.destroy()
    expected = {same_label.reference.id} | (set() if len(which) == 2 else {key.id})
    assert token.find_ids(key.label) == expected
    assert token.destroy_leftovers(key.label, key.id) == 2 - len(which)
    assert token.find_ids(key.label) == {same_label.reference.id}
    token.sign(same_label.reference, same_label.algorithm, b"message")


def test_a_token_that_fails_to_clear_up_says_so(
    doomed: Callable[..., KeyReference], token: Token, token_settings: TokenSettings, raw_session: Session
) -> None:
    key = doomed()
    with answering(token_settings.module, "C_DestroyObject", 0x30), pytest.raises(TokenError):
        token.destroy_leftovers(key.label, key.id)
    assert token.destroy_leftovers(key.label, key.id) == 2
    assert halves(raw_session, key) == 0


@pytest.mark.parametrize("how", ["destroy_key", "destroy_leftovers"])
def test_destroying_a_key_that_has_signed_does_not_make_the_token_look_lost(
    how: str, doomed: Callable[..., KeyReference], token: Token, device: Device
) -> None:
    key, connected = doomed(), token.connected()
    token.sign(key, device.algorithm, b"message")
    if how == "destroy_key":
        token.destroy_key(key)
    else:
        token.destroy_leftovers(key.label, key.id)
    with pytest.raises(TokenKeyNotFound):
        token.sign(key, device.algorithm, b"message")
    with pytest.raises(TokenKeyNotFound):
        token.find_key("not there at all", None)
    assert token.connected() is connected
    assert token.state() == "ready"


def test_destroying_keys_while_they_sign_disturbs_nobody_else(other_process: OtherProcess, device: Device) -> None:
    device.skip_unless("ending an operation with its session")  # else a key in use cannot be destroyed
    printed = other_process.run(
        """
        token = Token.open(device.settings())
        kept, _ = new_key(token, "kept")
        failed = []
        def sign_with(key):
            while not done.is_set():
                failed.append(error_of(token.sign, kept, ALGORITHM, b"message"))
                error_of(token.sign, key, ALGORITHM, b"message")
        for round in range(10):
            done = threading.Event()
            key, _ = new_key(token, f"round {round}")
            threads = [threading.Thread(target=sign_with, args=[key]) for _ in range(4)]
            for thread in threads:
                thread.start()
            connected = token.connected()
            while len(failed) < 20 * (round + 1):
                done.wait(0.001)
            token.destroy_key(key)
            done.set()
            for thread in threads:
                thread.join()
            assert token.connected() is connected
        token.destroy_key(kept)
        token.close()
        print([error for error in failed if isinstance(error, str)])
        """
    )
    assert printed == "[]\n"


def test_a_key_that_is_hidden_is_as_if_it_were_not_there(new_key: Callable[..., NewKey], token: Token) -> None:
    hidden = new_key()
    label, key_id = hidden.reference.label, hidden.reference.id

    def is_hidden(one: str, other: bytes) -> bool:
        return (one, other) == (label, key_id)

    sentences = {}
    for names in ((label, None), (None, key_id), (label, key_id), (label, b"absent"), ("absent", key_id)):
        with pytest.raises(TokenKeyNotFound) as caught:
            token.find_key(*names, is_hidden)
        sentences[names] = caught.value.message
        assert token.find_key(label, key_id).spki == hidden.spki
    assert not any("but" in sentence for sentence in sentences.values())
    visible = new_key(label=label)
    assert token.find_key(label, None, is_hidden).spki == visible.spki
    with pytest.raises(TokenKeyAmbiguous, match="2 private keys"):
        token.find_key(label, None)
