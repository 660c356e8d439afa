"""Faults of an order: a profile collects every one before it refuses."""

from collections.abc import Sequence

from engine.errors import PolicyRefusal


def check_no_faults(faults: Sequence[str]) -> None:
    """Raise PolicyRefusal if there are faults: the first is the message, all of them are the details."""
    if faults:
        raise PolicyRefusal(faults[0], details=faults)


def must(subject: str, rule: str, found: object) -> str:
    """The sentence "The … must …, found …." with text quoted and cut short, and "none" for None."""
    shown = repr(found[:80]) if isinstance(found, str) else "none" if found is None else str(found)
    return f"The {subject} must {rule}, found {shown}."
