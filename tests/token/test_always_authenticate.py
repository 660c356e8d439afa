"""Keys with CKA_ALWAYS_AUTHENTICATE: the PIN for every signature, from its source, and a wrong one only once."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Session

from engine.errors import ConfigError, TokenLoginRefused
from engine.pin import FilePin
from engine.token import KeyReference, Token
from tests.token.conftest import NewKey, verify
from tests.token.devices import Device
from tests.token.interposer import counted
from tests.token.test_custody import P256

ALGORITHM = "ecdsa-with-SHA256"


@pytest.fixture
def wanting(raw_session: Session, token: Token, device: Device) -> Iterator[tuple[KeyReference, bytes]]:
    """A key pair of a key ceremony that wants the PIN for every signature, and its SubjectPublicKeyInfo."""
    device.skip_unless("secp256r1")
    if device.name == "nss":
        pytest.skip("nss lacks CKU_CONTEXT_SPECIFIC: it keeps CKA_ALWAYS_AUTHENTICATE and takes no notice of it")
    key_id = os.urandom(16)
    parameters = raw_session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: P256}, local=True)
    try:
        _, private_key = parameters.generate_keypair(
            id=key_id,
            label="ceremony",
            store=True,
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            public_template=dict.fromkeys((Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP), DEFAULT),
            private_template={Attribute.ALWAYS_AUTHENTICATE: True},
        )
    except PKCS11Error as error:
        pytest.skip(f"{device.name} lacks CKA_ALWAYS_AUTHENTICATE: {type(error).__name__}")
    assert private_key[Attribute.ALWAYS_AUTHENTICATE] is True
    found = token.find_key("ceremony", key_id)
    reference = KeyReference("ceremony", key_id, hashlib.sha256(found.spki).hexdigest())
    yield reference, found.spki
    token.destroy_key(reference)


@pytest.fixture
def pin_file(device: Device, tmp_path: Path) -> Path:
    """A PIN file of the test's own, with the right PIN."""
    if device.pin_file is None:
        pytest.skip(f"the PIN of {device.name} is not in a file")
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_bytes(Path(device.pin_file).read_bytes())
    return path


@pytest.fixture
def other_token(device: Device, pin_file: Path) -> Iterator[Token]:
    """The token under test, opened a second time with that file."""
    opened = Token.open(device.settings(pin=FilePin(str(pin_file))))
    yield opened
    opened.close()


def test_each_signature_is_made_with_a_login_of_its_own(
    wanting: tuple[KeyReference, bytes], token: Token, device: Device
) -> None:
    reference, spki = wanting
    for _ in range(3):
        with counted(device.module) as calls:
            verify(spki, ALGORITHM, token.sign(reference, ALGORITHM, b"message"), b"message")
        assert (calls["C_SignInit"], calls["C_Login"]) == (1, 1)


def test_the_record_says_that_the_key_wants_the_pin(wanting: tuple[KeyReference, bytes], token: Token) -> None:
    assert token.custody(wanting[0])["always_authenticate"] is True


def test_another_key_is_signed_with_without_a_login(token: Token, new_key: NewKey, device: Device) -> None:
    key = new_key()
    token.sign(key.reference, key.algorithm, b"message")
    with counted(device.module) as calls:
        token.sign(key.reference, key.algorithm, b"message")
    assert calls["C_Login"] == 0


def test_threads_that_sign_at_once_are_all_served(wanting: tuple[KeyReference, bytes], token: Token) -> None:
    reference, spki = wanting
    signatures: list[bytes] = []

    def sign() -> None:
        signatures.extend(token.sign(reference, ALGORITHM, b"message") for _ in range(10))

    threads = [threading.Thread(target=sign) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signatures) == 80
    for signature in signatures:
        verify(spki, ALGORITHM, signature, b"message")


def test_a_wrong_pin_is_presented_once_and_not_again(
    wanting: tuple[KeyReference, bytes], other_token: Token, pin_file: Path, device: Device
) -> None:
    if device.supported("a PIN that locks"):
        pytest.skip(f"the PIN of {device.name} would lock")
    reference, _ = wanting
    other_token.sign(reference, ALGORITHM, b"message")
    right = pin_file.read_bytes()
    pin_file.write_bytes(b"00000000\n")
    with counted(device.module) as calls:
        with pytest.raises(TokenLoginRefused, match="the PIN is wrong"):
            other_token.sign(reference, ALGORITHM, b"message")
        pin_file.write_bytes(right)
        for _ in range(2):
            with pytest.raises(TokenLoginRefused, match="start the engine anew"):
                other_token.sign(reference, ALGORITHM, b"message")
    assert calls["C_Login"] == 1


def test_a_pin_that_cannot_be_had_is_said_so_and_nothing_is_signed(
    wanting: tuple[KeyReference, bytes], other_token: Token, pin_file: Path, device: Device
) -> None:
    pin_file.chmod(0o644)
    with counted(device.module) as calls, pytest.raises(ConfigError, match="open to its owner only"):
        other_token.sign(wanting[0], ALGORITHM, b"message")
    assert (calls["C_Login"], calls["C_Sign"]) == (0, 0)
    pin_file.chmod(0o600)
    other_token.sign(wanting[0], ALGORITHM, b"message")


def test_the_pin_is_not_kept_in_the_token(
    wanting: tuple[KeyReference, bytes], other_token: Token, pin_file: Path
) -> None:
    other_token.sign(wanting[0], ALGORITHM, b"message")
    pin = pin_file.read_text().strip()
    assert pin not in repr(vars(other_token)) + repr(vars(other_token._reauthentication))
