"""Verify what the signing engine has recorded: an audit trail that was exported, or the evidence of one certificate.
Stands alone: Python 3.11 and `cryptography`.

    python verifier.py export.jsonl --witness witness.jsonl --key audit-key.pem
    python verifier.py evidence.json --witness witness.jsonl --key audit-key.pem

Exit code 0: nothing was found; 1: something was, and is named, the first bad row first; 2: the command line is wrong,
or the export holds a selection of events. Without a key, anybody's signature counts: who has signed is only told.

What is verified, in octets. Canonical JSON is UTF-8 with members sorted by name, no white space, and no escape that
JSON does not ask for. A hash is SHA-256, written in lower-case hex.

*Event*: canonical JSON of actor, details, kind, outcome, previous, recordedAt, requestId, sequence, source, target and
writer. Its hash is that of the octet 00 and the JSON: the leaf hash of RFC 6962 section 2.1. Events of one writer are a
chain: sequence counts from 1, and previous is the hash of the event before, 64 zeros in the first.

*Checkpoint*: canonical JSON of

    chains      for each writer with events in it: the sequence and the hash of its last one
    events      how many events are in it
    key         the hash of the public key (DER SubjectPublicKeyInfo) that signs it
    number      counts from 1
    previous    the hash of the checkpoint before, 64 zeros in the first
    recordedAt  the time
    root        the Merkle Tree Hash (RFC 6962 section 2.1) of its events' hashes, by writer (a number), then sequence
    total       how many events are in it and all before it

and a signature of that by the key: ECDSA with the hash that is as wide as the curve (SHA-256, -384, -512), RSA PKCS #1
v1.5 with SHA-256, or Ed25519. Every event up to the last of its chain in a checkpoint is in that checkpoint or in one
before. The last checkpoint may be without its signature, which is being made: its statement fits its events all the
same, and these are not marked as covered yet. A checkpoint of fewer than 20000 events has all that there were: what no
checkpoint has was not recorded more than an hour before it, by which writers' clocks may differ.

*Export*, one JSON object a line: {"event": ..., "hash": ..., "checkpoint": number or null}, by writer and sequence, and
{"checkpoint": the octets as a string, "signature": base64 or null, "key": base64}, by number. One that begins with
{"partial": true, ...} holds a selection of events, which cannot be verified by itself.

*Witness*, one JSON object a line: {"statement": a checkpoint's octets as a string, "signature": base64, "key": base64}.
It is kept where who can change the trail cannot change it: the end of the trail can be cut off unseen, but for it.

*Evidence*, one JSON object of

    format          signing-engine-evidence/1
    certificate     base64 of the DER
    tbsCertificate  base64 of what was to be signed, as it was recorded before it was
    grounds         canonical JSON, its octets as a string: on which grounds the certificate was signed
    issuingKey      canonical JSON, its octets as a string: path, spki (base64), spkiSha256, custodySha256 or null, and
                    token: what the token and its library say of themselves
    custodyRecord   canonical JSON, its octets as a string: how the issuing key was held then; absent for a key that
                    the caller brought
    events          the event that told of the custody record before the signature was intended, signature-intended and
                    certificate-signed, in this order, each {"event": ..., "hash": ..., "inclusion": {"checkpoint":
                    number, "index": ..., "size": ..., "path": [...]}}; the path (RFC 6962 section 2.1.1) is in hex,
                    lowest node first, the index from 0
    checkpoints     those that the events are in, by number, each as in an export

The events name the digests of tbsCertificate, grounds, custodyRecord and certificate, the grounds that of issuingKey.
The grounds are engine (its version), issuingKeySha256, lint (rules: how many, rulesSha256: which, findings),
policySha256, profile, proofOfPossession and requestSha256 (of the order's body). What they say is what the engine has
said: verified here is the request in proofOfPossession, where it is there, against the certificate's key.
"""

import argparse
import base64
import binascii
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

ZEROS = "0" * 64
_TOLD = ("actor", "details", "kind", "outcome", "recordedAt", "requestId", "source", "target")
_EVENT_MEMBERS = frozenset([*_TOLD, "previous", "sequence", "writer"])
_EVENT_TEXTS = _EVENT_MEMBERS - {"details", "sequence"}
_CHECKPOINT_MEMBERS = frozenset(["chains", "events", "key", "number", "previous", "recordedAt", "root", "total"])
_MOST_FAULTS = 100
_CLOCKS_DIFFER = timedelta(seconds=1)
_MOST_EVENTS = 20_000
"""In one checkpoint."""
_TOLERANCE = timedelta(hours=1)
"""For clocks, and for transactions that take long."""
_TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z")

