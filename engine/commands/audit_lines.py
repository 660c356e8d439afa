"""What becomes of the audit trail, for people."""

from engine.config import AuditConfig


def audit_lines(config: AuditConfig) -> tuple[str, ...]:
    """Who signs checkpoints, how often, and who is told of them."""
    if config.key is None:
        return audit_warnings(config)
    lines = (
        f"audit: checkpoints by {config.key}, every {config.events} events or {config.seconds:g} seconds; nothing is "
        f"signed when there was none for {config.longest_seconds:g} seconds",
    )
    if config.witness is None:
        return (*lines, *audit_warnings(config))
    return (*lines, f"audit: witness {config.witness.file or config.witness.url}")


def audit_warnings(config: AuditConfig) -> tuple[str, ...]:
    """What is missing."""
    if config.key is None:
        return ("audit: WARNING: no audit.key is set, so the audit trail has no signed checkpoints",)
    if config.witness is None:
        return ("audit: WARNING: no audit.witness is set, so a trail whose end is cut off looks whole",)
    return ()
