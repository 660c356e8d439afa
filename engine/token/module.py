"""PKCS#11 modules in this process: loaded once, initialised for threads, finalised when the last user has gone.

A loaded library is one thing per process, whoever asks for it, so this file keeps the one register of them.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, cast

from pkcs11._pkcs11 import lib
from pkcs11.exceptions import PKCS11Error

from engine.errors import ConfigError, TokenBusy, TokenUnavailable
from engine.token.cryptoki import Cryptoki
from engine.token.gate import Call, Gate
from engine.token.returncodes import CKR_CRYPTOKI_NOT_INITIALIZED, CKR_OK, Cure, classify, classify_number
from engine.token.vendors import find_vendor

_log = logging.getLogger(__name__)
_EXCLUSIVE_SECONDS = 60.0


class _Library(lib):
    """The binding's entry point without its C_Initialize(NULL), which tells a module that one thread will ever call it:
    SoftHSM then crashes under two. Cryptoki.initialize has made the call before this is built."""

    def initialize(self) -> None:
        """Nothing: done already."""


# The first half of making one: loads the module and calls nothing but C_GetFunctionList. The published types lack it.
_load = cast(Callable[[type[_Library], str], _Library], _Library.__new__)


class User(Protocol):
    """A token that is open on a module, as far as the other tokens on it are concerned."""

    def is_well(self) -> bool:
        """Whether it is in use now, asked of the token: starting the module anew would disturb it."""

    def on_restart(self) -> None:
        """The module has been finalised: everything that was open is gone. Called while nobody is inside."""


class Module:
    """A loaded and initialised module. Get one from `acquire`, and `release` it."""

    def __init__(self, path: str, initialize_arguments: str | None) -> None:
        """Load the library; `start` initialises it. Raises ConfigError."""
        self.path = path
        self.initialize_arguments = initialize_arguments
        self.process_id = os.getpid()
        self.users = 0
        self.tokens: list[User] = []
        """Tokens to be told when the module starts anew."""
        self.gate = Gate()
        """Around every use of the module."""
        self.starts = 0
        """How often it was initialised: what was opened after one start is not to be used, or closed, after another,
        for its handles may belong to something else then."""
        self.is_started = False
        self.reconnecting = threading.Lock()
        """Held while one of its tokens connects, until its callers may use the connection."""
        self.one_at_a_time: threading.RLock | None = None
        """Held around every use of a module that cannot lock for itself, or not well, across all its tokens."""
        self._is_known = False
        try:
            self.library = _load(_Library, path)
        except PKCS11Error as error:
            raise ConfigError(f"The PKCS#11 module {path} cannot be loaded: {error}.") from None
        self.cryptoki = Cryptoki(path, self.library)

    def start(self) -> None:
        """C_Initialize, for threads. Raises TokenUnavailable, or ConfigError if what was loaded is of no use."""
        locks = self.cryptoki.initialize(self.initialize_arguments)
        if not locks and self.one_at_a_time is None:
            self.one_at_a_time = threading.RLock()
        if not self._is_known:
            try:
                _Library.__init__(self.library, self.path)  # C_GetInfo
            except PKCS11Error as error:
                self.cryptoki.finalize()
                fault = classify(error)
                if fault.cure is not Cure.NONE:
                    raise TokenUnavailable(
                        f"The PKCS#11 module {self.path} does not start: {fault.meaning} ({fault.code})."
                    ) from None
                raise ConfigError(f"The PKCS#11 module {self.path} cannot be used: {error}.") from None
            self._is_known = True
            if self.one_at_a_time is None and find_vendor(self.library.manufacturer_id).one_at_a_time is not None:
                self.one_at_a_time = threading.RLock()
        self.starts += 1
        self.is_started = True

    def restart(self, call: Call, seconds: float) -> None:
        """C_Finalize and C_Initialize, when nobody is inside. The caller holds `reconnecting`.

        Every token on the module loses what it had open and is told so. Raises TokenUnavailable if a call is still
        inside after so many seconds, or the module does not start, and then is not started.
        """
        with self.gate.shut(call, seconds):
            if self.starts:  # also after a start that failed: what could not be finalised then may be now
                self.is_started = False
                code = self.cryptoki.finalize()
                for token in self.tokens:
                    token.on_restart()
                if code not in (CKR_OK, CKR_CRYPTOKI_NOT_INITIALIZED):
                    _log.warning("The PKCS#11 module %s did not finalise: %s.", self.path, classify_number(code).code)
            self.start()
        _log.info("The PKCS#11 module %s was started anew.", self.path)

    def check_process(self) -> None:
        """Raises TokenUnavailable in a process that was forked after the module was loaded (PKCS#11 2.40, 6.6.1)."""
        if os.getpid() != self.process_id:
            raise TokenUnavailable(
                f"The PKCS#11 module {self.path} was loaded in process {self.process_id} and cannot be used in its "
                f"fork {os.getpid()}; open tokens after forking."
            )


_register: dict[str, Module] = {}
_register_lock = threading.Lock()


def acquire(
    path: str, environment: Mapping[str, str], initialize_arguments: str | None, *, must_start: bool = True
) -> Module:
    """The module at `path`, loaded if need be with these environment variables set. Every user calls `release` once.

    Raises ConfigError if it is no module, or is loaded already under another environment or with other arguments;
    TokenUnavailable if it does not start, unless that is left for later by `must_start`.
    """
    path = os.path.realpath(path)
    with _register_lock:
        module = _register.get(path)
        if module is None:
            os.environ.update(environment)
            module = Module(path, initialize_arguments)
        module.check_process()
        differing = [name for name, value in environment.items() if os.environ.get(name) != value]
        if differing or module.initialize_arguments != initialize_arguments:
            what = ", ".join(differing) or "its initialisation arguments"
            raise ConfigError(f"The PKCS#11 module {path} is in use already with another value of {what}.")
        if must_start:
            with module.reconnecting:
                if not module.is_started:
                    module.start()
        _register[path] = module
        module.users += 1
        return module


def release(module: Module) -> None:
    """Give a module back; the last user finalises it. The caller has no call under way and no session open."""
    with _register_lock:
        module.users -= 1
        if module.users > 0 or module.process_id != os.getpid():
            return
        del _register[module.path]
        code = module.cryptoki.finalize() if module.is_started else CKR_OK
        module.is_started = False
    if code != CKR_OK:
        _log.warning("The PKCS#11 module %s did not finalise: %s.", module.path, classify_number(code).code)


@contextlib.contextmanager
def exclusive(path: str, seconds: float = _EXCLUSIVE_SECONDS) -> Iterator[None]:
    """Hold, against all processes and threads that use the module file at `path`, the right to start or change a token.

    Several processes that initialise, log in or generate keys at once make SoftHSM fail now and then. The lock is on
    the module's own file, which all of them have and none has to create. Raises TokenBusy after so many seconds.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"The PKCS#11 module {path} cannot be read: {error.strerror}.") from None
    try:
        deadline = time.monotonic() + seconds
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TokenBusy(f"Another process has held the PKCS#11 module {path} for {seconds:g} s.")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
