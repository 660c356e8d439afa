"""One stored certificate, against everything that is recorded of it."""

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from engine.audit.verifier import Fault
from engine.errors import RequestError
from engine.profiles.lint import RULES, Finding, lint_certificate, lint_without_issuer
from engine.store import StoredRecords, ToldEvent, load_octets, load_time
from engine.sweep.authorities import Authorities, IssuedUnder
from engine.sweep.findings import UNTOLD, Counts, Note, shown, undecodable
from engine.sweep.standing import digest_json
from engine.x509.certificate import Certificate, load_certificate
from engine.x509.der import read_children, read_element

SIGNED = "signed"
INTENDED_EVENT, SIGNED_EVENT = "signature-intended", "certificate-signed"
_WITHIN = timedelta(hours=1)
"""An intent waits for its transaction, in which its event is told."""


@dataclass(slots=True)
class StoredCertificate:
    """One stored certificate."""

    row: Any
    records: StoredRecords
    authorities: Authorities
    counts: Counts

    def issued(self, told: Sequence[ToldEvent], places: Sequence[Any]) -> Iterator[Fault | Note]:
        """Of a certificate that was issued here, and is at these places."""
        certificate = yield from self._read()
        row = self.row
        if row.intents_intent_id is None:
            yield self._fault(f"its intent {shown(row.certificates_intent_id)} is not there")
            return
        if (row.intents_kind, row.intents_state) != ("certificate", SIGNED):
            yield self._fault(f"its intent is a {shown(row.intents_kind)} and {shown(row.intents_state)}, not signed")
        if certificate is not None:
            tbs = read_children(read_element(certificate.der).content)[0].encoding
            for what in _against_intent(certificate, tbs, row):
                yield self._fault(what)
            yield from self._signature_and_lint(certificate, tbs, told)
        stated = self.authorities.find_statement(row)
        if stated is not None and stated.fault:
            yield self._fault(stated.fault)
        recorded_at = load_time(row.intents_recorded_at)
        is_old = recorded_at is not None and self.records.is_before_trail(recorded_at)
        if is_old and not told and row.intents_grounds is None:
            self.counts.untold += 1
            yield Note(self._name(), UNTOLD)
            return
        for what in _against_trail(row, certificate, told, places):
            yield self._fault(what)

    def elsewhere(self, *, is_older_than_trail: bool) -> Iterator[Fault | Note]:
        """Of a certificate that was put into a certificate store."""
        certificate = yield from self._read()
        row = self.row
        sha256 = hashlib.sha256(load_octets(row.certificates_der) or b"").hexdigest()
        if not self.records.was_put(sha256, str(row.certificates_serial_number)):
            put_at = self.records.put_at(row.certificates_sha256)
            if is_older_than_trail if put_at is None else self.records.is_before_trail(put_at):
                self.counts.untold += 1
                yield Note(self._name(), UNTOLD)
            else:
                yield self._fault("no intent of it is there, and no event tells that it was put into a store")
        if certificate is None:
            return
        intent = self.records.find_intent(certificate.issuer, f"{certificate.serial_number:040x}")
        if intent is None:
            return
        told = self.records.told_of(intent.intents_serial_number, intent.intents_intent_id)
        if self.authorities.find(certificate, intent, told).key is not None:
            yield self._fault(
                f"it is not the certificate of the intent {shown(intent.intents_intent_id)}, and has its issuer, its "
                "serial number and a signature by its key"
            )

    def _read(self) -> Generator[Fault, None, Certificate | None]:
        """The certificate, if it can be read, held against the columns beside it."""
        row = self.row
        for what in undecodable(row):
            yield self._fault(what)
        der = load_octets(row.certificates_der)
        if der is None or hashlib.sha256(der).hexdigest() != row.certificates_sha256:
            yield self._fault("its octets do not have the SHA-256 kept with them: they were changed")
        try:
            certificate = load_certificate(der or b"")
        except RequestError as error:
            yield self._fault(f"it cannot be read: {shown(error.message)}")
            return None
        says: Mapping[str, tuple[object, object]] = {
            "subject": (certificate.subject, load_octets(row.certificates_subject)),
            "issuer": (certificate.issuer, load_octets(row.certificates_issuer)),
            "serial_number": (f"{certificate.serial_number:040x}", row.certificates_serial_number),
            "spki_sha256": (certificate.public_key.sha256, row.certificates_spki_sha256),
            "is_ca": (certificate.is_ca, row.certificates_is_ca),
            "not_before": (certificate.not_before, load_time(row.certificates_not_before)),
            "not_after": (certificate.not_after, load_time(row.certificates_not_after)),
        }
        for column, (said, kept) in says.items():
            if said != kept:
                yield self._fault(f"the column {column} is not what it says")
        return certificate

    def placed_otherwise(
        self, told: Sequence[ToldEvent], places: Sequence[Any], taken_out: Sequence[ToldEvent]
    ) -> Iterator[tuple[str, Fault]]:
        """The paths where it was put when it was issued, and is not any more as it was then, with what is to be said of
        that unless the trail tells that it was replaced; that it was taken out, one of `taken_out` tells."""
        here = {place.entries_path: place for place in places}
        gone = {event.target for event in taken_out}
        for event in told:
            for path, intended in _intended_places(event).items():
                place = here.get(path)
                if place is None and path not in gone:
                    yield path, self._fault(f"it is not at {shown(path)} any more, and no event tells of that")
                elif place is not None and _told_place(place) != intended:
                    yield path, self._fault(f"at {shown(path)} its type or metadata is not what was intended")

    def _signature_and_lint(
        self, certificate: Certificate, tbs: bytes, told: Sequence[ToldEvent]
    ) -> Iterator[Fault | Note]:
        under = self.authorities.find(certificate, self.row, told)
        key = shown(self.row.intents_signing_key)
        if under.key is None and under.is_known:
            yield self._fault(f"its signature does not verify under the key {key}")
        elif under.key is None:
            self.counts.unverified += 1
            yield Note(self._name(), f"its signature is not verified: the key {key} is not in the database")
        profile = self.row.intents_profile
        if profile not in RULES:
            yield self._fault(f"its profile {shown(profile)} is not known")
        elif (finding := _lint(tbs, profile, under)) is not None:
            yield self._fault(f"it does not keep its profile {profile}: {finding.code}: {shown(finding.message)}")

    def _name(self) -> str:
        return f"serial {shown(self.row.certificates_serial_number)} SHA-256 {shown(self.row.certificates_sha256)}"

    def _fault(self, what: str) -> Fault:
        return Fault(self._name(), what)


