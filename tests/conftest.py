"""The token that tests share: SoftHSM in a temporary folder, or the device that ENGINE_TEST_TOKEN_URI names.

One process has one SOFTHSM2_CONF, so whatever runs in this process shares this folder; a test that needs another one
starts another process. A device's URI names everything, for instance
`pkcs11:token=trial?module-path=/usr/lib/vendor.so&pin-source=/run/pin`.
"""

import os
from collections.abc import Iterator

import pytest

from engine.token import Token, TokenSettings, load_uri
from tests.softhsm import SoftHsm, make_softhsm


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    """A SoftHSM token, made but not opened."""
    return make_softhsm(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(scope="session")
def token_settings(request: pytest.FixtureRequest) -> TokenSettings:
    """Settings of the token under test."""
    device = os.environ.get("ENGINE_TEST_TOKEN_URI")
    if device is None:
        softhsm: SoftHsm = request.getfixturevalue("softhsm")
        return softhsm.settings()
    module = load_uri(device).module_path
    assert module is not None, "ENGINE_TEST_TOKEN_URI must have a module-path"
    return TokenSettings(name="device", module=module, uri=device, pin=None)


@pytest.fixture(scope="session")
def token(token_settings: TokenSettings) -> Iterator[Token]:
    """The token under test, open."""
    opened = Token.open(token_settings)
    yield opened
    opened.close()
