"""Trying to take a private key out of its token, which must be refused: reading its numbers, wrapping it, copying it.

Attributes are what a token says of a key, this is what it does: NSS says that a key is not extractable, and wraps it,
and makes extractable copies. Whatever a token gives is dropped unseen; what is made for a trial is destroyed after it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pkcs11 import exceptions as raised
from pkcs11.constants import Attribute, MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Key, Object, Session, WrapMixin

from engine.token.returncodes import Cure, classify

REFUSED = "refused"
"""The token said that this key does not come out."""
READABLE, WRAPPED, COPIED = "readable", "wrapped", "copied"
"""It came out, or can."""
NOT_TESTED = "not tested"
"""The token has nothing to try it with; `reason` says what it lacks."""
INCONCLUSIVE = "inconclusive"
"""The token refused for a reason that is not the key's; `answer` says which."""

_PRIVATE_NUMBERS: Mapping[str, tuple[Attribute, ...]] = {
    "EC": (Attribute.VALUE,),
    "Ed25519": (Attribute.VALUE,),
    "RSA": (
        Attribute.PRIVATE_EXPONENT,
        Attribute.PRIME_1,
        Attribute.PRIME_2,
        Attribute.EXPONENT_1,
        Attribute.EXPONENT_2,
        Attribute.COEFFICIENT,
    ),
}
"""By family of the key; the first is the one that is reported when all are refused."""

_READING_REFUSED: Mapping[type[PKCS11Error], str] = {
    raised.AttributeSensitive: "CKR_ATTRIBUTE_SENSITIVE",
    # A TPM's key object has no such attribute at all.
    raised.AttributeTypeInvalid: "CKR_ATTRIBUTE_TYPE_INVALID",
    # What the binding makes of a token that answers CKR_OK and CK_UNAVAILABLE_INFORMATION.
    raised.FunctionFailed: "CKR_FUNCTION_FAILED",
}

# Not CKR_KEY_NOT_WRAPPABLE, which says of an extractable key that this mechanism does not take it (PKCS#11 2.40 section
# 11.1.6): SoftHSM answers it for RSA.
_WRAPPING_REFUSED: Mapping[type[PKCS11Error], str] = {raised.KeyUnextractable: "CKR_KEY_UNEXTRACTABLE"}

_COPYING_REFUSED: Mapping[type[PKCS11Error], str] = {
    raised.AttributeReadOnly: "CKR_ATTRIBUTE_READ_ONLY",
    raised.AttributeValueInvalid: "CKR_ATTRIBUTE_VALUE_INVALID",
    raised.TemplateInconsistent: "CKR_TEMPLATE_INCONSISTENT",
}

_LACKING = (raised.MechanismInvalid, raised.FunctionNotSupported)
"""Codes by which a token says that it does not have what its list of mechanisms may name."""

_OF_THE_CALL = (raised.GeneralError, raised.FunctionFailed)
"""Codes by which tokens also refuse what they do not like about one call; the session is good still."""


@dataclass(frozen=True, slots=True)
class _Wrapping:
    """A kind of wrapping key, and the mechanisms that wrap with it, each with its parameter."""

    key_type: KeyType
    bits: int
    generation: Mechanism
    mechanisms: Mapping[Mechanism, bytes | None]


_WRAPPINGS = (
    _Wrapping(
        KeyType.AES,
        256,
        Mechanism.AES_KEY_GEN,
        {Mechanism.AES_KEY_WRAP_PAD: None, Mechanism.AES_KEY_WRAP: None, Mechanism.AES_CBC_PAD: bytes(16)},
    ),
    # For those that have nothing else, p11-kit's remoting for one. The private half is never used.
    _Wrapping(KeyType.RSA, 2048, Mechanism.RSA_PKCS_KEY_PAIR_GEN, {Mechanism.RSA_PKCS: None}),
)
"""In the order in which they are tried, until one gives an answer about the key."""


def try_reading(private_key: Object, family: str) -> dict[str, object]:
    """What came of reading the private numbers: `attribute`, `result`, `answer`. Raises the binding's errors."""
    results = [_read(private_key, attribute) for attribute in _PRIVATE_NUMBERS[family]]
    return _first(results, READABLE) or _first(results, INCONCLUSIVE) or results[0]


def try_wrapping(session: Session, private_key: Object, usable: Iterable[int | str]) -> dict[str, object]:
    """What came of wrapping the key: `mechanism` and `result`, with `answer` or `reason`.

    `usable` are the token's mechanisms. The caller holds `exclusive`, since keys are made. Raises the binding's errors.
    """
    offered, results = frozenset(usable), list[dict[str, object]]()
    for wrapping in _WRAPPINGS:
        results += _try_wrapping(session, private_key, wrapping, offered)
        verdict = _first(results, WRAPPED) or _first(results, REFUSED)
        if verdict is not None:
            return verdict
    return _first(results, INCONCLUSIVE) or {"result": NOT_TESTED, "reason": f"it would need {_wanted()}"}


