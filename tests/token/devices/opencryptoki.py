"""opencryptoki's software token, behind its slot daemon.

Its paths are compiled in. So that no file of the machine is touched, this process and its children go into a mount and
IPC namespace of their own, where those paths lead to the temporary folder. Where the kernel does not let them, as in
most containers, the machine's own paths are used: the configuration is put back and the token removed afterwards.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.token.devices.device import LABEL, Device, DeviceError, daemon, find_module, run, write_pin

PACKAGES = "opencryptoki"
MODULES = ("/usr/lib/*/pkcs11/libopencryptoki.so", "/usr/lib64/opencryptoki/libopencryptoki.so")
SPARES = 4
STATE = ("/etc/opencryptoki", "/var/lib/opencryptoki", "/run", "/dev/shm")

_CONFIGURATION = Path("/etc/opencryptoki/opencryptoki.conf")
_SOCKET, _PID_FILE = Path("/run/pkcsslotd.socket"), Path("/run/pkcsslotd.pid")
_CLONE_NEWNS, _CLONE_NEWIPC = 0x00020000, 0x08000000
_FIRST_SO_PIN, _INTERIM_PIN = "87654321", "changeit"
_PIN_DIGITS = 8  # the most it takes


@contextlib.contextmanager
def provide(folder: Path) -> Iterator[Device]:
    """A slot daemon and software tokens of one PIN: a second daemon would take the first one's paths."""
    module = find_module(*MODULES, packages=PACKAGES)
    if os.geteuid() != 0:
        raise DeviceError("opencryptoki's slot daemon and its paths in /var/lib and /run are root's: run this as root")
    if not _enter_namespace(folder / "state") and _runs_already():
        raise DeviceError("a slot daemon runs on this machine, and no mount namespace is to be had for another one")
    labels = (LABEL, *(f"{LABEL}-{number}" for number in range(1, 1 + SPARES)))
    pin = write_pin(folder / "pin", _PIN_DIGITS)
    so_pin = write_pin(folder / "so-pin", _PIN_DIGITS)
    with _configured(labels), daemon(["pkcsslotd", "-f"], _SOCKET.exists, folder / "pkcsslotd.log"):
        for slot, label in enumerate(labels):
            for action, answers in (
                ("-I", (_FIRST_SO_PIN, label)),
                ("-P", (_FIRST_SO_PIN, so_pin, so_pin)),
                ("-u", (so_pin, _INTERIM_PIN, _INTERIM_PIN)),  # must be changed before it can be used
                ("-p", (_INTERIM_PIN, pin, pin)),
            ):
                run(["pkcsconf", action, "-c", str(slot)], answers="".join(f"{answer}\n" for answer in answers))
        uri, *spare_uris = (f"pkcs11:token={label}" for label in labels)
        yield Device("opencryptoki", module, uri, str(folder / "pin"), spare_uris=tuple(spare_uris))


def _enter_namespace(state: Path) -> bool:
    """Lay empty folders over opencryptoki's, for this thread, those that it starts, and child processes only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWIPC) != 0:
        return False
    run(["mount", "--make-rprivate", "/"])
    for path in STATE:
        own = state / path.removeprefix("/")
        own.mkdir(parents=True)
        run(["mount", "--bind", own, path])
    return True


def _runs_already() -> bool:
    """Whether there is a slot daemon. One that was killed leaves its files; one that is called and not heard dies."""
    try:
        name = Path("/proc", _PID_FILE.read_text(encoding="ascii").strip(), "comm").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return name.strip() == "pkcsslotd"


@contextlib.contextmanager
def _configured(labels: tuple[str, ...]) -> Iterator[None]:
    """A configuration with a slot for each label, and the folders of its token."""
    folders = [
        Path(parent, label) for label in labels for parent in ("/var/lib/opencryptoki", "/run/lock/opencryptoki")
    ]
    before = _CONFIGURATION.read_bytes() if _CONFIGURATION.exists() else None
    slots = (f"slot {slot}\n{{\nstdll = libpkcs11_sw.so\ntokname = {label}\n}}\n" for slot, label in enumerate(labels))
    _SOCKET.unlink(missing_ok=True)
    try:
        _CONFIGURATION.write_text("version opencryptoki-3.8\n" + "".join(slots), encoding="ascii")
        for folder in folders:
            (folder / "TOK_OBJ" if folder.match("/var/lib/*/*") else folder).mkdir(parents=True)
            for path in (folder.parent, folder, *folder.iterdir()):
                shutil.chown(path, group="pkcs11")
                path.chmod(0o770)
        yield
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for path in (_SOCKET, _PID_FILE):
            path.unlink(missing_ok=True)
        if before is None:
            _CONFIGURATION.unlink()
        else:
            _CONFIGURATION.write_bytes(before)