EVIDENCE_FORMAT = "signing-engine-evidence/1"
_EVIDENCE_MEMBERS = frozenset(
    ["certificate", "checkpoints", "events", "format", "grounds", "issuingKey", "tbsCertificate"]
)
_GROUNDS_MEMBERS = frozenset(
    ["engine", "issuingKeySha256", "lint", "policySha256", "profile", "proofOfPossession", "requestSha256"]
)
_TELLS_CUSTODY = frozenset(["key-generated", "key-imported", "key-adopted", "key-examined"])
_LARGEST_EVIDENCE = 1 << 24


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_decode = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse).decode


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was written: the row, and what is wrong with it."""

    row: str
    what: str

    def __str__(self) -> str:
        return f"{self.row}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Statement:
    """What is remembered of a checkpoint."""

    digest: str
    events: int
    root: str


@dataclass(slots=True)
class Report:
    """What was seen."""

    faults: list[Fault] = field(default_factory=list)
    more_faults: int = 0
    events: int = 0
    chains: int = 0
    checkpoints: int = 0
    last_checkpoint: str = ""
    """When it was recorded."""
    uncovered: int = 0
    """Events that no signed checkpoint covers: it is their chain alone that speaks for them."""
    uncovered_since: str = ""
    is_signature_due: bool = False
    """Whether a checkpoint follows the last signed one that is not signed yet."""
    keys: list[tuple[int, str]] = field(default_factory=list)
    """The hashes of the keys that have signed, each with the number of the checkpoint from which on it has."""
    is_key_given: bool = False
    """Whether it was said which keys may sign."""
    witness_lines: int | None = None
    """None: there was no witness."""
    witnesses_to_come: list[str] = field(default_factory=list)
    """Those that are not there, as long as no checkpoint is signed."""
    starts: int = 0
    """Of processes that have not told that they ended."""
    set_back: int = 0
    """Events that were recorded earlier than the one before them in their chain."""
    first_set_back: str = ""

    def add(self, fault: Fault) -> None:
        """One more; those beyond the first hundred are only counted."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)
        else:
            self.more_faults += 1

    def lines(self) -> Iterator[str]:
        """For people to read; no character of them does anything to a terminal, or begins a line."""
        return map(_printable, self._lines())

    def _lines(self) -> Iterator[str]:
        yield from map(str, self.faults)
        if self.more_faults:
            yield f"... and {self.more_faults} more"
        yield f"events: {self.events}, chains: {self.chains}, signed checkpoints: {self.checkpoints}" + (
            f", the last of {self.last_checkpoint}" if self.last_checkpoint else ""
        )
        if self.uncovered:
            yield f"events not yet covered by a checkpoint: {self.uncovered}, the oldest of {self.uncovered_since}"
        if self.is_signature_due:
            yield "a checkpoint waits for its signature"
        for place, (number, key) in enumerate(self.keys):
            yield f"{f'from checkpoint {number} on ' if place else ''}signed by the key with SPKI SHA-256 {key}"
        if self.keys and not self.is_key_given:
            yield "no key was given: whether that key may sign cannot be told"
        if self.starts:
            yield f"starts without a stop: {self.starts} (running, or ended without telling)"
        if self.set_back:
            yield f"recorded over a second earlier than the event before: {self.set_back}, first {self.first_set_back}"
        for name in self.witnesses_to_come:
            yield f"the witness {name} is not there, and no checkpoint is signed"
        if self.witness_lines is None:
            yield "no witness was given: whether the end of the trail was cut off cannot be told"
        else:
            yield f"lines of the witness that were compared: {self.witness_lines}"
        yield "FAILED" if self.faults else "verified"


