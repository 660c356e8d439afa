"""Which device the environment chooses, and how it is opened."""

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from engine.token import load_uri
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
        yield dataclasses.replace(
            device, key_type=differences.key_type, algorithm=differences.algorithm, lacks=differences.lacks
        )


def _other_device() -> Device:
    """Nothing is known of it, so each test finds out: what the engine says that it cannot do is skipped."""
    uri = os.environ["ENGINE_TEST_TOKEN_URI"]
    module = os.environ.get("ENGINE_TEST_TOKEN_MODULE") or load_uri(uri).module_path
    if module is None:
        raise DeviceError("the module of ENGINE_TEST_TOKEN_URI must be in its module-path or ENGINE_TEST_TOKEN_MODULE")
    return Device(OTHER, module, uri, os.environ.get("ENGINE_TEST_TOKEN_PIN_FILE"))
