"""What differences.toml says that a device lacks is tried here and must fail; what it has is tested everywhere else.

So a row that a newer version has made untrue is noticed, and the table in the README can be believed.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Object, Session

from engine.errors import ConfigError, TokenKeyNotFound, UnsupportedRequest
from engine.token import KeyReference, Token, load_private_jwk
from engine.token.mechanisms import KEY_PAIR_KINDS, SIGNATURE_MECHANISMS
from tests.token.conftest import NewKey, OtherProcess
from tests.token.devices import Device, chosen_device
from tests.token.devices.differences import DIFFERENCES, PROJECT_README, README, render_matrix, render_summary
from tests.token.test_jwk_signing import render_jwk
from tests.token.test_pin_lock import BY_HAND

P256, SECP256K1 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06052b8104000a")
LACKS = DIFFERENCES[chosen_device()].lacks if chosen_device() in DIFFERENCES else {}


@dataclass(frozen=True)
class Bench:
    """What a trial works with."""

    token: Token
    device: Device
    session: Session
    new_key: Callable[..., NewKey]
    find_lockable: Callable[[], OtherProcess]
    wrong: Path

    def private_key(self) -> Object:
        key_id = self.new_key().reference.id
        [found] = self.session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: key_id})
        return found

    def make_pair(self, key_id: bytes, curve: bytes = P256, **templates: dict[Attribute, object]) -> None:
        lean = dict.fromkeys((Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP), DEFAULT)
        parameters = self.session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True)
        parameters.generate_keypair(
            id=key_id,
            label="trial",
            store=True,
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            **{"public_template": lean, **templates},
        )

    def run(self, code: str) -> str:
        """In another process, on a token whose PIN may be locked."""
        return self.find_lockable().run(BY_HAND + code, str(self.wrong))


class Lacking(Exception):
    """The feature is not there, as the text says."""


REFUSALS = (Lacking, UnsupportedRequest, PKCS11Error)
"""What a trial raises for want of the feature."""


@contextlib.contextmanager
def refused(otherwise: str) -> Iterator[None]:
    """The token refuses what the block does, or this is Lacking."""
    try:
        yield
    except PKCS11Error:
        return
    raise Lacking(otherwise)


def generate(key_type: str) -> Callable[[Bench], object]:
    return lambda bench: bench.token.generate_key(key_type, "trial", os.urandom(8))


def sign(algorithm: str) -> Callable[[Bench], object]:
    """Without a key: an algorithm that there is no mechanism for is refused before the key is looked for."""

    def trial(bench: Bench) -> None:
        with pytest.raises(TokenKeyNotFound):
            bench.token.sign(KeyReference("absent", b"absent", "00" * 32), algorithm, b"message")

    return trial


def import_a_private_key(bench: Bench) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bench.token.sign_with_jwk(render_jwk(key), "ecdsa-with-SHA256", b"message")


def tell_the_past_of_an_imported_key(bench: Bench) -> None:
    key = rsa.generate_private_key(65537, 2048)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bench.token.import_key(load_private_jwk(render_jwk(key)), "trial", b"imported")
    custody = bench.token.custody(KeyReference("trial", b"imported", hashlib.sha256(spki).hexdigest()))
    if custody["always_sensitive"] or custody["never_extractable"]:
        raise Lacking("it is said never to have been outside")


def keep_two_keys_of_one_id(bench: Bench) -> None:
    for _ in range(2):
        bench.make_pair(b"one id")
    private_keys = list(bench.session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: b"one id"}))
    if len(private_keys) < 2:
        raise Lacking("one private key was left of two")


def say_that_a_generated_key_is_local(bench: Bench) -> None:
    if bench.new_key().custody["local"] is not True:
        raise Lacking("CKA_LOCAL is not true")


def refuse_to_wrap(bench: Bench) -> None:
    template = {Attribute.WRAP: True}
    wrapping_key = bench.session.generate_key(KeyType.AES, 256, mechanism=Mechanism.AES_KEY_GEN, template=template)
    private_key = bench.private_key()
    with refused("the private key was wrapped"):
        wrapping_key.wrap_key(private_key, mechanism=Mechanism.AES_KEY_WRAP_PAD)


def refuse_an_extractable_copy(bench: Bench) -> None:
    private_key = bench.private_key()
    with refused("the copy was made"):
        private_key.copy({Attribute.EXTRACTABLE: True, Attribute.TOKEN: False})


def refuse_to_change_extractable(bench: Bench) -> None:
    private_key = bench.private_key()
    with refused("CKA_EXTRACTABLE was changed"):
        private_key[Attribute.EXTRACTABLE] = True


def make_an_aes_key(bench: Bench) -> None:
    bench.session.generate_key(KeyType.AES, 256, mechanism=Mechanism.AES_KEY_GEN)


def have_a_serial_number(bench: Bench) -> None:
    serial = bench.token._connection.token.serial.decode()
    with pytest.raises(ConfigError, match=f"with serial '{serial}'; name its label") as caught:
        Token.open(bench.device.settings(uri=f"pkcs11:serial={serial}")).close()
    raise Lacking(caught.value.message)


def end_an_operation_with_its_session(bench: Bench) -> None:
    printed = bench.run(
        """
