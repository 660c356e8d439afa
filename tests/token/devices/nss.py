"""NSS softokn, the software token of Firefox. Its database is named in C_Initialize's pReserved."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.token.devices.device import Device, find_module, run, write_pin

PACKAGES = "libnss3 libnss3-tools"
MODULES = ("/usr/lib/*/libsoftokn3.so", "/usr/lib64/libsoftokn3.so")


@contextlib.contextmanager
def provide(folder: Path) -> Iterator[Device]:
    """A database that certutil makes. It holds one token, whose label is fixed."""
    module = find_module(*MODULES, packages=PACKAGES)
    database = folder / "database"
    database.mkdir()
    pin_file = folder / "pin"
    write_pin(pin_file)
    run(["certutil", "-N", "-d", f"sql:{database}", "-f", pin_file])
    arguments = f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=''"
    yield Device("nss", module, "pkcs11:token=NSS%20Certificate%20DB", str(pin_file), initialize_arguments=arguments)
