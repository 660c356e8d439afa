"""The server is killed (SIGKILL) elsewhere than on the way of a certificate.

At a certification request, at a key that is being made, while a failure is recorded, while what a dead process has left
open is closed, and while keys prove themselves on a token that has come back. Afterwards every intent is in one state
and told once, and what was cut off can be repeated. The ordinary run kills once at each place, all in one folder;
--soak kills 25 times at each.
"""

import json
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from http.client import HTTPException

import pytest

from engine.audit.stored import verify_stored
from engine.store import reading_trail
from tests.database import database_url, select
from tests.faults.faulty import Ckr
from tests.faults.kills import Step
from tests.faults.mortal import MortalServer, until
from tests.faults.served import ISSUE
from tests.faults.test_kill_matrix import KILLS, naming, swept
from tests.page.examples import TARGET, hosted
from tests.trail import check_chains

PLACES = [step for step in Step if step.is_elsewhere]
CSRS = f"/v1/{TARGET}/x509-service-api/csrs"
REQUEST = {
    "type": "generic",
    "subjectKeyDescriptor": hosted("leaf-secp256r1"),
    "subjectName": {"commonName": "Leaf"},
}
ENDS = {
    "signed": {"certificate-signed", "request-signed", "proof-signed"},
    "failed": {"signature-failed"},
    "outcome-unknown": {"signature-outcome-unknown"},
}


