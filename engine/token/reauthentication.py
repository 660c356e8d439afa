"""Keys that want the PIN for every signature: CKA_ALWAYS_AUTHENTICATE (PKCS#11 2.40 section 4.9).

Between C_SignInit and C_Sign comes C_Login as CKU_CONTEXT_SPECIFIC. The PIN is read from its source each time and let
go. One signature at a time, and none after a refusal: with several under way, a wrong PIN would lock the token.
"""

import threading

from pkcs11.exceptions import PKCS11Error

from engine.errors import ConfigError, TokenBusy, TokenLoginRefused
from engine.pin import PinSource
from engine.token.keys import SigningKey
from engine.token.mechanisms import SignatureMechanism
from engine.token.returncodes import classify


class Reauthentication:
    """Signs with such keys of one token."""

    def __init__(self, token: str, pin: PinSource, wait_seconds: float) -> None:
        """`token` is what messages call it; `wait_seconds` is how long one signature waits for another."""
        self._token = token
        self._pin = pin
        self._wait_seconds = wait_seconds
        self._one_at_a_time = threading.Lock()
        self._is_refused = False

    def sign(self, key: SigningKey, mechanism: SignatureMechanism, prepared: bytes) -> bytes:
        """C_SignInit, C_Login, C_Sign. Raises TokenLoginRefused once the PIN was refused, until the next start;
        TokenBusy, ConfigError for a PIN that cannot be had, and the binding's errors."""
        if not self._one_at_a_time.acquire(timeout=self._wait_seconds):
            raise TokenBusy(f"Another signature that needs the PIN of token {self._token!r} is under way; try again.")
        try:
            if self._is_refused:
                raise TokenLoginRefused(
                    f"The token {self._token!r} refused the PIN for a signature and is not asked again; put the PIN "
                    "right and start the engine anew."
                )
            return key.private_key.sign(
                prepared,
                mechanism=mechanism.mechanism,
                mechanism_param=mechanism.parameter,
                pin=self._load_pin(),
            )
        except PKCS11Error as error:
            self._is_refused = classify(error).error is TokenLoginRefused
            raise
        finally:
            self._one_at_a_time.release()

    def _load_pin(self) -> str:
        """As text, which is what the binding takes."""
        try:
            return self._pin.load_pin().reveal().decode()
        except UnicodeDecodeError:
            raise ConfigError(f"The PIN of token {self._token!r} is not UTF-8, as its keys need it to be.") from None
