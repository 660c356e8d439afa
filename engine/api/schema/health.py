"""What the health calls answer."""

from typing import Literal

from engine.api.schema.model import Answer


class Alive(Answer):
    """The process answers."""

    status: Literal["alive"]


class Readiness(Answer):
    """Whether the engine could sign."""

    status: Literal["ready", "not ready"]
    parts: dict[str, str]
    """What each token, the database and the audit trail say; `ready` when all is well."""
