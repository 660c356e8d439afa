"""Signatures that are no request's, and what tokens do by themselves, told to the audit trail.

Where there is no trail yet, signatures are told to a file.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.audit.witness import FileWitness
from engine.store import ENGINE, ProofIntent, Store
from engine.store.chain import FAILURE, PENDING, RETURN
from engine.token import KeyReference


@dataclass(frozen=True, slots=True)
class TokenTrail:
    """The recorder of every token. Its methods raise StoreError."""

    store: Store

    def lost(self, token: str, cause: str) -> None:
        self.store.record_event("token-lost", ENGINE, token, {"token": token, "cause": cause}, outcome=FAILURE)

    def back(self, token: str) -> None:
        self.store.record_event("token-back", ENGINE, token, {"token": token})

    def repeating(self, token: str, key: KeyReference, message_sha256: str) -> None:
        told = {"signingKey": self._name(token, key), "token": token, "tbsSha256": message_sha256}
        self.store.record_event("signature-repeated", ENGINE, token, told, outcome=PENDING)

    @contextmanager
    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str, occasion: str = RETURN
    ) -> Iterator[Counter[KeyReference]]:
        """`occasion` is RETURN, EXAMINATION or MEASUREMENT."""
        proofs = {
            key: ProofIntent(
                intent_id=secrets.token_hex(16),
                occasion=occasion,
                signing_key=self._name(token, key),
                token=token,
                key_id=key.id,
                spki_sha256=key.spki_sha256,
                tbs_sha256=message_sha256,
            )
            for key in keys
        }
        self.store.record_proofs(tuple(proofs.values()))
        proven = Counter[KeyReference]()
        reason = None
        try:
            yield proven
        except BaseException as error:
            reason = type(error).__name__
            raise
        finally:
            self.store.close_proofs({proof: proven[key] for key, proof in proofs.items()}, reason)

    def _name(self, token: str, key: KeyReference) -> str:
        """The path that stands for the key; its label, if none does."""
        rows = self.store.list_keys_by_labels(token, {key.label})
        return next((row.path for row in rows if row.key_id == key.id), key.label)


@dataclass(frozen=True, slots=True)
class FileTrail:
    """JSON lines at the end of a file, for a token that no engine serves yet: each is on the disk before the next step.

    Its method raises StoreUnavailable.
    """

    path: str

    @contextmanager
    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str, occasion: str
    ) -> Iterator[Counter[KeyReference]]:
        """As `TokenTrail` has it."""
        self._tell("signature-intended", token, keys, message_sha256, occasion, Counter())
        proven = Counter[KeyReference]()
        try:
            yield proven
        finally:
            self._tell("signature-ended", token, keys, message_sha256, occasion, proven)

    def _tell(
        self,
        kind: str,
        token: str,
        keys: Sequence[KeyReference],
        message_sha256: str,
        occasion: str,
        signatures: Counter[KeyReference],
    ) -> None:
        for key in keys:
            told = {
                "kind": kind,
                "recordedAt": datetime.now(UTC).isoformat(),
                "occasion": occasion,
                "token": token,
                "label": key.label,
                "keyId": key.id.hex(),
                "spkiSha256": key.spki_sha256,
                "messageSha256": message_sha256,
                "signatures": signatures[key],
            }
            FileWitness(self.path).append(json.dumps(told).encode() + b"\n")
