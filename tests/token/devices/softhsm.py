"""SoftHSM, by the recipe that the quick start uses."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.softhsm import SoftHsm, make_softhsm
from tests.token.devices.device import LABEL, Device


@contextlib.contextmanager
def provide(folder: Path) -> Iterator[Device]:
    """One token in a folder."""
    yield load_softhsm(make_softhsm(folder, LABEL))


def load_softhsm(made: SoftHsm) -> Device:
    """What the recipe made, as a device."""
    return Device("softhsm", made.module, made.uri, str(made.pin_file), made.environment)
