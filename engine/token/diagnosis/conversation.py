"""The examining process' side: takes one step after the other and tells each by a message.

It runs apart from what prints, since a vendor's library may end or hang the process it is loaded in. Every message is
a frozen dataclass; the other side knows from `Begun` which step a silence or a crash belongs to.
"""

import dataclasses
import hashlib
import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pkcs11.exceptions import PKCS11Error

from engine.errors import EngineError, TokenKeyAmbiguous, TokenKeyNotFound
from engine.pin import HeldPin, Pin
from engine.token.diagnosis import rates, steps
from engine.token.diagnosis.examination import Examination, Said
from engine.token.diagnosis.reports import KeyToTry, Names, Outcome, Report, StepFailed
from engine.token.keys import KeyReference
from engine.token.recorder import Unrecorded
from engine.token.returncodes import classify
from engine.token.settings import TokenSettings
from engine.token.token import Token


@dataclass(frozen=True, slots=True)
class Begun:
    """A step begins; after so many seconds without another message it hangs."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key was found; answered with the name of the algorithm to sign `message` with, or None to leave it out."""

    key: KeyToTry
    reference: KeyReference
    spki: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class Canary:
    """A signature by a key that was found, to be verified; answered with whether it is good and may be measured."""

    key: KeyToTry
    spki: bytes
    algorithm: str
    message: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Measuring:
    """A key is about to sign `message` again and again; answered when it may."""

    key: KeyToTry
    reference: KeyReference
    message: bytes


@dataclass(frozen=True, slots=True)
class Rate:
    """So many signatures per second, so far or, with `done` 1, at the end. None: still measuring."""

    key: KeyToTry
    algorithm: str
    sessions: int
    done: float
    per_second: float | None
    signatures: int = 0
    """How many were made for that, at the end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no more to come."""


Message = Begun | Report | FoundKey | Canary | Measuring | Rate | Ended

_Step = tuple[str, str, Callable[[Examination], Said], float, str]
# (name, what could not be done if it fails, function, seconds it may take, what to do if it says nothing better)
_VENDOR = "Look into the library's and the device's own logs; restart the device's daemon if it has one."
_STEPS: tuple[_Step, ...] = (
    ("module", "be read", steps.find_file, 10, "Correct {module}."),
    ("load", "be loaded", steps.load, 30, "Correct {module}."),
    # Another process may hold the right to start for a minute.
    ("start", "be started", steps.start, 90, _VENDOR),
    ("slots", "be listed", steps.list_slots, 30, _VENDOR),
    ("token", "be found", steps.choose_token, 30, "Correct {uri}."),
    ("flags", "be asked for its flags", steps.read_flags, 10, _VENDOR),
    ("pin", "be given its PIN", steps.read_pin, 60, "Correct {pin}."),
    ("login", "log in", steps.log_in, 30, _VENDOR),
    ("mechanisms", "be asked for its mechanisms", steps.read_mechanisms, 30, _VENDOR),
    ("sessions", "open sessions", steps.open_sessions, 60, "End other programs that use the token."),
    ("keys", "list its keys", steps.list_keys, 60, _VENDOR),
)


