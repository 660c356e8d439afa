"""SoftHSM in another process, reached through p11-kit's remoting: `p11-kit server` and p11-kit-client.so."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.token.devices import softhsm
from tests.token.devices.device import Device, daemon, find_module

PACKAGES = "p11-kit p11-kit-modules softhsm2"
MODULES = ("/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so")


@contextlib.contextmanager
def provide(folder: Path) -> Iterator[Device]:
    """The server has the tokens and is all that has; this process has the address of its socket."""
    module = find_module(*MODULES, packages=PACKAGES)
    with softhsm.provide(folder / "softhsm") as served:
        socket = folder / "server"
        command = ["p11-kit", "server", "--foreground", "--name", socket, "--provider", served.module, served.uri]
        with daemon(command, socket.exists, folder / "server.log", served.environment):
            address = {"P11_KIT_SERVER_ADDRESS": f"unix:path={socket}"}
            yield Device("p11-kit", module, served.uri, served.pin_file, address)
