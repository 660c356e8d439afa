"""The evidence of a certificate that was issued into a store, and the checkpoint that it may still need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from engine.audit.evidence import find_recorded
from engine.errors import NotFound, StoreUnavailable, TokenError
from engine.store import Store

_SECONDS = 2.0
"""How long a request waits for others to make a checkpoint."""


class Keeper(Protocol):
    """What makes checkpoints."""

    def cover(self, is_covered: Callable[[], bool], seconds: float) -> bool:
        """Make checkpoints of what waits until `is_covered`; False if that took too long. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class EvidenceRoom:
    """Gives evidence."""

    store: Store = field(repr=False)
    keeper: Keeper | None = field(default=None, repr=False)
    """None: no audit key is configured."""

    def find(self, path: str) -> Mapping[str, object]:
        """The evidence of the certificate at the full path `path`; a checkpoint is made for it if need be.

        Raises NotFound if there is none, StoreUnavailable if there is none yet, StoreError if records were changed.
        """
        records = self.store.evidence_records()
        recorded = find_recorded(records, records.find_issued_at(path))
        evidence = recorded.build_evidence()
        if evidence is not None:
            return evidence
        if self.keeper is None:
            raise NotFound(
                f"There is no evidence of the certificate at {path}: no checkpoint of the audit trail covers its "
                "events, and the setting audit.key, without which none is made, is absent."
            )
        try:
            is_covered = self.keeper.cover(recorded.is_covered, _SECONDS)
        except (TokenError, StoreUnavailable) as error:
            raise StoreUnavailable(
                f"There is no evidence of the certificate at {path} yet: the checkpoint of the audit trail that it "
                f"needs was not made. {error.message}"
            ) from error
        evidence = recorded.build_evidence() if is_covered else None
        if evidence is None:
            raise StoreUnavailable(
                f"There is no evidence of the certificate at {path} yet: the checkpoint of the audit trail that it "
                "needs is still being made."
            )
        return evidence
