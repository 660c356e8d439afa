"""A live engine under clients that order without pause while what keeps its records goes away and comes back.

The token's module writes down what every C_Sign is given, which for ECDSA is the hash of what is signed, and so the
digest that the audit trail has of it. So what the token was asked can be compared with the trail one by one.
"""

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from engine.config import load_config
from tests.database import database_url, select
from tests.faults.faulty import FaultyModule
from tests.faults.served import Orders, client, put_behind, worker_of
from tests.page import live as pages
from tests.page.live import DEADLINE, ENGINE
from tests.trail import Told, check_chains, read_trail

AT_ONCE = 8
CLOSED = frozenset({"certificate-signed", "signature-failed", "signature-outcome-unknown"})
"""With one of these an intended signature ends."""
SWEEP_SECONDS = 5.0
"""Within these, a process that serves has closed what its own requests have left open."""

Report = Callable[[str], None]
Outage = contextlib.AbstractContextManager[None]


@dataclass
class Passage:
    """What clients got while something was away, and after it."""

    sentences: set[str] = field(default_factory=set)
    """Of all refusals from its beginning to the first certificate after it."""
    seconds_until_refused: float = 0.0
    """From its beginning until all clients were refused."""
    seconds_until_served: float = 0.0
    """From the moment it was back until a certificate was answered."""

    def __str__(self) -> str:
        return f"refused after {self.seconds_until_refused:.2f} s, served after {self.seconds_until_served:.2f} s"


@dataclass
class Clients:
    """So many that order one certificate after the other, and every answer that they got."""

    orders: Orders
    sentences: Counter[str] = field(default_factory=Counter)
    refused_in_a_row: int = 0
    slowest: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _clients: "list[Future[None]]" = field(default_factory=list)

    @contextlib.contextmanager
    def ordering(self) -> Iterator[None]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            self._clients = [threads.submit(self._order_until_over) for _ in range(AT_ONCE)]
            try:
                yield
            finally:
                self._over.set()
        for one in self._clients:
            one.result()

    def _order_until_over(self) -> None:
        while not self._over.is_set():
            begin = time.monotonic()
            answer = self.orders.order()
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - begin)
                if answer.status_code == 200:
                    self.refused_in_a_row = 0
                else:
                    self.refused_in_a_row += 1
                    self.sentences[f"{answer.json()['id']}: {answer.json()['message']}"] += 1
            if answer.status_code == 503:
                self._over.wait(0.01)

    def wait_until(self, condition: Callable[[], bool], seconds: float = DEADLINE) -> float:
        """For how long it took. A client that has failed fails it, too."""
        begin = time.monotonic()
        while not condition():
            for one in self._clients:
                if one.done():
                    one.result()
            assert time.monotonic() - begin < seconds, (self.orders.statuses, self.sentences)
            time.sleep(0.002)
        return time.monotonic() - begin

    def wait_for_more(self, status: int, count: int) -> float:
        wanted = self.orders.statuses[status] + count
        return self.wait_until(lambda: self.orders.statuses[status] >= wanted)

    @contextlib.contextmanager
    def without(self, outage: Outage) -> Iterator[Passage]:
        """Certificates before it, nothing but refusals while it lasts, which is in the block, certificates after it."""
        passage = Passage()
        self.wait_for_more(200, 2 * AT_ONCE)
        before = self.sentences.copy()
        with outage:
            # What is under way is answered, and room that is left somewhere is used up.
            passage.seconds_until_refused = self.wait_until(lambda: self.refused_in_a_row >= 2 * AT_ONCE)
            answered = self.orders.statuses[200]
            self.wait_for_more(503, AT_ONCE)
            yield passage
            assert self.orders.statuses[200] == answered
        passage.seconds_until_served = self.wait_for_more(200, 1)
        passage.sentences = set(self.sentences - before)
        self.wait_for_more(200, 2 * AT_ONCE)


