"""Many certificates, by many threads at once: each is what was intended, each is told once, and all of it verifies.

A hundred thousand with --soak; a few hundred otherwise.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.audit.keeper import CheckpointKeeper, Gate, making_checkpoints
from engine.audit.stored import verify_stored
from engine.audit.verifier import Report
from engine.store import Store, reading_records, reading_trail
from engine.sweep import Sweep
from engine.token import Token
from tests.database import new_database_url, select
from tests.issuing import Load, Workshop
from tests.unit.store.auditing import make_maker, make_signer

THREADS = 16


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize("count", [400, pytest.param(100_000, marks=pytest.mark.soak)])
def test_every_issuance_is_recorded_as_it_was_signed(
    count: int, tmp_path: Path, token: Token, capsys: pytest.CaptureFixture[str]
) -> None:
    url, witness = new_database_url(tmp_path), tmp_path / "witness.jsonl"
    with Store.open(url) as store:
        signer = make_signer(token)
        keeper = CheckpointKeeper(
            make_maker(store, signer, witness), store.find_waiting_events, Gate(600.0), now, events=1000, seconds=60.0
        )
        load = Load(Workshop(store, token), requests=min(count, 5000))
        with making_checkpoints(keeper):
            seconds = load.issue_many(count, THREADS)
    begun = now()
    with reading_records(url) as records:
        sweep = Sweep(records, lambda what, done, total: None)
        assert list(sweep.run()) == []
    swept = (now() - begun).total_seconds()
    begun = now()
    report = verify(url, witness, signer.public_key.sha256)
    verified = (now() - begun).total_seconds()
    with capsys.disabled():
        print(
            f"\n{count} issued in {seconds:.0f} s, swept in {swept:.0f} s; {report.events} events verified in ", end=""
        )
        print(f"{verified:.0f} s, {report.checkpoints} checkpoints")
    # One more is the CA certificate.
    assert (sweep.counts.issued, sweep.counts.entries, sweep.counts.faults) == (count + 1, count + 1, 0)
    serials = "SELECT count(DISTINCT serial_number), count(*) FROM certificates"
    assert select(url, serials) == [(count + 1, count + 1)]
    assert select(url, "SELECT count(*) FROM events WHERE kind = 'certificate-signed'") == [(count + 1,)]
    different = "SELECT count(*) FROM certificates JOIN intents USING (intent_id) WHERE state = 'signed'"
    assert select(url, different) == [(count + 1,)]
    assert tbs_in_certificates(url) == (count + 1, [])
    assert (report.faults, report.uncovered) == ([], 0)
    assert report.witness_lines == report.checkpoints > 0


def verify(url: str, witness: Path, key: str) -> Report:
    with reading_trail(url) as trail:
        return verify_stored(trail, [witness], frozenset({key}))


def tbs_in_certificates(url: str) -> tuple[int, list[str]]:
    """How many certificates there are, and the serial numbers of those that are not their intent's tbs and a signature
    behind it: read beside the engine, and not by its code."""
    number, others, after = 0, [], ""
    while True:
        rows = select(
            url,
            "SELECT sha256, certificates.serial_number, der, tbs FROM certificates JOIN intents USING (intent_id) "
            f"WHERE sha256 > '{after}' ORDER BY sha256 LIMIT 5000",
        )
        if not rows:
            return number, others
        number, after = number + len(rows), rows[-1][0]
        # A SEQUENCE of a length in two octets, as one of more than 255 has it.
        others += [
            serial for _, serial, der, tbs in rows if der[:2] != b"\x30\x82" or der[4 : 4 + len(tbs)] != tbs or not tbs
        ]
