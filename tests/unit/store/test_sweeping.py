"""Whoever serves looks for intents of the dead from time to time, and says what it closed."""

import logging
import threading
import time
from datetime import UTC, datetime

import pytest

from engine.errors import StoreUnavailable
from engine.store import DanglingIntent
from engine.store.sweeping import close_dangling_intents, closing_dangling_intents

INTENT = DanglingIntent(
    intent_id="intent-1",
    kind="certificate",
    profile="generic",
    issuer=b"name",
    serial_number=0xABC,
    tbs_sha256="a" * 64,
    signing_key="test.tenant1.kms1.ca",
    caller="credential-1",
    request_id="request-1",
    recorded_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
)


class Ledger:
    """Answers one call after another with what it was given, and with nothing after that."""

    def __init__(self, *answers: tuple[DanglingIntent, ...] | StoreUnavailable) -> None:
        self._answers = list(answers)
        self.asked = 0

    def close_dangling_intents(self) -> tuple[DanglingIntent, ...]:
        self.asked += 1
        answer = self._answers.pop(0) if self._answers else ()
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


def test_what_was_closed_is_said_with_serial_and_key(caplog: pytest.LogCaptureFixture) -> None:
    close_dangling_intents(Ledger((INTENT,)))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for word in ("intent-1", f"{0xABC:040x}", "test.tenant1.kms1.ca", "request-1", "credential-1"):
        assert word in record.getMessage()


def test_what_this_process_has_left_open_is_closed_sooner_than_the_next_search() -> None:
    ledger = Ledger((INTENT,))
    with closing_dangling_intents(ledger, 3600.0, has_left_open=lambda: ledger.asked == 0):
        deadline = time.monotonic() + 30
        while not ledger.asked:
            assert time.monotonic() < deadline
            time.sleep(0)


def test_a_database_that_is_away_for_a_while_does_not_end_the_search(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger((), StoreUnavailable("The database is away."), (INTENT,))
    with closing_dangling_intents(ledger, 0.001):
        deadline = time.monotonic() + 30
        while ledger.asked < 4 and time.monotonic() < deadline:
            time.sleep(0)
    assert "The database is away." in caplog.text
    assert "intent-1" in caplog.text
    assert "dangling-intents" not in {thread.name for thread in threading.enumerate()}
