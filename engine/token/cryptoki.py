"""The PKCS#11 calls that are made without the binding, and why (PKCS#11 2.40 section 11.4 to 11.6).

The binding initialises a module for one thread only, logs the whole process out when it closes a session that it opened
with a PIN, and does not offer C_GetSessionInfo or the session limits of C_GetTokenInfo. These few calls go through
ctypes to the same function list of the same loaded library.
"""

import ctypes
from collections.abc import Callable
from typing import Protocol, cast

from pkcs11._pkcs11 import lib
from pkcs11.types import Session

from engine.errors import ConfigError, TokenUnavailable
from engine.pin import Pin
from engine.token.returncodes import CKR_CANT_LOCK, CKR_OK, classify_number
from engine.token.vendors import find_vendor

_CKF_OS_LOCKING_OK = 0x2
_CKU_USER = 1
_CKS_RO_USER_FUNCTIONS = 1
_CKS_RW_USER_FUNCTIONS = 3
_CK_UNAVAILABLE_INFORMATION = ctypes.c_ulong(-1).value
_CK_EFFECTIVELY_INFINITE = 0

# Places in CK_FUNCTION_LIST, in the order of section 11 of the standard.
_INITIALIZE, _FINALIZE, _GET_SLOT_LIST, _GET_TOKEN_INFO, _CLOSE_ALL_SESSIONS = 0, 1, 4, 6, 14
_GET_SESSION_INFO, _LOGIN = 15, 18
_FUNCTIONS = 68

# What the binding's objects begin with: Python's header and three function lists, the first of which is in use.
_BINDING_LAYOUT = object.__basicsize__ + 3 * ctypes.sizeof(ctypes.c_void_p)


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_ubyte), ("minor", ctypes.c_ubyte))


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", _Version), ("functions", ctypes.c_void_p * _FUNCTIONS))


class _InitializeArgs(ctypes.Structure):
    _fields_ = (
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_char_p),
    )


class _SessionInfo(ctypes.Structure):
    _fields_ = (
        ("slot_id", ctypes.c_ulong),
        ("state", ctypes.c_ulong),
        ("flags", ctypes.c_ulong),
        ("device_error", ctypes.c_ulong),
    )


