"""How many signatures a token makes in a second, by the number of sessions."""

import dataclasses
import threading
import time
from collections.abc import Callable

from engine.errors import EngineError, TokenUnavailable
from engine.token.keys import KeyReference
from engine.token.recorder import Unrecorded
from engine.token.settings import TokenSettings
from engine.token.token import Token

SESSIONS = (1, 2, 4, 8, 16, 32)
MESSAGE = b"signing-engine doctor"
"""What is signed, again and again."""
_TELL_SECONDS = 0.1


def measure(
    settings: TokenSettings,
    key: KeyReference,
    algorithm: str,
    sessions: int,
    seconds: float,
    tell: Callable[[float], None],
) -> tuple[float, int]:
    """Signatures per second of `sessions` threads that do nothing but sign, over `seconds`; and how many were made.

    `tell` hears what part of the time is over. Raises TokenError, also when a signature does not come back.
    """
    token = Token.open(dataclasses.replace(settings, sessions=sessions), recorder=Unrecorded())
    warm, over = threading.Barrier(sessions + 1), threading.Event()
    counts = [0] * sessions
    errors: list[EngineError] = []

    def sign(number: int) -> None:
        try:
            token.sign(key, algorithm, MESSAGE)  # opens the session and finds the key
            warm.wait()
            while not over.is_set():
                token.sign(key, algorithm, MESSAGE)
                counts[number] += 1
        except EngineError as error:
            errors.append(error)
            warm.abort()
        except threading.BrokenBarrierError:
            return  # another thread has said why

    threads = [threading.Thread(target=sign, args=(number,), daemon=True) for number in range(sessions)]
    for thread in threads:
        thread.start()
    began = ended = time.monotonic()
    try:
        warm.wait(settings.wait_seconds + settings.sign_seconds)
        began = time.monotonic()
        while not errors and (ended := time.monotonic()) < began + seconds:
            tell(min(1.0, (ended - began) / seconds))
            over.wait(_TELL_SECONDS)
    except threading.BrokenBarrierError:
        pass  # `errors` has the reason, or else a thread still waits for its first signature
    over.set()
    deadline = time.monotonic() + settings.sign_seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        raise TokenUnavailable(f"A signature did not come back within {settings.sign_seconds:g} seconds.")
    ended = time.monotonic() if not errors else ended
    token.close()
    if errors:
        raise errors[0]
    return sum(counts) / (ended - began), token.signatures
