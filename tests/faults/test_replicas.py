"""Two servers on one database and one token: together they keep every promise that one makes alone."""

import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.database import database_url, select
from tests.faults.faulty import FaultyModule
from tests.faults.mortal import until
from tests.faults.served import ISSUE, Orders, client, put_behind
from tests.page.live import DEADLINE, ENGINE, announced
from tests.postgresql import drop_database, new_database

CLIENTS = 32


@dataclass(frozen=True)
class Shared:
    """A data folder, and a second one whose configuration names the same database, token and PIN."""

    folders: tuple[Path, Path]

    @property
    def url(self) -> str:
        return database_url(self.folders[0])

    def intents(self, columns: str, more: str = "") -> list[tuple[Any, ...]]:
        """What both have recorded about certificates, read beside them."""
        return select(self.url, f"SELECT {columns} FROM intents WHERE kind = 'certificate' {more}")


@dataclass(frozen=True)
class Replicas:
    """Both at work, on a module that counts what the token signs."""

    shared: Shared
    faulty: FaultyModule
    processes: Sequence["subprocess.Popen[str]"]
    orders: Sequence[Orders]
    """A client of each."""

    def body(self, stored_id: str) -> dict[str, object]:
        return self.orders[0].body(stored_id)

    def signatures(self) -> int:
        """How many the token has made for either of them."""
        return self.faulty.counters().signatures

    def send(self, replica: int, body: dict[str, object], key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"idempotency-key": key}
        return self.orders[replica].http.post(ISSUE, json=body, headers=headers)

    def send_together(self, bodies: Sequence[dict[str, object]], keys: Sequence[str | None]) -> list[httpx.Response]:
        """From one client each, all at the same moment, to one replica and the other in turn."""
        start = threading.Barrier(len(bodies))

        def send(number: int) -> httpx.Response:
            start.wait(DEADLINE)
            return self.send(number % 2, bodies[number], keys[number])

        with ThreadPoolExecutor(len(bodies)) as threads:
            return list(threads.map(send, range(len(bodies))))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    first, second = (tmp_path_factory.mktemp("replicas") / name for name in ("first", "second"))
    with ExitStack() as undo:
        options: tuple[str, ...] = ()
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql")
            url = new_database(server)
            undo.callback(drop_database, server, url)
            options = ("--database", url)
        subprocess.run([*ENGINE, "init", "--data", first, *options], check=True, capture_output=True, timeout=DEADLINE)
        second.mkdir()
        text = (first / "engine.toml").read_text()
        text = text.replace('"softhsm/', f'"{first}/softhsm/').replace(
            "sqlite:///engine.db", f"sqlite:///{first}/engine.db"
        )
        (second / "engine.toml").write_text(text)
        yield Shared((first, second))