class _TokenInfo(ctypes.Structure):
    _fields_ = (
        ("label", ctypes.c_char * 32),
        ("manufacturer", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial", ctypes.c_char * 16),
        ("flags", ctypes.c_ulong),
        ("max_session_count", ctypes.c_ulong),
        ("session_count", ctypes.c_ulong),
        ("max_rw_session_count", ctypes.c_ulong),
        ("rw_session_count", ctypes.c_ulong),
        ("pin_lengths", ctypes.c_ulong * 2),
        ("memory", ctypes.c_ulong * 4),
        ("hardware_version", _Version),
        ("firmware_version", _Version),
        ("utc_time", ctypes.c_char * 16),
    )


_IN_ADDRESS, _IN_NUMBER = ctypes.c_void_p, ctypes.c_ulong


_left_initialized: dict[int, bool] = {}
"""Function lists that were not finalised in their time (Vendor.never_finalized), and whether they lock."""


class Cryptoki:
    """The raw calls of one loaded module. Each releases the interpreter lock while it runs."""

    def __init__(self, path: str, library: lib) -> None:
        """Use the function list of `library`, which the binding has loaded from `path`. Raises ConfigError."""
        self._path = path
        self._library = library
        self._locks = False
        # Never let go, for then the binding would unload the module, and modules crash when they are unloaded.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))
        self._list = _function_list(library)
        functions = _FunctionList.from_address(self._list).functions

        def function(
            place: int, *arguments: type[ctypes.c_void_p | ctypes.c_ulong | ctypes.c_ubyte]
        ) -> Callable[..., int]:
            return ctypes.CFUNCTYPE(ctypes.c_ulong, *arguments)(functions[place])

        self._initialize = function(_INITIALIZE, _IN_ADDRESS)
        self._finalize = function(_FINALIZE, _IN_ADDRESS)
        self._get_token_info = function(_GET_TOKEN_INFO, _IN_NUMBER, _IN_ADDRESS)
        self._get_slot_list = function(_GET_SLOT_LIST, ctypes.c_ubyte, _IN_ADDRESS, _IN_ADDRESS)
        self._close_all_sessions = function(_CLOSE_ALL_SESSIONS, _IN_NUMBER)
        self._get_session_info = function(_GET_SESSION_INFO, _IN_NUMBER, _IN_ADDRESS)
        self._login = function(_LOGIN, _IN_NUMBER, _IN_NUMBER, _IN_ADDRESS, _IN_NUMBER)

    def initialize(self, reserved: str | None) -> bool:
        """C_Initialize with CKF_OS_LOCKING_OK; True if the module locks for itself, so that threads may call it.

        A module that answers CKR_CANT_LOCK is initialised again without the flag and the answer is False: one thread at
        a time, then. `reserved` is CK_C_INITIALIZE_ARGS.pReserved. Raises TokenUnavailable.
        """
        if self._list in _left_initialized:
            self._locks = _left_initialized.pop(self._list)
            return self._locks
        octets = None if reserved is None else reserved.encode()
        code = self._initialize(ctypes.byref(_InitializeArgs(flags=_CKF_OS_LOCKING_OK, reserved=octets)))
        self._locks = code != CKR_CANT_LOCK
        if not self._locks:
            # Without arguments at all if it can be: some modules, p11-kit's for one, refuse arguments without the flag.
            code = self._initialize(octets and ctypes.byref(_InitializeArgs(reserved=octets)))
        if code != CKR_OK:
            fault = classify_number(code)
            raise TokenUnavailable(f"The PKCS#11 module {self._path} does not start: {fault.meaning} ({fault.code}).")
        return self._locks

    def finalize(self) -> int:
        """C_Finalize. No other call may be under way. Returns the code, since there is nothing to be done about it."""
        if find_vendor(self._library.manufacturer_id).never_finalized is None:
            return self._finalize(None)
        _left_initialized[self._list] = self._locks
        return self._close_all_sessions_of_all()

    def _close_all_sessions_of_all(self) -> int:
        """C_CloseAllSessions on every token, which logs out of it too. Returns the first code that is not CKR_OK."""
        count = ctypes.c_ulong()
        code = self._get_slot_list(1, None, ctypes.byref(count))
        slots = (ctypes.c_ulong * count.value)()
        if code == CKR_OK and slots:
            code = self._get_slot_list(1, slots, ctypes.byref(count))
        codes = [code, *map(self._close_all_sessions, slots)]
        return next((code for code in codes if code != CKR_OK), CKR_OK)

    def login(self, session_handle: int, pin: Pin) -> int:
        """One C_Login as CKU_USER; the code. The buffer that held the PIN is wiped."""
        octets = pin.reveal()
        buffer = ctypes.create_string_buffer(octets, len(octets))
        try:
            return self._login(session_handle, _CKU_USER, buffer, len(octets))
        finally:
            ctypes.memset(buffer, 0, len(octets))

    def session_state(self, session_handle: int) -> tuple[int, bool]:
        """C_GetSessionInfo: the code, and whether private objects are visible in this session."""
        info = _SessionInfo()
        code = self._get_session_info(session_handle, ctypes.byref(info))
        return code, code == CKR_OK and int(info.state) in (_CKS_RO_USER_FUNCTIONS, _CKS_RW_USER_FUNCTIONS)

    def is_logged_in(self, session_handle: int) -> bool:
        """Whether private objects are visible in this session. False too where the session itself is gone."""
        return self.session_state(session_handle)[1]

    def session_limit(self, slot_id: int) -> int | None:
        """How many sessions the token lets one application hold; None if it sets or tells no limit."""
        info = _TokenInfo()
        if self._get_token_info(slot_id, ctypes.byref(info)) != CKR_OK:
            return None
        limit = int(info.max_session_count)
        return None if limit in (_CK_UNAVAILABLE_INFORMATION, _CK_EFFECTIVELY_INFINITE) else limit


def _function_list(library: lib) -> int:
    """Where the function list is that the binding calls: the first field of its object, which Python cannot name.

    Asking the module again is no way to it: p11-kit's gives every caller a list, and a connection, of its own. Raises
    ConfigError if the binding was built with other fields than those of 0.10.
    """
    if lib.__bases__[0].__basicsize__ != _BINDING_LAYOUT:
        raise ConfigError("The installed python-pkcs11 is not laid out as 0.10 is; install that version.")
    address = ctypes.c_void_p.from_address(id(library) + object.__basicsize__).value
    if address is None:
        raise ConfigError("A PKCS#11 module gave no function list.")
    return address


class _HasHandle(Protocol):
    handle: int


def session_handle(session: Session) -> int:
    """CK_SESSION_HANDLE, which every session of the binding has and its published types leave out."""
    return cast(_HasHandle, session).handle
