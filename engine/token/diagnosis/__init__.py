"""What is wrong with a token, found out step by step in a process that a vendor's library may crash or hang."""

from engine.token.diagnosis.conversation import Begun, Canary, Ended, FoundKey, Measuring, Message, Rate, examine
from engine.token.diagnosis.reports import KeyToTry, Names, Outcome, Report

__all__ = [
    "Begun",
    "Canary",
    "Ended",
    "FoundKey",
    "KeyToTry",
    "Measuring",
    "Message",
    "Names",
    "Outcome",
    "Rate",
    "Report",
    "examine",
]
