"""A trail with checkpoints, signed by a key of the token under test, and the file that an export of it would be."""

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.audit.checkpoint import CheckpointMaker
from engine.audit.witness import FileWitness
from engine.directory.signers import HostedSigner
from engine.store import ENGINE, Store
from engine.token import KeyReference, Token
from engine.x509.spki import load_spki
from tests.database import select


def now() -> datetime:
    return datetime.now(UTC)


def make_signer(token: Token) -> HostedSigner:
    """A new P-256 key of the token."""
    label, key_id = "audit", secrets.token_bytes(16)
    public_key = load_spki(token.generate_key("secp256r1", label, key_id).spki)
    return HostedSigner(label, public_key, token, KeyReference(label, key_id, public_key.sha256))


def make_maker(store: Store, signer: HostedSigner, witness: Path | None) -> CheckpointMaker:
    return CheckpointMaker(store, lambda: signer, None if witness is None else FileWitness(str(witness)), now)


def cover(maker: CheckpointMaker) -> int:
    """One checkpoint of whatever waits; how many events it covers."""
    return maker.make(at_least=1, recorded_by=now() - timedelta(days=365))


def tell(store: Store, number: int, **details: Any) -> None:
    """So many events, a transaction each."""
    for _ in range(number):
        store.record_event("key-examined", ENGINE, "test.tenant1.kms1.kéy", {"signingKey": "test.k", **details})


def export(url: str, path: Path) -> None:
    """The whole trail, by the text of `engine.audit.verifier` and not by the engine's code."""
    columns = "writer, sequence, recorded_at, kind, actor, source, target, outcome, request_id, details, previous_hash"
    lines: list[dict[str, Any]] = []
    for row in select(url, f"SELECT {columns}, hash, checkpoint FROM events ORDER BY writer, sequence"):
        writer, sequence, recorded_at, kind, actor, source, target, outcome, request_id, details, previous = row[:11]
        time = datetime.fromisoformat(f"{recorded_at}")
        time = time.astimezone(UTC) if time.tzinfo else time
        event = {
            "writer": str(writer),
            "sequence": sequence,
            "recordedAt": f"{time:%Y-%m-%dT%H:%M:%S.%fZ}",
            "kind": kind,
            "actor": actor,
            "source": source,
            "target": target,
            "outcome": outcome,
            "requestId": request_id,
            "details": json.loads(details),
            "previous": previous,
        }
        lines.append({"event": event, "hash": row[11], "checkpoint": row[12]})
    for statement, signature, spki in select(url, "SELECT statement, signature, spki FROM checkpoints ORDER BY number"):
        lines.append(
            {
                "checkpoint": statement,
                "signature": None if signature is None else base64.b64encode(signature).decode(),
                "key": base64.b64encode(spki).decode(),
            }
        )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
