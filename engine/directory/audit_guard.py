"""What the audit trail asks of every key: one that signs its checkpoints, or has ever signed one, signs nothing else,
and no key signs while the trail cannot be covered by checkpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.errors import NotAuthorized


class Gate(Protocol):
    """Open or closed."""

    def state(self) -> str:
        """`ready`, or in words why nothing may be signed."""

    def check_open(self) -> None:
        """Raises StoreUnavailable while nothing may be signed."""


@dataclass(frozen=True, slots=True)
class AuditGuard:
    """Without any of these, nothing is refused."""

    key_path: str | None = None
    """The path of the audit key."""
    spki_sha256: str | None = None
    """Of the audit key, once it is registered: other paths or certificates may not stand for it."""
    former: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """SHA-256 of the SubjectPublicKeyInfo of every key that has signed checkpoints, and the paths that stand for it."""
    gate: Gate | None = field(default=None, repr=False)

    def check_open(self) -> None:
        """Raises StoreUnavailable while nothing may be signed."""
        if self.gate is not None:
            self.gate.check_open()

    def states(self) -> Mapping[str, str]:
        """What becomes of the trail, `ready` when it is well; nothing where there are no checkpoints."""
        return {} if self.gate is None else {"audit trail": self.gate.state()}

    def check_path(self, path: str) -> None:
        """Raises NotAuthorized for the path of the audit key, and of one that was."""
        self.check_kept(path)
        if any(path in paths for paths in self.former.values()):
            raise _refusal(f"The key {path} has signed")

    def check_kept(self, path: str) -> None:
        """Raises NotAuthorized for the path of the audit key alone: one that was may be destroyed."""
        if path == self.key_path:
            raise _refusal(f"The key {path} signs")

    def check_key(self, spki_sha256: str) -> None:
        """Raises NotAuthorized for the audit key, and one that was, by the SHA-256 of its SubjectPublicKeyInfo."""
        if spki_sha256 == self.spki_sha256:
            raise _refusal(f"The key {self.key_path} signs")
        if spki_sha256 in self.former:
            raise _refusal(f"The key {', '.join(self.former[spki_sha256]) or spki_sha256} has signed")


def _refusal(signs: str) -> NotAuthorized:
    return NotAuthorized(f"{signs} checkpoints of the audit trail and may be used for nothing else.")
