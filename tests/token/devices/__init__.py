"""The PKCS#11 implementations on which tests/token runs: `ENGINE_TEST_DEVICE=NAME pytest tests/token`.

    softhsm        SoftHSM in this process, the default
    p11-kit        the same behind p11-kit's remoting: every call goes through a socket to another process
    nss            the software token of Firefox
    opencryptoki   its software token, behind its slot daemon
    tpm2           tpm2-pkcs11 on an emulated TPM behind its resource manager

    ENGINE_TEST_TOKEN_URI, ENGINE_TEST_TOKEN_MODULE, ENGINE_TEST_TOKEN_PIN_FILE, ENGINE_TEST_TOKEN_LACKS    any other

One process is one device, since modules keep their configuration in the process' environment. Each device's file makes
a fresh token in a temporary folder. Where devices differ, differences.toml says so and why; the README shows it.
"""

from tests.token.devices.device import Device, DeviceError
from tests.token.devices.selection import OTHER, chosen_device, open_device

__all__ = ["OTHER", "Device", "DeviceError", "chosen_device", "open_device"]