def _against_intent(certificate: Certificate, tbs: bytes, row: Any) -> Iterator[str]:
    """What the intent has that is not in the certificate."""
    intended = load_octets(row.intents_tbs)
    if intended != tbs:
        yield "its tbsCertificate is not the one that was intended"
    if intended is None or hashlib.sha256(intended).hexdigest() != row.intents_tbs_sha256:
        yield "the tbsCertificate of its intent does not have the SHA-256 kept with it"
    if load_octets(row.intents_issuer) != certificate.issuer:
        yield "its issuer is not the one that was intended"
    if row.intents_serial_number != f"{certificate.serial_number:040x}":
        yield f"its serial number is not the one that was intended, {shown(row.intents_serial_number)}"


def _against_trail(
    row: Any, certificate: Certificate | None, told: Sequence[ToldEvent], places: Sequence[Any]
) -> Iterator[str]:
    """What the audit trail tells otherwise, or not at all."""
    ends = sorted(event.kind for event in told if event.kind != INTENDED_EVENT)
    if ends != [SIGNED_EVENT]:
        yield f"the audit trail must have one event {SIGNED_EVENT} of it, and has {listed(ends)}"
    intended = [event for event in told if event.kind == INTENDED_EVENT]
    if len(intended) != 1:
        yield f"the audit trail must have one event {INTENDED_EVENT} of it, and has {len(intended)}"
    for event in told:
        yield from _against_event(event, row, certificate, places)


def _against_event(event: ToldEvent, row: Any, certificate: Certificate | None, places: Sequence[Any]) -> Iterator[str]:
    issuer = load_octets(row.intents_issuer)
    kept: dict[str, object] = {
        "tbsSha256": row.intents_tbs_sha256,
        "signingKey": row.intents_signing_key,
        "serialNumber": row.intents_serial_number,
        "issuerSha256": None if issuer is None else hashlib.sha256(issuer).hexdigest(),
    }
    if event.kind == INTENDED_EVENT:
        grounds = row.intents_grounds
        kept |= {
            "groundsSha256": None if grounds is None else hashlib.sha256(str(grounds).encode()).hexdigest(),
            "profile": row.intents_profile or None,
            "requestSha256": row.intents_request_digest or None,
            "signatureKind": row.intents_kind,
        }
    elif event.kind == SIGNED_EVENT:
        answer = row.intents_answer
        kept |= {
            "certificateSha256": row.certificates_sha256,
            "answerSha256": None if answer is None else hashlib.sha256(str(answer).encode()).hexdigest(),
        }
        kept |= {} if certificate is None else {"spkiSha256": certificate.public_key.sha256}
    for member, value in kept.items():
        if event.details.get(member) != value:
            yield f"its event {event.kind} has another {member}: {shown(event.details.get(member))}"
    for member, said, value in (
        ("actor", event.actor, row.intents_caller),
        ("request", event.request_id, row.intents_request_id),
    ):
        if said != value:
            yield f"its event {event.kind} has another {member}: {shown(said)}"
    if event.kind == INTENDED_EVENT:
        recorded_at = load_time(row.intents_recorded_at)
        if event.recorded_at is not None and (recorded_at is None or abs(event.recorded_at - recorded_at) > _WITHIN):
            yield f"it was intended on {shown(str(row.intents_recorded_at))}, and its event is of {event.recorded_at}"
        intended = _intended_places(event)
        for place in places:
            if place.entries_path not in intended:
                yield f"it is at {shown(place.entries_path)}, which was not intended"


def _intended_places(event: ToldEvent) -> Mapping[str, Mapping[str, object]]:
    """By path, what the event of an intent says of the places that it reserves."""
    places = event.details.get("entries") if event.kind == INTENDED_EVENT else None
    if not isinstance(places, list):
        return {}
    return {path: place for place in places if isinstance(place, dict) and isinstance(path := place.get("path"), str)}


def _told_place(place: Any) -> Mapping[str, object]:
    """What an event would say of a place as it is now."""
    told = {"path": place.entries_path, "type": place.entries_type}
    if place.entries_metadata is not None:
        told["metadataSha256"] = digest_json(place.entries_metadata)
    return told


def _lint(tbs: bytes, profile: str, under: IssuedUnder) -> Finding | None:
    """An error that is there beside every CA certificate that may have been the issuer's."""
    if under.is_self_signed:
        return _error(lint_certificate(tbs, profile, None))
    found = None
    for authority in under.authorities:
        error = _error(lint_certificate(tbs, profile, authority.certificate.der))
        if error is None:
            return None
        if authority.is_believed:
            found = found or error
    return found or _error(lint_without_issuer(tbs, profile))


def _error(findings: Sequence[Finding]) -> Finding | None:
    return next((finding for finding in findings if finding.severity == "error"), None)


def listed(kinds: Sequence[str]) -> str:
    """For people."""
    return ", ".join(kinds) or "none"