class Elsewhere:
    """A server, and what is done to it. Each deed has it killed, and leaves the next one serving."""

    def __init__(self, server: MortalServer) -> None:
        self.server = server
        self.url = database_url(server.folder)
        self.number = 0

    def kill(self, step: Step) -> None:
        self.number += 1
        before = self.states()
        deeds: dict[Step, Callable[[Step], Counter[tuple[str, str]]]] = {
            Step.REQUEST_SIGNED: self.create_request,
            Step.REQUEST_RECORDED: self.create_request,
            Step.KEY_MADE: self.generate_key,
            Step.KEY_REGISTERING: self.generate_key,
            Step.FAILURE_WRITTEN: self.fail_to_sign,
            Step.RECONCILING: self.reconcile,
            Step.PROVING: self.lose_token,
            Step.PROVEN: self.lose_token,
        }
        expected = deeds[step](step)
        new = Counter(ends for intent, ends in self.states().items() if intent not in before)
        assert new == expected
        assert {intent: self.states()[intent] for intent in before} == before
        self.check()

    def states(self) -> dict[str, tuple[str, str]]:
        """Kind and state of each intent."""
        return {row[0]: (row[1], row[2]) for row in select(self.url, "SELECT intent_id, kind, state FROM intents")}

    def check(self) -> None:
        """Each intent was told before and after, once; the token was asked for nothing that was not intended."""
        told = [(kind, json.loads(text)) for kind, text in select(self.url, "SELECT kind, details FROM events")]
        intended = Counter(one["intentId"] for kind, one in told if kind == "signature-intended")
        states = self.states()
        assert intended == Counter(states.keys())
        for _, state in states.values():
            assert state in ENDS
        for state, kinds in ENDS.items():
            ended = Counter(one["intentId"] for kind, one in told if kind in kinds)
            assert ended == Counter(intent for intent, (_, its) in states.items() if its == state)
        asked = {digest for digest in self.server.faulty.asked() if len(digest) == 64}
        known = {digest for (digest,) in select(self.url, "SELECT tbs_sha256 FROM intents")}
        known |= {sha256(one.encode()).hexdigest() for (one,) in select(self.url, "SELECT statement FROM checkpoints")}
        assert asked <= known
        with reading_trail(self.url) as trail:
            report = verify_stored(trail, [self.server.folder / "audit-witness.jsonl"], None)
        assert report.faults == []
        check_chains(self.url)
        assert swept(self.url) == []

    def order(self, step: Step) -> None:
        self.server.control.order(step, 1, group=True)

    def revive(self) -> None:
        """Serve again, with whatever was left open closed: PostgreSQL learns of the end of a connection after it."""
        self.server.bury()
        assert not self.server.control.is_ordered
        self.server.start()
        until(lambda: "intended" not in {state for _, state in self.states().values()})

    def create_request(self, step: Step) -> Counter[tuple[str, str]]:
        self.order(step)
        assert self.server.is_cut_off(CSRS, REQUEST)
        self.revive()
        self.server.post(CSRS, REQUEST)
        first = "signed" if step is Step.REQUEST_RECORDED else "outcome-unknown"
        return Counter([("request", first), ("request", "signed")])

    def generate_key(self, step: Step) -> Counter[tuple[str, str]]:
        path = f"/v1/test.tenant1.kms1.made-{self.number}/kms-service-api/keys/generate"
        self.order(step)
        assert self.server.is_cut_off(path, {"keyType": "secp256r1"})
        self.revive()
        self.server.post(path, {"keyType": "secp256r1"})
        cleared = select(self.url, "SELECT count(*) FROM events WHERE kind = 'key-leftovers-destroyed'")
        assert cleared[0][0] >= 1
        return Counter([("proof", "outcome-unknown"), ("proof", "signed")])

    def fail_to_sign(self, step: Step) -> Counter[tuple[str, str]]:
        order = self.server.new_order(is_stored=True, is_repeatable=False)
        self.server.faulty.fail("C_Sign", Ckr.KEY_FUNCTION_NOT_PERMITTED, times=1)
        self.order(step)
        assert self.server.is_cut_off(ISSUE, json.loads(order.body))
        self.revive()
        assert self.server.send(order).status == 200
        return Counter([("certificate", "outcome-unknown"), ("certificate", "signed")])

    def reconcile(self, step: Step) -> Counter[tuple[str, str]]:
        """Who is to close what the one before has left open is killed as well, and the third one does it."""
        order = self.server.new_order(is_stored=True, is_repeatable=True)
        self.order(Step.INTENT_COMMITTED)
        assert self.server.is_cut_off(ISSUE, json.loads(order.body), {"Idempotency-Key": order.key or ""})
        self.server.bury()
        self.order(step)
        with pytest.raises((AssertionError, OSError, HTTPException)):
            self.server.start()
        self.revive()
        assert self.server.send(order).status == 200
        return Counter([("certificate", "outcome-unknown"), ("certificate", "signed")])

    def lose_token(self, step: Step) -> Counter[tuple[str, str]]:
        """Two keys at least have signed in this worker: the CA's, and one that a certification request is for."""
        before = self.states()
        assert self.server.send(self.server.new_order(is_stored=False, is_repeatable=False)).status == 200
        self.server.post(CSRS, REQUEST)
        self.server.faulty.remove_token()
        assert self.server.send(self.server.new_order(is_stored=False, is_repeatable=False)).status == 503
        self.order(step)
        self.server.faulty.insert_token()
        self.revive()
        proofs = sum(kind == "proof" for intent, (kind, _) in self.states().items() if intent not in before)
        assert proofs >= 2
        # The order that found the token gone had been intended.
        done = [("certificate", "signed"), ("request", "signed"), ("certificate", "outcome-unknown")]
        return Counter(done) + Counter({("proof", "outcome-unknown"): proofs})


def test_after_a_kill_elsewhere_every_intent_has_one_state_and_what_was_cut_off_can_be_repeated(
    mortal: MortalServer,
) -> None:
    scene = Elsewhere(mortal)
    for place in PLACES:
        with naming(place):
            scene.kill(place)


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name.lower().replace("_", "-"))
def test_after_each_of_25_kills_elsewhere_every_intent_has_one_state_and_what_was_cut_off_can_be_repeated(
    mortal: MortalServer, place: Step
) -> None:
    scene = Elsewhere(mortal)
    for kill in range(KILLS):
        with naming(place, "kill", kill):
            scene.kill(place)
