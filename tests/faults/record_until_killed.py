"""Records intents and their ends from eight threads until it is killed, and says on stdout what was acknowledged.

    python record_until_killed.py DATABASE_URL

One line per acknowledgement, written with one system call each so that lines stay whole: the word and the intent's
id, and for an intent its serial number. A line is written only after the store has returned.
"""

import hashlib
import os
import secrets
import sys
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from engine.store import Store

ISSUER = b"issuer name"
THREADS = 8


@dataclass(frozen=True)
class Place:
    path: str
    type: str = "base"
    metadata: None = None


def acknowledge(*words: str) -> None:
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def issue(store: Store, turn: int) -> None:
    intent_id, serial_number, tbs = str(uuid.uuid4()), secrets.randbits(158), secrets.token_bytes(500)
    is_request = turn % 5 == 0
    store.record_intent(
        intent_id=intent_id,
        kind="request" if is_request else "certificate",
        profile="generic",
        issuer=None if is_request else ISSUER,
        serial_number=None if is_request else serial_number,
        tbs=None if is_request else tbs,
        tbs_sha256=hashlib.sha256(tbs).hexdigest(),
        signing_key="test.tenant1.kms1.ca",
        caller="credential-1",
        target="test.tenant1.x509-service-1",
        request_id="request-1",
        request_digest="d" * 64,
        entries=() if is_request else (Place(f"test.tenant1.store.{intent_id}"),),
    )
    acknowledge("intended", intent_id, "-" if is_request else f"{serial_number:040x}")
    if is_request:
        store.record_signed(intent_id=intent_id)
        acknowledge("signed", intent_id)
    elif turn % 5 == 1:
        store.record_failure(intent_id=intent_id, reason="SigningFailed")
        acknowledge("failed", intent_id)
    else:
        now = datetime.now(UTC)
        store.record_certificate(
            intent_id=intent_id,
            certificate=tbs,
            sha256=hashlib.sha256(tbs).hexdigest(),
            subject=b"subject name",
            issuer=ISSUER,
            serial_number=serial_number,
            spki_sha256="a" * 64,
            is_ca=False,
            not_before=now,
            not_after=now + timedelta(days=365),
        )
        acknowledge("signed", intent_id)


def work(store: Store) -> None:
    turn = 0
    while True:
        issue(store, turn)
        turn += 1


if __name__ == "__main__":
    opened = Store.open(sys.argv[1])
    for dangling in opened.close_dangling_intents():
        acknowledge("outcome-unknown", dangling.intent_id)
    acknowledge("serving", "-")
    for _ in range(THREADS):
        threading.Thread(target=work, args=(opened,)).start()
