"""The server is killed (SIGKILL) at every step of the corridor and of a checkpoint, under eight clients, and started
again on what it left: every serial number is in one state, every answer stands, and the audit trail verifies.

Half of the kills end supervisor and worker, half the worker alone, whose successor the supervisor starts. Everything is
checked after every kill but the commands `audit verify` and `audit list`, which come at the end of a folder: what
`audit verify` does is done in this process after every kill. The ordinary run kills once at each step but
ONLY_IN_SOAK, all in one folder; --soak kills 25 times at each, with a folder for each, on the database that
ENGINE_TEST_DATABASE names.
"""

import itertools
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256, sha384
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from engine.audit.stored import verify_stored
from engine.store import reading_records, reading_trail
from engine.sweep import Fault, Sweep
from tests.database import database_url, select
from tests.faults.kills import Step
from tests.faults.mortal import CA_KEY, CA_OCTETS, CHECKPOINT_EVENTS, MortalServer, Order, arrivals, keep, until
from tests.page.examples import STORE
from tests.page.live import DEADLINE, ENGINE
from tests.trail import check_chains

KILLS = 25
STEPS = [step for step in Step if not step.is_elsewhere]
ONLY_IN_SOAK = (Step.READ, Step.CHECKPOINT_WRITTEN, Step.CHECKPOINT_TORN, Step.CHECKPOINT_COMPLETING)
LEAVES_UNKNOWN = (
    *(Step.INTENT_COMMITTED, Step.SIGNING, Step.SIGNED, Step.SIGNATURE_RETURNED, Step.VERIFIED),
    Step.RECORD_WRITTEN,
)
LEAVES_UNANSWERED = (Step.RECORD_COMMITTED, Step.ANSWERING)
CA_PATH = f"test.tenant1.kms1.{CA_KEY}"


@dataclass(frozen=True)
class Intent:
    state: str
    kind: str
    issuer: bytes
    serial_number: str
    tbs: bytes
    signing_key: str
    request_id: str
    key: str | None


@dataclass(frozen=True)
class Records:
    """What is in the database, read beside the engine."""

    intents: dict[str, Intent]
    certificates: dict[str, tuple[str, bytes]]
    """By SHA-256: the intent and the DER."""
    entries: dict[str, tuple[str | None, str | None]]
    """By path: the intent and the SHA-256 of the certificate."""

    @classmethod
    def read(cls, url: str) -> "Records":
        columns = "state, kind, issuer, serial_number, tbs, signing_key, request_id, idempotency_key"
        return cls(
            {row[0]: Intent(*row[1:]) for row in select(url, f"SELECT intent_id, {columns} FROM intents")},
            {row[0]: row[1:] for row in select(url, "SELECT sha256, intent_id, der FROM certificates")},
            {row[0]: row[1:] for row in select(url, "SELECT path, intent_id, certificate_sha256 FROM entries")},
        )

    def unknown(self) -> dict[str, Intent]:
        return {name: intent for name, intent in self.intents.items() if intent.state == "outcome-unknown"}


