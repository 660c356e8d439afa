"""scripts/install on machines that lack something: it works, or says exactly what to do."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of what scripts/install reads, in a folder that any user may read and only its owner may write."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "check out")
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        shutil.copy(ROOT / "pyproject.toml", folder)
        for path in (Path(scratch), folder):
            path.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def install(checkout: Path, *arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run scripts/install as a user who cannot write the checkout, on a PATH without one program."""
    as_somebody_else: list[str] = []
    if os.getuid() == 0:
        as_somebody_else = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    else:
        checkout.chmod(0o555)
    programs = checkout.parent / "bin"
    if not programs.exists():
        programs.mkdir()
        for program in (*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()):
            if program.name != without and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    return subprocess.run(
        [*as_somebody_else, checkout / "scripts" / "install", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": str(programs), "HOME": "/nonexistent"},
    )


def provide_environment(checkout: Path, extras: str) -> None:
    """A .venv that says that it was installed for this checkout."""
    scripts = checkout / ".venv" / "bin"
    scripts.mkdir(parents=True)
    # The system's own Python where there is one: another one may be in a folder that its owner keeps to himself.
    (scripts / "python").symlink_to(shutil.which("python3", path="/usr/bin:/bin") or sys.executable)
    digest = hashlib.sha256((checkout / "pyproject.toml").read_bytes()).hexdigest()
    (checkout / ".venv" / f"installed-{extras}").write_text(f"{digest}  - {checkout}\n")


def test_missing_package_is_named_in_one_line_for_a_user_who_is_not_root(checkout: Path) -> None:
    done = install(checkout, without="softhsm2-util")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() == "sudo apt-get update && sudo apt-get install -y softhsm2"


def test_missing_package_of_the_tests_is_named_too(checkout: Path) -> None:
    done = install(checkout, "test", "certtool=gnutls-bin", without="certtool")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() == "sudo apt-get update && sudo apt-get install -y gnutls-bin"


def test_missing_path_may_be_a_pattern(checkout: Path) -> None:
    provide_environment(checkout, "test")
    needs = ("/usr/*/env=coreutils", "/nonexistent/*/bin/initdb=postgresql")
    assert install(checkout, "test", needs[0]).returncode == 0
    done = install(checkout, "test", *needs)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() == "sudo apt-get update && sudo apt-get install -y postgresql"


def test_machine_without_apt_is_told_what_is_missing(checkout: Path) -> None:
    install(checkout, without="apt-get")
    (checkout.parent / "bin" / "softhsm2-util").unlink()
    done = install(checkout)
    assert done.returncode == 1
    assert done.stderr == "Not found on this machine, please install: softhsm2\n"


def test_checkout_that_cannot_be_written_says_what_to_run(checkout: Path) -> None:
    done = install(checkout)
    assert done.returncode == 1
    assert f"sudo '{checkout}/scripts/install'" in done.stderr
    assert "clone the repository into a folder of your own" in done.stderr


def test_environment_that_is_current_is_used_as_it_is_by_any_user(checkout: Path) -> None:
    provide_environment(checkout, "")
    done = install(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_environment_with_more_extras_is_current_too(checkout: Path) -> None:
    provide_environment(checkout, "test,check")
    assert install(checkout).returncode == 0


def test_environment_without_the_wanted_extras_is_not_current(checkout: Path) -> None:
    provide_environment(checkout, "")
    assert "out of date" in install(checkout, "test").stderr


def test_environment_for_another_pyproject_is_not_current(checkout: Path) -> None:
    provide_environment(checkout, "")
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "out of date" in install(checkout).stderr
