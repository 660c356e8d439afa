"""Who is told what a token does by itself: that it is lost and comes back, what it signs before it is used again, and
that it is asked twice for one signature.

Nothing is signed that is not told before: what a recorder raises keeps the token away until it is tried again, and ends
a signature that would have been repeated.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from engine.errors import SigningFailed
from engine.token.keys import KeyReference


class Recorder(Protocol):
    """Called in the thread that brings a token back, or in one that signs. Each method may raise EngineError."""

    def lost(self, token: str, cause: str) -> None:
        """The token of this name does not answer, or not as it did. `cause` is a few words."""

    def back(self, token: str) -> None:
        """It is connected, logged in, its keys are proven, and it is about to be used."""

    def repeating(self, token: str, key: KeyReference, message_sha256: str) -> None:
        """A signature that was intended is asked for once more, since it is not known whether it was made."""

    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str
    ) -> AbstractContextManager[Counter[KeyReference]]:
        """Around signatures that nobody has asked for. Those that are right are counted by their key; the block raises
        if one is not."""


class NoRecorder:
    """Nobody is told."""

    def lost(self, token: str, cause: str) -> None:
        return None

    def back(self, token: str) -> None:
        return None

    def repeating(self, token: str, key: KeyReference, message_sha256: str) -> None:
        return None

    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str
    ) -> AbstractContextManager[Counter[KeyReference]]:
        return nullcontext(Counter())


class Unrecorded(NoRecorder):
    """Nobody is there to record what is signed, so nothing is that was not told to somebody else before."""

    def repeating(self, token: str, key: KeyReference, message_sha256: str) -> None:
        raise SigningFailed(f"The token {token!r} did not answer, and was not asked again.")

    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str
    ) -> AbstractContextManager[Counter[KeyReference]]:
        raise SigningFailed(f"The token {token!r} came back, and no key was proven on it.")