@dataclass
class Matrix:
    """A data folder whose server is killed again and again, and all that must hold after every kill."""

    server: MortalServer
    url: str
    witness: Path
    asked_before: int
    """What C_Sign was given before the first kill."""
    made: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of the certificate that each order got, whether its client was told or not."""
    _seen: set[str] = field(default_factory=set)

    def kill(self, step: Step, arrival: int, *, group: bool) -> None:
        """Kill, start again, and check everything."""
        unknown_before = set(Records.read(self.url).unknown())
        orders = self.server.kill_under_load(step, arrival, group=group)
        if group:
            self._check_dead(step)
            self.server.start()
        records = self.check()
        unknown = {name: one for name, one in records.unknown().items() if name not in unknown_before}
        unanswered = [order for order in orders if order.answer is None]
        assert unanswered
        if step in LEAVES_UNKNOWN:
            assert unknown
        if step is Step.INTENT_COMMITTED:
            asked = set(self._asked())
            assert any(sha384(intent.tbs).hexdigest() not in asked for intent in unknown.values())
        if step in LEAVES_UNANSWERED:
            assert any(order.name in self.made for order in unanswered)
        self._repeat(orders, records)

    def check(self) -> Records:
        """All that must hold while the server serves and nobody orders."""
        records = Records.read(self.url)
        self._check_intents(records)
        self._check_certificates(records)
        self._check_token(records)
        self._check_told(records)
        self._check_trail()
        return records

    def _check_intents(self, records: Records) -> None:
        """Each is in one state; a serial number was used once."""
        states = Counter(intent.state for intent in records.intents.values())
        assert states.keys() <= {"signed", "outcome-unknown"}, states
        serials = Counter(
            (intent.issuer, intent.serial_number) for intent in records.intents.values() if intent.kind == "certificate"
        )
        assert set(serials.values()) == {1}
        signed = {name for name, one in records.intents.items() if (one.kind, one.state) == ("certificate", "signed")}
        assert {intent for intent, _ in records.certificates.values()} == signed
        assert all(records.intents[name].key is None for name in records.unknown())

    def _check_certificates(self, records: Records) -> None:
        """Each is as intended, under the CA, and the only one of its order; each answer is in the database."""
        _, authority = records.certificates[records.entries[f"{STORE}.{CA_KEY}"][1] or ""]
        issuer = x509.load_der_x509_certificate(authority)
        for name, (intent_id, der) in records.certificates.items():
            assert sha256(der).hexdigest() == name
            intent = records.intents[intent_id]
            if name in self._seen or intent.signing_key != CA_PATH:
                continue
            self._seen.add(name)
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(issuer)
            assert certificate.tbs_certificate_bytes == intent.tbs
            assert f"{certificate.serial_number:040x}" == intent.serial_number
            [common_name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            if der != authority:
                assert str(common_name.value) not in self.made
                self.made[str(common_name.value)] = name
        assert self.made.keys() <= {order.name for order in self.server.orders}
        for order in self.server.orders:
            if order.sha256 is not None:
                assert self.made[order.name] == order.sha256
                assert [records.entries[path][1] for path in order.paths] == [order.sha256]
            elif order.stored_id is not None:
                entry = records.entries.get(f"{STORE}.{order.stored_id}")
                assert (entry and entry[1]) == self.made.get(order.name)
        reserved = {path for path, (_, certificate) in records.entries.items() if certificate is None}
        assert reserved == set()
        placed = {certificate for _, certificate in records.entries.values()}
        assert placed == records.certificates.keys()

    def _check_token(self, records: Records) -> None:
        """It was asked once at most for each intent, and for nothing that was not intended."""
        intended = {
            sha384(intent.tbs).hexdigest(): intent
            for intent in records.intents.values()
            if intent.signing_key == CA_PATH and intent.kind == "certificate"
        }
        asked = Counter(self._asked())
        assert asked.keys() <= intended.keys()
        assert set(asked.values()) <= {1}
        # A kill between the two may leave one that was told and not counted; none is counted that was not told.
        assert self.server.faulty.counters().watched_signs <= asked.total()
        signed = {digest for digest, intent in intended.items() if intent.state == "signed"}
        assert len(signed - asked.keys()) == 1  # the CA's own certificate, from before
        # And whatever else it signed is in the records, too, which are read last: checkpoints are made meanwhile.
        of_others = {digest for digest in self.server.faulty.asked() if len(digest) == 64}
        statements = select(self.url, "SELECT statement FROM checkpoints")
        others = {sha256(statement.encode()).hexdigest() for (statement,) in statements}
        others |= {digest for (digest,) in select(self.url, "SELECT tbs_sha256 FROM intents")}
        assert of_others <= others

    def _check_told(self, records: Records) -> None:
        """The log and the trail name every signature of which it is not known whether it was made; the trail, every
        one that was intended."""
        said = self.server.said()
        for intent_id, intent in records.unknown().items():
            [line] = [line for line in said.splitlines() if f"intent {intent_id} " in line]
            assert f"serial {intent.serial_number}, key {intent.signing_key}, request {intent.request_id} " in line
        assert len(re.findall("unknown outcome", said)) == len(records.unknown())
        told = select(
            self.url, "SELECT kind, serial_number FROM events WHERE kind LIKE 'signature-%' AND serial_number <> ''"
        )
        intended = sorted(one.serial_number for one in records.intents.values() if one.kind == "certificate")
        assert sorted(serial for kind, serial in told if kind == "signature-intended") == intended
        assert sorted(serial for kind, serial in told if kind == "signature-outcome-unknown") == sorted(
            intent.serial_number for intent in records.unknown().values()
        )
        details = select(self.url, "SELECT details FROM events WHERE kind = 'certificate-signed'")
        signed = sorted(
            (one["intentId"], one["certificateSha256"]) for (text,) in details for one in [json.loads(text)]
        )
        assert signed == sorted((intent_id, name) for name, (intent_id, _) in records.certificates.items())

    def _check_trail(self) -> None:
        """It is whole; a checkpoint that was half done is completed first."""
        uncovered = "SELECT count(*) FROM events WHERE checkpoint IS NULL"
        until(lambda: not self._unsigned() and select(self.url, uncovered)[0][0] < CHECKPOINT_EVENTS)
        assert self._faults() == []
        check_chains(self.url)

    def _check_dead(self, step: Step) -> None:
        """What the kill has left is what is to be expected at this step."""
        if not step.is_of_checkpoint:
            return
        unsigned = self._unsigned()
        assert len(unsigned) == (step is not Step.CHECKPOINT_WRITTEN)
        *lines, last = self.witness.read_text().split("\n")
        witnessed = {json.loads(json.loads(line)["statement"])["number"] for line in lines if _is_whole(line)}
        if step in (Step.CHECKPOINT_WITNESSED, Step.CHECKPOINT_COMPLETING):
            assert witnessed >= unsigned
        elif unsigned:
            assert not witnessed & unsigned
        assert (last != "") == (step is Step.CHECKPOINT_TORN)
        assert self._faults() == []

    def _repeat(self, orders: list[Order], records: Records) -> None:
        """An order that was not answered is stored and whole, or can be sent again; never are there two."""
        for order in orders:
            if order.answer is not None or (order.key is None and order.stored_id is None):
                continue
            made = self.made.get(order.name)
            answer = self.server.send(order)
            if order.key is None and made is not None:
                assert answer.status == 409, answer.octets
                continue
            assert answer.status == 200, answer.octets
            assert answer.is_replayed == (made is not None)
            keep(order, answer)
            assert made in (None, order.sha256)
        for order in [order for order in orders if order.key is not None and order.answer is not None][:1]:
            answer = self.server.send(order)
            assert (answer.status, answer.is_replayed, answer.octets) == (200, True, order.answer)

    def check_commands(self) -> None:
        """What an operator sees: the trail verifies, and every serial number to be revoked is listed."""
        records = self.check()
        assert swept(self.url) == []
        verified = self._command("verify")
        assert verified.splitlines()[-1] == "verified"
        listed = self._command("list", "--kind", "signature-outcome-unknown", "--limit", "100000").splitlines()
        assert len(listed) == len(records.unknown())
        for intent in records.unknown().values():
            [line] = [line for line in listed if f" request {intent.request_id} " in line]
            details = json.loads(line[line.index("{") :])
            assert (details["serialNumber"], details["signingKey"]) == (intent.serial_number, intent.signing_key)

    def _command(self, *words: str) -> str:
        command = [*ENGINE, "audit", *words, "--config", self.server.folder / "engine.toml"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _asked(self) -> list[str]:
        """The digests that the CA key was to sign since the first kill."""
        asked = self.server.faulty.asked()[self.asked_before :]
        return [digest for digest in asked if len(digest) == 2 * CA_OCTETS]

    def _unsigned(self) -> set[int]:
        return {number for (number,) in select(self.url, "SELECT number FROM checkpoints WHERE signature IS NULL")}

    def _faults(self) -> list[str]:
        with reading_trail(self.url) as trail:
            return [str(fault) for fault in verify_stored(trail, [self.witness], None).faults]


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def swept(url: str) -> list[str]:
    """What a sweep finds that is a fault."""
    with reading_records(url) as records:
        found = list(Sweep(records, lambda what, done, total: None).run())
    return [str(one) for one in found if isinstance(one, Fault)]


@pytest.fixture
def matrix(mortal: MortalServer) -> Matrix:
    """Of the server, before its first kill."""
    witness = mortal.folder / "audit-witness.jsonl"
    return Matrix(mortal, database_url(mortal.folder), witness, len(mortal.faulty.asked()))


@contextmanager
def naming(*words: object) -> Iterator[None]:
    """What fails inside says where."""
    try:
        yield
    except BaseException as error:
        error.add_note(" ".join(map(str, words)))
        raise


def test_after_a_kill_at_any_step_every_serial_has_one_state_every_answer_stands_and_the_trail_verifies(
    matrix: Matrix,
) -> None:
    steps = [step for step in STEPS if step not in ONLY_IN_SOAK]
    for step, group in zip(steps, itertools.cycle((True, False))):
        arrival = next(arrivals(step))
        with naming(step, "arrival", arrival, "group" if group else "worker"):
            matrix.kill(step, arrival, group=group)
    matrix.check_commands()


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name.lower().replace("_", "-"))
def test_after_each_of_25_kills_at_a_step_every_serial_has_one_state_every_answer_stands_and_the_trail_verifies(
    matrix: Matrix, step: Step, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = time.monotonic()
    for kill, arrival in zip(range(KILLS), arrivals(step, 1), strict=False):
        group = kill % 2 == 0
        with naming("kill", kill, "arrival", arrival, "group" if group else "worker"):
            matrix.kill(step, arrival, group=group)
    matrix.check_commands()
    records = Records.read(matrix.url)
    states = Counter(intent.state for intent in records.intents.values())
    answered = sum(order.answer is not None for order in matrix.server.orders)
    with capsys.disabled():
        print(f"\n{step}: {KILLS} kills, {dict(states)}, {answered} answered, {time.monotonic() - begin:.0f} s")
