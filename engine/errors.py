"""Every error the engine raises on purpose.

EngineError
├── ConfigError                 the configuration file, the data folder or the machine is not as required
├── RequestError                the caller can fix it
│   ├── MalformedRequest        octets, PEM, DER or JSON that are not what the standard or the API asks for
│   ├── ProofOfPossessionError  a certification request whose own signature does not verify
│   ├── UnsupportedRequest      well-formed, but an algorithm, key type or form that is not supported
│   ├── PolicyRefusal           well-formed and understood, but a profile, key check or policy refuses it
│   ├── CredentialRequired      no credential, or one that is not known
│   ├── NotAuthorized           a known credential or service without the right to do this
│   ├── NotFound                nothing at that path
│   ├── AlreadyExists           something is at that path already
│   ├── IdempotencyConflict     the Idempotency-Key was sent with another request before
│   └── RequestUnderWay         the request with that Idempotency-Key is not finished yet
├── TokenError                  the PKCS#11 token did not do what it was asked
│   ├── TokenUnavailable        token, module or session not reachable now; trying later may help
│   ├── TokenBusy               no session came free before the deadline
│   ├── TokenLoginRefused       the token refused the PIN, or a login would risk locking it
│   ├── TokenKeyNotFound        no key with that label and id on a token that is logged in
│   ├── TokenKeyAmbiguous       several keys where exactly one is required, or a key other than the pinned one
│   └── SigningFailed           the token answered a signing request with an error
├── IssuanceDefect              what came out is not what was meant; nothing was released
├── EngineBusy                  more waits already than the engine takes on; trying later may help
└── StoreError                  the database did not do what it was asked; nothing was released
    └── StoreUnavailable        not reachable, read-only, full or locked now; trying later may help

A message is one sentence that says what was expected and what came. It never holds a secret or a vendor's text.
"""

from collections.abc import Sequence


class EngineError(Exception):
    """The root. `message` is one sentence for the caller; `details` lists findings or members, one each."""

    may_have_signed = False
    """Whether a token was asked for a signature before this, and has not denied that it made one."""

    def __init__(self, message: str, *, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)


class ConfigError(EngineError):
    """The configuration file, the data folder or the machine is not as required."""


class RequestError(EngineError):
    """The caller can fix it."""


class MalformedRequest(RequestError):
    """Octets, PEM, DER or JSON that are not what the standard or the API asks for."""


class ProofOfPossessionError(RequestError):
    """A certification request whose signature does not verify under its own key (RFC 2986 section 3)."""


class UnsupportedRequest(RequestError):
    """Well-formed, but an algorithm, key type or form that is not supported."""


class PolicyRefusal(RequestError):
    """A profile, key check or policy refuses; `details` holds the findings, `codes` the codes of those with one."""

    def __init__(self, message: str, *, details: Sequence[str] = (), codes: Sequence[str] = ()) -> None:
        super().__init__(message, details=details)
        self.codes = tuple(codes)


class CredentialRequired(RequestError):
    """No credential was presented, or one that is not known."""


class NotAuthorized(RequestError):
    """A known credential or service without the right to do this."""


class NotFound(RequestError):
    """Nothing is at the path that was named."""


class AlreadyExists(RequestError):
    """Something is at the path that was named; `target` is that path."""

    def __init__(self, message: str, *, target: str) -> None:
        super().__init__(message)
        self.target = target


class IdempotencyConflict(RequestError):
    """The Idempotency-Key was sent with another request before, so this one cannot be its repeat."""


class RequestUnderWay(RequestError):
    """The request that was sent with this Idempotency-Key first is not finished; a repeat will find its answer."""


class TokenError(EngineError):
    """The PKCS#11 token did not do what it was asked."""


class TokenUnavailable(TokenError):
    """Token, module or session is not reachable now; the same call may work later."""


class TokenBusy(TokenError):
    """No session came free before the deadline."""


class TokenLoginRefused(TokenError):
    """The token refused the PIN, or one more attempt might lock it. Never retried."""


class TokenKeyNotFound(TokenError):
    """No key with that label and id on a token that is logged in."""


class TokenKeyAmbiguous(TokenError):
    """Several keys where exactly one is required, or a key other than the pinned one."""


class SigningFailed(TokenError):
    """The token answered a signing request with an error."""


class IssuanceDefect(EngineError):
    """What came out is not what was meant; nothing was released."""


class EngineBusy(EngineError):
    """More waits already than the engine takes on; the same call may work later."""


class StoreError(EngineError):
    """The database did not do what it was asked; nothing was released."""


class StoreUnavailable(StoreError):
    """The database is not reachable, read-only, full or locked now; the same call may work later."""
