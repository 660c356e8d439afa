"""A server that is killed at a place that was ordered, under clients that order until it is gone, and started again."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from tests.faults.faulty import FaultyModule
from tests.faults.kills import CONTROL, KillControl, Step
from tests.faults.served import ISSUE, make_request, worker_of
from tests.page.examples import STORE, hosted
from tests.page.live import DEADLINE, ENGINE, announced

CLIENTS = 8
CHECKPOINT_EVENTS = 20
CA_KEY = "ca-secp384r1"
CA_OCTETS = 48
"""Of a digest that the CA key signs. The audit key's are of 32: a C_Sign tells by this what it is for."""
HOOKS = Path(__file__).parent / "killed"
ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


@dataclass
class Order:
    """An order for a certificate, and what came of it as far as its client knows."""

    name: str
    """The subject's commonName, and nobody else's."""
    stored_id: str | None
    key: str | None
    body: bytes
    answer: bytes | None = None
    sha256: str | None = None
    """Of the certificate in the answer."""
    paths: tuple[str, ...] = ()
    """Where the answer says that it is stored."""


@dataclass
class Answer:
    status: int
    is_replayed: bool
    octets: bytes


@dataclass
class MortalServer:
    """Serves the data folder `folder`, whose token is behind `faulty`. Use `start` first, `stop` at the end."""

    folder: Path
    faulty: FaultyModule
    control: KillControl
    control_path: Path
    orders: list[Order] = field(default_factory=list)
    """All that were ever sent."""
    base_url: str = ""
    _process: "subprocess.Popen[str] | None" = None
    _request_pem: str = field(default_factory=make_request)
    _numbers: Iterator[int] = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Return when it serves. What it says is in serve.err, after what those before it have said."""
        environment = os.environ | {"PYTHONPATH": f"{HOOKS}{os.pathsep}{ROOT}", CONTROL: str(self.control_path)}
        with (self.folder / "serve.err").open("ab") as log:
            self._process = subprocess.Popen(
                [*ENGINE, "serve", "--config", self.folder / "engine.toml", "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,  # a process group of its own
            )
        self.base_url = announced(self._process)
        self.wait_until_ready()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=DEADLINE)
            self._process = None

    def bury(self) -> None:
        """Wait for the end of a server whose whole process group is killed."""
        assert self._process is not None
        assert self._process.wait(DEADLINE) < 0
        self._process.communicate(timeout=DEADLINE)
        self._process = None

    def said(self) -> str:
        """What the server and those before it have said."""
        return (self.folder / "serve.err").read_text()

    def kill_under_load(self, step: Step, arrival: int, *, group: bool) -> list[Order]:
        """Have clients order until the kill that is ordered here has come to pass; the orders of this time.

        With `group` supervisor and worker are gone and nobody serves; without it, the next worker does.
        """

        def order() -> None:
            if step in (Step.SIGNING, Step.SIGNED):
                self.faulty.kill_signing(arrival, after=step is Step.SIGNED, group=group)
            else:
                self.control.order(step, arrival, group=group)

        worker, before = worker_of(self.folder), len(self.orders)
        # All are connected before the kill: a connection that comes after it would be the next worker's.
        all_connected = threading.Barrier(CLIENTS, order)

        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(self._order_until_cut_off, number, all_connected) for number in range(CLIENTS)]
            for client in clients:
                client.result()
        is_to_come = self.faulty.is_to_kill or self.control.is_ordered
        assert not is_to_come, "the server is gone and was not killed"
        if group:
            self.bury()
        else:
            until(lambda: not Path(f"/proc/{worker}/exe").exists())
            self.wait_until_ready()
            assert worker_of(self.folder) != worker
        return self.orders[before:]

    def send(self, order: Order) -> Answer:
        """On a connection of its own."""
        with closing(self._connect()) as connection:
            return self._exchange(connection, order)

    def is_cut_off(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> bool:
        """Whether nothing is answered to this, since who would answer is killed meanwhile."""
        with closing(self._connect()) as connection:
            try:
                connection.request("POST", path, json.dumps(body), self._headers() | dict(headers or {}))
                connection.getresponse().read()
            except (OSError, HTTPException):
                return True
        return False

    def post(self, path: str, body: object) -> None:
        """What must be carried out."""
        with closing(self._connect()) as connection:
            connection.request("POST", path, json.dumps(body), self._headers())
            response = connection.getresponse()
            text = response.read()
            assert response.status in (200, 201), text

    def new_order(self, *, is_stored: bool, is_repeatable: bool) -> Order:
        """One that was not sent before. `is_stored`: under an id that the client has chosen."""
        name = f"order-{next(self._numbers)}"
        stored_id = name if is_stored else None
        body = {
            "certificateData": {"subjectName": {"commonName": name, "country": "US"}, "keyUsage": ["DigitalSignature"]},
            "subjectPublicKeySource": {"type": "csr", "csrPEM": self._request_pem},
            "issuer": {"type": "ca-signed", "issuerKeyDescriptor": hosted(CA_KEY)},
        }
        if stored_id is not None:
            body["storedCertificateId"] = stored_id
        order = Order(name, stored_id, f"key-of-{name}" if is_repeatable else None, json.dumps(body).encode())
        with self._lock:
            self.orders.append(order)
        return order

    def _order_until_cut_off(self, number: int, all_connected: threading.Barrier) -> None:
        with closing(self._connect()) as connection:
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            all_connected.wait(DEADLINE)
            while True:
                order = self.new_order(is_stored=number % 4 >= 2, is_repeatable=number % 2 == 1)
                try:
                    answer = self._exchange(connection, order)
                except (OSError, HTTPException):
                    return
                assert answer.status == 200, answer.octets
                keep(order, answer)

    def _exchange(self, connection: HTTPConnection, order: Order) -> Answer:
        headers = self._headers()
        if order.key is not None:
            headers["Idempotency-Key"] = order.key
        connection.request("POST", ISSUE, order.body, headers)
        response = connection.getresponse()
        octets = response.read()
        return Answer(response.status, response.headers.get("Idempotent-Replayed") == "true", octets)

    def _headers(self) -> dict[str, str]:
        api_key = (self.folder / "api-key").read_text().strip()
        return {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

    def _connect(self) -> HTTPConnection:
        url = urlsplit(self.base_url)
        connection = HTTPConnection(url.hostname or "", url.port, timeout=DEADLINE)
        connection.connect()
        return connection

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            with closing(self._connect()) as connection:
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == 200

        until(is_ready)


def keep(order: Order, answer: Answer) -> None:
    """Keep what was answered with the order."""
    value = json.loads(answer.octets)
    der = load_pem_x509_certificate(value["certificatePEM"].encode()).public_bytes(Encoding.DER)
    order.answer, order.sha256 = answer.octets, sha256(der).hexdigest()
    order.paths = tuple(value["storedCertificateIds"])
    if order.stored_id is not None:
        assert order.paths == (f"{STORE}.{order.stored_id}",)


@contextmanager
def mortal_server(folder: Path, faulty: FaultyModule, control_path: Path) -> Iterator[MortalServer]:
    """Serve a data folder, with a CA whose key signs digests of CA_OCTETS, until the end of the block."""
    control = KillControl(control_path)
    server = MortalServer(folder, faulty, control, control_path)
    try:
        server.start()
        server.post(f"/v1/test.tenant1.kms1.{CA_KEY}/kms-service-api/keys/generate", {"keyType": "secp384r1"})
        authority = {
            "storedCertificateId": CA_KEY,
            "certificateData": {"subjectName": {"commonName": "CA"}, "isCertificateAuthority": True},
            "subjectPublicKeySource": {"type": "key-descriptor", "keyDescriptor": hosted(CA_KEY)},
            "issuer": {"type": "self-signed"},
        }
        server.post(ISSUE, authority)
        faulty.watch_signing(CA_OCTETS)
        yield server
    finally:
        faulty.clear()
        server.stop()
        control.close()


def arrivals(step: Step, seed: int = 0) -> Iterator[int]:
    """At which arrival at a step to kill: never the same for long, so that other requests are elsewhere."""
    chosen = Random(f"{step.name} {seed}")
    while True:
        yield chosen.randint(1, 3 if step.is_of_checkpoint else 30)
