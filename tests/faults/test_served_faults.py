"""What a client of the JSON API gets when the token behind it misbehaves, and what is in the records afterwards."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.database import copy_data_folder, database_url, select
from tests.faults.faulty import Ckr, FaultyModule
from tests.faults.served import ISSUE, Orders, client, put_behind, worker_of
from tests.page.live import live_engine
from tests.trail import read_trail


class Served:
    """A live engine on the fault-injecting module."""

    def __init__(self, folder: Path, faulty: FaultyModule, orders: Orders) -> None:
        self.folder, self.faulty, self.orders = folder, faulty, orders

    def intents(self) -> list[str]:
        """The state of every intent of a certificate, the oldest first, read from the database beside the engine."""
        query = "SELECT state FROM intents WHERE kind = 'certificate' ORDER BY recorded_at"
        rows = select(database_url(self.folder), query)
        return [state for (state,) in rows]

    def told_last(self) -> tuple[list[str], int]:
        """The kinds of the events about the certificate that was intended last, in order; and how often the token was
        asked to sign that."""
        told = read_trail(database_url(self.folder))
        begun = max(number for number, one in enumerate(told) if one.details.get("signatureKind") == "certificate")
        last = told[begun].details["tbsSha256"]
        return [one.kind for one in told[begun:] if one.details.get("tbsSha256") == last], self.faulty.asked().count(
            last
        )

    def said(self) -> str:
        """What the server has said."""
        return (self.folder / "serve.err").read_text()


@pytest.fixture
def serve(
    fault_module: Path, data_folder: Path, tmp_path: Path
) -> Iterator[Callable[..., "contextlib.AbstractContextManager[Served]"]]:
    """Serve with these settings changed."""

    @contextlib.contextmanager
    def served(**changes: object) -> Iterator[Served]:
        folder = tmp_path / "data"
        copy_data_folder(data_folder, folder)
        with FaultyModule(fault_module, tmp_path / "control", asked=tmp_path / "asked") as faulty:
            environment = {"SOFTHSM2_CONF": "./softhsm/softhsm2.conf", **faulty.environment}
            put_behind(folder, fault_module, environment, **changes)
            with live_engine(folder) as live, client(live.base_url, live.api_key) as http:
                yield Served(folder, faulty, Orders(http))

    return served


Serve = Callable[..., "contextlib.AbstractContextManager[Served]"]


def test_a_signature_that_never_comes_is_503_at_the_deadline_and_the_worker_is_replaced_without_a_refused_connection(
    serve: Serve,
) -> None:
    with serve(sign_seconds=2.0, request_seconds=1.0) as served:
        orders, faulty = served.orders, served.faulty
        assert orders.order().status_code == 200
        worker = worker_of(served.folder)
        faulty.hang_signing(times=1)
        begin = time.monotonic()
        assert orders.order().status_code == 503
        assert 0.9 < time.monotonic() - begin < 2.0
        assert orders.order().status_code == 200  # by another session, while the first hangs
        over = threading.Event()

        def order_until_over() -> None:
            while not over.is_set():
                orders.order()

        with ThreadPoolExecutor(8) as threads:
            clients = [threads.submit(order_until_over) for _ in range(8)]
            try:
                deadline = time.monotonic() + 30
                replaced = 0
                while replaced in (0, worker):
                    assert time.monotonic() < deadline
                    with contextlib.suppress(AssertionError):  # none, between one worker and the next
                        replaced = worker_of(served.folder)
                after = orders.statuses[200]
                while orders.statuses[200] < after + 20:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            finally:
                over.set()
        for one in clients:
            one.result()
        assert orders.state() == "ready"
        assert set(orders.statuses) == {200, 503}
        assert served.intents().count("outcome-unknown") >= 1
        assert "intended" not in served.intents()
        orders.check()


def test_a_wrong_signature_is_a_500_and_nothing_is_stored(serve: Serve) -> None:
    with serve() as served:
        orders = served.orders
        assert orders.order().status_code == 200
        served.faulty.corrupt_signatures(times=1)
        answer = orders.http.post(ISSUE, json=orders.body("corrupt"))
        assert (answer.status_code, answer.json()["id"]) == (500, "IssuanceDefect")
        assert "certificatePEM" not in answer.json()
        assert orders.stored("corrupt") is None
        assert served.intents()[-1] == "outcome-unknown"  # the one that the token made is somewhere
        again = orders.http.post(ISSUE, json=orders.body("corrupt"))
        assert again.status_code == 200
        assert served.intents()[-2:] == ["outcome-unknown", "signed"]
        orders.check()


def test_a_signature_whose_answer_was_lost_is_asked_for_once_more_which_is_told_before(serve: Serve) -> None:
    with serve() as served:
        assert served.orders.order().status_code == 200
        served.faulty.fail("C_Sign", Ckr.DEVICE_ERROR, times=1, after=True)
        assert served.orders.order().status_code == 200
        assert served.told_last() == (["signature-intended", "signature-repeated", "certificate-signed"], 2)
        served.orders.check()


@pytest.mark.parametrize(
    "answer", [Ckr.DEVICE_ERROR, Ckr.DEVICE_REMOVED, Ckr.SESSION_HANDLE_INVALID, Ckr.VENDOR_DEFINED]
)
def test_a_signature_that_may_have_been_made_is_listed_to_be_revoked(serve: Serve, answer: Ckr) -> None:
    with serve(wait_seconds=0.2) as served:
        orders, faulty = served.orders, served.faulty
        assert orders.order().status_code == 200
        rule = faulty.fail("C_Sign", answer, after=True)
        lost = orders.http.post(ISSUE, json=orders.body("lost"))
        assert lost.status_code == (503 if answer is not Ckr.VENDOR_DEFINED else 500), lost.text
        rule.clear()
        assert served.intents()[-1] == "outcome-unknown"
        (intended, *repeated, unknown), asked = served.told_last()
        assert (intended, unknown) == ("signature-intended", "signature-outcome-unknown")
        assert asked >= 1
        assert repeated == ["signature-repeated"] * (asked - 1)
        assert f"ended with {lost.json()['id']}: intent " in served.said()
        deadline = time.monotonic() + 30
        while orders.http.post(ISSUE, json=orders.body("lost")).status_code != 200:
            assert time.monotonic() < deadline
        assert orders.stored("lost") is not None
        orders.check()


def test_a_signature_that_the_token_denies_is_not(serve: Serve) -> None:
    with serve() as served:
        assert served.orders.order().status_code == 200
        served.faulty.fail("C_Sign", Ckr.KEY_FUNCTION_NOT_PERMITTED, times=1)
        denied = served.orders.http.post(ISSUE, json=served.orders.body("denied"))
        assert (denied.status_code, denied.json()["id"]) == (400, "UnsupportedRequest")
        assert served.intents()[-1] == "failed"
        assert served.told_last()[0] == ["signature-intended", "signature-failed"]


def test_a_lost_login_a_moved_slot_and_a_dead_session_are_not_noticed_by_clients(serve: Serve) -> None:
    with serve() as served, ThreadPoolExecutor(8) as threads:
        orders, faulty = served.orders, served.faulty
        worker = worker_of(served.folder)
        for misfortune in (
            faulty.force_logout,
            lambda: faulty.move_slots(7),
            lambda: faulty.fail("C_Sign", Ckr.SESSION_HANDLE_INVALID, times=1),
            lambda: faulty.fail("C_SignInit", Ckr.DEVICE_ERROR, times=1, after=True),
        ):
            misfortune()
            statuses = list(threads.map(lambda _: orders.order().status_code, range(16)))
            assert statuses == [200] * 16
        assert worker_of(served.folder) == worker
        assert orders.state() == "ready"
        orders.check()


def test_while_the_token_is_pulled_requests_cost_no_signature_and_health_says_so_in_words(serve: Serve) -> None:
    with serve(wait_seconds=0.1) as served:
        orders, faulty = served.orders, served.faulty
        assert orders.order().status_code == 200
        faulty.remove_token()
        assert orders.order().status_code == 503
        signs, intents = faulty.counters().sign_calls, len(served.intents())
        assert [orders.order().status_code for _ in range(5)] == [503] * 5
        assert faulty.counters().sign_calls == signs
        assert len(served.intents()) == intents
        assert orders.state().startswith("away since ")
        assert orders.state().endswith("; trying again")
        assert orders.http.get("/health/ready").status_code == 503
        assert orders.http.get("/health/live").status_code == 200
        faulty.insert_token()
        deadline = time.monotonic() + 2
        while orders.order().status_code != 200:
            assert time.monotonic() < deadline
        assert orders.http.get("/health/ready").status_code == 200
        orders.check()


def test_a_worker_that_is_replaced_while_the_token_is_away_serves_when_it_comes(serve: Serve) -> None:
    with serve(sign_seconds=0.5, request_seconds=1.0) as served:
        orders, faulty = served.orders, served.faulty
        assert orders.order().status_code == 200
        worker = worker_of(served.folder)
        faulty.hang_signing(times=1)
        assert orders.order().status_code == 503
        faulty.remove_token()
        deadline = time.monotonic() + 30
        replaced = worker
        while replaced == worker:
            assert time.monotonic() < deadline
            with contextlib.suppress(AssertionError):
                replaced = worker_of(served.folder)
        assert orders.order().status_code == 503
        assert orders.state().startswith("away since ")
        faulty.insert_token()
        while orders.order().status_code != 200:
            assert time.monotonic() < deadline
        assert worker_of(served.folder) == replaced
        orders.check()


def test_a_pin_that_was_changed_is_tried_once_and_the_rest_of_the_service_goes_on(serve: Serve) -> None:
    with serve() as served:
        orders, faulty = served.orders, served.faulty
        assert orders.order().status_code == 200
        logins = faulty.counters().logins
        (served.folder / "softhsm" / "pin").write_text("wrong-0451-pin")
        faulty.force_logout()
        for number in range(10):
            answer = orders.http.post(ISSUE, json=orders.body(f"refused-{number}"))
            assert (answer.status_code, answer.json()["id"]) == (503, "TokenLoginRefused")
        assert faulty.counters().logins == logins + 1
        assert orders.state().startswith("login refused: ")
        assert orders.state().endswith("; needs the operator")
        assert len(orders.entries()) == 3
        orders.check()