class TrailVerifier:
    """Takes in a whole trail: checkpoints by number, then the witness, then events by writer and sequence.

    Needs a few dozen octets for each checkpoint and nothing for an event.
    """

    def __init__(self, trusted: Collection[str] | None = None) -> None:
        """`trusted` are SPKI SHA-256 of keys that may sign; None: any, and the report says which."""
        self.report = Report(is_key_given=trusted is not None)
        self._trusted = trusted
        self._statements: dict[int, _Statement] = {}
        self._unsigned: set[int] = set()
        """Checkpoints without a signature here; the witness may have it."""
        self._previous = ZEROS
        self._total = 0
        self._complete = 0
        """The last signed checkpoint that has all events that there were."""
        self._complete_since = ""
        """No event that was recorded before this was written after it."""
        self._coverage: dict[int, list[tuple[int, int, str]]] = {}
        """By writer: number of the checkpoint, sequence and hash of the last event in it."""
        self._witnessed: set[int] = set()
        self._trees: dict[int, _Tree] = {}
        self._roots_checked: set[int] = set()
        self._chain: _Chain | None = None
        self._writers: set[int] = set()
        self._started: dict[str, int] = {}
        """Starts less stops by process, where that is not none."""

    def take_checkpoint(self, number: object, statement: object, signature: bytes | None, key: object) -> None:
        """One checkpoint. Without a `signature` it is the last, which is being made: its statement was committed after
        its events, which are as it says and not marked yet."""
        row = f"checkpoint {number}"
        expected = len(self._statements) + 1
        if self._unsigned:
            self._fault(row, "the checkpoint before it has no signature")
        if number != expected:
            self._fault(row, f"expected checkpoint {expected} here")
        members = self._load_statement(row, statement)
        if members is None or not isinstance(statement, str) or not isinstance(number, int):
            self._statements[expected] = _Statement("", 0, "")
            return
        if members["number"] != number:
            self._fault(row, f"its statement is that of checkpoint {members['number']}")
        if members["previous"] != self._previous:
            self._fault(row, f"it does not follow the statement of checkpoint {expected - 1} that is here")
        if members["total"] != self._total + members["events"]:
            self._fault(row, f"expected a total of {self._total + members['events']}, found {members['total']}")
        octets = statement.encode()
        remembered = _Statement(sha256(octets).hexdigest(), members["events"], members["root"])
        self._previous, self._total = remembered.digest, members["total"]
        self._statements[expected] = remembered
        for writer, (sequence, head) in sorted(members["chains"].items()):
            self._coverage.setdefault(int(writer), []).append((expected, sequence, head))
        if what := self._signature_fault(octets, members, signature, key):
            self._fault(row, what)
        if signature is None:
            self._unsigned.add(expected)
            self.report.is_signature_due = True
        else:
            self._count_signed(members)

    def _count_signed(self, members: Mapping[str, Any]) -> None:
        if members["events"] < _MOST_EVENTS:
            self._complete, self._complete_since = members["number"], _begin_of_doubt(members["recordedAt"])
        self.report.checkpoints += 1
        self.report.last_checkpoint = members["recordedAt"]

    def take_witness(self, lines: Iterable[str], name: str) -> None:
        """The lines of one witness; there may be several that complete each other."""
        self.report.witness_lines = self.report.witness_lines or 0
        for line_number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = f"{name} line {line_number}"
            try:
                kept = load_json(line)
                statement, key = str(kept["statement"]), _load_base64(kept["key"])
                signature = _load_base64(kept["signature"])
            except (ValueError, KeyError, TypeError, RecursionError):
                # What a crash has torn was written again; if it was not, a checkpoint is missing below.
                continue
            self.report.witness_lines += 1
            members = self._load_statement(row, statement)
            if members is not None:
                self._compare(row, statement.encode(), members, signature, key)

    def miss_witness(self, name: str, *, may_be_to_come: bool = False) -> None:
        """A witness that is not there, after the checkpoints; it `may_be_to_come` as long as none of them is signed."""
        self.take_witness((), name)
        if may_be_to_come and not self.report.checkpoints:
            self.report.witnesses_to_come.append(name)
        else:
            self._fault(f"witness {name}", "it is not there")

    def _compare(self, row: str, octets: bytes, members: Mapping[str, Any], signature: bytes, key: bytes) -> None:
        number, digest = members["number"], sha256(octets).hexdigest()
        known = self._statements.get(number)
        is_same = known is not None and known.digest == digest
        if is_same and number not in self._unsigned:
            self._witnessed.add(number)
        elif what := self._signature_fault(octets, members, signature, key):
            self._fault(row, what)
        elif is_same:
            if number not in self._witnessed:
                self._count_signed(members)
            self._witnessed.add(number)
        elif known is not None:
            self._fault(f"checkpoint {number}", f"it is not the one that the witness has ({row})")
        else:
            self._fault(f"checkpoint {number}", f"it is missing, and the witness has it ({row}): the end was cut off")

    def take_event(self, event: object, hash_: object, checkpoint: object) -> None:
        """One event, the hash that is kept beside it, and the number of the checkpoint that is said to cover it."""
        try:
            writer, sequence, previous = _load_event_place(event)
            digest = sha256(b"\x00" + _encode(event).encode())
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._fault(f"event after {self._place()}", f"it is not an event: {error}")
            return
        self.report.events += 1
        chain = self._chain
        if chain is None or chain.writer != writer:
            chain = self._begin_chain(writer)
        row = f"event {sequence} of writer {writer}"
        wrong = len(self.report.faults) + self.report.more_faults
        if digest.hexdigest() != hash_:
            self._fault(row, "it does not have the hash that is kept with it: it was changed")
        elif not _has_time(event):
            self._fault(row, "its time is not as the engine writes one")
        if sequence > chain.last + 1:
            self._fault(row, f"{_span(chain.last + 1, sequence - 1)} missing, which came before it")
        elif sequence <= chain.last:
            self._fault(row, f"it is out of order, or there twice: it comes after event {chain.last}")
        elif previous != chain.hash:
            self._fault(row, f"it does not follow event {chain.last} as that is here: one of both was changed")
        is_sound = wrong == len(self.report.faults) + self.report.more_faults
        self._cover(chain, row, event, digest.digest(), sequence, checkpoint, is_sound)
        self._note(chain, row, event)
        chain.last, chain.hash = sequence, str(hash_)

    def _cover(
        self,
        chain: "_Chain",
        row: str,
        event: Any,
        digest: bytes,
        sequence: int,
        checkpoint: object,
        is_sound: bool,
    ) -> None:
        while chain.covering and chain.covering[0][1] < sequence:
            chain.covering.pop(0)
        number, last, head = chain.covering[0] if chain.covering else (0, 0, "")
        is_signed = bool(number) and number not in self._unsigned
        if not is_signed and number not in self._witnessed:
            self._count_uncovered(row, event)
        if not is_signed and checkpoint is not None:
            self._fault(row, f"it says that checkpoint {checkpoint} covers it, and no signed one does")
        if not number:
            return
        if is_signed and checkpoint != number:
            self._fault(row, f"checkpoint {number} covers it, and it says {checkpoint or 'none'}")
        if sequence == last and digest.hex() != head and is_sound:
            since = chain.covered + 1
            among = f"one of events {since} to {last}" if since < last else "it"
            self._fault(row, f"checkpoint {number} has another hash: {among} was changed and hashed anew")
        if sequence == last:
            chain.covered = last
        tree = self._trees.get(number)
        if tree is None:
            tree = self._trees[number] = _Tree()
        tree.add(digest)
        if tree.size == self._statements[number].events:
            self._check_root(number, tree)

    def _note(self, chain: "_Chain", row: str, event: Any) -> None:
        """Of starts, stops and clocks, which are no faults."""
        time, before = str(event["recordedAt"]), chain.time
        chain.time = time
        if time < before and _is_set_back(time, before):
            self.report.set_back += 1
            self.report.first_set_back = self.report.first_set_back or row
        if isinstance(event["details"], dict) and event["kind"] in ("engine-started", "engine-stopped"):
            process = str(event["details"].get("processId"))
            starts = self._started.pop(process, 0) + (1 if event["kind"] == "engine-started" else -1)
            if starts:
                self._started[process] = starts

    def _count_uncovered(self, row: str, event: Any) -> None:
        recorded_at = str(event["recordedAt"])
        if recorded_at < self._complete_since:
            what = (
                f"it says that it was recorded on {recorded_at}, and checkpoint {self._complete}, which has all of then"
            )
            self._fault(row, f"{what}, does not have it: it was put there later, or a clock was put back")
        self.report.uncovered += 1
        self.report.uncovered_since = min(self.report.uncovered_since or recorded_at, recorded_at)

    def finish(self) -> Report:
        """What was seen, after the last event."""
        self._end_chain()
        self.report.starts = sum(starts for starts in self._started.values() if starts > 0)
        if not self.report.events:
            self._fault("events", "expected some, found none")
        if self._trusted is not None and not self.report.checkpoints:
            self._fault("checkpoints", "expected one that is signed, since a key was given; found none")
        for writer in sorted(self._coverage.keys() - self._writers):
            number, last, _ = self._coverage[writer][-1]
            row = f"event 1 of writer {writer}"
            self._fault(row, f"{_span(1, last)} missing; checkpoint {number} has seen event {last}")
        for number, tree in sorted(self._trees.items()):
            self._check_root(number, tree)
        for number in sorted(self._statements.keys() - self._roots_checked):
            self._fault(f"checkpoint {number}", "none of its events is here")
        if self.report.witness_lines is not None:
            for number in sorted(self._statements.keys() - self._witnessed - self._unsigned):
                self._fault(f"checkpoint {number}", "the witness does not have it")
        return self.report

    def _begin_chain(self, writer: int) -> "_Chain":
        self._end_chain()
        if self._chain is not None and writer < self._chain.writer:
            self._fault(f"events of writer {writer}", "they are out of order: writers must come by number")
        self._writers.add(writer)
        self.report.chains = len(self._writers)
        self._chain = _Chain(writer, list(self._coverage.get(writer, ())))
        return self._chain

    def _end_chain(self) -> None:
        chain = self._chain
        if chain is not None and chain.covering and chain.covering[-1][1] > chain.last:
            number, last, _ = chain.covering[-1]
            row = f"event {chain.last + 1} of writer {chain.writer}"
            self._fault(row, f"{_span(chain.last + 1, last)} missing; checkpoint {number} has seen event {last}")

    def _check_root(self, number: int, tree: "_Tree") -> None:
        statement = self._statements[number]
        self._trees.pop(number)
        first_time = number not in self._roots_checked
        self._roots_checked.add(number)
        if not first_time or tree.size != statement.events:
            self._fault(f"checkpoint {number}", f"it has {statement.events} events, and others or not as many are here")
        elif tree.root().hex() != statement.root:
            self._fault(f"checkpoint {number}", "its root is not that of its events: one of them was changed")

    def _load_statement(self, row: str, statement: object) -> Mapping[str, Any] | None:
        try:
            return load_checkpoint(statement)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._fault(row, f"its statement is not one: {error}")
            return None

    def _signature_fault(
        self, octets: bytes, members: Mapping[str, Any], signature: bytes | None, key: object
    ) -> str | None:
        what = find_signature_fault(octets, members["key"], signature, key, self._trusted)
        keys = self.report.keys
        if what is None and signature is not None and (not keys or keys[-1][1] != members["key"]):
            keys.append((members["number"], members["key"]))
        return what

    def _place(self) -> str:
        return "none" if self._chain is None else f"event {self._chain.last} of writer {self._chain.writer}"

    def _fault(self, row: str, what: str) -> None:
        self.report.add(Fault(row, what))