def examine(
    talk: "Connection[Any, Any]",
    settings: TokenSettings,
    names: Names,
    keys: Sequence[KeyToTry],
    bench_seconds: float | None,
) -> None:
    """Take every step up to the first that cannot be passed. The first thing to come is the typed PIN, b"" if none."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not what the doctor says
    logging.getLogger("engine").addHandler(logging.NullHandler())  # and neither is what the token room would log
    typed: bytes = talk.recv_bytes()
    if typed:
        settings = dataclasses.replace(settings, pin=HeldPin(Pin(typed)))
    examiner = _Examiner(talk, names, Examination(settings, rates.SESSIONS[-1] if bench_seconds else 0))
    try:
        if examiner.take_steps():
            examiner.try_keys(keys, bench_seconds)
    finally:
        examiner.examination.close()
    talk.send(Ended())


class _Examiner:
    def __init__(self, talk: "Connection[Any, Any]", names: Names, examination: Examination) -> None:
        self._talk = talk
        self._names = names
        self.examination = examination

    def take_steps(self) -> bool:
        """Whether all were passed."""
        return all(self._take(*step) for step in _STEPS)

    def try_keys(self, keys: Sequence[KeyToTry], bench_seconds: float | None) -> None:
        """Find each key as the engine does, have it sign, and measure one key of each algorithm."""
        seen = self.examination
        settings = seen.settings
        if settings.pin is not None:
            settings = dataclasses.replace(settings, pin=HeldPin(seen.pin))  # a command need not run again
        seen.close()
        self._talk.send(Begun("signing", settings.wait_seconds + settings.sign_seconds + 90))
        good: dict[str, KeyReference] = {}
        named: dict[str, KeyToTry] = {}
        try:
            token = Token.open(settings, recorder=Unrecorded())
            for key in keys:
                tried = self._try_key(token, key)
                if tried is not None:
                    algorithm, reference = tried
                    good.setdefault(algorithm, reference)
                    named.setdefault(algorithm, key)
            token.close()
        except EngineError as error:
            self._tell("signing", Outcome.FAILED, error.message, _VENDOR)
            return
        if bench_seconds is not None:
            if not good:
                self._tell("bench", Outcome.NOTE, "There is no key to measure with.", "Name one, or register one.")
            for algorithm, reference in good.items():
                self._bench(settings, named[algorithm], reference, algorithm, bench_seconds)

    def _try_key(self, token: Token, key: KeyToTry) -> tuple[str, KeyReference] | None:
        """The algorithm that it signs with, and where it is; None if it does not."""
        patience = self.examination.settings.wait_seconds + self.examination.settings.sign_seconds
        try:
            self._talk.send(Begun("key", patience))
            found = token.find_key(key.label, key.id)
            reference = KeyReference(found.label, found.id, hashlib.sha256(found.spki).hexdigest())
            if key.spki_sha256 not in (None, reference.spki_sha256):
                self._tell(
                    "key",
                    Outcome.FAILED,
                    f"{key.name}: under its label and id lies another key, of SHA-256 {reference.spki_sha256}; "
                    f"{key.spki_sha256} was registered.",
                    "Bring the registered key back, or find out who put another one in its place.",
                )
                return None
            message = secrets.token_bytes(32)
            self._talk.send(FoundKey(key, reference, found.spki, message))
            algorithm: str | None = self._talk.recv()
            if algorithm is None:
                return None
            self._talk.send(Begun("signing", patience))
            signature = token.sign(reference, algorithm, message)
        except EngineError as error:
            self._tell("key", Outcome.FAILED, f"{key.name}: {error.message}", self._key_cure(error))
            return None
        self._talk.send(Canary(key, found.spki, algorithm, message, signature))
        is_good: bool = self._talk.recv()
        return (algorithm, reference) if is_good else None

    def _key_cure(self, error: EngineError) -> str:
        """What to do about a key that cannot be found or used."""
        if isinstance(error, TokenKeyNotFound):
            there = ", ".join(self.examination.private_keys[:8]) or "none"
            return f"Bring it back from its backup, or register another; private keys on the token: {there}."
        if isinstance(error, TokenKeyAmbiguous):
            return "Give every key on the token a label and id of its own."
        return _VENDOR

    def _bench(
        self, settings: TokenSettings, key: KeyToTry, reference: KeyReference, algorithm: str, seconds: float
    ) -> None:
        self._talk.send(Measuring(key, reference, rates.MESSAGE))
        self._talk.recv()
        for sessions in rates.SESSIONS:
            if sessions > self.examination.sessions:
                self._tell("bench", Outcome.NOTE, f"The token gave no more than {self.examination.sessions} sessions.")
                return
            self._talk.send(Begun("bench", settings.wait_seconds + settings.sign_seconds + 90))

            def tell(done: float, sessions: int = sessions) -> None:
                self._talk.send(Rate(key, algorithm, sessions, done, None))

            try:
                rate, signatures = rates.measure(settings, reference, algorithm, sessions, seconds, tell)
            except EngineError as error:
                self._tell("bench", Outcome.FAILED, f"With {sessions} sessions: {error.message}", _VENDOR)
                return
            self._talk.send(Rate(key, algorithm, sessions, 1.0, rate, signatures))

    def _take(self, name: str, doing: str, step: Callable[[Examination], Said], seconds: float, cure: str) -> bool:
        self._talk.send(Begun(name, seconds))
        try:
            for outcome, sentence, advice in step(self.examination):
                self._tell(name, outcome, sentence, advice)
        except StepFailed as failure:
            self._tell(name, Outcome.FAILED, failure.sentence, failure.cure)
        except EngineError as error:
            self._tell(name, Outcome.FAILED, error.message, cure)
        except PKCS11Error as error:
            failed = classify(error).build_error(self.examination.settings.name, doing)
            self._tell(name, Outcome.FAILED, failed.message, cure)
        else:
            return True
        return False

    def _tell(self, step: str, outcome: Outcome, sentence: str, cure: str = "") -> None:
        self._talk.send(Report(step, outcome, sentence, self._names.fill(cure)))
