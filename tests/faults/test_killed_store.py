"""The process is killed while eight threads record: nothing that was acknowledged is lost, nothing is in between."""

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.store import Store
from tests.database import CHOSEN, SQLITE, new_database_url, select

CHILD = Path(__file__).with_name("record_until_killed.py")
KILL_AFTER = (1, 150, 400)
"""Acknowledgements after which a run is killed; every run goes on with what the one before left behind."""


@dataclass
class Acknowledged:
    """What the killed processes said, over all runs."""

    serials: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)


def run_until_killed(url: str, acknowledgements: int, acknowledged: Acknowledged) -> None:
    with subprocess.Popen([sys.executable, str(CHILD), url], stdout=subprocess.PIPE, text=True) as child:
        try:
            serving = False
            # What the pipe still holds after the kill is read too: it was acknowledged.
            for line in child.stdout:
                word, intent_id, *serial = line.split()
                if word == "serving":
                    serving = True
                    continue
                if word == "intended":
                    acknowledged.serials[intent_id] = serial[0]
                else:
                    assert intent_id not in acknowledged.ends
                    acknowledged.ends[intent_id] = word
                acknowledgements -= serving
                if acknowledgements == 0:
                    child.kill()
        finally:
            child.kill()
    assert serving
    assert child.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_database_url(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def acknowledged(url: str) -> Acknowledged:
    found = Acknowledged()
    for lines in KILL_AFTER:
        run_until_killed(url, lines, found)
    return found


@pytest.fixture(scope="module")
def dangling(url: str, acknowledged: Acknowledged) -> set[str]:
    """Reopened after the last kill, and closed again."""
    with Store.open(url) as store:
        return {row.intent_id for row in store.close_dangling_intents()}


@pytest.fixture(scope="module")
def intents(url: str, dangling: set[str]) -> list[tuple[str, str, str, str | None]]:
    """Id, kind, state and serial number of every intent, read by another reader after reopening."""
    if CHOSEN == SQLITE:
        assert select(url, "PRAGMA integrity_check") == [("ok",)]
        assert select(url, "PRAGMA foreign_key_check") == []
    return select(url, "SELECT intent_id, kind, state, serial_number FROM intents")


def test_every_acknowledged_intent_is_there_with_its_serial_number(intents, acknowledged):
    there = {intent_id: serial or "-" for intent_id, _, _, serial in intents}
    assert len(acknowledged.serials) > 100
    assert acknowledged.serials == {intent_id: there.get(intent_id) for intent_id in acknowledged.serials}


def test_every_acknowledged_end_is_the_state_of_its_intent(intents, acknowledged):
    states = {intent_id: state for intent_id, _, state, _ in intents}
    assert set(acknowledged.ends.values()) >= {"signed", "failed"}
    assert acknowledged.ends == {intent_id: states.get(intent_id) for intent_id in acknowledged.ends}


def test_no_intent_is_left_open_and_the_dangling_ones_were_reported(intents, acknowledged, dangling):
    states = Counter(state for _, _, state, _ in intents)
    assert set(states) <= {"signed", "failed", "outcome-unknown"}
    unknown = {intent_id for intent_id, _, state, _ in intents if state == "outcome-unknown"}
    reported = dangling | {intent_id for intent_id, end in acknowledged.ends.items() if end == "outcome-unknown"}
    assert unknown == reported


def test_no_issuer_has_used_a_serial_number_twice(intents):
    serials = Counter(serial for _, _, _, serial in intents if serial is not None)
    assert serials
    assert max(serials.values()) == 1


def test_certificate_and_entry_are_there_exactly_when_the_intent_is_signed(url, intents):
    signed = {intent_id for intent_id, kind, state, _ in intents if kind == "certificate" and state == "signed"}
    certified = {intent_id for (intent_id,) in select(url, "SELECT intent_id FROM certificates")}
    placed = {intent_id for (intent_id,) in select(url, "SELECT intent_id FROM entries")}
    assert signed
    assert certified == placed == signed


def test_a_serial_number_of_a_killed_process_is_refused_after_reopening(url, intents):
    unknown = [row for row in intents if row[1] == "certificate" and row[2] == "outcome-unknown"]
    signed = [row for row in intents if row[1] == "certificate" and row[2] == "signed"]
    with Store.open(url) as store:
        for _, _, _, serial in (*unknown[:1], signed[0]):
            with pytest.raises(StoreError, match="has used the serial number before"):
                store.record_intent(
                    intent_id="again",
                    kind="certificate",
                    profile="generic",
                    issuer=b"issuer name",
                    serial_number=int(serial, 16),
                    tbs=b"tbs",
                    tbs_sha256="0" * 64,
                    signing_key="test.tenant1.kms1.ca",
                    caller="credential-1",
                    target="test.tenant1.x509-service-1",
                    request_id="request-1",
                    request_digest="d" * 64,
                    entries=(),
                )