token = Token.open(device.settings())
key, _ = new_key(token)
with answering(device.module, "C_Sign", 0x30, 0x30):
    error_of(token.sign, key, ALGORITHM, b"message")
print(error_of(token.destroy_key, key))
"""
    )
    if printed != "None\n":
        raise Lacking(printed)


def lock_the_pin(bench: Bench) -> None:
    codes = bench.run("print([log_in_by_hand(bytes(len(right))) for _ in range(12)], log_in_by_hand(right))")
    if codes.endswith("] 0\n"):
        raise Lacking("twelve wrong PINs did no harm")


def warn_before_the_pin_locks(bench: Bench) -> None:
    printed = bench.run(
        """
answers = [error_of(Token.open, device.settings(pin=FilePin(str(wrong)))) for _ in range(12)]
print(answers[-1])
"""
    )
    if "CKR_PIN_LOCKED" in printed:
        raise Lacking(printed)


def initialise_once(bench: Bench) -> None:
    """The standard binding first, then the engine: to be refused, for the first told the module of one thread only."""
    printed = bench.run(
        """
import pkcs11
os.environ.update(device.environment)
try:
    pkcs11.lib(device.module)
    print(error_of(Token.open, device.settings()))
except pkcs11.PKCS11Error as error:
    print(repr(error))
"""
    )
    if "CKR_CRYPTOKI_ALREADY_INITIALIZED" not in printed:
        raise Lacking(printed)


TRIALS: dict[str, Callable[[Bench], object]] = {
    **{key_type: generate(key_type) for key_type in KEY_PAIR_KINDS},
    **{algorithm: sign(algorithm) for algorithm in SIGNATURE_MECHANISMS},
    "secp256k1": lambda bench: bench.make_pair(b"k1", SECP256K1),
    "importing private keys": import_a_private_key,
    "telling the past of imported keys": tell_the_past_of_an_imported_key,
    "two keys of one id": keep_two_keys_of_one_id,
    "CKA_LOCAL": say_that_a_generated_key_is_local,
    "public capabilities": lambda bench: bench.make_pair(b"public", public_template={Attribute.VERIFY: True}),
    "extractable keys": lambda bench: bench.make_pair(b"private", private_template={Attribute.EXTRACTABLE: True}),
    "AES keys": make_an_aes_key,
    "refusing to wrap": refuse_to_wrap,
    "refusing extractable copies": refuse_an_extractable_copy,
    "refusing to change CKA_EXTRACTABLE": refuse_to_change_extractable,
    "a serial number of its own": have_a_serial_number,
    "ending an operation with its session": end_an_operation_with_its_session,
    "a PIN that locks": lock_the_pin,
    "a warning before its PIN locks": warn_before_the_pin_locks,
    "one initialisation for all of the process": initialise_once,
}


@pytest.fixture
def bench(
    token: Token,
    device: Device,
    raw_session: Session,
    new_key: Callable[..., NewKey],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Bench]:
    yield Bench(token, device, raw_session, new_key, lambda: request.getfixturevalue("lockable"), tmp_path / "wrong")
    for key in list(raw_session.get_objects({Attribute.LABEL: "trial"})):
        key.destroy()


@pytest.mark.parametrize("feature", LACKS)
def test_what_the_device_is_said_to_lack_it_lacks_for_the_reason_given(feature: str, bench: Bench) -> None:
    with pytest.raises(REFUSALS) as caught:
        TRIALS[feature](bench)
    wanted = re.findall(r"CKM_\w+", str(caught.value))
    assert not wanted or any(mechanism in LACKS[feature] for mechanism in wanted)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_difference_is_one_that_can_be_tried(name: str) -> None:
    assert DIFFERENCES[name].lacks.keys() <= TRIALS.keys()
    assert DIFFERENCES[name].key_type not in DIFFERENCES[name].lacks


def test_both_readmes_show_the_table() -> None:
    assert render_matrix() in README.read_text(encoding="utf-8"), "run: python -m tests.token.devices"
    assert render_summary() in PROJECT_README.read_text(encoding="utf-8"), "run: python -m tests.token.devices"
