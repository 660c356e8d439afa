"""How a call on the token is made: in a session, and again in another one if the first would not do.

The codes that a token answers are turned into what is tried next, or into the error that a caller reads, here only.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from pkcs11.exceptions import PKCS11Error
from pkcs11.types import Session

from engine.errors import EngineError, SigningFailed, TokenLoginRefused, TokenUnavailable, UnsupportedRequest
from engine.token.connection import Connection
from engine.token.known_keys import KeysGone
from engine.token.recovery import Recovery
from engine.token.returncodes import Cure, Fault, classify
from engine.token.sessions import PooledSession, PoolRetired, SessionPool

_log = logging.getLogger(__name__)

_ADMINISTERING_SECONDS = 120.0
"""How long generating a key may take before the token counts as not answering."""
_STRIKES = 3
_KEYS_GONE = Fault("nothing found", Cure.NEW_SLOT, TokenUnavailable, "its keys are not there")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def _untold() -> None:
    """Nobody has to know."""


@dataclass(slots=True)
class _Course:
    """What has become of an operation so far."""

    faults: int = 0
    asked: int = 0
    """How many of these came of asking for a signature."""
    may_have_signed: bool = False

    def add(self, fault: Fault, *, was_asked: bool) -> None:
        self.faults += 1
        self.asked += was_asked
        self.may_have_signed |= was_asked and not fault.denies


class Calls:
    """Runs operations on one token."""

    def __init__(self, name: str, recovery: Recovery, sign_seconds: float) -> None:
        """`name` is what messages call the token; a signature counts as hung after `sign_seconds`."""
        self._name = name
        self._recovery = recovery
        self._sign_seconds = sign_seconds
        self._strikes = 0
        """Answers in a row that say nothing of what is wrong."""

    def in_session(
        self,
        doing: str,
        operation: Callable[[PooledSession, *_Ts], _T],
        *arguments: *_Ts,
        repeating: Callable[[], None] = _untold,
    ) -> _T:
        """Run `operation` in a pooled session; if it failed for want of its session or token, again in another.

        It asks for a signature twice at most, and before the second time calls `repeating`, unless the token has denied
        the first. What a lost token or login has kept it from asking is asked once the token is back, for which a short
        while is waited. An EngineError says whether the token `may_have_signed`.
        """
        course = _Course()
        try:
            return self._run(course, doing, operation, *arguments, repeating=repeating)
        except EngineError as error:
            error.may_have_signed |= course.may_have_signed
            raise

    def _run(
        self,
        course: _Course,
        doing: str,
        operation: Callable[[PooledSession, *_Ts], _T],
        *arguments: *_Ts,
        repeating: Callable[[], None],
    ) -> _T:
        recovery = self._recovery
        fresh = False
        while True:
            call, connection = recovery.enter()
            pooled = None
            try:
                pooled = connection.pool.take(fresh)
                if course.may_have_signed:
                    self._tell(connection.pool, pooled, repeating)
                call.begin(self._sign_seconds)
                result = self._use(connection.pool, pooled, operation, *arguments)
            except PoolRetired:
                continue  # lost while a session was waited for: nothing was asked
            except PKCS11Error as error:
                # Let go before ours is raised: its traceback holds on to the session.
                fault = self._failed(error, doing)
                is_gone = self._is_gone(connection, fault)
            except KeysGone:
                fault, is_gone = _KEYS_GONE, True
            except SigningFailed:  # what the token gave for a signature is none
                course.may_have_signed |= pooled is not None and pooled.asked
                raise
            else:
                self._strikes = 0
                return result
            finally:
                recovery.leave(call)
            course.add(fault, was_asked=pooled is not None and pooled.asked)
            fresh = fault.cure is Cure.NEW_SESSION
            if is_gone or (fresh and (course.faults > 1 or pooled is None)):
                recovery.lost(connection, f"{fault.meaning} ({fault.code})")
            elif not fresh:
                break
            if course.asked > 1 or course.faults > 2:
                break
        raise fault.build_error(self._name, doing)

    @staticmethod
    def _tell(pool: SessionPool, pooled: PooledSession, repeating: Callable[[], None]) -> None:
        try:
            repeating()
        except BaseException:
            pool.give_back(pooled)
            raise

    @staticmethod
    def _use(
        pool: SessionPool, pooled: PooledSession, operation: Callable[[PooledSession, *_Ts], _T], *arguments: *_Ts
    ) -> _T:
        """Errors of ours are raised between whole calls and leave the session good; after others it is closed."""
        try:
            result = operation(pooled, *arguments)
        except (EngineError, KeysGone):
            pool.give_back(pooled)
            raise
        except BaseException:
            pool.drop(pooled)
            raise
        pool.give_back(pooled)
        return result

    def administer(self, doing: str, operation: Callable[[Session], _T]) -> _T:
        """Run `operation` in a read-write session of its own, once. The caller holds `exclusive`."""
        call, connection = self._recovery.enter(_ADMINISTERING_SECONDS)
        try:
            with connection.read_write() as session:
                return operation(session)
        except PKCS11Error as error:
            fault = self._failed(error, doing)
            is_gone = self._is_gone(connection, fault) or connection.find_loss() is not None
        finally:
            self._recovery.leave(call)
        if is_gone:
            self._recovery.lost(connection, f"{fault.meaning} ({fault.code})")
        raise fault.build_error(self._name, doing)

    def _failed(self, error: PKCS11Error, doing: str) -> Fault:
        fault = classify(error)
        _log.warning("Token %r could not %s: %s, %r.", self._name, doing, fault.code, error)
        return fault

    def _is_gone(self, connection: Connection, fault: Fault) -> bool:
        """Whether more than a session is gone. Where the code does not say, the token is asked, and three in a row
        are as good as its word: network modules have codes of their own for a lost device."""
        if fault.cure in (Cure.LOGIN, Cure.NEW_SLOT, Cure.INITIALIZE):
            return True
        if fault.cure is not Cure.NONE or fault.error in (UnsupportedRequest, TokenLoginRefused):
            return False
        self._strikes += 1
        if self._strikes < _STRIKES and connection.find_loss() is None:
            return False
        self._strikes = 0
        return True
