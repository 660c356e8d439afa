"""The token that tests share: SoftHSM in a temporary folder, or the device that the environment chooses.

One process has one environment, so whatever runs in this process shares this token; a test that needs another one
starts another process. tests/token/devices says which devices there are and how any other HSM is named.
"""

from collections.abc import Iterator

import pytest

from engine.token import Token, TokenSettings
from tests.token.devices import Device, chosen_device, open_device


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """The device under test, its token made but not opened."""
    with open_device(chosen_device(), tmp_path_factory.mktemp("device")) as opened:
        yield opened


@pytest.fixture(scope="session")
def token_settings(device: Device) -> TokenSettings:
    """Settings of the token under test."""
    return device.settings()


@pytest.fixture(scope="module")
def token(token_settings: TokenSettings) -> Iterator[Token]:
    """The token under test, open. For one file, since some modules keep what they used until they are finalised."""
    opened = Token.open(token_settings)
    yield opened
    opened.close()