@dataclass(slots=True)
class _Chain:
    """Where the verifier is in the events of a writer."""

    writer: int
    covering: list[tuple[int, int, str]]
    """Checkpoints still to come by: number, sequence and hash of the last event."""
    last: int = 0
    hash: str = ZEROS
    covered: int = 0
    time: str = ""


class _Tree:
    """The Merkle Tree Hash of leaves that come one by one."""

    __slots__ = ("_perfect", "size")

    def __init__(self) -> None:
        self.size = 0
        self._perfect: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """The next leaf, by its hash."""
        count, node = self.size, leaf
        while count & 1:
            node = sha256(b"\x01" + self._perfect.pop() + node).digest()
            count >>= 1
        self._perfect.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Of the leaves so far; at least one."""
        perfect = list(self._perfect)
        root = perfect.pop()
        while perfect:
            root = sha256(b"\x01" + perfect.pop() + root).digest()
        return root


@dataclass(slots=True)
class EvidenceReport:
    """What was found in the evidence of one certificate."""

    faults: list[Fault] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What is so, for people to read."""

    def lines(self) -> Iterator[str]:
        """For people to read; no character of them does anything to a terminal."""
        yield from (_printable(str(fault)) for fault in self.faults)
        yield from map(_printable, self.told)
        yield "FAILED" if self.faults else "verified"


class _Refusal(Exception):
    """Why evidence proves nothing."""

    def __init__(self, member: str, what: str) -> None:
        super().__init__(what)
        self.fault = Fault(member, what)


def verify_evidence(
    evidence: object, trusted: Collection[str] | None = None, witnessed: Collection[str] | None = None
) -> EvidenceReport:
    """Verify evidence. `trusted` are SPKI SHA-256 of keys that may sign checkpoints; None: any, and the report says
    which. `witnessed` are the SHA-256 of the statements that the witness has; None: there is none."""
    verifier = _EvidenceVerifier(trusted, witnessed)
    try:
        verifier.verify(evidence)
    except _Refusal as refusal:
        verifier.report.faults.append(refusal.fault)
    return verifier.report


@dataclass(frozen=True, slots=True)
class _Told:
    """An event that is in a signed checkpoint."""

    member: str
    event: Mapping[str, Any]

    def detail(self, name: str) -> str:
        """Empty if it is not there."""
        return str(self.event["details"].get(name, ""))

    def expect(self, expected: Mapping[str, str]) -> None:
        """Raises _Refusal unless its details are these."""
        for name, value in expected.items():
            if self.detail(name) != value:
                what = f"expected its {name} to be {value or 'absent'}, found {self.detail(name) or 'none'}"
                raise _Refusal(f"{self.member}.event.details.{name}", what)


