"""What a lint rule is, and what it finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.profiles.lint.reading import Reading


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a certificate. An error stops the certificate from being signed."""

    severity: str
    """error, warning or notice."""
    code: str
    """Dotted and stable: the part of the certificate, then what is wrong with it."""
    message: str
    clause: str
    """The standard and clause that ask for it; "engine" when only this engine does."""


Check = Callable[[Reading, Reading | None], str | None]
"""The certificate and its issuer (the certificate itself when self-signed, None when not at hand) → what is wrong."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, named by what it finds."""

    code: str
    clause: str
    check: Check
    house: bool = False
    """Whether it is asked only of what this engine issues, and not of a certificate that a caller presents."""
    severity: str = "error"


@dataclass(frozen=True, slots=True)
class LintReport:
    """What came of applying the rules of a profile."""

    rules: int
    """How many there are."""
    rules_sha256: str
    """Which ones: the SHA-256, lower-case hex, of a line `severity code clause` for each, in their order."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of attributes and extensions in a profile, and which extensions are critical."""

    attributes: tuple[bytes, ...]
    extensions: tuple[bytes, ...]
    critical: Mapping[bytes, bool]
