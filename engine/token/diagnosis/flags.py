"""CK_TOKEN_INFO.flags in words (PKCS#11 2.40 section 3.2), and which of them keep the engine from logging in."""

from dataclasses import dataclass

from pkcs11.constants import TokenFlag

from engine.token.diagnosis.reports import Outcome


@dataclass(frozen=True, slots=True)
class FlagRule:
    """What it means that `flag` is set, or is not."""

    flag: TokenFlag
    is_set: bool
    outcome: Outcome
    words: str
    cure: str = ""
    of_pin: bool = False
    """Says something only where a login is required."""


FLAG_RULES = (
    FlagRule(
        TokenFlag.TOKEN_INITIALIZED,
        False,
        Outcome.FAILED,
        "not initialised",
        "Initialise it with the vendor's tool, or name another token in {uri}.",
    ),
    FlagRule(
        TokenFlag.ERROR_STATE,
        True,
        Outcome.FAILED,
        "in an error state",
        "Look into the device's own log; often it has to be switched off and on.",
    ),
    FlagRule(
        TokenFlag.USER_PIN_INITIALIZED,
        False,
        Outcome.FAILED,
        "without a user PIN",
        "Have the security officer set the user PIN with the vendor's tool.",
        of_pin=True,
    ),
    FlagRule(
        TokenFlag.USER_PIN_LOCKED,
        True,
        Outcome.FAILED,
        "with its user PIN locked",
        "Have the security officer set a new user PIN, and keep it where {pin} says.",
        of_pin=True,
    ),
    FlagRule(
        TokenFlag.USER_PIN_FINAL_TRY,
        True,
        Outcome.FAILED,
        "at the final try: one wrong PIN more locks it, so the engine does not log in",
        "Log in once by hand with the right PIN (pkcs11-tool --login), which clears this; correct {pin} first.",
        of_pin=True,
    ),
    FlagRule(
        TokenFlag.USER_PIN_COUNT_LOW,
        True,
        Outcome.WARNING,
        "low on tries: a wrong user PIN came since the last right one",
        "Find out who uses a wrong PIN; a right one clears this.",
        of_pin=True,
    ),
    FlagRule(
        TokenFlag.USER_PIN_TO_BE_CHANGED,
        True,
        Outcome.WARNING,
        "with a user PIN that is to be changed before use",
        "Change it with the vendor's tool, and keep it where {pin} says.",
        of_pin=True,
    ),
    FlagRule(
        TokenFlag.PROTECTED_AUTHENTICATION_PATH,
        True,
        Outcome.WARNING,
        "with a key pad of its own for the PIN, which the engine does not use",
        of_pin=True,
    ),
    FlagRule(TokenFlag.WRITE_PROTECTED, True, Outcome.NOTE, "write-protected: no keys can be generated on it"),
    FlagRule(TokenFlag.LOGIN_REQUIRED, False, Outcome.NOTE, "without a login: everybody may use it"),
)


def find_rules(flags: TokenFlag) -> tuple[FlagRule, ...]:
    """What these flags say, the worst first."""
    return tuple(
        rule
        for rule in FLAG_RULES
        if bool(flags & rule.flag) == rule.is_set and not (rule.of_pin and not flags & TokenFlag.LOGIN_REQUIRED)
    )


def render_flags(flags: TokenFlag) -> str:
    """In a few words."""
    return "; ".join(rule.words for rule in find_rules(flags)) or "initialised, user PIN set"
