"""Every PKCS#11 return code that the engine treats in its own way, in one table (PKCS#11 2.40 section 11.1).

python-pkcs11 raises a class for most codes and a bare PKCS11Error, with the number in its text only, for the others;
raw calls return the number. Both come here and leave as a Fault, which says what may bring the token back and how a
caller is told. The text a module or binding wrote goes to the log only.
"""

import re
from dataclasses import dataclass
from enum import Enum

from pkcs11 import exceptions as raised
from pkcs11.exceptions import PKCS11Error

from engine.errors import (
    EngineError,
    SigningFailed,
    TokenBusy,
    TokenLoginRefused,
    TokenUnavailable,
    UnsupportedRequest,
)

CKR_OK = 0x000
CKR_CANT_LOCK = 0x00A
CKR_USER_ALREADY_LOGGED_IN = 0x100
CKR_CRYPTOKI_NOT_INITIALIZED = 0x190
CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191


class Cure(Enum):
    """What may make the same call succeed, from the cheapest to the dearest."""

    NONE = "nothing the engine can do"
    FEWER_SESSIONS = "wait for a session and hold fewer"
    NEW_SESSION = "another session, with every handle found again"
    LOGIN = "log in, find every key again"
    NEW_SLOT = "find the slot again, open, log in"
    INITIALIZE = "finalise and initialise the module, then all of the above"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a return code means here. `meaning` ends a sentence that a caller reads."""

    code: str
    cure: Cure
    error: type[EngineError]
    meaning: str

    @property
    def denies(self) -> bool:
        """Whether it says that the call was not carried out. Others may also come when only the answer was lost."""
        return self.error in (TokenLoginRefused, UnsupportedRequest) or self.code in _DENIALS

    def build_error(self, token: str, doing: str) -> EngineError:
        """The error for a caller: which token, what it was asked to do, what it answered."""
        return self.error(f"The token {token!r} could not {doing}: {self.meaning} ({self.code}).")


# Rows are grouped by what they lead to: (number, python-pkcs11's class if it has one, name, meaning).
_Rows = tuple[tuple[int, type[PKCS11Error] | None, str, str], ...]
_TABLE: tuple[tuple[Cure, type[EngineError], _Rows], ...] = (
    (
        # One session, or a handle cached in it, is no good; others may be.
        Cure.NEW_SESSION,
        TokenUnavailable,
        (
            (0x0B3, raised.SessionHandleInvalid, "CKR_SESSION_HANDLE_INVALID", "its session ended"),
            (0x0B0, raised.SessionClosed, "CKR_SESSION_CLOSED", "its session was closed"),
            (0x082, raised.ObjectHandleInvalid, "CKR_OBJECT_HANDLE_INVALID", "a key handle went stale"),
            (0x060, raised.KeyHandleInvalid, "CKR_KEY_HANDLE_INVALID", "a key handle went stale"),
            (0x090, raised.OperationActive, "CKR_OPERATION_ACTIVE", "its session was still at work"),
            (0x091, raised.OperationNotInitialized, "CKR_OPERATION_NOT_INITIALIZED", "its session lost its place"),
            (0x030, raised.DeviceError, "CKR_DEVICE_ERROR", "the device reported an error"),
            (0x005, raised.GeneralError, "CKR_GENERAL_ERROR", "the module reported an error"),
            (0x006, raised.FunctionFailed, "CKR_FUNCTION_FAILED", "the module reported a failure"),
            # NSS answers this to a key handle of a login that was lost; if it is true, it comes again.
            (0x002, raised.HostMemory, "CKR_HOST_MEMORY", "this machine has no memory left"),
        ),
    ),
    (
        Cure.FEWER_SESSIONS,
        TokenBusy,
        ((0x0B1, raised.SessionCount, "CKR_SESSION_COUNT", "it has no session left"),),
    ),
    (
        Cure.LOGIN,
        TokenUnavailable,
        ((0x101, raised.UserNotLoggedIn, "CKR_USER_NOT_LOGGED_IN", "its login was lost"),),
    ),
    (
        # Never retried: one more attempt may lock the token.
        Cure.NONE,
        TokenLoginRefused,
        (
            (0x0A0, raised.PinIncorrect, "CKR_PIN_INCORRECT", "the PIN is wrong"),
            (0x0A1, raised.PinInvalid, "CKR_PIN_INVALID", "the PIN has characters it does not take"),
            (0x0A2, raised.PinLenRange, "CKR_PIN_LEN_RANGE", "the PIN is too long or too short"),
            (0x0A3, raised.PinExpired, "CKR_PIN_EXPIRED", "the PIN has expired"),
            (0x0A4, raised.PinLocked, "CKR_PIN_LOCKED", "the PIN is locked"),
            (0x102, raised.UserPinNotInitialized, "CKR_USER_PIN_NOT_INITIALIZED", "it has no user PIN yet"),
            (
                0x104,
                raised.AnotherUserAlreadyLoggedIn,
                "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
                "another user is logged in",
            ),
            (0x105, raised.UserTooManyTypes, "CKR_USER_TOO_MANY_TYPES", "another user is logged in"),
        ),
    ),
    (
        # The token went away.
        Cure.NEW_SLOT,
        TokenUnavailable,
        (
            (0x032, raised.DeviceRemoved, "CKR_DEVICE_REMOVED", "the device was removed"),
            (0x0E0, raised.TokenNotPresent, "CKR_TOKEN_NOT_PRESENT", "it is not in its slot"),
            (0x0E1, raised.TokenNotRecognised, "CKR_TOKEN_NOT_RECOGNIZED", "its slot holds something else"),
            (0x003, raised.SlotIDInvalid, "CKR_SLOT_ID_INVALID", "its slot is gone"),
        ),
    ),
    (
        Cure.INITIALIZE,
        TokenUnavailable,
        ((0x190, None, "CKR_CRYPTOKI_NOT_INITIALIZED", "its module was finalised by other code"),),
    ),
    (
        Cure.NONE,
        TokenUnavailable,
        (
            (0x191, None, "CKR_CRYPTOKI_ALREADY_INITIALIZED", "other code in this process uses its module"),
            (0x031, raised.DeviceMemory, "CKR_DEVICE_MEMORY", "it has no memory left"),
        ),
    ),
    (
        # What was asked for is not something that this token or this key does.
        Cure.NONE,
        UnsupportedRequest,
        (
            (0x070, raised.MechanismInvalid, "CKR_MECHANISM_INVALID", "it does not have that mechanism"),
            (
                0x071,
                raised.MechanismParamInvalid,
                "CKR_MECHANISM_PARAM_INVALID",
                "it does not take those mechanism parameters",
            ),
            (0x062, raised.KeySizeRange, "CKR_KEY_SIZE_RANGE", "it does not take keys of that size"),
            (0x063, raised.KeyTypeInconsistent, "CKR_KEY_TYPE_INCONSISTENT", "the key is of another type"),
            (0x068, None, "CKR_KEY_FUNCTION_NOT_PERMITTED", "the key may not be used for that"),
            (0x0B5, raised.SessionReadOnly, "CKR_SESSION_READ_ONLY", "it takes no session objects"),
            (0x010, raised.AttributeReadOnly, "CKR_ATTRIBUTE_READ_ONLY", "it refused an attribute"),
            (0x012, raised.AttributeTypeInvalid, "CKR_ATTRIBUTE_TYPE_INVALID", "it refused an attribute"),
            (0x013, raised.AttributeValueInvalid, "CKR_ATTRIBUTE_VALUE_INVALID", "it refused an attribute"),
            (0x0D0, raised.TemplateIncomplete, "CKR_TEMPLATE_INCOMPLETE", "it wants more attributes"),
            (0x0D1, raised.TemplateInconsistent, "CKR_TEMPLATE_INCONSISTENT", "it refused the attributes"),
            (0x130, raised.DomainParamsInvalid, "CKR_DOMAIN_PARAMS_INVALID", "it does not know that curve"),
            (0x140, None, "CKR_CURVE_NOT_SUPPORTED", "it does not know that curve"),
            (0x054, raised.FunctionNotSupported, "CKR_FUNCTION_NOT_SUPPORTED", "it lacks that function"),
            (0x0E2, raised.TokenWriteProtected, "CKR_TOKEN_WRITE_PROTECTED", "it is write-protected"),
            (0x01B, None, "CKR_ACTION_PROHIBITED", "its policy forbids that"),
        ),
    ),
)

# How C_SignInit is refused. A session that is not valid any more is not among them: it may have ended on the way back.
_DENIALS = frozenset(
    [
        "CKR_OBJECT_HANDLE_INVALID",
        "CKR_KEY_HANDLE_INVALID",
        "CKR_OPERATION_ACTIVE",
        "CKR_USER_NOT_LOGGED_IN",
        "CKR_CRYPTOKI_NOT_INITIALIZED",
    ]
)

_FAULTS = [
    (number, exception, Fault(code, cure, error, meaning))
    for cure, error, rows in _TABLE
    for number, exception, code, meaning in rows
]
_BY_NUMBER = {number: fault for number, _, fault in _FAULTS}
_BY_CLASS = {exception: fault for _, exception, fault in _FAULTS if exception is not None}
# Two codes that the binding has neither a class nor a number for.
_BY_TEXT = {"(not initialized)": 0x190, "(already initialized)": 0x191}


def classify_number(number: int) -> Fault:
    """What a return code of a raw call means."""
    unexpected = Fault(f"{number:#x}", Cure.NONE, SigningFailed, "it answered with an unexpected code")
    return _BY_NUMBER.get(number, unexpected)


def classify(error: PKCS11Error) -> Fault:
    """What an exception of python-pkcs11 means."""
    known = _BY_CLASS.get(type(error))
    if known is not None:
        return known
    text = str(error)
    number = re.search(r"\b0x[0-9a-f]+\b", text)
    if number is not None:
        return classify_number(int(number[0], 16))
    for fragment, meant in _BY_TEXT.items():
        if fragment in text:
            return classify_number(meant)
    return Fault(type(error).__name__, Cure.NONE, SigningFailed, "it refused the call")


def is_template_refusal(error: PKCS11Error) -> bool:
    """Whether the token refused what a template says, so that a leaner template may be tried instead."""
    return isinstance(
        error,
        raised.AttributeTypeInvalid
        | raised.AttributeValueInvalid
        | raised.AttributeReadOnly
        | raised.TemplateInconsistent
        | raised.GeneralError,  # how tpm2-pkcs11 refuses one
    )
