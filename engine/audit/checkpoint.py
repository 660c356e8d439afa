"""One checkpoint of the audit trail, from the events that wait for it to the mark on each of them.

 1. The store commits the statement, with every hash it speaks of, before the token is asked.
 2. The statement is built once more from what the database has now: only what is there is ever signed.
 3. The signer signs, and the signature is verified.
 4. The witness has it, durably, and all before it.
 5. The store commits the signature and marks the events as covered.

Whatever fails after 1 is done again from 2 at the next turn, by this process or another, with the same statement; a
witness may then have it twice. Checkpoints are not told of in the trail: each is its own record.
"""

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature

from engine.audit.merkle import audit_path, tree_hash
from engine.audit.verifier import ZEROS, canonical, load_checkpoint, load_json
from engine.errors import IssuanceDefect, StoreError
from engine.x509.algorithms import check_signature, encode_signature, signature_algorithm_for
from engine.x509.spki import PublicKey

_log = logging.getLogger(__name__)

MOST_EVENTS = 20_000
"""In one checkpoint, so that building it holds nobody up for long."""
_TOLD_AT_ONCE = 500
"""Checkpoints that a witness lacks."""
_OTHERS_SECONDS = 30.0
"""How long a statement without a signature is left to the process that has made it."""


class Leaf(Protocol):
    """An event as a checkpoint sees it: its place in its writer's chain, and hashes in hex."""

    @property
    def writer(self) -> int:
        """The number of the writer."""

    @property
    def sequence(self) -> int:
        """From 1."""

    @property
    def previous(self) -> str:
        """The hash of the event before."""

    @property
    def hash(self) -> str:
        """Of the event, and of the leaf."""


class Checkpoint(Protocol):
    """A checkpoint as it is kept."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def recorded_at(self) -> datetime:
        """When the statement was made."""

    @property
    def statement(self) -> str:
        """Canonical JSON; `engine.audit.verifier` says of what."""

    @property
    def signature(self) -> bytes | None:
        """As X.509 writes it."""

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the key that signs."""


class CoveredEvents(Protocol):
    """What checkpoints cover, as it is kept."""

    def find_checkpoint(self, number: int) -> Checkpoint:
        """The checkpoint with this number."""

    def find_covering(self, writer: int, sequence: int) -> int | None:
        """The number of the checkpoint that covers an event; None: none does yet."""

    def list_covered_events(self, number: int, heads: Mapping[int, int], size: int) -> Sequence[Leaf]:
        """The events of a checkpoint, in order."""


class Trail(CoveredEvents, Protocol):
    """The part of the store that is asked here."""

    def begin_checkpoint(
        self,
        build: Callable[[Checkpoint | None, Sequence[Leaf], datetime], str],
        spki: bytes,
        *,
        at_least: int,
        recorded_by: datetime,
        most: int,
    ) -> Checkpoint | None:
        """The checkpoint that is to be signed now, its statement durable; None if there is none."""

    def list_waiting_events(self, heads: Mapping[int, int]) -> Sequence[Leaf]:
        """Events that no checkpoint covers, of these writers up to these sequences, in order."""

    def complete_checkpoint(
        self, number: int, statement: str, signature: bytes, heads: Mapping[int, int], size: int
    ) -> bool:
        """Keep the signature and mark the events as covered. False if that was done before."""

    def find_event_hash(self, writer: int, sequence: int) -> str | None:
        """The hash of an event; None if there is none."""


class Signer(Protocol):
    """The audit key."""

    @property
    def public_key(self) -> PublicKey:
        """The public half, as it was pinned."""

    def check_present(self) -> None:
        """Raises TokenError while the token is known to be away."""

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The token's raw signature. Raises TokenError."""


class Witness(Protocol):
    """Where checkpoints are told of, out of reach of who can change the database."""

    def append(self, line: bytes) -> None:
        """Returns when it is durable; it may be several lines. Raises StoreUnavailable."""

    def find_last(self, is_wanted: Callable[[bytes], bool]) -> bytes | None:
        """The last of its lines of which this is so, empty if there is none; None if it does not say what it has."""


