"""Killed again and again while it starts, signs and stops: the data folder is always completed by the next start."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.trial.quickstart import AUDIT_KEY, AUDIT_KMS_PATH, KMS_PATH, find_module
from tests.database import database_options
from tests.page.live import DEADLINE, ENGINE

KILLS = 5
KEYS = (
    *(f"{KMS_PATH}.{name}" for name in ("ca-secp256r1", "iaca-secp256r1", "leaf-secp256r1")),
    f"{AUDIT_KMS_PATH}.{AUDIT_KEY}",
)
LIST_OBJECTS = """
import json, os, sys
import pkcs11
from pkcs11 import Attribute
folder = sys.argv[1]
os.environ["SOFTHSM2_CONF"] = folder + "/softhsm2.conf"
token = pkcs11.lib(sys.argv[2]).get_token(token_label="engine-trial")
with token.open(user_pin=open(folder + "/pin").read().strip()) as session:
    print(json.dumps([[found.object_class.name, found[Attribute.LABEL]] for found in session.get_objects()]))
"""


def objects_on_token(folder: Path) -> list[list[str]]:
    """Class and label of every object, read by a process of its own."""
    command = [sys.executable, "-c", LIST_OBJECTS, folder / "softhsm", find_module()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    return json.loads(done.stdout)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_trial_killed_at_any_moment_is_completed_by_the_next_start(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    trial = [*ENGINE, "trial", "--data", tmp_path, "--port", "0", *database_options(tmp_path)]
    for _ in range(KILLS):
        process = subprocess.Popen(trial, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(moments.uniform(0.2, 2.0))  # the moment is what the test varies, nothing is waited for
        if moments.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # its worker has to notice
        process.wait(timeout=DEADLINE)
    done = subprocess.run([*trial, "--once"], capture_output=True, text=True, check=False, timeout=2 * DEADLINE)
    assert done.returncode == 0, done.stderr
    found = objects_on_token(tmp_path)
    # Of a public key whose making was cut off SoftHSM keeps a shard without a label; of a private key, never anything.
    labelled = sorted(one for one in found if one != ["PUBLIC_KEY", ""])
    assert labelled == sorted([kind, key] for kind in ("PRIVATE_KEY", "PUBLIC_KEY") for key in KEYS)
