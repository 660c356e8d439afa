"""tpm2-pkcs11 on an emulated TPM.

    libtpm2_pkcs11.so → private D-Bus → tpm2-abrmd → socket → swtpm

A TPM holds three keys at once; tpm2-abrmd swaps them, and is reached over D-Bus only.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.token.devices.device import LABEL, Device, daemon, find_module, run, write_pin

PACKAGES = "libtpm2-pkcs11-1 swtpm tpm2-abrmd libtss2-tcti-tabrmd0 libtss2-tcti-swtpm0 dbus-daemon dbus-bin gnutls-bin"
MODULES = ("/usr/lib/*/pkcs11/libtpm2_pkcs11.so", "/usr/lib64/pkcs11/libtpm2_pkcs11.so")

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


@contextlib.contextmanager
def provide(folder: Path) -> Iterator[Device]:
    """A blank TPM, its two daemons, and a token that C_InitToken makes."""
    module = find_module(*MODULES, packages=PACKAGES)
    bus, tpm, store = folder / "bus", folder / "tpm", folder / "store"
    configuration = folder / "bus.xml"
    configuration.write_text(_BUS.format(socket=bus), encoding="ascii")
    (folder / "state").mkdir()
    store.mkdir()
    environment = {
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}",
        "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
        "TPM2_PKCS11_STORE": str(store),
        "TPM2_PKCS11_LOG_LEVEL": "0",
        "TSS2_LOG": "all+none",
    }
    dbus = ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile"]
    swtpm = [
        *(
            "swtpm",
            "socket",
            "--tpm2",
            "--tpmstate",
            f"dir={folder / 'state'}",
            "--flags",
            "not-need-init,startup-clear",
        ),
        *("--server", f"type=unixio,path={tpm}", "--ctrl", f"type=unixio,path={folder / 'tpm.ctrl'}"),
    ]
    # A key that was used stays in one of the places that the broker gives this process, also once it is destroyed.
    broker = [
        "tpm2-abrmd",
        "--session",
        "--max-transients=100",
        f"--tcti=swtpm:path={tpm}",
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    with (
        daemon(dbus, bus.exists, folder / "bus.log"),
        daemon(swtpm, tpm.exists, folder / "swtpm.log"),
        daemon(broker, lambda: _is_on_bus("com.intel.tss2.Tabrmd", environment), folder / "broker.log", environment),
    ):
        pin_file = folder / "pin"
        pins = {"GNUTLS_PIN": write_pin(pin_file), "GNUTLS_SO_PIN": write_pin(folder / "so-pin")}
        p11tool = ["p11tool", "--provider", module, "--batch"]
        run([*p11tool, "--initialize", "--label", LABEL, "pkcs11:token="], environment={**environment, **pins})
        run([*p11tool, "--initialize-pin", f"pkcs11:token={LABEL}"], environment={**environment, **pins})
        yield Device("tpm2", module, f"pkcs11:token={LABEL}", str(pin_file), environment)


def _is_on_bus(name: str, environment: Mapping[str, str]) -> bool:
    ask = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]
    said = run([*ask, "org.freedesktop.DBus.NameHasOwner", f"string:{name}"], environment=environment)
    return "boolean true" in said
