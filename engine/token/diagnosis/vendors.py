"""What some vendors' libraries read from the environment, as data. It is where most first attempts fail."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from engine.token.diagnosis.reports import StepFailed


@dataclass(frozen=True, slots=True)
class Vendor:
    """A library, known by a part of its file name, and the variable that leads it to its configuration."""

    file_name: str
    variable: str
    names: str
    otherwise: str
    """What it does without the variable."""
    is_path: bool = True


VENDORS = (
    Vendor("softhsm2", "SOFTHSM2_CONF", "SoftHSM's configuration file", "reads /etc/softhsm/softhsm2.conf"),
    Vendor(
        "p11-kit-client",
        "P11_KIT_SERVER_ADDRESS",
        "the server's socket, as unix:path=/run/...",
        "looks in XDG_RUNTIME_DIR",
        is_path=False,
    ),
    Vendor("tpm2_pkcs11", "TPM2_PKCS11_STORE", "the folder of its store", "looks in /etc/tpm2_pkcs11 and ~"),
    Vendor("cs_pkcs11_R2", "CS_PKCS11_R2_CFG", "Utimaco's configuration file", "looks in /etc/utimaco"),
    Vendor("cs_pkcs11_R3", "CS_PKCS11_R3_CFG", "Utimaco's configuration file", "looks in /etc/utimaco"),
    Vendor("yubihsm_pkcs11", "YUBIHSM_PKCS11_CONF", "its configuration file", "reads yubihsm_pkcs11.conf beside it"),
    Vendor("Cryptoki2", "ChrystokiConfigurationPath", "the folder of Chrystoki.conf", "reads /etc/Chrystoki.conf"),
)


def check_environment(module: str, environment: Mapping[str, str]) -> str:
    """A sentence about a variable that this library reads and that is not set, for when it finds no token; else "".

    Raises StepFailed if the variable names something that is not there.
    """
    file_name = os.path.basename(module)
    for vendor in VENDORS:
        if vendor.file_name not in file_name:
            continue
        value = environment.get(vendor.variable)
        if value is None:
            return (
                f"{vendor.variable} is not set, so {file_name} {vendor.otherwise}; "
                f"name {vendor.names} in {{environment}}."
            )
        if vendor.is_path and not os.path.exists(value):
            raise StepFailed(
                f"{vendor.variable} names {value}, which is not there or not to be seen by this user.",
                f"Name {vendor.names} in {{environment}}.",
            )
    return ""
