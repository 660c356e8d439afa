"""What a step of a diagnosis is told and what it says."""

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How a step went. Only FAILED makes the engine unable to work."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Report:
    """One line: the step, how it went, what was seen and, where something is to be done about it, what."""

    step: str
    outcome: Outcome
    sentence: str
    cure: str = ""


class StepFailed(Exception):
    """A step that cannot be passed: what was expected and found, and what to do."""

    def __init__(self, sentence: str, cure: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.cure = cure


@dataclass(frozen=True, slots=True)
class Names:
    """What the operator calls the settings: dotted paths of the configuration file, or options of the command line."""

    module: str
    uri: str
    pin: str
    sessions: str
    environment: str

    def fill(self, cure: str) -> str:
        """`cure` with `{module}` and the like replaced; any other brace is the token's own text."""
        for name in ("module", "uri", "pin", "sessions", "environment"):
            cure = cure.replace(f"{{{name}}}", getattr(self, name))
        return cure


@dataclass(frozen=True, slots=True)
class KeyToTry:
    """A key that should be on the token; `spki_sha256` is what was pinned, if anything was."""

    name: str
    label: str | None
    id: bytes | None
    spki_sha256: str | None
