"""`signing-engine doctor`: what is wrong with a token, in plain words and with what to do.

The token is examined in a process of its own (engine.token.diagnosis); this one asks for PINs, knows which keys are
registered, verifies what the token signs and prints. A library that crashes or hangs thereby becomes one more finding.
"""

import hashlib
import multiprocessing
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TextIO

from cryptography.exceptions import InvalidSignature

from engine.app import store_password, token_settings
from engine.config import EngineConfig
from engine.errors import ConfigError, IssuanceDefect, RequestError
from engine.pin import ask_pin
from engine.store import KeyRow, read_keys
from engine.store.chain import EXAMINATION, MEASUREMENT
from engine.token import KeyReference, TokenSettings
from engine.token.diagnosis import (
    Begun,
    Canary,
    Ended,
    FoundKey,
    KeyToTry,
    Measuring,
    Message,
    Names,
    Outcome,
    Rate,
    Report,
    examine,
)
from engine.token_trail import FileTrail, TokenTrail
from engine.x509.algorithms import check_signature, encode_signature, signature_algorithm_for
from engine.x509.spki import load_spki

_SPAWN_SECONDS = 30.0
_END_SECONDS = 5.0
_BAR = 30
_CRASH_CURE = "This is a fault of the vendor's library: try its newest version, and report it with these lines."
_HANG_CURE = "See whether the device and its daemon answer at all; then it is a fault of the vendor's library."


@dataclass(frozen=True, slots=True)
class Patient:
    """A token to be examined, and the keys that should be on it."""

    settings: TokenSettings
    names: Names
    keys: tuple[KeyToTry, ...]
    asks: bool = False
    """Whether its PIN is typed."""
    audit_key: str | None = None
    """The path of the key that signs checkpoints, which proves itself and is not measured."""


def find_patients(config: EngineConfig, only: str | None) -> tuple[Patient, ...]:
    """The tokens of a configuration, or `only` one, with their registered keys. Raises ConfigError, StoreError."""
    if only is not None and only not in config.tokens:
        raise ConfigError(f"Expected one of the tokens {', '.join(config.tokens)}, found {only!r}.")
    rows = read_keys(config.store.url, store_password(config.store))
    return tuple(
        Patient(
            settings=token_settings(name, token, None),
            names=Names(**{member: f"tokens.{name}.{member}" for member in Names.__slots__}),
            keys=tuple(_registered(row) for row in rows if row.token == name),
            asks=token.pin.prompt is True,
            audit_key=config.audit.key,
        )
        for name, token in config.tokens.items()
        if only in (None, name)
    )


def _registered(row: KeyRow) -> KeyToTry:
    return KeyToTry(name=row.path, label=row.label, id=row.key_id, spki_sha256=row.spki_sha256)


