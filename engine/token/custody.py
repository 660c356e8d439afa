"""The custody record: what a token says about a key, read back and not assumed, and what it does when it is tried.

Made when a key is generated or adopted and whenever somebody wants to know, so that an auditor can see how it is held.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

from pkcs11.constants import Attribute
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, FunctionFailed
from pkcs11.types import Object, Session, Token

from engine.errors import IssuanceDefect
from engine.token.connection import Connection
from engine.token.extraction import try_copying, try_reading, try_wrapping
from engine.token.keys import KeyPair
from engine.token.vendors import find_vendor

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
"""What a private key that only signs and cannot leave must say. CKA_LOCAL is not here: see `Vendor.local_not_told`."""
_SINCE_BIRTH = frozenset({"always_sensitive", "never_extractable"})


def examine_key(pair: KeyPair, session: Session, connection: Connection) -> dict[str, object]:
    """The whole record, made now: `load_custody`'s, `negative_tests` {`read`, `wrap`, `copy`}, `checked_at` (ISO).

    The caller holds `exclusive`. Raises the binding's errors for anything but the answers that are looked for.
    """
    checked_at = datetime.now(UTC).isoformat(timespec="seconds")
    record = load_custody(pair.private_key, connection.token)
    reason = find_vendor(connection.module.library.manufacturer_id).local_not_told
    if reason is not None:
        record["local_not_told"] = reason
    return {
        **record,
        "negative_tests": {
            "read": try_reading(pair.private_key, pair.public_half.family),
            "wrap": try_wrapping(session, pair.private_key, connection.usable),
            "copy": try_copying(pair.private_key),
        },
        "checked_at": checked_at,
    }


def load_custody(private_key: Object, token: Token, origin: str | None = None) -> dict[str, object]:
    """What the token says, ready for JSON: attributes by PKCS#11 name in lower case, null where it does not tell.

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


def find_attribute_faults(record: Mapping[str, object]) -> tuple[str, ...]:
    """Every attribute that is not that of a private key that only signs and cannot leave, as a clause each."""
    return _find_faults(record, _SAFE)


def check_custody(record: Mapping[str, object], *, imported: bool = False) -> None:
    """Raises IssuanceDefect naming every attribute of a new private key that is not as it must be.

    One that was imported has been outside, whatever the token says now.
    """
    expected = {name: allowed for name, allowed in _SAFE.items() if not (imported and name in _SINCE_BIRTH)}
    faults = _find_faults(record, expected)
    if faults:
        raise IssuanceDefect(
            "The token made a private key that is not sign-only, sensitive and not extractable; it was destroyed.",
            details=faults,
        )


def _find_faults(record: Mapping[str, object], expected: Mapping[str, tuple[object, ...]]) -> tuple[str, ...]:
    return tuple(
        f"{name} is {'not told by the token' if record.get(name) is None else record[name]}, expected {allowed[0]}"
        for name, allowed in expected.items()
        if record.get(name) not in allowed
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
