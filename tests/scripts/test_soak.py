"""Killed again and again while it starts, signs and stops: the data folder is always completed by the next start."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.page.live import DEADLINE, ENGINE
from tests.scripts.test_run import kept

KILLS = 5


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_trial_killed_at_any_moment_is_completed_by_the_next_start(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    trial = [*ENGINE, "trial", "--data", tmp_path, "--port", "0"]
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
    assert len(kept(tmp_path)) == 5 + 6
