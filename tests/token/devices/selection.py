"""Which device the environment chooses, and how it is opened."""

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import UnsupportedRequest
from engine.token import Token, load_uri
from engine.token.mechanisms import (
    KEY_PAIR_KINDS,
    SIGNATURE_MECHANISMS,
    find_key_pair_kind,
    find_signature_mechanism,
)
from tests.token.devices.device import Device, DeviceError
from tests.token.devices.differences import DIFFERENCES

OTHER = "other"
"""What a token is called that ENGINE_TEST_TOKEN_URI names."""


def chosen_device() -> str:
    """`ENGINE_TEST_DEVICE`, or OTHER if there is an ENGINE_TEST_TOKEN_URI. Raises DeviceError if both are given."""
    name = os.environ.get("ENGINE_TEST_DEVICE")
    if "ENGINE_TEST_TOKEN_URI" in os.environ:
        if name is not None:
            raise DeviceError("either ENGINE_TEST_DEVICE or ENGINE_TEST_TOKEN_URI chooses the token, not both")
        return OTHER
    if name is None:
        return "softhsm"
    if name not in DIFFERENCES:
        raise DeviceError(f"ENGINE_TEST_DEVICE must be one of {', '.join(DIFFERENCES)}, found {name!r}")
    return name


@contextlib.contextmanager
def open_device(name: str, folder: Path) -> Iterator[Device]:
    """The device of this name, with its state in `folder`. Raises DeviceError if this machine does not have it."""
    if name == OTHER:
        yield _other_device()
        return
    differences = DIFFERENCES[name]
    with importlib.import_module(f"tests.token.devices.{name.replace('-', '_')}").provide(folder) as device:
        usual = KEY_PAIR_KINDS[differences.key_type]
        yield dataclasses.replace(
            device,
            key_type=usual.name,
            algorithm=usual.signature_algorithm,
            rate=differences.rate,
            lacks=differences.lacks,
        )


def _other_device() -> Device:
    """Nothing is known of it: what its mechanisms tell is found out, and ENGINE_TEST_TOKEN_LACKS may say the rest."""
    uri = os.environ["ENGINE_TEST_TOKEN_URI"]
    module = os.environ.get("ENGINE_TEST_TOKEN_MODULE") or load_uri(uri).module_path
    if module is None:
        raise DeviceError("the module of ENGINE_TEST_TOKEN_URI must be in its module-path or ENGINE_TEST_TOKEN_MODULE")
    device = Device(OTHER, module, uri, os.environ.get("ENGINE_TEST_TOKEN_PIN_FILE"))
    said = filter(None, os.environ.get("ENGINE_TEST_TOKEN_LACKS", "").split(","))
    lacks = {feature.strip(): "so says ENGINE_TEST_TOKEN_LACKS" for feature in said}
    with contextlib.closing(Token.open(device.settings())) as token:
        usable = token._connection.usable
    for find, features in ((find_key_pair_kind, KEY_PAIR_KINDS), (find_signature_mechanism, SIGNATURE_MECHANISMS)):
        for feature in features:
            try:
                find(feature, usable)
            except UnsupportedRequest as error:
                lacks[feature] = error.message
    usual = next(kind for name, kind in KEY_PAIR_KINDS.items() if name not in lacks)
    return dataclasses.replace(device, key_type=usual.name, algorithm=usual.signature_algorithm, lacks=lacks)
