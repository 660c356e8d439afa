"""Signatures that are no request's, and what tokens do by themselves, told to the audit trail."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from engine.store import ENGINE, Store
from engine.store.chain import FAILURE, MEASUREMENT, PENDING, RETURN, SUCCESS, Detail, Event
from engine.token import KeyReference


@dataclass(frozen=True, slots=True)
class TokenTrail:
    """The recorder of every token. Its methods raise StoreError."""

    store: Store

    def lost(self, token: str, cause: str) -> None:
        self.store.record_event("token-lost", ENGINE, token, {"token": token, "cause": cause}, outcome=FAILURE)

    def back(self, token: str) -> None:
        self.store.record_event("token-back", ENGINE, token, {"token": token})

    @contextmanager
    def signing(
        self, token: str, keys: Sequence[KeyReference], message_sha256: str, kind: str = RETURN
    ) -> Iterator[list[KeyReference]]:
        """`kind` is one of OF_TOKENS."""
        rows = self.store.list_keys_by_labels(token, {key.label for key in keys})
        paths = {(row.label, row.key_id): row.path for row in rows}
        told: dict[KeyReference, dict[str, Detail | None]] = {
            key: {
                "intentId": secrets.token_hex(16),
                "signatureKind": kind,
                "signingKey": paths.get((key.label, key.id), key.label),
                "token": token,
                "keyId": key.id.hex(),
                "spkiSha256": key.spki_sha256,
                "tbsSha256": message_sha256,
            }
            for key in keys
        }
        self.store.record_events([_event("signature-intended", PENDING, token, details) for details in told.values()])
        proven: list[KeyReference] = []
        reason = None
        try:
            yield proven
        except BaseException as error:
            reason = type(error).__name__
            raise
        finally:
            self.store.record_events(
                [
                    _event("rate-measured" if kind == MEASUREMENT else "proof-signed", SUCCESS, token, details)
                    if key in proven
                    else _event("signature-failed", FAILURE, token, {**details, "reason": reason})
                    for key, details in told.items()
                ]
            )


def _event(kind: str, outcome: str, token: str, details: Mapping[str, Detail | None]) -> Event:
    return Event(kind, outcome, actor=ENGINE.credential_id, target=token, details=details)
