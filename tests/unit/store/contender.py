"""A process that uses a database beside others, and says on its standard output what it did.

python contender.py DATABASE_URL open NUMBER      record this intent, say so, and finish it when a line is read
python contender.py DATABASE_URL race NAME        reserve a hundred places and serial numbers that others want too
"""

import hashlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from engine.errors import AlreadyExists, StoreError
from engine.store import Store

ISSUER = b"issuer name"


@dataclass(frozen=True)
class Place:
    path: str
    type: str = "base"
    metadata: None = None


def record(store: Store, intent_id: str, number: int, path: str) -> None:
    store.record_intent(
        intent_id=intent_id,
        kind="certificate",
        profile="generic",
        issuer=ISSUER,
        serial_number=number,
        tbs=b"tbs",
        tbs_sha256="a" * 64,
        signing_key="test.tenant1.kms1.ca",
        caller="credential-1",
        target="test.tenant1.x509-service-1",
        request_id="request-1",
        request_digest="d" * 64,
        entries=(Place(path),),
    )


def finish(store: Store, intent_id: str, number: int) -> None:
    now = datetime.now(UTC)
    certificate = intent_id.encode()
    store.record_certificate(
        intent_id=intent_id,
        certificate=certificate,
        sha256=hashlib.sha256(certificate).hexdigest(),
        subject=b"subject name",
        issuer=ISSUER,
        serial_number=number,
        spki_sha256="a" * 64,
        is_ca=False,
        not_before=now,
        not_after=now + timedelta(days=365),
    )


def stay_open(store: Store, number: int) -> None:
    record(store, f"intent-{number}", number, f"a.b.s.{number}")
    print("recorded", flush=True)
    sys.stdin.readline()
    finish(store, f"intent-{number}", number)
    print("finished", flush=True)


def race(store: Store, name: str) -> None:
    """Half of the rounds are for a place, half for a serial number."""
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(100):
        own, common = f"{name}-{number}", str(number)
        try:
            if number % 2:
                record(store, own, number, f"a.b.s.{own}")
            else:
                record(store, own, int.from_bytes(own.encode(), "big"), f"a.b.s.{common}")
        except (AlreadyExists, StoreError):
            continue
        print(number, flush=True)


if __name__ == "__main__":
    _, url, what, argument = sys.argv
    with Store.open(url) as opened:
        if what == "open":
            stay_open(opened, int(argument))
        else:
            race(opened, argument)
