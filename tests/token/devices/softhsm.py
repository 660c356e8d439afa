"""SoftHSM, by the recipe that the quick start uses."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.softhsm import SoftHsm, make_softhsm
from tests.token.devices.device import LABEL, SPARE_LABEL, Device


@contextlib.contextmanager
def provide(folder: Path) -> Iterator[Device]:
    """Two tokens in one folder, so both have the PIN that the first was given."""
    made = make_softhsm(folder, LABEL)
    spare = make_softhsm(folder, SPARE_LABEL)
    yield load_softhsm(made, spare.uri)


def load_softhsm(made: SoftHsm, spare_uri: str | None = None) -> Device:
    """What the recipe made, as a device."""
    return Device("softhsm", made.module, made.uri, str(made.pin_file), made.environment, spare_uri=spare_uri)
