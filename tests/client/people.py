"""Accounts for tests, made as an operator makes them: at the command line, beside a running engine."""

import subprocess
import tempfile
from pathlib import Path

from tests.page.live import DEADLINE, ENGINE


def add_account(config: Path, email: str, password: str, *, scope: str, role: str) -> None:
    """`signing-engine accounts create`, the password from a file."""
    with tempfile.NamedTemporaryFile("w", suffix=".password") as file:
        file.write(password + "\n")
        file.flush()
        arguments = ("--scope", scope, "--role", role, "--password-file", file.name, "--config", config)
        done = subprocess.run(
            [*ENGINE, "accounts", "create", email, *arguments], capture_output=True, text=True, timeout=DEADLINE
        )
    assert done.returncode == 0, done.stderr