@pytest.fixture(scope="module")
def replicas(shared: Shared, fault_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """They live through the file; a test that kills one takes `mortal_replicas`."""
    with serving(shared, fault_module, tmp_path_factory.mktemp("control") / "control") as replicas:
        yield replicas


@pytest.fixture
def mortal_replicas(shared: Shared, fault_module: Path, tmp_path: Path) -> Iterator[Replicas]:
    with serving(shared, fault_module, tmp_path / "control") as replicas:
        yield replicas


@contextmanager
def serving(shared: Shared, fault_module: Path, control: Path) -> Iterator[Replicas]:
    """Start both and wait until both serve."""
    configuration = shared.folders[0] / "softhsm" / "softhsm2.conf"
    api_key = (shared.folders[0] / "api-key").read_text().strip()
    with ExitStack() as undo:
        faulty = undo.enter_context(FaultyModule(fault_module, control))
        processes = []
        for folder in shared.folders:
            # No checkpoint is signed while signatures are counted.
            settings = {"seconds": 1200.0, "longest_seconds": 3600.0}
            put_behind(folder, fault_module, {"SOFTHSM2_CONF": str(configuration), **faulty.environment}, **settings)
            log = undo.enter_context((folder / "serve.err").open("wb"))
            command = [*ENGINE, "serve", "--config", folder / "engine.toml", "--port", "0"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            undo.callback(process.communicate, timeout=DEADLINE)
            undo.callback(process.terminate)
            processes.append(process)
        orders = [Orders(undo.enter_context(client(announced(process), api_key))) for process in processes]
        waiting = "SELECT count(*) FROM events WHERE checkpoint IS NULL"
        until(lambda: select(shared.url, waiting) == [(0,)])  # each makes one when it starts
        undo.callback(faulty.clear)  # or what hangs would keep its server from ending
        yield Replicas(shared, faulty, processes, orders)


def test_of_many_orders_for_one_stored_id_one_is_carried_out_and_the_token_signs_once(replicas: Replicas) -> None:
    replicas.faulty.sign_latency(50)
    stored_id = f"once-{uuid.uuid4()}"
    signatures, intents = replicas.signatures(), len(replicas.shared.intents("intent_id"))
    answers = replicas.send_together([replicas.body(stored_id)] * CLIENTS, [None] * CLIENTS)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: CLIENTS - 1}
    assert replicas.signatures() == signatures + 1
    assert len(replicas.shared.intents("intent_id")) == intents + 1
    assert replicas.orders[0].stored(stored_id) == replicas.orders[1].stored(stored_id)


@pytest.mark.parametrize("orders", [1, 8])
def test_orders_that_are_repeated_on_both_replicas_are_signed_once_and_answered_alike(
    replicas: Replicas, orders: int
) -> None:
    replicas.faulty.sign_latency(50)
    keys = [str(uuid.uuid4()) for _ in range(orders)]
    # In opposite directions, so that the replicas' transactions meet in every order.
    sent = [keys[number // 2 % orders] if number % 2 else keys[-1 - number // 2 % orders] for number in range(CLIENTS)]
    bodies = {key: replicas.body(key) for key in keys}
    signatures, intents = replicas.signatures(), len(replicas.shared.intents("intent_id"))
    answers = replicas.send_together([bodies[key] for key in sent], sent)
    assert Counter(answer.status_code for answer in answers) == {200: CLIENTS}
    assert len({answer.content for answer in answers}) == orders
    assert {
        (key, answer.json()["storedCertificateIds"][0].rpartition(".")[2])
        for key, answer in zip(sent, answers, strict=True)
    } == {(key, key) for key in keys}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == orders
    assert replicas.signatures() == signatures + orders
    assert len(replicas.shared.intents("intent_id")) == intents + orders
    for replica in (0, 1):
        assert replicas.send(replica, bodies[keys[0]], keys[0]).content == answers[sent.index(keys[0])].content
        assert replicas.send(replica, replicas.body("another"), keys[0]).status_code == 422
    assert replicas.signatures() == signatures + orders


def test_what_a_killed_replica_left_half_done_is_closed_by_the_other_and_a_repeat_goes_through(
    mortal_replicas: Replicas,
) -> None:
    replicas = mortal_replicas
    key = str(uuid.uuid4())
    body, of_key = replicas.body(key), f"AND idempotency_key = '{key}'"
    replicas.faulty.hang_signing(times=1)
    with ThreadPoolExecutor(2) as threads:
        cut_off = threads.submit(replicas.send, 0, body, key)
        replicas.faulty.wait_for(lambda counters: counters.signs_hanging == 1, DEADLINE)
        [(intent_id, serial_number)] = replicas.shared.intents("intent_id, serial_number", of_key)
        assert replicas.send(1, body).status_code == 409  # the place is reserved
        twin = threads.submit(replicas.send, 1, body, key)
        with pytest.raises(TimeoutError):
            twin.result(0.5)
        replicas.processes[0].kill()
        with pytest.raises(httpx.TransportError):
            cut_off.result(DEADLINE)
        answer = twin.result(DEADLINE)
    while answer.status_code == 503:  # on a slow machine the dead are found later than a request may wait
        assert answer.json()["id"] == "RequestUnderWay"
        answer = replicas.send(1, body, key)
    assert answer.status_code == 200, answer.text
    assert "idempotent-replayed" not in answer.headers
    unknown = replicas.shared.intents("state, serial_number, idempotency_key", f"AND intent_id = '{intent_id}'")
    assert unknown == [("outcome-unknown", serial_number, None)]
    assert answer.json()["certificateData"]["serialNumber"] != serial_number
    assert replicas.orders[1].stored(key) is not None
    assert replicas.send(1, body, key).content == answer.content
