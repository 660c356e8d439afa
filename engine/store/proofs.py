"""Signatures that no request has asked for: a key proves itself on a token that has come back or is examined, or is
measured. Each has an intent like any other."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime

from sqlalchemy import Connection

from engine.store.chain import FAILURE, MEASUREMENT, PENDING, SUCCESS, Detail, Event
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.intents import ADD_INTENT, CLOSE, close_intent, end_event
from engine.store.left_open import LeftOpen
from engine.store.rows import ENGINE, ProofIntent
from engine.store.schema import FAILED, INTENDED, SIGNED
from engine.store.writer import writer_of


class Proofs(Trail):
    """The part of the store that knows them."""

    _database: Database
    _now: Callable[[], datetime]
    _left_open: LeftOpen

    def record_proofs(self, proofs: Sequence[ProofIntent]) -> None:
        """Before keys sign what nobody has asked them to: an intent for each. Raises StoreError."""
        recorded_at = self._now()
        told = [
            Event(
                "signature-intended",
                PENDING,
                ENGINE.credential_id,
                target=proof.token,
                details={"intentId": proof.intent_id, "tbsSha256": proof.tbs_sha256, **proof.details()},
            )
            for proof in proofs
        ]
        rows = [
            {
                "intent_id": proof.intent_id,
                "kind": "proof",
                "profile": proof.occasion,
                "tbs_sha256": proof.tbs_sha256,
                "signing_key": proof.signing_key,
                "caller": ENGINE.credential_id,
                "target": proof.token,
                "source": "",
                "request_id": "",
                "request_digest": "",
                "state": INTENDED,
                "recorded_at": recorded_at,
            }
            for proof in proofs
        ]

        def work(connection: Connection) -> None:
            connection.execute(ADD_INTENT, [row | {"writer": writer_of(connection)} for row in rows])
            self._tell(connection, *told)

        with ExitStack() as beginning:
            for proof in proofs:
                beginning.enter_context(self._left_open.beginning(proof.intent_id))
            self._database.write(work)

    def close_proofs(self, proofs: Mapping[ProofIntent, int], reason: str | None) -> None:
        """What became of the intents of `record_proofs`: how many signatures each has come to that were right.

        One that has come to none has failed, for the `reason` if there is one. Raises StoreError.
        """
        now = self._now()

        def work(connection: Connection) -> None:
            for proof, signatures in proofs.items():
                end = {"of_intent": proof.intent_id, "closed_at": now, "state": SIGNED if signatures else FAILED}
                more: dict[str, Detail | None] = dict(proof.details())
                kind, outcome = "proof-signed", SUCCESS
                if not signatures:
                    kind, outcome = "signature-failed", FAILURE
                    end["reason"] = reason or "none"
                    more["reason"] = reason
                elif proof.occasion == MEASUREMENT:
                    kind = "rate-measured"
                    more["signatures"] = signatures
                self._tell(connection, end_event(kind, close_intent(connection, CLOSE, end), more, outcome))

        with ExitStack() as ending:
            for proof in proofs:
                ending.enter_context(self._left_open.ending(proof.intent_id))
            self._database.write(work)
