"""A SoftHSM token in a folder of its own, made by the recipe that the quick start and the Dockerfile use too."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from engine.pin import FilePin
from engine.token import TokenSettings

RECIPE = Path(__file__).resolve().parent.parent / "softhsm" / "create-token"


@dataclass(frozen=True)
class SoftHsm:
    """What the recipe made and said. `environment` must be set before the module is loaded."""

    folder: Path
    module: str
    uri: str
    pin_file: Path
    environment: Mapping[str, str]

    def settings(self, **changes: object) -> TokenSettings:
        """Settings that open the token, with some of them changed."""
        values: dict[str, object] = {
            "name": "test",
            "module": self.module,
            "uri": self.uri,
            "pin": FilePin(str(self.pin_file)),
            "environment": self.environment,
        }
        return TokenSettings(**{**values, **changes})


def make_softhsm(folder: Path, label: str = "engine-tests") -> SoftHsm:
    """Run the recipe; skip the test where SoftHSM is not installed."""
    done = subprocess.run([RECIPE, folder, label], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        no_token(done.stderr.strip())
    said = json.loads(done.stdout)
    return SoftHsm(folder, said["module"], said["uri"], Path(said["pin-file"]), said["environment"])


def no_token(reason: str) -> NoReturn:
    """Skip, or fail where ENGINE_REQUIRE_TOKEN=1 says that a token test must not be skipped."""
    if os.environ.get("ENGINE_REQUIRE_TOKEN") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