@dataclass(slots=True)
class CheckpointMaker:
    """Makes checkpoints, one at a time."""

    trail: Trail
    find_signer: Callable[[], Signer]
    witness: Witness | None
    now: Callable[[], datetime]
    _mine: str = field(default="", init=False)
    """The statement that was begun here last."""

    def make(self, *, at_least: int, recorded_by: datetime) -> int:
        """Make a checkpoint, if at least so many events wait or one that was recorded by then; how many it covers.

        0 if none is due, or another process is about it. Raises TokenError, StoreError, IssuanceDefect.
        """
        signer = self.find_signer()
        key = signer.public_key

        def build(previous: Checkpoint | None, leaves: Sequence[Leaf], recorded_at: datetime) -> str:
            self._mine = build_statement(previous, leaves, recorded_at, key.sha256, self.trail.find_event_hash)
            return self._mine

        begun = self.trail.begin_checkpoint(
            build, key.spki, at_least=at_least, recorded_by=recorded_by, most=MOST_EVENTS
        )
        if begun is None or (begun.statement != self._mine and self._is_under_way(begun)):
            return 0
        if begun.spki != key.spki:
            raise StoreError(
                f"Checkpoint {begun.number} waits for a signature of the key with SPKI SHA-256 "
                f"{sha256(begun.spki).hexdigest()}; expected the audit key to be that one until it is signed."
            )
        heads, size = self._check_statement(begun)
        signer.check_present()
        signature = _sign(signer, begun.statement.encode())
        if self.witness is not None:
            self._tell_earlier(self.witness, begun.number)
            self.witness.append(render_witness_line(begun.statement, signature, begun.spki))
        return size if self.trail.complete_checkpoint(begun.number, begun.statement, signature, heads, size) else 0

    def _tell_earlier(self, witness: Witness, number: int) -> None:
        """Tell a witness that is new, or was left out for a while, what was signed before this checkpoint."""
        line = witness.find_last(lambda line: _number_told(line) > 0)
        if line is None or (told := _number_told(line)) >= number - 1:
            return
        for first in range(told + 1, number, _TOLD_AT_ONCE):
            earlier = map(self.trail.find_checkpoint, range(first, min(first + _TOLD_AT_ONCE, number)))
            witness.append(
                b"".join(
                    render_witness_line(one.statement, one.signature, one.spki)
                    for one in earlier
                    if one.signature is not None
                )
            )
        _log.warning(
            "The witness of the audit trail was told checkpoints %d to %d, which it lacked.", told + 1, number - 1
        )

    def _is_under_way(self, begun: Checkpoint) -> bool:
        return self.now() - begun.recorded_at < timedelta(seconds=_OTHERS_SECONDS)

    def _check_statement(self, begun: Checkpoint) -> tuple[dict[int, int], int]:
        """Raises StoreError unless the statement is what the database gives. Its heads, and how many events it has."""
        different = StoreError(f"Checkpoint {begun.number} is not signed: it does not fit the events that are there.")
        try:
            members = load_checkpoint(begun.statement)
        except (ValueError, TypeError, RecursionError) as error:
            raise different from error
        heads = {int(writer): int(head[0]) for writer, head in members["chains"].items()}
        leaves = self.trail.list_waiting_events(heads)
        previous = self.trail.find_checkpoint(begun.number - 1) if begun.number > 1 else None
        rebuilt = build_statement(
            previous, leaves, begun.recorded_at, sha256(begun.spki).hexdigest(), self.trail.find_event_hash
        )
        if rebuilt != begun.statement:
            raise different
        return heads, len(leaves)


def build_statement(
    previous: Checkpoint | None,
    leaves: Sequence[Leaf],
    recorded_at: datetime,
    key: str,
    find_event_hash: Callable[[int, int], str | None],
) -> str:
    """The statement of the checkpoint after `previous` over events in the order of writer and sequence.

    `key` is SPKI SHA-256 in hex. Raises StoreError naming the first event that does not follow the one before it: a
    trail that was changed is not made good by a signature.
    """
    heads: dict[int, Leaf] = {}
    for leaf in leaves:
        head = heads.get(leaf.writer)
        if head is not None:
            follows = leaf.sequence == head.sequence + 1 and leaf.previous == head.hash
        elif leaf.sequence == 1:
            follows = leaf.previous == ZEROS
        else:
            follows = leaf.previous == find_event_hash(leaf.writer, leaf.sequence - 1)
        if not follows:
            raise StoreError(
                f"The audit trail was changed: event {leaf.sequence} of writer {leaf.writer} does not follow the one "
                "before it."
            )
        heads[leaf.writer] = leaf
    if not leaves:
        raise StoreError("A checkpoint must have events, found none.")
    try:
        before = None if previous is None else load_checkpoint(previous.statement)
        root = tree_hash([bytes.fromhex(leaf.hash) for leaf in leaves]).hex()
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError("The audit trail was changed: a hash is not one, or the checkpoint before is not.") from error
    return canonical(
        {
            "chains": {str(head.writer): [head.sequence, head.hash] for head in heads.values()},
            "events": len(leaves),
            "key": key,
            "number": 1 if previous is None else previous.number + 1,
            "previous": ZEROS if previous is None else sha256(previous.statement.encode()).hexdigest(),
            "recordedAt": f"{recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "root": root,
            "total": len(leaves) + (before["total"] if before else 0),
        }
    )


