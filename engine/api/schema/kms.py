"""The calls of a KMS."""

from engine.api.fields import Hex
from engine.api.schema.model import Model


class AdoptKey(Model):
    """Bind a key that is on a token already, by CKA_LABEL, CKA_ID or both."""

    label: str | None = None
    id: Hex | None = None

    def token_id(self) -> bytes | None:
        """CKA_ID."""
        return None if self.id is None else bytes.fromhex(self.id)