class _EvidenceVerifier:
    """From the checkpoints to the events in them, and from these to what they have the digests of."""

    def __init__(self, trusted: Collection[str] | None, witnessed: Collection[str] | None) -> None:
        self.report = EvidenceReport()
        self._trusted = trusted
        self._witnessed = witnessed
        self._checkpoints: dict[int, Mapping[str, Any]] = {}
        self._uncovering: set[int] = set()
        """Checkpoints that no event was in so far."""

    def verify(self, evidence: object) -> None:
        """Raises _Refusal at the first fault."""
        if not isinstance(evidence, dict) or evidence.get("format") != EVIDENCE_FORMAT:
            raise _Refusal("format", f"expected {EVIDENCE_FORMAT}")
        if evidence.keys() - {"custodyRecord"} != _EVIDENCE_MEMBERS:
            raise _Refusal("evidence", f"expected the members {', '.join(sorted(_EVIDENCE_MEMBERS))}")
        for place, one in enumerate(_list(evidence["checkpoints"], "checkpoints")):
            self._take_checkpoint(f"checkpoints[{place}]", one)
        told = [
            self._take_event(f"events[{place}]", one) for place, one in enumerate(_list(evidence["events"], "events"))
        ]
        intended, signed = _only(told, ["signature-intended"]), _only(told, ["certificate-signed"])
        if told[-2:] != [intended, signed]:
            raise _Refusal("events", "expected that of the custody record, signature-intended, certificate-signed")
        _check_order(intended, signed)

        tbs = _octets(evidence["tbsCertificate"], "tbsCertificate")
        _check_digest("tbsCertificate", tbs, intended, "tbsSha256")
        grounds = _load_canonical("grounds", evidence["grounds"], intended.detail("groundsSha256"), intended.member)
        if grounds.keys() != _GROUNDS_MEMBERS:
            raise _Refusal("grounds", f"expected the members {', '.join(sorted(_GROUNDS_MEMBERS))}")
        certificate = _octets(evidence["certificate"], "certificate")
        _check_digest("certificate", certificate, signed, "certificateSha256")
        try:
            statement = _load_canonical("issuingKey", evidence["issuingKey"], grounds["issuingKeySha256"], "grounds")
            issuing = _IssuingKey.load(statement)
            key = _check_certificate(certificate, tbs, issuing, intended, signed)
            intended.expect(
                {
                    "signatureKind": "certificate",
                    "profile": str(grounds["profile"]),
                    "signingKey": issuing.path,
                    "requestSha256": str(grounds["requestSha256"]),
                }
            )
            signed.expect(
                {name: intended.detail(name) for name in ("signingKey", "serialNumber", "tbsSha256")}
                | {"spkiSha256": key}
            )
            self._tell(
                f"certificate: SHA-256 {sha256(certificate).hexdigest()}, serial {signed.detail('serialNumber')}"
            )
            self._tell_event("intended", intended, f", intent {intended.detail('intentId')}")
            self._tell_event("signed and recorded", signed, "")
            self._check_proof(grounds["proofOfPossession"], key, issuing)
            self._tell_grounds(grounds, statement["token"])
            self._check_custody(evidence.get("custodyRecord"), issuing, told, intended)
        except (KeyError, TypeError, AttributeError) as error:
            raise _Refusal("grounds", f"they or issuingKey do not say what these say: {error!r}") from None
        if self._uncovering:
            raise _Refusal("checkpoints", f"none of the events is in checkpoint {min(self._uncovering)}")
        self._tell_trust()

    def _take_checkpoint(self, member: str, one: object) -> None:
        if not isinstance(one, dict) or one.keys() != {"checkpoint", "signature", "key"}:
            raise _Refusal(member, "expected checkpoint, signature and key")
        statement = one["checkpoint"]
        try:
            members = load_checkpoint(statement)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _Refusal(f"{member}.checkpoint", f"it is not the statement of a checkpoint: {error}") from None
        key, signature = _octets(one["key"], f"{member}.key"), _octets(one["signature"], f"{member}.signature")
        if what := find_signature_fault(str(statement).encode(), members["key"], signature, key, self._trusted):
            raise _Refusal(member, what)
        number = members["number"]
        if number in self._checkpoints:
            raise _Refusal(member, f"checkpoint {number} is there twice")
        if number < max(self._checkpoints, default=0):
            raise _Refusal(member, f"checkpoint {number} is out of order: checkpoints must come by number")
        if self._witnessed is not None and sha256(str(statement).encode()).hexdigest() not in self._witnessed:
            raise _Refusal(member, f"the witness does not have this checkpoint {number}")
        self._checkpoints[number] = members
        self._uncovering.add(number)

    def _take_event(self, member: str, one: object) -> _Told:
        if not isinstance(one, dict) or one.keys() != {"event", "hash", "inclusion"}:
            raise _Refusal(member, "expected event, hash and inclusion")
        event = one["event"]
        try:
            writer, sequence, _ = _load_event_place(event)
            leaf = sha256(b"\x00" + _encode(event).encode())
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _Refusal(f"{member}.event", f"it is not an event: {error}") from None
        if leaf.hexdigest() != one["hash"]:
            raise _Refusal(member, "the event does not have the hash that is kept with it: one of both was changed")
        inclusion = one["inclusion"]
        try:
            number, index, size = (inclusion[name] for name in ("checkpoint", "index", "size"))
            path = [bytes.fromhex(node) for node in inclusion["path"]]
            if len(inclusion) != 4 or {type(number), type(index), type(size)} != {int}:
                raise ValueError("expected checkpoint, index and size, which are numbers, and path")
            if [node.hex() for node in path] != inclusion["path"]:
                raise ValueError("expected the path in lower-case hex")
            checkpoint = self._checkpoints[number]
            if size != checkpoint["events"]:
                raise ValueError(f"checkpoint {number} has {checkpoint['events']} events, not {size}")
            check_inclusion(leaf.digest(), index, size, path, bytes.fromhex(checkpoint["root"]))
        except KeyError as error:
            raise _Refusal(f"{member}.inclusion", f"{error} is not there") from None
        except (ValueError, TypeError) as error:
            raise _Refusal(f"{member}.inclusion", f"the event is not in the checkpoint: {error}") from None
        if checkpoint["chains"].get(str(writer), [0])[0] < sequence:
            raise _Refusal(
                f"{member}.inclusion", f"checkpoint {number} ends before event {sequence} of writer {writer}"
            )
        self._uncovering.discard(number)
        if not isinstance(event["details"], dict):
            raise _Refusal(f"{member}.event.details", "expected an object")
        return _Told(member, event)

    def _check_proof(self, proof: Mapping[str, Any], key: str, issuing: "_IssuingKey") -> None:
        """That the certificate's key, by its hash, was proven; or that nobody says so."""
        member, method = "grounds.proofOfPossession", proof["method"]
        if proof["spkiSha256"] != key:
            raise _Refusal(f"{member}.spkiSha256", "the key that was proven is not that of the certificate")
        if method == "own-signature":
            if key != issuing.spki_sha256:
                raise _Refusal(member, "the certificate is not signed by its own key")
            self._tell("proof of possession: the certificate is signed by its own key")
        elif method == "key-on-token":
            self._tell(f"proof of possession: the key is {proof['path']}, which was proven when it was registered")
        elif method == "none":
            self._tell("proof of possession: NONE; the public key alone was presented")
        elif method != "certification-request":
            raise _Refusal(f"{member}.method", f"there is no method {method}")
        elif "request" not in proof:
            self._tell(
                f"proof of possession: the engine has verified a certification request with SHA-256 "
                f"{proof['requestSha256']}, which is not shown since it holds a {proof['withheld']}"
            )
        else:
            request = _octets(proof["request"], f"{member}.request")
            if sha256(request).hexdigest() != proof["requestSha256"]:
                raise _Refusal(f"{member}.requestSha256", "it is not that of the request")
            if what := _find_request_fault(request, key):
                raise _Refusal(f"{member}.request", what)
            self._tell("proof of possession: the certification request verifies under the certificate's key")

    def _check_custody(self, record: object, issuing: "_IssuingKey", told: Sequence[_Told], intended: _Told) -> None:
        """That the record is the one in the statement about the key, and that it was told of before the key signed."""
        self._tell(f"issuing key: {issuing.path}, SPKI SHA-256 {issuing.spki_sha256}")
        if issuing.custody_sha256 is None:
            if record is not None or len(told) != 2:
                raise _Refusal("custodyRecord", "issuingKey names none, since the caller has brought the key")
            self._tell("custody record: none; the caller has brought the key")
            return
        event = _only(told, _TELLS_CUSTODY)
        event.expect(
            {
                "signingKey": issuing.path,
                "spkiSha256": issuing.spki_sha256,
                "custodySha256": issuing.custody_sha256,
            }
        )
        if not _is_before(event, intended):
            raise _Refusal(event.member, "it tells how the key is held after the signature was intended")
        if _digest_of_text(record, "custodyRecord") != issuing.custody_sha256:
            raise _Refusal("custodyRecord", "it does not have the digest that issuingKey and its event name")
        self._tell_event(f"custody record, by {event.event['kind']}", event, f": {record}")

    def _tell_grounds(self, grounds: Mapping[str, Any], token: Mapping[str, Any]) -> None:
        lint = grounds["lint"]
        self._tell(
            f"profile: {grounds['profile']}; policy: SHA-256 {grounds['policySha256']}; engine: {grounds['engine']}"
        )
        self._tell(
            f"lint: {lint['rules']} rules, list of SHA-256 {lint['rulesSha256']}; findings: {len(lint['findings'])}"
        )
        for finding in lint["findings"]:
            self._tell(f"lint {finding['severity']}: {finding['code']}: {finding['message']} ({finding['clause']})")
        self._tell("token: " + ", ".join(f"{name} {value}" for name, value in token.items()))
        self._tell(f"order: body of SHA-256 {grounds['requestSha256'] or 'unknown'}")

    def _tell_event(self, what: str, told: _Told, more: str) -> None:
        event = told.event
        by = f"{event['actor'] or 'nobody'}" + (f" from {event['source']}" if event["source"] else "")
        by += f", request {event['requestId']}" if event["requestId"] else ""
        self._tell(f"{what}: {event['recordedAt']} by {by}{more}")

    def _tell_trust(self) -> None:
        for number, members in sorted(self._checkpoints.items()):
            self._tell(
                f"checkpoint {number} of {members['recordedAt']}, signed by the key with SPKI SHA-256 {members['key']}"
            )
        if self._trusted is None:
            self._tell("no key was given: whether that key may sign cannot be told")
        if self._witnessed is None:
            self._tell("no witness was given: whether the trail was written anew since cannot be told")
        else:
            self._tell("the witness has every checkpoint")

    def _tell(self, line: str) -> None:
        self.report.told.append(line)


