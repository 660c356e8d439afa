"""The custody record: what a token says about a key, read back and not assumed.

Written beside the key when it is generated or adopted, so that an auditor can see later how the key was held.
"""

import struct
from collections.abc import Mapping
from enum import Enum

from pkcs11.constants import Attribute
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, FunctionFailed
from pkcs11.types import Object, Token

from engine.errors import IssuanceDefect

_RECORDED = (
    Attribute.KEY_TYPE,
    Attribute.PRIVATE,
    Attribute.SENSITIVE,
    Attribute.ALWAYS_SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.NEVER_EXTRACTABLE,
    Attribute.LOCAL,
    Attribute.KEY_GEN_MECHANISM,
    Attribute.SIGN,
    Attribute.SIGN_RECOVER,
    Attribute.DECRYPT,
    Attribute.UNWRAP,
    Attribute.DERIVE,
    Attribute.MODIFIABLE,
    Attribute.ALWAYS_AUTHENTICATE,
)

_NAMESPACE = {Attribute.KEY_TYPE: "CKK_", Attribute.KEY_GEN_MECHANISM: "CKM_"}

_SAFE: Mapping[str, tuple[object, ...]] = {
    "private": (True,),
    "sensitive": (True,),
    "always_sensitive": (True,),
    "extractable": (False,),
    "never_extractable": (True,),
    "sign": (True,),
    # A token may leave out a capability that it does not have; it may not grant it.
    "sign_recover": (False, None),
    "decrypt": (False, None),
    "unwrap": (False, None),
    "derive": (False, None),
}
"""What a generated private key must say. CKA_LOCAL is not here: NSS answers false for keys it has just generated."""


def load_custody(private_key: Object, token: Token, origin: str | None = None) -> dict[str, object]:
    """The record, ready for JSON: PKCS#11 attribute names in lower case, null where the token does not say.

    `origin` is "generated" when the caller has just done so; otherwise CKA_LOCAL decides, and "unknown" is all that a
    false CKA_LOCAL tells. Raises the binding's errors for anything but an attribute that cannot be had.
    """
    record: dict[str, object] = {attribute.name.lower(): _read(private_key, attribute) for attribute in _RECORDED}
    record["token"] = {
        "label": token.label,
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "serial": token.serial.decode("ascii", errors="replace"),
        "firmware": ".".join(str(number) for number in token.firmware_version),
    }
    record["origin"] = origin or ("generated" if record["local"] is True else "unknown")
    return record


def check_custody(record: Mapping[str, object]) -> None:
    """Raises IssuanceDefect naming every attribute of a generated private key that is not as it must be."""
    faults = [
        f"{name} is {record[name]}, expected {allowed[0]}"
        for name, allowed in _SAFE.items()
        if record[name] not in allowed
    ]
    if faults:
        raise IssuanceDefect(
            "The token made a private key that is not sign-only, sensitive and not extractable; it was destroyed.",
            details=faults,
        )


def _read(private_key: Object, attribute: Attribute) -> object:
    try:
        value = private_key[attribute]
    except (AttributeTypeInvalid, AttributeSensitive, FunctionFailed):
        return None  # the three ways in which tokens say that they do not tell
    except (ValueError, struct.error):
        return None  # a vendor's number or CK_UNAVAILABLE_INFORMATION: nothing that the binding has a name for
    if isinstance(value, Enum):
        return f"{_NAMESPACE[attribute]}{value.name}"
    return value
