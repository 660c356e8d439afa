"""Stand between the engine and a real module: count its functions, change what they answer.

A module's function list is a table in memory; here some of its entries are replaced for a while. The functions
themselves stay the module's own.
"""

import contextlib
import ctypes
import mmap
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

from pkcs11._pkcs11 import lib

from engine.token import module as modules
from engine.token.cryptoki import _function_list

# CK_FUNCTION_LIST in its order (PKCS#11 2.40 section 11), as far as anything here is replaced.
NAMES = (
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetFunctionList",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_CloseAllSessions",
    "C_GetSessionInfo",
    "C_GetOperationState",
    "C_SetOperationState",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GetObjectSize",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_EncryptUpdate",
    "C_EncryptFinal",
    "C_DecryptInit",
    "C_Decrypt",
    "C_DecryptUpdate",
    "C_DecryptFinal",
    "C_DigestInit",
    "C_Digest",
    "C_DigestUpdate",
    "C_DigestKey",
    "C_DigestFinal",
    "C_SignInit",
    "C_Sign",
    "C_SignUpdate",
    "C_SignFinal",
    "C_SignRecoverInit",
    "C_SignRecover",
    "C_VerifyInit",
    "C_Verify",
    "C_VerifyUpdate",
    "C_VerifyFinal",
    "C_VerifyRecoverInit",
    "C_VerifyRecover",
    "C_DigestEncryptUpdate",
    "C_DecryptDigestUpdate",
    "C_SignEncryptUpdate",
    "C_DecryptVerifyUpdate",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_WrapKey",
)

# Eight words is the most any of these functions takes; a function that takes fewer does not look at the others.
_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_ulong, *[ctypes.c_void_p] * 8)
_FUNCTIONS = len(NAMES) + 7
Function = Callable[..., int]


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * _FUNCTIONS))


@contextlib.contextmanager
def interposed(module: str, wrap: Callable[[str, Function], Function], names: Sequence[str]) -> Iterator[None]:
    """Replace functions by `wrap(name, original)` in the module of this path, now or when the engine loads it."""
    module, undo = os.path.realpath(module), contextlib.ExitStack()
    ours: set[int | None] = set()

    def replace(library: lib) -> None:
        table = _functions(library)
        for name in names:
            place, address = NAMES.index(name), table[NAMES.index(name)]
            if address in ours:  # most modules have one list, however often they are loaded
                continue
            replacement = _FUNCTION(wrap(name, _FUNCTION(address)))
            table[place] = ctypes.cast(replacement, ctypes.c_void_p).value
            ours.add(table[place])
            undo.callback(lambda place=place, address=address, _=replacement: table.__setitem__(place, address))

    def load(kind: type[lib], path: str) -> lib:
        library = loading(kind, path)
        if path == module:
            replace(library)
        return library

    loading = modules._load
    with undo, mock.patch.object(modules, "_load", load):
        loaded = modules._register.get(module)
        if loaded is not None:
            replace(loaded.library)
        yield


def call(module: str, name: str, *arguments: int) -> int:
    """Call a function of a module that the engine has loaded, past the engine."""
    return _FUNCTION(_functions(modules._register[os.path.realpath(module)].library)[NAMES.index(name)])(
        *arguments, *[0] * (8 - len(arguments))
    )


def _functions(library: lib) -> ctypes.Array[ctypes.c_void_p]:
    """The table that the engine calls through, made writable: some modules keep it in constant memory."""
    address = _function_list(library)
    page = address // mmap.PAGESIZE * mmap.PAGESIZE
    size = address + ctypes.sizeof(_FunctionList) - page
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(page), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE) == 0
    return _FunctionList.from_address(address).functions


@contextlib.contextmanager
def counted(module: str) -> Iterator[Counter[str]]:
    """Count every call of every function."""
    calls: Counter[str] = Counter()

    def wrap(name: str, original: Function) -> Function:
        def call(*arguments: int | None) -> int:
            calls[name] += 1
            return original(*arguments)

        return call

    with interposed(module, wrap, NAMES):
        yield calls


@contextlib.contextmanager
def answering(module: str, name: str, *codes: int, after: bool = False) -> Iterator[Counter[str]]:
    """The next calls of a function answer these codes, without being made; `after`: made, and their reply lost."""
    calls: Counter[str] = Counter()
    left = list(codes)

    def wrap(name: str, original: Function) -> Function:
        def call(*arguments: int | None) -> int:
            calls[name] += 1
            if left and not after:
                return left.pop(0)
            answer = original(*arguments)
            return left.pop(0) if left else answer

        return call

    with interposed(module, wrap, [name]):
        yield calls
