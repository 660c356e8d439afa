"""Which token it is that signs, and by which library: what both say of themselves, for the record of a signature."""

from dataclasses import dataclass

from pkcs11.types import Token

from engine.token.module import Module


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """As C_GetTokenInfo and C_GetInfo tell it; versions are `major.minor`."""

    label: str
    serial: str
    manufacturer: str
    model: str
    hardware: str
    firmware: str
    library_manufacturer: str
    library_description: str
    library_version: str


def load_identity(token: Token, module: Module) -> TokenIdentity:
    """Asks nothing of the token: this was told when it was found."""
    library = module.library
    return TokenIdentity(
        label=token.label,
        serial=token.serial.decode("utf-8", errors="replace"),
        manufacturer=token.manufacturer_id,
        model=token.model,
        hardware=_version(token.hardware_version),
        firmware=_version(token.firmware_version),
        library_manufacturer=library.manufacturer_id,
        library_description=library.library_description,
        library_version=_version(library.library_version),
    )


def _version(numbers: tuple[int, int]) -> str:
    return ".".join(str(number) for number in numbers)