@dataclass(frozen=True, slots=True)
class _IssuingKey:
    path: str
    spki: bytes
    spki_sha256: str
    custody_sha256: str | None

    @classmethod
    def load(cls, members: Mapping[str, Any]) -> "_IssuingKey":
        spki = _octets(members["spki"], "issuingKey.spki")
        if sha256(spki).hexdigest() != members["spkiSha256"]:
            raise _Refusal("issuingKey.spkiSha256", "it is not that of the key")
        return cls(str(members["path"]), spki, members["spkiSha256"], members["custodySha256"])


def _check_certificate(octets: bytes, tbs: bytes, issuing: _IssuingKey, intended: _Told, signed: _Told) -> str:
    """That it is the intended one and signed by the issuing key. The SPKI SHA-256 of its own key."""
    try:
        certificate = x509.load_der_x509_certificate(octets)
        own = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Refusal("certificate", f"it cannot be read: {error}") from None
    if certificate.tbs_certificate_bytes != tbs:
        raise _Refusal("certificate", "it does not hold what was intended to be signed")
    for told in (intended, signed):
        told.expect({"serialNumber": f"{certificate.serial_number:040x}"})
    try:
        check_signature(issuing.spki, certificate.signature, tbs)
    except InvalidSignature:
        raise _Refusal("certificate", "its signature does not verify under the issuing key") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Refusal("issuingKey.spki", f"it cannot be used: {error}") from None
    return sha256(own).hexdigest()


def _find_request_fault(octets: bytes, key: str) -> str | None:
    """Why a certification request does not prove the key with this SPKI SHA-256; None if it does."""
    try:
        request = x509.load_der_x509_csr(octets)
        own = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if not request.is_signature_valid:
            return "its signature does not verify under its own key"
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        return f"it cannot be verified: {error}"
    return None if sha256(own).hexdigest() == key else "its key is not that of the certificate"


def _check_order(intended: _Told, signed: _Told) -> None:
    """That both are about one signature, and one was told before the other."""
    signed.expect({"intentId": intended.detail("intentId")})
    if intended.event["outcome"] != "pending" or signed.event["outcome"] != "success":
        raise _Refusal(signed.member, "expected an intention that is pending and a signature that is a success")
    if not _is_before(intended, signed):
        raise _Refusal(signed.member, "the certificate was signed before that was intended")


