"""Keys for one test each, a raw session beside the engine, and verification by pyca."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11.types import Session

from engine.token import KeyReference, Token, TokenSettings, load_uri, module
from engine.token.mechanisms import KEY_PAIR_KINDS
from tests.token.devices import OTHER, Device, open_device

HASHES = {"SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}


@dataclass(frozen=True)
class NewKey:
    """A key that was generated for a test."""

    spki: bytes
    custody: dict[str, object]
    reference: KeyReference
    algorithm: str
    """One that it signs with."""


@pytest.fixture
def new_key(token: Token, device: Device) -> Iterator[Callable[..., NewKey]]:
    """Generate a key of a type under a label and id of its own; destroyed after the test."""
    made: list[KeyReference] = []

    def generate(key_type: str | None = None, label: str | None = None) -> NewKey:
        key_type = key_type or device.key_type
        device.skip_unless(key_type)
        key_id = os.urandom(16)
        label = label or f"test {key_id.hex()}"
        generated = token.generate_key(key_type, label, key_id)
        reference = KeyReference(label, key_id, hashlib.sha256(generated.spki).hexdigest())
        made.append(reference)
        return NewKey(generated.spki, generated.custody, reference, KEY_PAIR_KINDS[key_type].signature_algorithm)

    yield generate
    for reference in made:
        token.destroy_key(reference)


@pytest.fixture
def raw_session(token: Token, token_settings: TokenSettings) -> Iterator[Session]:
    """A read-write session of python-pkcs11 itself, on the token under test; the login is the token's."""
    loaded = module.acquire(token_settings.module, token_settings.environment, token_settings.initialize_arguments)
    uri = load_uri(token_settings.uri)
    session = loaded.library.get_token(token_label=uri.token).open(rw=True)
    yield session
    session.close()
    module.release(loaded)


def verify(spki: bytes, algorithm: str, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature unless the raw signature verifies under pyca."""
    key = load_der_public_key(spki)
    if isinstance(key, ec.EllipticCurvePublicKey):
        width = (key.key_size + 7) // 8
        assert len(signature) == 2 * width
        r, s = int.from_bytes(signature[:width]), int.from_bytes(signature[width:])
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(HASHES[algorithm.removeprefix("ecdsa-with-")]))
    elif isinstance(key, rsa.RSAPublicKey) and algorithm == "id-RSASSA-PSS-SHA256":
        key.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        key.verify(signature, message)


PRELUDE = """
import ctypes, hashlib, os, sys, threading
from pathlib import Path
from engine.errors import *
from engine.pin import FilePin
from engine.token import *
from tests.token.conftest import verify
from tests.token.devices.device import load_device
from tests.token.interposer import answering, call, counted, interposed
device = load_device(sys.argv[1])
ALGORITHM = device.algorithm
def new_key(token, label="key"):
    key_id = os.urandom(16)
    spki = token.generate_key(device.key_type, label, key_id).spki
    return KeyReference(label, key_id, hashlib.sha256(spki).hexdigest()), spki
def error_of(call, *arguments):
    try:
        return call(*arguments)
    except EngineError as error:
        return f"{type(error).__name__}: {error}"
"""


@dataclass(frozen=True)
class OtherProcess:
    """Python in a process of its own, on the token under test; a crash is a failure of the test."""

    device: Device

    def run(self, code: str, *arguments: str) -> str:
        """What `code` printed, after the prelude above. Its `sys.argv[2:]` are the arguments."""
        done = subprocess.run(
            [
                sys.executable,
                "-X",
                "faulthandler",
                "-c",
                PRELUDE + textwrap.dedent(code),
                self.device.render(),
                *arguments,
            ],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def spare_uris(device: Device) -> list[str]:
    """What is left of the spare tokens."""
    return list(device.spare_uris)


@pytest.fixture
def lockable(device: Device, spare_uris: list[str], tmp_path: Path) -> Iterator[OtherProcess]:
    """Somewhere to give wrong PINs: another process with a token that no other test has."""
    if spare_uris:
        yield OtherProcess(dataclasses.replace(device, uri=spare_uris.pop()))
        return
    if device.name == OTHER:
        pytest.skip("the PIN of a token that is not made for the tests is not put at risk")
    assert not device.spare_uris, f"{device.name} needs more spare tokens"
    with open_device(device.name, tmp_path) as own:
        yield OtherProcess(own)


@pytest.fixture
def other_process(device: Device) -> OtherProcess:
    """Somewhere to log out, lock, fork and crash."""
    return OtherProcess(device)
