"""Who is told what a token does by itself: that it is lost and comes back, and what it signs before it is used again.

Whatever a recorder raises keeps the token away until it is tried again: nothing is signed that is not told before.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from engine.token.keys import KeyReference


class Recorder(Protocol):
    """Called in the thread that brings a token back. Each method may raise EngineError."""

    def lost(self, token: str, cause: str) -> None:
        """The token of this name does not answer, or not as it did. `cause` is a few words."""

    def back(self, token: str) -> None:
        """It is connected, logged in, its keys are proven, and it is about to be used."""

    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str
    ) -> AbstractContextManager[list[KeyReference]]:
        """Around signatures that nobody has asked for, one by each key; each that is right is put into the list. The
        block raises if one is not."""


class NoRecorder:
    """Nobody is told."""

    def lost(self, token: str, cause: str) -> None:
        return None

    def back(self, token: str) -> None:
        return None

    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str
    ) -> AbstractContextManager[list[KeyReference]]:
        return nullcontext([])