def render_witness_line(statement: str, signature: bytes, spki: bytes) -> bytes:
    """What a witness is told: a JSON object on a line."""
    line = {
        "statement": statement,
        "signature": base64.b64encode(signature).decode(),
        "key": base64.b64encode(spki).decode(),
    }
    return canonical(line).encode() + b"\n"


def _number_told(line: bytes) -> int:
    """Of the checkpoint that a witness was told; 0 for a line that tells of none."""
    try:
        return int(load_checkpoint(load_json(line.decode())["statement"])["number"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0


def _sign(signer: Signer, octets: bytes) -> bytes:
    key = signer.public_key
    algorithm = signature_algorithm_for(key)
    signature = encode_signature(key, signer.sign(algorithm.name, octets))
    try:
        check_signature(key, algorithm, signature, octets)
    except InvalidSignature:
        raise IssuanceDefect("The signature of a checkpoint does not verify under the audit key.") from None
    return signature


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That an event is in a signed checkpoint: `engine.audit.verifier.check_inclusion` checks it."""

    checkpoint: Checkpoint
    index: int
    """Of the event among those of the checkpoint, from 0."""
    size: int
    path: tuple[bytes, ...]
    """The Merkle audit path (RFC 6962 section 2.1.1), lowest node first."""


def find_inclusion(trail: CoveredEvents, writer: int, sequence: int) -> Inclusion | None:
    """The proof for one event; None while no checkpoint covers it. Raises NotFound, StoreError."""
    found = find_inclusions(trail, [(writer, sequence)])
    return None if found is None else found[0]


def find_inclusions(trail: CoveredEvents, places: Sequence[tuple[int, int]]) -> Sequence[Inclusion] | None:
    """The proofs for these events, by writer and sequence; None while no checkpoint covers one of them.

    Raises NotFound, StoreError.
    """
    numbers = []
    for writer, sequence in places:
        number = trail.find_covering(writer, sequence)
        if number is None:
            return None
        numbers.append(number)
    covered = {number: _load_covered(trail, number) for number in numbers}
    return [covered[number].prove(place) for number, place in zip(numbers, places, strict=True)]


@dataclass(frozen=True, slots=True)
class _Covered:
    checkpoint: Checkpoint
    places: Mapping[tuple[int, int], int]
    hashes: Sequence[bytes]

    def prove(self, place: tuple[int, int]) -> Inclusion:
        index = self.places.get(place)
        if index is None:
            raise _changed(self.checkpoint.number)
        return Inclusion(self.checkpoint, index, len(self.hashes), audit_path(index, self.hashes))


def _load_covered(trail: CoveredEvents, number: int) -> _Covered:
    checkpoint = trail.find_checkpoint(number)
    try:
        members = load_checkpoint(checkpoint.statement)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"Checkpoint {number} was changed: its statement is not one.") from error
    heads = {int(writer): int(head[0]) for writer, head in members["chains"].items()}
    leaves = trail.list_covered_events(number, heads, members["events"])
    if len(leaves) != members["events"]:
        raise _changed(number)
    places = {(leaf.writer, leaf.sequence): index for index, leaf in enumerate(leaves)}
    try:
        return _Covered(checkpoint, places, [bytes.fromhex(leaf.hash) for leaf in leaves])
    except (ValueError, TypeError) as error:
        raise _changed(number) from error


def _changed(number: int) -> StoreError:
    return StoreError(f"The audit trail was changed: checkpoint {number} has other events than its statement says.")
