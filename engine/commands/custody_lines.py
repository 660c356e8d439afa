"""A custody record in plain lines, for people at a terminal."""

from collections.abc import Mapping
from datetime import UTC

from engine.directory.custody import KeyRecord

_COLUMN = 22
_PARTS = ("token", "negative_tests", "origin")
"""Members of the record with lines of their own."""


def custody_lines(record: KeyRecord) -> tuple[str, ...]:
    """The whole record, one fact a line; the last lines say where it falls short of `require-custody`, if it does."""
    custody = record.custody
    lines = [
        _line("key", record.path),
        _line("public key", f"{record.public_key.key_type}, SPKI SHA-256 {record.public_key.sha256}"),
        _line("origin", record.origin),
        _line("checked", record.checked_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        *(_line(f"token {name}", str(value)) for name, value in _members(custody, "token")),
        *(_line(name.replace("_", " "), _shown(value)) for name, value in custody.items() if name not in _PARTS),
        *(_line(f"try to {name} it", _test(test)) for name, test in _members(custody, "negative_tests")),
    ]
    if record.shortfalls:
        return (*lines, *(_line("falls short", shortfall) for shortfall in record.shortfalls))
    return (*lines, _line("falls short", "nowhere: it satisfies require-custody"))


def _line(name: str, value: str) -> str:
    return f"{name:<{_COLUMN}}{value}"


def _members(custody: Mapping[str, object], name: str) -> list[tuple[str, object]]:
    part = custody.get(name)
    return list(part.items()) if isinstance(part, Mapping) else []


def _shown(value: object) -> str:
    if value is None:
        return "the token does not tell"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _test(test: object) -> str:
    """`refused, CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE`."""
    if not isinstance(test, Mapping):
        return "not tried"
    members = ("result", "attribute", "mechanism", "answer", "reason")
    return ", ".join(str(test[member]) for member in members if member in test)