def try_copying(private_key: Object) -> dict[str, object]:
    """What came of making a session object of it that is extractable: `result`, with `answer` or `reason`.

    Raises the binding's errors.
    """
    template = {Attribute.TOKEN: False, Attribute.EXTRACTABLE: True}
    try:
        copy = private_key.copy(template)
    except _LACKING:
        return {"result": NOT_TESTED, "reason": "it would need C_CopyObject"}
    except PKCS11Error as error:
        answer = _COPYING_REFUSED.get(type(error))
        return _answered(error) if answer is None else {"result": REFUSED, "answer": answer}
    extractable = bool(copy[Attribute.EXTRACTABLE])
    copy.destroy()
    return {"result": COPIED if extractable else REFUSED, "answer": "CKR_OK"}


def _first(results: Iterable[dict[str, object]], wanted: str) -> dict[str, object] | None:
    return next((result for result in results if result["result"] == wanted), None)


def _read(private_key: Object, attribute: Attribute) -> dict[str, object]:
    report: dict[str, object] = {"attribute": f"CKA_{attribute.name}"}
    try:
        is_there = bool(private_key[attribute])  # a zero length is how some say that there is nothing to read
    except PKCS11Error as error:
        answer = _READING_REFUSED.get(type(error))
        return {**report, **_answered(error)} if answer is None else {**report, "result": REFUSED, "answer": answer}
    return {**report, "result": READABLE if is_there else REFUSED, "answer": "CKR_OK"}


def _try_wrapping(
    session: Session, private_key: Object, wrapping: _Wrapping, offered: frozenset[int | str]
) -> list[dict[str, object]]:
    """What came of each mechanism that the token has, with one key made for all of them."""
    mechanisms = [mechanism for mechanism in wrapping.mechanisms if mechanism in offered]
    if wrapping.generation not in offered or not mechanisms:
        return []
    try:
        made = _generate(session, wrapping)
    except _LACKING:
        return []  # it lists the mechanism and does not have it
    except PKCS11Error as error:
        return [{"mechanism": f"CKM_{wrapping.generation.name}", **_answered(error)}]
    results = []
    try:
        for mechanism in mechanisms:
            result = _wrap(made[0], private_key, mechanism, wrapping.mechanisms[mechanism])
            if result is not None:
                results.append({"mechanism": f"CKM_{mechanism.name}", **result})
    finally:
        # If even this fails the session is dropped, and session objects end with their session.
        for key in made:
            key.destroy()
    return results


def _generate(session: Session, wrapping: _Wrapping) -> tuple[Key, ...]:
    """A session key that wraps; of a pair, the public half comes first."""
    options: dict[str, Any] = {"store": False, "mechanism": wrapping.generation}
    closed = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    if wrapping.key_type is KeyType.RSA:
        both = MechanismFlag.WRAP | MechanismFlag.UNWRAP
        return session.generate_keypair(
            wrapping.key_type, wrapping.bits, capabilities=both, private_template=closed, **options
        )
    return (
        session.generate_key(
            wrapping.key_type, wrapping.bits, capabilities=MechanismFlag.WRAP, template=closed, **options
        ),
    )


def _wrap(
    wrapping_key: Key, private_key: Object, mechanism: Mechanism, parameter: bytes | None
) -> dict[str, object] | None:
    """None if the token does not have the mechanism, or not for wrapping."""
    if not isinstance(wrapping_key, WrapMixin):
        return {"result": INCONCLUSIVE, "answer": "a wrapping key without CKA_WRAP"}
    try:
        wrapping_key.wrap_key(cast(Key, private_key), mechanism=mechanism, mechanism_param=parameter)
    except _LACKING:
        return None
    except PKCS11Error as error:
        answer = _WRAPPING_REFUSED.get(type(error))
        return _answered(error) if answer is None else {"result": REFUSED, "answer": answer}
    return {"result": WRAPPED, "answer": "CKR_OK"}


def _answered(error: PKCS11Error) -> dict[str, object]:
    """An answer that is not about the key. What a new session or login may cure is raised again."""
    fault = classify(error)
    if fault.cure is not Cure.NONE and not isinstance(error, _OF_THE_CALL):
        raise error
    return {"result": INCONCLUSIVE, "answer": fault.code}


def _wanted() -> str:
    names = [f"CKM_{mechanism.name}" for wrapping in _WRAPPINGS for mechanism in wrapping.mechanisms]
    return f"{', '.join(names[:-1])} or {names[-1]}"
