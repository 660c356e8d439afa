"""What tests share: a token and, where it is wanted, a PostgreSQL server.

The token is SoftHSM in a temporary folder, or the device that the environment chooses. One process has one environment,
so whatever runs in this process shares this token; a test that needs another one starts another process.
tests/token/devices says which devices there are and how any other HSM is named, tests/database.py how the database is
chosen.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.token import Token, TokenSettings
from tests.database import CHOSEN, POSTGRESQL, databases_dropped, databases_on
from tests.postgresql import PostgreSQLMissing, PostgreSQLServer, postgresql_server
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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server for all tests: each takes its own database from it. ENGINE_REQUIRE_POSTGRESQL=1 makes it a
    failure that there is none."""
    with tempfile.TemporaryDirectory(prefix="engine-postgresql-") as folder:  # pytest's own are closed to other users
        try:
            with postgresql_server(Path(folder), fsync=False) as server:
                yield server
        except PostgreSQLMissing as error:
            if CHOSEN == POSTGRESQL or os.environ.get("ENGINE_REQUIRE_POSTGRESQL") == "1":
                pytest.fail(f"PostgreSQL is required here: {error}")
            pytest.skip(f"PostgreSQL: {error}")


@pytest.fixture(scope="session", autouse=True)
def chosen_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """The server that a run on PostgreSQL opens its engines on."""
    if CHOSEN != POSTGRESQL:
        yield
        return
    with databases_on(request.getfixturevalue("postgresql")):
        yield


@pytest.fixture(scope="module", autouse=True)
def databases_of_the_file() -> Iterator[None]:
    with databases_dropped():
        yield


@pytest.fixture(autouse=True)
def databases_of_the_test() -> Iterator[None]:
    with databases_dropped():
        yield
