"""What is known of a token while it is examined."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from pkcs11.types import Session
from pkcs11.types import Token as PresentToken

from engine.pin import Pin
from engine.token.diagnosis.reports import Outcome
from engine.token.module import Module
from engine.token.settings import TokenSettings
from engine.token.uri import Pkcs11Uri, load_uri

_T = TypeVar("_T")

Said = Iterator[tuple[Outcome, str, str]]
"""How it went, a sentence, and what to do ("" if nothing is)."""


@dataclass(slots=True)
class Examination:
    """What is known of the token so far. `opened` undoes it: sessions first, the module last."""

    settings: TokenSettings
    most_sessions: int
    """How many to try."""
    opened: ExitStack = field(default_factory=ExitStack)
    locked: ExitStack = field(default_factory=ExitStack)
    """The right to start and log in, against other processes that use this module."""
    hint: str = ""
    """What would explain that the library finds nothing."""
    _module: Module | None = None
    _token: PresentToken | None = None
    _owner: Session | None = None
    _pin: Pin | None = None
    sessions: int = 0
    """How many could be open at once."""
    private_keys: tuple[str, ...] = ()
    """Those on the token, in words."""

    @property
    def uri(self) -> Pkcs11Uri:
        """Raises ConfigError."""
        return load_uri(self.settings.uri)

    @property
    def module(self) -> Module:
        """The loaded module, after that step."""
        return _reached(self._module)

    @property
    def token(self) -> PresentToken:
        """The token that the URI names, after that step."""
        return _reached(self._token)

    @property
    def owner(self) -> Session:
        """The session that logged in, after that step."""
        return _reached(self._owner)

    @property
    def pin(self) -> Pin:
        """The PIN, after that step."""
        return _reached(self._pin)

    def close(self) -> None:
        """Close what is open, so that the token can be opened as the engine does."""
        self.opened.close()
        self.locked.close()


def _reached(value: _T | None) -> _T:
    if value is None:
        raise RuntimeError("The steps were taken in another order than they stand in the table.")
    return value