class Doctor:
    """Examines tokens one by one and says on `out` what it sees; the progress of a bench goes to `progress`."""

    def __init__(
        self, out: TextIO, progress: TextIO, bench_seconds: float | None, trail: TokenTrail | FileTrail | None = None
    ) -> None:
        """`trail` is told of what keys are to sign, before they do; without one, no key may be named."""
        self._trail = trail
        self._out = out
        self._progress = progress if progress.isatty() else None
        self._bench_seconds = bench_seconds

    def examine(self, patient: Patient) -> bool:
        """Whether the engine can work with this token."""
        name = patient.settings.name
        self._out.write(f"token {name}\n")
        failed: list[str] = []
        try:
            typed = ask_pin(name).reveal() if patient.asks else b""
        except ConfigError as error:
            report = Report("pin", Outcome.FAILED, error.message, f"Correct {patient.names.pin}.")
            failed = [self._print(report).step]
        else:
            failed = self._converse(patient, typed)
        if failed:
            self._out.write(f"token {name}: not usable; failed: {', '.join(dict.fromkeys(failed))}.\n")
        elif not patient.keys:
            self._out.write(f"token {name}: usable; no key was tried, for none is named or registered.\n")
        else:
            self._out.write(f"token {name}: usable.\n")
        self._out.flush()
        return not failed

    def _converse(self, patient: Patient, typed: bytes) -> list[str]:
        """Have the token examined in another process; the names of the steps that failed."""
        spawning = multiprocessing.get_context("spawn")
        talk, theirs = spawning.Pipe()
        arguments = (theirs, patient.settings, patient.names, patient.keys, self._bench_seconds)
        process = spawning.Process(target=examine, args=arguments, daemon=True)
        process.start()
        theirs.close()
        step, seconds, failed = "start", _SPAWN_SECONDS, []
        told = _Signatures(self._trail, patient.settings.name)
        try:
            talk.send_bytes(typed)
            while True:
                if not talk.poll(seconds):
                    sentence = f"It did not come back within {seconds:g} seconds."
                    failed.append(self._print(Report(step, Outcome.FAILED, sentence, _HANG_CURE)).step)
                    process.kill()
                    break
                message: Message = talk.recv()
                if isinstance(message, Ended):
                    break
                if isinstance(message, Begun):
                    step, seconds = message.step, message.seconds
                elif isinstance(message, Measuring):
                    told.begin(MEASUREMENT, message.reference, message.message)
                    talk.send(None)
                elif isinstance(message, Rate):
                    told.succeed(message.signatures)
                    self._show_rate(message)
                else:
                    report = self._answer(message, talk, told, patient.audit_key)
                    if report is not None and self._print(report).outcome is Outcome.FAILED:
                        failed.append(report.step)
        except (EOFError, ConnectionError):
            process.join(_END_SECONDS)
            sentence = f"The library ended the process that had loaded it ({_how(process.exitcode)})."
            failed.append(self._print(Report(step, Outcome.FAILED, sentence, _CRASH_CURE)).step)
        finally:
            told.end()
        process.join(_END_SECONDS)  # finalising a library may hang, too
        process.kill()
        process.join()
        return failed

    def _answer(
        self,
        message: Report | FoundKey | Canary,
        talk: "Connection[Any, Any]",
        told: "_Signatures",
        audit_key: str | None,
    ) -> Report | None:
        """What to print of a message, after answering it if it wants that."""
        if isinstance(message, Report):
            return message
        if isinstance(message, FoundKey):
            try:
                algorithm = signature_algorithm_for(load_spki(message.spki)).name
            except RequestError as error:
                talk.send(None)
                cure = "Use a key of another type for this path."
                return Report("key", Outcome.FAILED, f"{message.key.name}: {error.message}", cure)
            told.begin(EXAMINATION, message.reference, message.message)
            talk.send(algorithm)
            return None
        report = _verify(message)
        is_good = report.outcome is Outcome.OK
        if is_good:
            told.succeed(1)
        told.end()
        talk.send(is_good and message.key.name != audit_key)
        return report

    def _print(self, report: Report) -> Report:
        self._out.write(f"  {report.outcome.value:<8} {report.step:<11} {report.sentence}\n")
        if report.cure:
            self._out.write(f"  {'':<8} {'':<11} What to do: {report.cure}\n")
        self._out.flush()
        return report

    def _show_rate(self, rate: Rate) -> None:
        """A line of the table, or the bar while it is not known."""
        what = f"{rate.key.name}, {rate.algorithm}, {rate.sessions:>2} session{'s' if rate.sessions > 1 else ' '}"
        if rate.per_second is None:
            if self._progress is not None:
                full = round(rate.done * _BAR)
                self._progress.write(f"\r  [{'#' * full:<{_BAR}}] {what}")
                self._progress.flush()
            return
        if self._progress is not None:
            self._progress.write("\r\x1b[K")
            self._progress.flush()
        self._print(Report("bench", Outcome.NOTE, f"{what}: {rate.per_second:10,.0f} signatures per second"))


class _Signatures:
    """What the keys of one token sign here, told to the audit trail before and after."""

    def __init__(self, trail: TokenTrail | FileTrail | None, token: str) -> None:
        self._trail = trail
        self._token = token
        self._open = ExitStack()
        self._reference: KeyReference | None = None
        self._proven = Counter[KeyReference]()

    def begin(self, kind: str, reference: KeyReference, message: bytes) -> None:
        """Before the key may sign. Raises StoreError."""
        self.end()
        if self._trail is not None:
            digest = hashlib.sha256(message).hexdigest()
            self._reference = reference
            self._proven = self._open.enter_context(self._trail.signing(self._token, (reference,), digest, kind))

    def succeed(self, signatures: int) -> None:
        """So many more of what was begun have come, and are right."""
        if self._reference is not None:
            self._proven[self._reference] += signatures

    def end(self) -> None:
        """Whatever was begun and did not succeed has failed. Raises StoreError."""
        self._reference = None
        self._open.close()


def _verify(canary: Canary) -> Report:
    """Whether a canary's signature is one by its key."""
    key = load_spki(canary.spki)
    algorithm = signature_algorithm_for(key)
    try:
        check_signature(key, algorithm, encode_signature(key, canary.signature), canary.message)
    except (InvalidSignature, IssuanceDefect):
        return Report(
            "signing",
            Outcome.FAILED,
            f"{canary.key.name}: what the token signed does not verify under the public key beside it.",
            "The halves do not belong together, or the token signs wrongly: do not use this key.",
        )
    pinned = f"SPKI SHA-256 {key.sha256}" + (", as registered" if canary.key.spki_sha256 else "")
    sentence = f"{canary.key.name}: found once, {key.key_type}, {algorithm.name} verifies; {pinned}."
    return Report("signing", Outcome.OK, sentence)


def _how(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