def _is_before(one: _Told, other: _Told) -> bool:
    """By sequence if one writer has told both, else by the writers' clocks."""
    if one.event["writer"] == other.event["writer"]:
        return bool(one.event["sequence"] < other.event["sequence"])
    return bool(one.event["recordedAt"] <= other.event["recordedAt"])


def _only(told: Sequence[_Told], kinds: Collection[str]) -> _Told:
    found = [one for one in told if one.event["kind"] in kinds]
    if len(found) != 1 or len(told) > 3:
        raise _Refusal("events", f"expected one event of the kind {' or '.join(sorted(kinds))}, found {len(found)}")
    return found[0]


def _check_digest(member: str, octets: bytes, told: _Told, name: str) -> None:
    if sha256(octets).hexdigest() != told.detail(name):
        raise _Refusal(member, f"it does not have the digest {name} that {told.event['kind']} names")


def _load_canonical(member: str, text: object, digest: object, by: str) -> Mapping[str, Any]:
    if _digest_of_text(text, member) != digest:
        raise _Refusal(member, f"it does not have the digest that {by} names")
    try:
        members = load_json(str(text))
        is_canonical = isinstance(members, dict) and canonical(members) == text
    except (ValueError, TypeError, RecursionError) as error:
        raise _Refusal(member, f"expected canonical JSON: {error}") from None
    if not is_canonical:
        raise _Refusal(member, "expected an object in canonical JSON")
    return dict(members)


def _digest_of_text(text: object, member: str) -> str:
    """SHA-256 of its octets in UTF-8, if it has any."""
    if not isinstance(text, str):
        raise _Refusal(member, "expected text")
    try:
        return sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise _Refusal(member, f"expected text that has octets: {error}") from None


def _list(value: object, member: str) -> Sequence[object]:
    if not isinstance(value, list) or not value:
        raise _Refusal(member, "expected a list that is not empty")
    return value


def _octets(text: object, member: str) -> bytes:
    """What base64 stands for, if it is spelt as that is spelt."""
    try:
        octets = _load_base64(text)
    except ValueError as error:
        raise _Refusal(member, str(error)) from None
    if base64.b64encode(octets).decode() != text:
        raise _Refusal(member, "expected base64 in its usual spelling")
    return octets


def _printable(line: str) -> str:
    return line if line.isascii() and line.isprintable() else json.dumps(line)[1:-1]


def canonical(value: object) -> str:
    """Canonical JSON. Raises ValueError, TypeError."""
    return _encode(value)


def load_json(text: str) -> Any:
    """JSON in which no object has a member twice. Raises ValueError, TypeError."""
    return _decode(text)


def load_checkpoint(statement: object) -> Mapping[str, Any]:
    """The members of a checkpoint's statement. Raises ValueError unless it is canonical and every member fits."""
    if not isinstance(statement, str):
        raise ValueError("expected text")
    members = load_json(statement)
    if not isinstance(members, dict) or members.keys() != _CHECKPOINT_MEMBERS:
        raise ValueError("expected the members of a checkpoint")
    statement.encode()
    if canonical(members) != statement:
        raise ValueError("expected canonical JSON")
    if any(type(members[name]) is not int or members[name] < 1 for name in ("events", "number", "total")):
        raise ValueError("expected events, number and total to be positive numbers")
    if not all(isinstance(members[name], str) for name in ("key", "previous", "recordedAt", "root")):
        raise ValueError("expected key, previous, recordedAt and root to be strings")
    if not _TIME.fullmatch(members["recordedAt"]):
        raise ValueError("expected recordedAt to be a time with microseconds in UTC")
    chains = members["chains"]
    if not isinstance(chains, dict) or not chains:
        raise ValueError("expected chains to be an object with members")
    for writer, head in chains.items():
        if str(int(writer)) != writer or not isinstance(head, list) or len(head) != 2:
            raise ValueError("expected chains to have a sequence and a hash for each writer")
        if type(head[0]) is not int or not isinstance(head[1], str):
            raise ValueError("expected chains to have a sequence and a hash for each writer")
    return members


def find_signature_fault(
    octets: bytes, named: str, signature: bytes | None, key: object, trusted: Collection[str] | None
) -> str | None:
    """What is wrong with the signature of a checkpoint whose statement names its key by this hash; None: nothing.

    Without a `signature`, what is wrong with the key that is to make it.
    """
    if not isinstance(key, bytes) or sha256(key).hexdigest() != named:
        return "its key is not the one that its statement names"
    if trusted is not None and named not in trusted:
        is_made = "was" if signature is not None else "is to be"
        return f"it {is_made} signed by a key that may not, with SPKI SHA-256 {named}"
    if signature is None:
        return None
    try:
        check_signature(key, signature, octets)
    except InvalidSignature:
        return "its signature does not verify"
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"its key cannot be used: {error}"
    return None


