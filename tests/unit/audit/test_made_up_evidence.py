"""Evidence in which every digest, proof and signature is right is refused all the same for what it says."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from engine.audit.verifier import verify_evidence
from tests.unit.audit.made_up import (
    SERIAL,
    Facts,
    Told,
    Trail,
    base64_of,
    canonical,
    hex_of,
    key_of,
    make_certificate,
    make_evidence,
    make_request,
    spki_of,
    time_of,
)

OTHER = "f" * 64


def said(**made: Any) -> list[str]:
    return list(verify_evidence(make_evidence(**made)).lines())


def use_certificate(facts: Facts, certificate: x509.Certificate) -> None:
    facts.certificate, facts.tbs = certificate.public_bytes(Encoding.DER), certificate.tbs_certificate_bytes


def use_request(facts: Facts, request: bytes) -> None:
    facts.proof.update(request=base64_of(request), requestSha256=hex_of(request))


def own_signature(facts: Facts) -> None:
    use_certificate(facts, make_certificate(subject="issuer"))
    facts.proof = {"method": "own-signature", "spkiSha256": hex_of(spki_of(key_of("issuer")))}


def by_no_request(**proof: object) -> Callable[[Facts], None]:
    def lie(facts: Facts) -> None:
        facts.proof = {"spkiSha256": hex_of(spki_of(key_of("leaf")))} | proof

    return lie


def without_custody(facts: Facts) -> None:
    facts.custody = None


def of(what: str, **members: object) -> Callable[[Told], None]:
    """The event has these members."""

    def lie(told: Told) -> None:
        told[what].update(members)

    return lie


def detail(what: str, **details: object) -> Callable[[Told], None]:
    """The event has these details."""

    def lie(told: Told) -> None:
        told[what]["details"].update(details)

    return lie


def both(**details: object) -> Callable[[Told], None]:
    """The intended and the signed one have these details."""

    def lie(told: Told) -> None:
        for what in ("intended", "signed"):
            told[what]["details"].update(details)

    return lie


def in_order(*order: str, **members: dict[str, Any]) -> Callable[[Told], None]:
    """The events are told in this order, and have these members."""

    def lie(told: Told) -> None:
        for what in order:
            told[what] = told.pop(what) | members.get(what, {})

    return lie


def spelt(spell: Callable[[dict[str, Any]], str]) -> Callable[[Facts], None]:
    def lie(facts: Facts) -> None:
        facts.spell = spell

    return lie


def with_attributes(**attributes: object) -> Callable[[Facts], None]:
    def lie(facts: Facts) -> None:
        for name, value in attributes.items():
            setattr(facts, name, value)

    return lie


def with_members(part: str, **members: object) -> Callable[[Facts], None]:
    """`proof`, `grounds` or `key` has these members."""

    def lie(facts: Facts) -> None:
        getattr(facts, part).update(members)

    return lie


TWO_WRITERS = in_order(
    "custody",
    "intended",
    "signed",
    custody={"writer": 3, "recordedAt": time_of(5)},
    intended={"writer": 2, "recordedAt": time_of(5)},
    signed={"writer": 1, "recordedAt": time_of(5)},
)
CLOCK_PUT_BACK = in_order(
    "custody", "intended", "signed", intended={"recordedAt": time_of(-60)}, signed={"recordedAt": time_of(-90)}
)

TRUE: dict[str, dict[str, Any]] = {
    "a request": {},
    "an own signature": {
        "facts": own_signature,
        "told": detail("signed", spkiSha256=hex_of(spki_of(key_of("issuer")))),
    },
    "a key on a token": {"facts": by_no_request(method="key-on-token", path="test.tenant1.kms1.leaf")},
    "no proof": {"facts": by_no_request(method="none")},
    "a request that is withheld": {
        "facts": by_no_request(method="certification-request", requestSha256=OTHER, withheld="challengePassword")
    },
    "a key that the caller brought": {"facts": without_custody},
    "writers whose clocks agree": {"told": TWO_WRITERS},
    "a writer whose clock was put back": {"told": CLOCK_PUT_BACK},
    "a checkpoint for each event": {
        "told": TWO_WRITERS,
        "proven": lambda trail: [cover_one(trail, event) for event in list(trail.events)],
    },
}


def cover_one(trail: Trail, event: Any) -> None:
    rest = [one for one in trail.events if one is not event and one.checkpoint is None]
    for one in rest:
        one.checkpoint = 0
    trail.cover()
    for one in rest:
        one.checkpoint = None


@pytest.mark.parametrize("made", TRUE.values(), ids=TRUE)
def test_what_is_true_verifies(made: dict[str, Any]) -> None:
    assert said(**made)[-1] == "verified"


def respelt(octets: str) -> str:
    """Base64 with other bits in the last digit, which nobody reads."""
    assert octets.endswith("=")
    digits = octets.rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = digits[:-1] + alphabet[alphabet.index(digits[-1]) + 1] + octets[len(digits) :]
    assert base64.b64decode(other) == base64.b64decode(octets)
    return other


def spell_key_otherwise(evidence: dict[str, Any]) -> None:
    evidence["checkpoints"][0]["key"] = respelt(evidence["checkpoints"][0]["key"])


def surrogate(member: str) -> Callable[[dict[str, Any]], None]:
    """One of what UTF-8 has no octets for, where there was a question mark."""

    def lie(evidence: dict[str, Any]) -> None:
        assert "?" in evidence[member]
        evidence[member] = evidence[member].replace("?", "\ud800", 1)

    return lie


def put_first(member: str, place: int) -> Callable[[dict[str, Any]], None]:
    def lie(evidence: dict[str, Any]) -> None:
        evidence[member].insert(0, evidence[member].pop(place))

    return lie


def in_evidence(*place: str | int, **members: object) -> Callable[[dict[str, Any]], None]:
    """What is at this place of the file has these members."""

    def lie(evidence: dict[str, Any]) -> None:
        at: Any = evidence
        for name in place:
            at = at[name]
        at.update(members)

    return lie


def repeat_checkpoint(evidence: dict[str, Any]) -> None:
    evidence["checkpoints"].append(evidence["checkpoints"][0])


def ends_early(trail: Trail) -> None:
    trail.cover(chains={"1": [2, trail.events[1].hash]})


def of_others(trail: Trail) -> None:
    trail.cover(chains={"7": [2, trail.events[1].hash]})


def two_checkpoints(trail: Trail) -> None:
    cover_one(trail, trail.events[0])
    trail.cover()


REQUEST = make_request()
BROKEN_REQUEST = REQUEST[:-1] + bytes([REQUEST[-1] ^ 1])
SHORT = {"request": base64_of(b"nothing"), "requestSha256": hex_of(b"nothing")}
IN_ORDER = "expected that of the custody record, signature-intended, certificate-signed"
LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a certificate of another issuer": (
        {"facts": lambda facts: use_certificate(facts, make_certificate("other"))},
        "certificate: its signature does not verify under the issuing key",
    ),
    "another tbs": (
        {"facts": with_attributes(tbs=make_certificate().tbs_certificate_bytes + b"\0")},
        "certificate: it does not hold what was intended to be signed",
    ),
    "no certificate": (
        {"facts": with_attributes(certificate=b"nothing")},
        "certificate: it cannot be read: ",
    ),
    "another serial number": (
        {"told": both(serialNumber=f"{SERIAL + 1:040x}")},
        f"events[1].event.details.serialNumber: expected its serialNumber to be {SERIAL:040x}, found {SERIAL + 1:040x}",
    ),
    "a serial number that was not intended": (
        {"told": detail("intended", serialNumber="")},
        "events[1].event.details.serialNumber: ",
    ),
    "a serial number that was not signed": (
        {"told": detail("signed", serialNumber="")},
        "events[2].event.details.serialNumber: ",
    ),
    "a request of another key": (
        {"facts": lambda facts: use_request(facts, make_request("other"))},
        "grounds.proofOfPossession.request: its key is not that of the certificate",
    ),
    "a request that does not verify": (
        {"facts": lambda facts: use_request(facts, BROKEN_REQUEST)},
        "grounds.proofOfPossession.request: its signature does not verify under its own key",
    ),
    "a request that is none": (
        {"facts": with_members("proof", **SHORT)},
        "grounds.proofOfPossession.request: it cannot be verified: ",
    ),
    "the digest of another request": (
        {"facts": with_members("proof", requestSha256=OTHER)},
        "grounds.proofOfPossession.requestSha256: it is not that of the request",
    ),
    "a proof of another key": (
        {"facts": with_members("proof", spkiSha256=OTHER)},
        "grounds.proofOfPossession.spkiSha256: the key that was proven is not that of the certificate",
    ),
    "an own signature by another key": (
        {"facts": by_no_request(method="own-signature")},
        "grounds.proofOfPossession: the certificate is not signed by its own key",
    ),
    "a method that there is not": (
        {"facts": by_no_request(method="telepathy")},
        "grounds.proofOfPossession.method: there is no method telepathy",
    ),
    "another intent": (
        {"told": detail("signed", intentId="intent-2")},
        "events[2].event.details.intentId: expected its intentId to be intent-1, found intent-2",
    ),
    "an intention that is a success": (
        {"told": of("intended", outcome="success")},
        "events[2]: expected an intention that is pending and a signature that is a success",
    ),
    "a signature that is pending": (
        {"told": of("signed", outcome="pending")},
        "events[2]: expected an intention that is pending and a signature that is a success",
    ),
    "signed before that was intended": (
        {
            "told": in_order(
                "custody",
                "signed",
                "intended",
                signed={"recordedAt": time_of(9)},
                intended={"recordedAt": time_of(8)},
            )
        },
        "events[2]: the certificate was signed before that was intended",
    ),
    "signed by another writer before that was intended": (
        {"told": of("signed", writer=2, recordedAt=time_of(0))},
        "events[2]: the certificate was signed before that was intended",
    ),
    "custody told of after the signature was intended": (
        {"told": in_order("intended", "custody", "signed", custody={"recordedAt": time_of(-1)})},
        "events[0]: it tells how the key is held after the signature was intended",
    ),
    "custody told of by another writer after the signature was intended": (
        {"told": of("custody", writer=2, recordedAt=time_of(2))},
        "events[0]: it tells how the key is held after the signature was intended",
    ),
    "a checkpoint that ends before the event": (
        {"proven": ends_early},
        "events[2].inclusion: checkpoint 1 ends before event 3 of writer 1",
    ),
    "a checkpoint without the event's writer": (
        {"proven": of_others},
        "events[0].inclusion: checkpoint 1 ends before event 1 of writer 1",
    ),
    **{
        f"intended: another {name}": (
            {"told": detail("intended", **{name: "another"})},
            f"events[1].event.details.{name}: expected its {name} to be ",
        )
        for name in ("signatureKind", "profile", "requestSha256")
    },
    "intended: no request's digest": (
        {"told": detail("intended", requestSha256="")},
        f"events[1].event.details.requestSha256: expected its requestSha256 to be {'c' * 64}, found none",
    ),
    "intended and signed: another signingKey": (
        {"told": both(signingKey="another")},
        "events[1].event.details.signingKey: expected its signingKey to be test.tenant1.kms1.ca, found another",
    ),
    "signed: another signingKey": (
        {"told": detail("signed", signingKey="another")},
        "events[2].event.details.signingKey: expected its signingKey to be test.tenant1.kms1.ca, found another",
    ),
    "signed: another tbsSha256": (
        {"told": detail("signed", tbsSha256=OTHER)},
        "events[2].event.details.tbsSha256: expected its tbsSha256 to be ",
    ),
    "signed: another spkiSha256": (
        {"told": detail("signed", spkiSha256=OTHER)},
        "events[2].event.details.spkiSha256: expected its spkiSha256 to be ",
    ),
    **{
        f"custody: another {name}": (
            {"told": detail("custody", **{name: OTHER})},
            f"events[0].event.details.{name}: expected its {name} to be ",
        )
        for name in ("signingKey", "spkiSha256", "custodySha256")
    },
    **{
        f"another {name} of the {what}": (
            {"told": detail(what, **{name: OTHER})},
            f"{member}: it does not have the digest {name} that {kind} names",
        )
        for what, name, member, kind in (
            ("intended", "tbsSha256", "tbsCertificate", "signature-intended"),
            ("signed", "certificateSha256", "certificate", "certificate-signed"),
        )
    },
    "another digest of the grounds": (
        {"told": detail("intended", groundsSha256=OTHER)},
        "grounds: it does not have the digest that events[1] names",
    ),
    "another digest of the issuing key": (
        {"facts": with_members("grounds", issuingKeySha256=OTHER)},
        "issuingKey: it does not have the digest that grounds names",
    ),
    "another custody record": (
        {"evidence": lambda evidence: evidence.update(custodyRecord="{}")},
        "custodyRecord: it does not have the digest that issuingKey and its event name",
    ),
    "no custody record": (
        {"evidence": lambda evidence: evidence.pop("custodyRecord")},
        "custodyRecord: expected text",
    ),
    "a custody record of a key that the caller brought": (
        {"facts": without_custody, "evidence": lambda evidence: evidence.update(custodyRecord="{}")},
        "custodyRecord: issuingKey names none, since the caller has brought the key",
    ),
    "a custody event of a key that the caller brought": (
        {"facts": with_members("key", custodySha256=None), "evidence": lambda evidence: evidence.pop("custodyRecord")},
        "custodyRecord: issuingKey names none, since the caller has brought the key",
    ),
    "an issuing key with another digest": (
        {"facts": with_members("key", spkiSha256=OTHER)},
        "issuingKey.spkiSha256: it is not that of the key",
    ),
    "an issuing key that is none": (
        {"facts": with_members("key", spki=base64_of(b"key"), spkiSha256=hex_of(b"key"))},
        "issuingKey.spki: it cannot be used: ",
    ),
    "grounds spelt otherwise": (
        {"facts": spelt(lambda grounds: canonical(grounds) + " ")},
        "grounds: expected an object in canonical JSON",
    ),
    "grounds that are no object": (
        {"facts": spelt(lambda grounds: canonical([grounds]))},
        "grounds: expected an object in canonical JSON",
    ),
    "grounds with a member twice": (
        {"facts": spelt(lambda grounds: canonical(grounds).replace("{", '{"engine":"2",', 1))},
        "grounds: expected canonical JSON: a member is there twice",
    ),
    "grounds with another member": (
        {"facts": with_members("grounds", more=1)},
        "grounds: expected the members engine, issuingKeySha256, ",
    ),
    "grounds that lack what they should say": (
        {"facts": with_members("grounds", lint={})},
        "grounds: they or issuingKey do not say what these say: KeyError('rules')",
    ),
    "base64 spelt otherwise": (
        {"evidence": spell_key_otherwise},
        "checkpoints[0].key: expected base64 in its usual spelling",
    ),
    **{
        f"{member} that has no octets": (
            {"evidence": surrogate(member)},
            f"{member}: expected text that has octets: ",
        )
        for member in ("grounds", "issuingKey", "custodyRecord")
    },
    "the custody event last": ({"evidence": put_first("events", 1)}, f"events: {IN_ORDER}"),
    "the outcome first": ({"evidence": put_first("events", 2)}, f"events: {IN_ORDER}"),
    "checkpoints out of order": (
        {"proven": two_checkpoints, "evidence": put_first("checkpoints", 1)},
        "checkpoints[1]: checkpoint 1 is out of order: checkpoints must come by number",
    ),
    "a checkpoint of no event": (
        {"proven": lambda trail: (trail.cover(), trail.tell(), trail.cover())},
        "checkpoints: none of the events is in checkpoint 2",
    ),
    "a checkpoint without its signature": (
        {"evidence": lambda evidence: evidence["checkpoints"][0].update(signature=None)},
        "checkpoints[0].signature: expected base64 in a string",
    ),
    "another kind of event": (
        {"told": of("custody", kind="key-unbound")},
        "events: expected one event of the kind key-adopted or key-examined or key-generated or key-imported, found 0",
    ),
    "another format": (
        {"evidence": in_evidence(format="signing-engine-evidence/2")},
        "format: expected signing-engine-evidence/1",
    ),
    "another member": ({"evidence": in_evidence(more=1)}, "evidence: expected the members certificate, "),
    **{
        f"{member} that are {value}": (
            {"evidence": in_evidence(**{member: value})},
            f"{member}: expected a list that is not empty",
        )
        for member in ("checkpoints", "events")
        for value in ({"0": 1}, [])
    },
    "a checkpoint with another member": (
        {"evidence": in_evidence("checkpoints", 0, more=1)},
        "checkpoints[0]: expected checkpoint, signature and key",
    ),
    "a checkpoint that is a list": (
        {"evidence": in_evidence(checkpoints=[["checkpoint", "key", "signature"]])},
        "checkpoints[0]: expected checkpoint, signature and key",
    ),
    "a checkpoint twice": ({"evidence": repeat_checkpoint}, "checkpoints[1]: checkpoint 1 is there twice"),
    "a checkpoint that is no text": (
        {"evidence": in_evidence("checkpoints", 0, checkpoint=5)},
        "checkpoints[0].checkpoint: it is not the statement of a checkpoint: expected text",
    ),
    "an event with another member": (
        {"evidence": in_evidence("events", 0, more=1)},
        "events[0]: expected event, hash and inclusion",
    ),
    "an event that is a list": (
        {"evidence": in_evidence(events=[["event", "hash", "inclusion"]])},
        "events[0]: expected event, hash and inclusion",
    ),
    "an event with another hash": (
        {"evidence": in_evidence("events", 0, hash=OTHER)},
        "events[0]: the event does not have the hash that is kept with it: one of both was changed",
    ),
    **{
        f"an inclusion with {members}": (
            {"evidence": in_evidence("events", 0, "inclusion", **members)},
            "events[0].inclusion: the event is not in the checkpoint: expected checkpoint, index and size, which are",
        )
        for members in ({"more": 1}, {"index": 0.0}, {"checkpoint": True}, {"size": 3.0})
    },
    "an inclusion in another checkpoint": (
        {"evidence": in_evidence("events", 0, "inclusion", checkpoint=2)},
        "events[0].inclusion: 2 is not there",
    ),
    "an inclusion beyond all leaves": (
        {"evidence": in_evidence("events", 0, "inclusion", index=3)},
        "events[0].inclusion: the event is not in the checkpoint: expected the index of one of 3 leaves, found 3",
    ),
    "a path that is too long": (
        {"evidence": lambda evidence: evidence["events"][0]["inclusion"]["path"].append("00" * 32)},
        "events[0].inclusion: the event is not in the checkpoint: the audit path is too long",
    ),
    "a path that is too short": (
        {"evidence": lambda evidence: evidence["events"][0]["inclusion"]["path"].pop()},
        "events[0].inclusion: the event is not in the checkpoint: the audit path is too short",
    ),
    "more events": (
        {"evidence": lambda evidence: evidence["events"].append(evidence["events"][2])},
        "events: expected one event of the kind signature-intended, found 1",
    ),
    "an event of another size of checkpoint": (
        {"evidence": lambda evidence: evidence["events"][0]["inclusion"].update(size=4)},
        "events[0].inclusion: the event is not in the checkpoint: checkpoint 1 has 3 events, not 4",
    ),
    "an event of another place": (
        {"evidence": lambda evidence: evidence["events"][0]["inclusion"].update(index=1)},
        "events[0].inclusion: the event is not in the checkpoint: the audit path does not lead to the root",
    ),
    "a path spelt otherwise": (
        {"evidence": lambda evidence: evidence["events"][0]["inclusion"]["path"].insert(0, "AB")},
        "events[0].inclusion: the event is not in the checkpoint: expected the path in lower-case hex",
    ),
    "details that are none": (
        {"told": of("signed", details="details")},
        "events[2].event.details: expected an object",
    ),
    "a time that is no text": (
        {"told": of("signed", recordedAt=5)},
        "events[2].event: it is not an event: expected every member but details and sequence to be a string",
    ),
    "a checkpoint at no time": (
        {"proven": lambda trail: trail.cover(recordedAt="soon")},
        "checkpoints[0].checkpoint: it is not the statement of a checkpoint: expected recordedAt to be a time",
    ),
    "a writer beyond all numbers": (
        {"evidence": lambda evidence: evidence["events"][0]["event"].update(writer=float("inf"))},
        "events[0].event: it is not an event: ",
    ),
}


@pytest.mark.parametrize(("made", "fault"), LIES.values(), ids=LIES)
def test_what_is_not_true_is_refused_and_named(made: dict[str, Any], fault: str) -> None:
    lines = said(**made)
    assert lines[0].startswith(fault)
    assert lines[-1] == "FAILED"


@pytest.mark.parametrize("evidence", [[], "signing-engine-evidence/1", None, 5])
def test_what_is_no_object_is_no_evidence(evidence: object) -> None:
    assert [fault.row for fault in verify_evidence(evidence).faults] == ["format"]


def test_a_key_that_may_not_sign_is_refused() -> None:
    evidence = make_evidence()
    audit, other = (hex_of(spki_of(key_of(name))) for name in ("audit", "other"))
    assert verify_evidence(evidence, {audit}).faults == []
    (fault,) = verify_evidence(evidence, {other}).faults
    assert str(fault) == f"checkpoints[0]: it was signed by a key that may not, with SPKI SHA-256 {audit}"


def test_a_checkpoint_that_the_witness_does_not_have_is_refused() -> None:
    evidence = make_evidence()
    statement = hex_of(evidence["checkpoints"][0]["checkpoint"].encode())
    assert verify_evidence(evidence, None, {statement}).faults == []
    (fault,) = verify_evidence(evidence, None, {OTHER}).faults
    assert str(fault) == "checkpoints[0]: the witness does not have this checkpoint 1"