@dataclass
class Service:
    """The live engine, and what is to be compared when it has ended."""

    folder: Path
    url: str
    faulty: FaultyModule
    orders: Orders
    clients: Clients
    worker: int
    before: frozenset[str]
    """The intents of before."""
    witness: Path
    witness_fails: bool
    """Whether its outage is one of the witness too."""
    stored: dict[str, str] = field(default_factory=dict)
    """What is in the certificate store at the end, by id: digests."""

    def parts(self) -> dict[str, str]:
        """What /health/ready says is not ready."""
        answer = self.orders.http.get("/health/ready")
        parts: dict[str, str] = answer.json()["parts"]
        assert (answer.status_code == 200) == (set(parts.values()) == {"ready"})
        return {part: state for part, state in parts.items() if state != "ready"}

    def open_intents(self) -> int:
        [(count,)] = select(self.url, "SELECT count(*) FROM intents WHERE state = 'intended'")
        return int(count)

    def finish(self) -> float:
        """While it still serves: what outages have left open is closed by itself. After how long."""
        begin = time.monotonic()
        while self.open_intents():
            assert time.monotonic() - begin < SWEEP_SECONDS
            time.sleep(0.02)
        closed_after = time.monotonic() - begin
        assert worker_of(self.folder) == self.worker
        assert self.orders.order().status_code == 200
        assert self.parts() == {}
        for name, certificate in self.orders.entries().items():
            self.stored[name] = sha256(certificate.tbs_certificate_bytes).hexdigest()
        return closed_after

    def compare(self) -> dict[str, int]:
        """When it has ended: what the token was asked, what the trail tells and what clients got are the same."""
        asked = self.faulty.asked()
        assert self.faulty.counters().sign_calls == self.faulty.counters().signatures == len(asked)
        ends: dict[str, Told] = {}
        intended: dict[str, Told] = {}
        for told in read_trail(self.url):
            intent = str(told.details.get("intentId"))
            if intent not in self.before and told.kind == "signature-intended":
                assert intent not in intended
                intended[intent] = told
            elif intent not in self.before and told.kind in CLOSED:
                assert intent not in ends
                ends[intent] = told
        assert ends.keys() == intended.keys()
        by_kind = {
            kind: Counter(intended[intent].details["tbsSha256"] for intent, end in ends.items() if end.kind == kind)
            for kind in CLOSED
        }
        signed, unknown = by_kind["certificate-signed"], by_kind["signature-outcome-unknown"]
        failed = by_kind["signature-failed"]
        statements = select(self.url, "SELECT statement, signature FROM checkpoints")
        signable = {sha256(statement.encode()).hexdigest() for statement, _ in statements}
        of_certificates = Counter(digest for digest in asked if digest not in signable)
        of_checkpoints = Counter(digest for digest in asked if digest in signable)
        # The token was asked once for each that was signed or may have been, for none that failed, and for nothing
        # that is not in the trail.
        assert of_certificates == signed + unknown
        assert not of_certificates.keys() & failed.keys()
        assert set(of_checkpoints) >= {sha256(one.encode()).hexdigest() for one, made in statements if made is not None}
        # A checkpoint is signed again only when it was not told to the witness, or its signature was not recorded.
        lines = Counter(_witnessed(self.witness))
        assert lines <= of_checkpoints
        assert self.witness_fails or lines == of_checkpoints
        # What was answered is stored; what is stored was signed, and the other way round.
        answered = {
            name: sha256(certificate.tbs_certificate_bytes).hexdigest()
            for name, certificate in self.orders.certificates.items()
        }
        stored = {name: digest for name, digest in self.stored.items() if name.startswith("order-")}
        assert answered.items() <= stored.items()
        assert Counter(stored.values()) == signed
        rows = select(self.url, "SELECT state, count(*) FROM intents GROUP BY state")
        assert {state for state, _ in rows} <= {"signed", "failed", "outcome-unknown"}
        check_chains(self.url)
        return {
            "certificates": self.orders.statuses[200],
            "503": self.orders.statuses[503],
            "C_Sign": len(asked),
            "signed": signed.total(),
            "unknown": unknown.total(),
            "failed": failed.total(),
            "checkpoint signatures": of_checkpoints.total(),
            "checkpoints": len(statements),
        }


@contextlib.contextmanager
def serving(
    folder: Path, fault_module: Path, scratch: Path, report: Report, *, witness_fails: bool = False, **settings: object
) -> Iterator[Service]:
    """Serve a data folder that nobody serves, compare everything at the end, and verify the audit trail."""
    with FaultyModule(fault_module, scratch / "control", asked=scratch / "asked") as faulty:
        environment = {"SOFTHSM2_CONF": "./softhsm/softhsm2.conf", **faulty.environment}
        put_behind(folder, fault_module, environment, **{"events": 200, "seconds": 1.0, **settings})
        with pages.serving(folder) as live, client(live.base_url, live.api_key) as http:
            url = database_url(folder)
            before = frozenset(intent for (intent,) in select(url, "SELECT intent_id FROM intents"))
            orders = Orders(http)
            witness = Path(load_config(folder / "engine.toml").audit.witness.file)
            service = Service(
                folder, url, faulty, orders, Clients(orders), worker_of(folder), before, witness, witness_fails
            )
            yield service
            closed_after = service.finish()
        numbers = service.compare()
        verified = verify(folder)
    told = ", ".join(f"{number} {name}" for name, number in numbers.items())
    report(f"{told}; slowest answer {service.clients.slowest:.1f} s; open intents closed after {closed_after:.1f} s")
    for sentence, count in service.clients.sentences.items():
        report(f"  {count} x {sentence}")
    report(f"  {verified}")


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a data folder that nobody uses, whose database is in it."""
    shutil.copytree(source, folder)
    configuration = folder / "softhsm" / "softhsm2.conf"
    configuration.write_text(configuration.read_text().replace(str(source), str(folder)))


def _witnessed(path: Path) -> Iterator[str]:
    """The digest of the statement in each whole line."""
    for line in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield sha256(json.loads(line)["statement"].encode()).hexdigest()


def verify(folder: Path) -> str:
    """The last line of `audit verify` with the witness, which must find nothing."""
    command = [*ENGINE, "audit", "verify", "--config", folder / "engine.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def set_witness(folder: Path, path: Path) -> None:
    """Change where checkpoints are told of."""
    config = folder / "engine.toml"
    witness = f"witness = {{ file = {json.dumps(str(path))} }}"
    text, found = re.subn(r"^witness = \{[^}]*\}", witness, config.read_text(), flags=re.MULTILINE)
    assert found == 1
    config.write_text(text)