def check_signature(key: bytes, signature: bytes, octets: bytes) -> None:
    """Raises InvalidSignature unless the key, DER SubjectPublicKeyInfo, has signed; ValueError for one it cannot be."""
    public = load_der_public_key(key)
    if isinstance(public, EllipticCurvePublicKey):
        digest = {256: SHA256(), 384: SHA384(), 521: SHA512()}.get(public.curve.key_size)
        if digest is None:
            raise ValueError(f"nothing is signed on {public.curve.name}")
        public.verify(signature, octets, ECDSA(digest))
    elif isinstance(public, RSAPublicKey):
        public.verify(signature, octets, PKCS1v15(), SHA256())
    elif isinstance(public, Ed25519PublicKey):
        public.verify(signature, octets)
    else:
        raise ValueError("nothing is signed by such a key")


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raises ValueError unless the audit path (RFC 6962 section 2.1.1) leads from the leaf's hash to the root.

    `index` counts from 0 among `size` leaves; the path's lowest node comes first. As RFC 9162 section 2.1.3.2 does it.
    """
    if not 0 <= index < size:
        raise ValueError(f"expected the index of one of {size} leaves, found {index}")
    node, last = leaf, size - 1
    for sibling in path:
        if last == 0:
            raise ValueError("the audit path is too long")
        if index & 1 or index == last:
            node = sha256(b"\x01" + sibling + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    if last != 0:
        raise ValueError("the audit path is too short")
    if node != root:
        raise ValueError("the audit path does not lead to the root")


def _load_event_place(event: object) -> tuple[int, int, str]:
    """Writer, sequence and previous hash. Raises ValueError, TypeError unless it has the members of an event."""
    if not isinstance(event, dict) or event.keys() != _EVENT_MEMBERS:
        raise ValueError("expected the members of an event")
    sequence, writer, previous = event["sequence"], event["writer"], event["previous"]
    if not all(isinstance(event[name], str) for name in _EVENT_TEXTS):
        raise ValueError("expected every member but details and sequence to be a string")
    if type(sequence) is not int or str(int(writer)) != writer:
        raise ValueError("expected sequence to be a number, writer a number in a string")
    return int(writer), sequence, previous


def _is_set_back(time: str, before: str) -> bool:
    try:
        return datetime.fromisoformat(before) - datetime.fromisoformat(time) > _CLOCKS_DIFFER
    except (ValueError, TypeError):
        return False  # what is no time was not hashed as one


def _begin_of_doubt(recorded_at: str) -> str:
    """Before which a checkpoint of that time leaves no event out; empty if that is no time."""
    try:
        return f"{datetime.fromisoformat(recorded_at) - _TOLERANCE:%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError):
        return ""


def _has_time(event: Any) -> bool:
    return _TIME.fullmatch(event["recordedAt"]) is not None


def _span(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"


def _load_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("expected base64 in a string")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected base64: {error}") from None


def read_keys(path: Path) -> frozenset[str]:
    """SPKI SHA-256 of every public key in a PEM file. Raises ValueError, OSError."""
    end = b"-----END PUBLIC KEY-----"
    blocks = path.read_bytes().split(end)[:-1]
    if not blocks:
        raise ValueError(f"{path} holds no PEM of a PUBLIC KEY")
    keys = [load_pem_public_key(block[block.index(b"-----BEGIN") :] + end + b"\n") for block in blocks]
    return frozenset(
        sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest() for key in keys
    )


def read_witnesses(verifier: TrailVerifier, paths: Iterable[Path]) -> None:
    """Have the verifier take each file in. Raises OSError."""
    for path in paths:
        if not path.exists():
            verifier.miss_witness(str(path))
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            verifier.take_witness(lines, path.name)


class PartialExport(Exception):
    """An export that holds a selection of events."""


def verify_export(path: Path, witnesses: Sequence[Path], trusted: Collection[str] | None) -> Report:
    """Verify an exported file. Raises PartialExport, ValueError for a line that is not of an export, OSError."""
    verifier = TrailVerifier(trusted)

    def checkpoint(line: Mapping[str, Any]) -> None:
        if "event" in line:
            return
        statement, signature = line["checkpoint"], line["signature"]
        try:
            number = json.loads(statement)["number"]
        except (ValueError, TypeError, KeyError):
            number = "?"
        verifier.take_checkpoint(
            number, statement, None if signature is None else _load_base64(signature), _load_base64(line["key"])
        )

    def event(line: Mapping[str, Any]) -> None:
        if "event" in line:
            verifier.take_event(line["event"], line["hash"], line["checkpoint"])

    _each_line(path, checkpoint)
    read_witnesses(verifier, witnesses)
    _each_line(path, event)
    return verifier.finish()


def _each_line(path: Path, take: Callable[[Mapping[str, Any]], None]) -> None:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                members = load_json(line)
                if number == 1 and isinstance(members, dict) and members.get("partial") is True:
                    raise PartialExport(
                        f"{path}: this export holds a selection of events, which cannot be verified by itself; export "
                        "all events."
                    )
                take(members)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path} line {number} is not of an export: {error}") from None


def read_evidence(path: Path) -> object | None:
    """The evidence in a file; None if it is something else. Raises OSError."""
    with path.open("rb") as file:
        octets = file.read(_LARGEST_EVIDENCE + 1)
    if len(octets) > _LARGEST_EVIDENCE:
        return None
    try:
        evidence = load_json(octets.decode())
    except (ValueError, RecursionError):
        return None
    return evidence if isinstance(evidence, dict) and "format" in evidence else None


def read_witnessed(paths: Iterable[Path]) -> frozenset[str]:
    """The SHA-256 of every statement that a witness has. Raises OSError."""
    found = set()
    for path in paths:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    found.add(sha256(str(load_json(line)["statement"]).encode()).hexdigest())
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # torn, and written again, or not what an engine writes
    return frozenset(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what the command line names; the exit code."""
    parser = argparse.ArgumentParser(
        description="Verify what the signing engine has recorded.",
        epilog="Exit code 0: nothing was found; 1: something was; 2: the command line is wrong, or the export holds a "
        "selection of events.",
    )
    parser.add_argument(
        "file",
        type=Path,
        help="what `signing-engine audit export` made, of all events, or the evidence of one certificate",
    )
    parser.add_argument("--witness", type=Path, action="append", default=[], help="JSON lines; may be given twice")
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        help="PEM of public keys that may sign; without it anybody's signature counts",
    )
    options = parser.parse_args(arguments)
    report: Report | EvidenceReport
    try:
        trusted = frozenset[str]().union(*map(read_keys, options.key)) if options.key else None
        evidence = read_evidence(options.file)
        if evidence is None:
            report = verify_export(options.file, options.witness, trusted)
        else:
            witnessed = read_witnessed(options.witness) if options.witness else None
            report = verify_evidence(evidence, trusted, witnessed)
    except (OSError, ValueError, PartialExport) as error:
        sys.stderr.write(f"{_printable(str(error))}\n")
        return 2 if isinstance(error, PartialExport) else 1
    sys.stdout.write("".join(f"{line}\n" for line in report.lines()))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
