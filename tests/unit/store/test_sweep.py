"""The sweep finds nothing in what was really issued, and names every certificate that somebody has changed, or changed
the records of. For each thing that it checks there is a row here that it refuses.
"""

import dataclasses
import hashlib
import json
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event

from engine.errors import ConfigError
from engine.store import ENGINE, ProofIntent, Store, reading_records, stored_records
from engine.store.chain import REFUSED, RETURN
from engine.sweep import Counts, Sweep
from engine.token import Token
from engine.x509.algorithms import encode_signature, signature_algorithm_for
from engine.x509.certificate import assemble_certificate, load_certificate
from engine.x509.der import read_children, read_element
from tests.database import POSTGRESQL, SQLITE, change, select
from tests.issuing import (
    STORE,
    Nowhere,
    WithoutGrounds,
    Workshop,
    build,
    facts_of,
    foreign_certificate,
)
from tests.postgresql import drop_database, new_database
from tests.unit.store.test_query_plans import postgresql_scans

FOREIGN = f"entry {STORE}.foreign"


def sweep(url: str) -> tuple[list[str], Counts]:
    """Its lines and its counts."""
    with reading_records(url) as records:
        one = Sweep(records, lambda what, done, total: None)
        found = [str(line) for line in one.run()]
    return found, one.counts


class Scene:
    """A database of one's own with everything that a sweep distinguishes."""

    def __init__(self, url: str, sha256: dict[str, str]) -> None:
        self.url = url
        self.sha256 = sha256

    def literal(self, octets: bytes) -> str:
        return f"X'{octets.hex()}'" if self.url.startswith("sqlite:") else f"decode('{octets.hex()}', 'hex')"

    def change(self, *statements: str) -> None:
        """As somebody who has every right; what refers to what is not asked."""
        for statement in statements:
            unasked = "" if self.url.startswith("sqlite:") else "SET session_replication_role = replica; "
            change(self.url, unasked + statement)

    def of(self, name: str, column: str, table: str = "certificates") -> object:
        where = f"sha256 = '{self.sha256[name]}'"
        if table == "intents":
            where = f"intent_id = (SELECT intent_id FROM certificates WHERE {where})"
        ((value,),) = select(self.url, f"SELECT {column} FROM {table} WHERE {where}")
        return value

    def intent(self, name: str) -> str:
        return str(self.of(name, "intent_id"))

    def row(self, name: str) -> str:
        """What the lines about a certificate begin with."""
        return f"serial {self.of(name, 'serial_number')} SHA-256 {self.sha256[name]}"

    def put(self, name: str, der: bytes) -> str:
        """Other octets in the place of a certificate's, with the digest that fits them."""
        sha256 = hashlib.sha256(der).hexdigest()
        self.change(
            f"UPDATE entries SET certificate_sha256 = '{sha256}' WHERE certificate_sha256 = '{self.sha256[name]}'",
            f"UPDATE certificates SET der = {self.literal(der)}, sha256 = '{sha256}' "
            f"WHERE sha256 = '{self.sha256[name]}'",
        )
        return sha256

    @contextmanager
    def changed(self, table: str, where: str, edit: str) -> Iterator[None]:
        """A row is otherwise for the length of the block."""
        column = edit.partition(" ")[0]
        ((kept,),) = select(self.url, f"SELECT {column} FROM {table} WHERE {where}")
        self.change(f"CREATE TABLE kept AS SELECT {column} FROM {table} WHERE {where}")
        self.change(f"UPDATE {table} SET {edit} WHERE {where}")
        assert select(self.url, f"SELECT {column} FROM {table} WHERE {where}") != [(kept,)], edit
        yield
        self.change(f"UPDATE {table} SET {column} = (SELECT {column} FROM kept) WHERE {where}", "DROP TABLE kept")

    def faults(self) -> list[str]:
        """The lines of a sweep that are no notes."""
        found, counts = sweep(self.url)
        faults = [line for line in found if not line.startswith("note: ")]
        assert counts.faults == len(faults)
        return faults


Copy = Callable[[], str]


ON_BOTH = pytest.mark.parametrize("built", [SQLITE, POSTGRESQL], indirect=True)
"""What is asked of the two databases differently, or takes other values from them. The others are on SQLite."""


@pytest.fixture(scope="module")
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, token: Token
) -> Iterator[tuple[Copy, dict[str, str]]]:
    """What makes copies of one database, and the digests of what is in it."""
    if getattr(request, "param", SQLITE) == SQLITE:
        folder = tmp_path_factory.mktemp("built")
        sha256 = build(f"sqlite:///{folder}/engine.db", token)

        def copy() -> str:
            return f"sqlite:///{shutil.copytree(folder, tmp_path_factory.mktemp('copies') / 'copy')}/engine.db"

        yield copy, sha256
        return
    server = request.getfixturevalue("postgresql")
    url, made = new_database(server, template=request.getfixturevalue("with_tables")), []
    sha256 = build(url, token)

    def copy_database() -> str:
        made.append(new_database(server, template=url.rpartition("/")[2]))
        return made[-1]

    yield copy_database, sha256
    for one in (*made, url):
        drop_database(server, one)


@pytest.fixture
def scene(built: tuple[Copy, dict[str, str]]) -> Scene:
    copy, sha256 = built
    return Scene(copy(), dict(sha256))


@ON_BOTH
def test_nothing_is_found_in_what_nobody_has_touched(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    found, counts = sweep(scene.url)
    assert found == []
    assert (counts.issued, counts.elsewhere, counts.intents) == (len(scene.sha256) - 1, 1, len(scene.sha256) - 1)
    ((entries, events),) = select(scene.url, "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM events)")
    assert (counts.entries, counts.events) == (entries, events)
    assert (counts.faults, counts.unverified, counts.untold, counts.unknown, counts.open) == (0, 0, 0, 0, 0)
    monkeypatch.setattr(stored_records, "PAGE", 2)
    assert sweep(scene.url) == (found, counts)


def test_other_octets_are_named(scene: Scene) -> None:
    der = bytearray(scene.of("leaf", "der"))
    der[-1] ^= 1
    scene.change(f"UPDATE certificates SET der = {scene.literal(der)} WHERE sha256 = '{scene.sha256['leaf']}'")
    assert scene.faults() == [
        f"{scene.row('leaf')}: its octets do not have the SHA-256 kept with them: they were changed",
        f"{scene.row('leaf')}: its signature does not verify under the key test.tenant1.kms1.ca",
    ]


def test_another_signature_with_a_digest_that_fits_is_named(scene: Scene) -> None:
    der = bytearray(scene.of("leaf", "der"))
    der[-1] ^= 1
    serial = scene.of("leaf", "serial_number", "intents")
    sha256 = scene.put("leaf", bytes(der))
    row = f"serial {serial} SHA-256 {sha256}"
    faults = scene.faults()
    assert faults[:2] == [
        f"{row}: its signature does not verify under the key test.tenant1.kms1.ca",
        f"{row}: its event certificate-signed has another certificateSha256: {scene.sha256['leaf']}",
    ]
    assert faults[2].endswith(f"the certificate of serial {serial} SHA-256 {scene.sha256['leaf']} is not stored")


def test_octets_that_are_no_certificate_are_named(scene: Scene) -> None:
    serial = scene.of("leaf", "serial_number", "intents")
    sha256 = scene.put("leaf", scene.of("leaf", "der") + b"\0")
    assert f"serial {serial} SHA-256 {sha256}: it cannot be read: " in scene.faults()[0]


COLUMNS = {
    "subject": "der",
    "issuer": "der",
    "serial_number": "'" + "ab" * 20 + "'",
    "spki_sha256": "sha256",
    "is_ca": "NOT is_ca",
    "not_before": "not_after",
    "not_after": "not_before",
}


@ON_BOTH
def test_a_column_that_is_not_what_the_certificate_says_is_named(scene: Scene) -> None:
    for name in ("leaf", "foreign"):
        where = f"sha256 = '{scene.sha256[name]}'"
        for column, value in COLUMNS.items():
            with scene.changed("certificates", where, f"{column} = {value}"):
                (fault,) = [one for one in scene.faults() if "the column" in one]
                assert fault == f"{scene.row(name)}: the column {column} is not what it says"
    assert scene.faults() == []


def test_a_certificate_whose_intent_is_gone_is_named(scene: Scene) -> None:
    intent, row = scene.intent("leaf"), scene.row("leaf")
    scene.change(f"DELETE FROM intents WHERE intent_id = '{intent}'")
    faults = scene.faults()
    assert faults[0] == f"{row}: its intent {intent} is not there"
    assert sum(f"it tells of the intent {intent}, which is not there" in one for one in faults) == 2
    assert f"entry {STORE}.leaf: its intent {intent} is not there" in faults


def test_a_certificate_that_is_said_to_be_from_elsewhere_is_named(scene: Scene) -> None:
    intent, row = scene.intent("leaf"), scene.row("leaf")
    serial = scene.of("leaf", "serial_number")
    tbs = scene.of("leaf", "tbs_sha256", "intents")
    scene.change(f"UPDATE certificates SET intent_id = NULL WHERE sha256 = '{scene.sha256['leaf']}'")
    faults = scene.faults()
    assert faults[0] == (
        f"serial {serial} tbs SHA-256 {tbs} intent {intent}: it is signed, and its certificate is not stored"
    )
    assert f"{row}: no intent of it is there, and no event tells that it was put into a store" in faults
    assert any(one.startswith(f"{row}: it is not the certificate of the intent {intent}") for one in faults)


def test_a_certificate_of_an_intent_that_is_not_signed_is_named(scene: Scene) -> None:
    intent = scene.intent("leaf")
    scene.change(f"UPDATE intents SET state = 'failed', reason = 'x' WHERE intent_id = '{intent}'")
    faults = scene.faults()
    assert faults[0] == f"{scene.row('leaf')}: its intent is a certificate and failed, not signed"
    assert f"entry {STORE}.leaf: it was filled by the intent {intent}, which is failed" in faults


OTHERWISE = {
    "tbs": ("issuer", "its tbsCertificate is not the one that was intended"),
    "tbs_sha256": ("request_digest", "the tbsCertificate of its intent does not have the SHA-256 kept with it"),
    "issuer": ("tbs", "its issuer is not the one that was intended"),
    "serial_number": ("'" + "ab" * 20 + "'", f"its serial number is not the one that was intended, {'ab' * 20}"),
    "profile": ("'nothing'", "its profile nothing is not known"),
    "signing_key": ("'test.x'", "its event signature-intended has another signingKey: test.tenant1.kms1.ca"),
    "caller": ("'x'", "its event certificate-signed has another actor: credential-1"),
    "request_id": ("'x'", "its event certificate-signed has another request: request-1"),
    "request_digest": ("tbs_sha256", f"its event signature-intended has another requestSha256: {'d' * 64}"),
    "answer": ("'{}'", "its event certificate-signed has another answerSha256: null"),
    "grounds": ("replace(grounds, 'verified', 'believed')", "its event signature-intended has another groundsSha256: "),
}


@ON_BOTH
def test_an_intent_that_is_otherwise_than_what_was_signed_is_named(scene: Scene) -> None:
    where = f"intent_id = '{scene.intent('leaf')}'"
    for column, (value, what) in OTHERWISE.items():
        with scene.changed("intents", where, f"{column} = {value}"):
            faults = scene.faults()
            assert any(one.startswith(f"{scene.row('leaf')}: {what}") for one in faults), faults
    assert scene.faults() == []


def test_a_key_that_is_another_is_named(scene: Scene) -> None:
    scene.change(
        "UPDATE keys SET spki = (SELECT spki FROM keys WHERE path = 'test.tenant1.kms1.iaca') "
        "WHERE path = 'test.tenant1.kms1.ca'"
    )
    what = "its signature does not verify under the key test.tenant1.kms1.ca"
    assert set(scene.faults()) == {
        *(f"{scene.row(name)}: {what}" for name in ("ca", "leaf", "nowhere")),
        "key test.tenant1.kms1.ca: its spki does not have the SHA-256 kept with it",
    }


def test_a_profile_that_is_not_kept_is_named(scene: Scene) -> None:
    scene.change(f"UPDATE intents SET profile = 'document-signer' WHERE intent_id = '{scene.intent('leaf')}'")
    assert f"{scene.row('leaf')}: it does not keep its profile document-signer: " in scene.faults()[0]


def test_a_certificate_that_does_not_fit_its_issuers_any_more_is_named(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        signer = workshop.find_signer("ca")
        workshop.ledger = Nowhere()
        short = workshop.issue_ca("ca", signer, not_after=datetime.now(UTC) + timedelta(days=2))
    assert short.certificate is not None
    scene.put("ca", short.certificate.der)
    what = "it does not keep its profile generic: validity.outside_issuer: "
    faults = [one for one in scene.faults() if "profile" in one]
    assert {one.partition(what)[0] for one in faults} == {f"{scene.row(name)}: " for name in ("leaf", "nowhere")}


def test_an_event_that_is_missing_is_named(scene: Scene) -> None:
    for kind, has in (("signature-intended", "0"), ("certificate-signed", "none")):
        query = f"kind = '{kind}' AND serial_number = '{scene.of('leaf', 'serial_number')}'"
        ((writer, sequence),) = select(scene.url, f"SELECT writer, sequence FROM events WHERE {query}")
        where = f"writer = {writer} AND sequence = {sequence}"
        with scene.changed("events", where, "serial_number = NULL"):
            what = f"the audit trail must have one event {kind} of it, and has {has}"
            assert scene.faults() == [f"{scene.row('leaf')}: {what}"]


def test_a_signature_that_failed_and_was_made_is_named(scene: Scene) -> None:
    serial = scene.of("leaf", "serial_number")
    scene.change(
        f"UPDATE events SET kind = 'signature-failed' WHERE kind = 'certificate-signed' AND serial_number = '{serial}'"
    )
    what = "the audit trail must have one event certificate-signed of it, and has signature-failed"
    assert scene.faults() == [f"{scene.row('leaf')}: {what}"]


def test_an_event_that_tells_otherwise_is_named(scene: Scene) -> None:
    where = f"kind = 'certificate-signed' AND serial_number = '{scene.of('leaf', 'serial_number')}'"
    for member in ("tbsSha256", "spkiSha256", "certificateSha256", "issuerSha256", "serialNumber", "signingKey"):
        with scene.changed("events", where, f'details = replace(details, \'"{member}":"\', \'"{member}":"x\')'):
            row = f"{scene.row('leaf')}: its event certificate-signed has another {member}: x"
            assert any(one.startswith(row) for one in scene.faults())
    assert scene.faults() == []


def test_a_certificate_that_was_taken_away_is_named(scene: Scene) -> None:
    serial, intent = scene.of("leaf", "serial_number"), scene.intent("leaf")
    tbs = scene.of("leaf", "tbs_sha256", "intents")
    scene.change(f"DELETE FROM certificates WHERE sha256 = '{scene.sha256['leaf']}'")
    faults = scene.faults()
    row = f"serial {serial} tbs SHA-256 {tbs} intent {intent}"
    assert faults[0] == f"{row}: it is signed, and its certificate is not stored"
    assert faults[1].endswith(f"the certificate of serial {serial} SHA-256 {scene.sha256['leaf']} is not stored")
    assert f"entry {STORE}.leaf: its certificate SHA-256 {scene.sha256['leaf']} is not there" in faults


def test_a_proof_whose_intent_was_taken_away_is_named(scene: Scene) -> None:
    proof = ProofIntent("a" * 32, RETURN, "test.tenant1.kms1.ca", "trial", b"id", "b" * 64, "c" * 64)
    with Store.open(scene.url) as store:
        store.record_proofs([proof])
        store.close_proofs({proof: 1}, None)
    assert scene.faults() == []
    scene.change(f"DELETE FROM intents WHERE intent_id = '{proof.intent_id}'")
    faults = scene.faults()
    assert len(faults) == 2
    assert all(one.endswith(f"it tells of the intent {proof.intent_id}, which is not there") for one in faults)


def test_a_certificate_that_was_taken_away_with_its_intent_is_named(scene: Scene) -> None:
    serial, intent = scene.of("nowhere", "serial_number"), scene.intent("nowhere")
    scene.change(
        f"DELETE FROM certificates WHERE sha256 = '{scene.sha256['nowhere']}'",
        f"DELETE FROM intents WHERE intent_id = '{intent}'",
    )
    faults = scene.faults()
    assert len(faults) == 3
    assert sum(f"it tells of the intent {intent}, which is not there" in one for one in faults) == 2
    assert faults[-1].endswith(f"the certificate of serial {serial} SHA-256 {scene.sha256['nowhere']} is not stored")


@ON_BOTH
def test_a_serial_number_that_was_used_twice_is_named(scene: Scene) -> None:
    serial, issuer = scene.of("leaf", "serial_number"), scene.literal(scene.of("leaf", "issuer"))
    if scene.url.startswith("sqlite:"):
        scene.change("ALTER TABLE intents RENAME TO kept", "CREATE TABLE intents AS SELECT * FROM kept")
    else:
        scene.change("ALTER TABLE intents DROP CONSTRAINT uq_intents_issuer_serial_number")
    other = scene.intent("nowhere")
    scene.change(f"UPDATE intents SET serial_number = '{serial}', issuer = {issuer} WHERE intent_id = '{other}'")
    twice = [one for one in scene.faults() if one.endswith("its serial number was used before by the same issuer")]
    assert len(twice) == 1
    assert twice[0].startswith(f"serial {serial} tbs SHA-256 ")


PLACES = {
    "certificate_sha256 = 'f'": "its certificate SHA-256 f is not there",
    "intent_id = 'f'": "its intent f is not there",
    "certificate_sha256 = NULL": "it is reserved by the intent {intent}, which is signed",
    "certificate_sha256 = '{ca}'": "its certificate SHA-256 {ca} is not the one of its intent {intent}",
    "store_path = 'test.x'": "it is listed in the store test.x",
}


@ON_BOTH
def test_a_place_that_is_not_what_it_was_is_named(scene: Scene) -> None:
    words = {"intent": scene.intent("leaf"), "ca": scene.sha256["ca"]}
    for edit, what in PLACES.items():
        with scene.changed("entries", f"path = '{STORE}.leaf'", edit.format_map(words)):
            faults = [f"entry {STORE}.leaf: {what.format_map(words)}"]
            if edit.startswith("intent_id"):
                faults.insert(0, f"{scene.row('leaf')}: it is not at {STORE}.leaf any more, and no event tells of that")
            assert scene.faults() == faults


@ON_BOTH
def test_a_place_of_what_was_issued_whose_metadata_was_changed_is_named(scene: Scene) -> None:
    for edit in ("type = 'vical-entry'", 'metadata = \'{"docType": ["x"]}\''):
        with scene.changed("entries", f"path = '{STORE}.leaf'", edit):
            what = f"at {STORE}.leaf its type or metadata is not what was intended"
            assert scene.faults() == [f"{scene.row('leaf')}: {what}"]
    with Store.open(scene.url) as store:
        store.replace_entry(path=f"{STORE}.leaf", type="base", metadata={"a": 1.0}, **facts_of(scene.of("leaf", "der")))
    assert scene.faults() == []
    with scene.changed("entries", f"path = '{STORE}.leaf'", "metadata = '{\"a\": 2.0}'"):
        (fault,) = scene.faults()
        assert fault.startswith(f"entry {STORE}.leaf: its metadataSha256 is ")
    scene.change(f"DELETE FROM events WHERE kind = 'entry-replaced' AND target = '{STORE}.leaf'")
    what = f"at {STORE}.leaf its type or metadata is not what was intended"
    assert scene.faults() == [f"{scene.row('leaf')}: {what}"]


def test_a_place_of_what_was_issued_that_was_taken_out_and_is_there_again_is_named(scene: Scene) -> None:
    path = f"{STORE}.leaf"
    scene.change(f"CREATE TABLE kept AS SELECT * FROM entries WHERE path = '{path}'")
    with Store.open(scene.url, now=lambda: datetime.now(UTC) + timedelta(minutes=2)) as store:
        store.delete_entry(path)
    assert scene.faults() == []
    scene.change("INSERT INTO entries SELECT * FROM kept")
    assert scene.faults() == [f"entry {path}: it is there, and its event entry-deleted has taken it out"]


OF_FOREIGN = {
    "type = 'vical-entry'": "its type is vical-entry, and its event entry-added has base",
    "metadata = '{}'": f"its metadataSha256 is {hashlib.sha256(b'{}').hexdigest()}, and its event entry-added has null",
    "metadata = '[1'": "its metadataSha256 is ",
    "metadata = 'NaN'": "its metadataSha256 is ",
    "vouched_below = 'test'": "its vouchedBelow is test, and its event entry-added has null",
    "self_signed = true": "its selfSigned is true, and its event entry-added has false",
    "self_signed = NULL": "its selfSigned is null, and its event entry-added has false",
    "certificate_sha256 = '{ca}'": "its certificateSha256 is {ca}, and its event entry-added has ",
}


@ON_BOTH
def test_a_place_of_what_is_from_elsewhere_that_is_otherwise_than_it_was_told_is_named(scene: Scene) -> None:
    words = {"ca": scene.sha256["ca"]}
    for edit, what in OF_FOREIGN.items():
        if edit.endswith(("[1'", "NaN'")) and scene.url.startswith("postgresql:"):
            continue  # it has no such JSON
        edit, what = (text.replace("{ca}", words["ca"]) for text in (edit, what))
        with scene.changed("entries", f"path = '{STORE}.foreign'", edit):
            (fault,) = [one for one in scene.faults() if "signature" not in one]
            assert fault.startswith(f"{FOREIGN}: {what}")
    assert scene.faults() == []


@ON_BOTH
def test_a_place_of_what_is_from_elsewhere_that_is_gone_or_there_again_is_named(scene: Scene) -> None:
    path = f"{STORE}.foreign"
    scene.change(f"CREATE TABLE kept AS SELECT * FROM entries WHERE path = '{path}'")
    scene.change(f"DELETE FROM entries WHERE path = '{path}'")
    assert scene.faults() == [f"{FOREIGN}: it is not there, and no event tells that it was taken out"]
    scene.change("INSERT INTO entries SELECT * FROM kept")
    with Store.open(scene.url) as store:
        store.record_event("entry-deleted", ENGINE, path, outcome=REFUSED)
        assert scene.faults() == []
        store.delete_entry(path)
    assert scene.faults() == []
    scene.change("INSERT INTO entries SELECT * FROM kept")
    assert scene.faults() == [f"{FOREIGN}: it is there, and its event entry-deleted has taken it out"]


@ON_BOTH
def test_a_place_that_has_again_what_was_replaced_is_named(scene: Scene) -> None:
    path, before = f"{STORE}.foreign", scene.sha256["foreign"]
    der = foreign_certificate("Instead")
    with Store.open(scene.url) as store:
        store.replace_entry(path=path, type="base", vouched_below="test.a", **facts_of(der))
        # It stays believed on the word of who has put it there.
        store.replace_entry(path=path, type="base", metadata={"a": "b"}, self_signed=True, **facts_of(der))
    assert scene.faults() == []
    scene.change(f"UPDATE entries SET certificate_sha256 = '{before}' WHERE path = '{path}'")
    now = load_certificate(der).sha256
    assert scene.faults() == [f"{FOREIGN}: its certificateSha256 is {before}, and its event entry-replaced has {now}"]


def test_places_that_are_changed_meanwhile_are_no_fault(scene: Scene, token: Token) -> None:
    """By a writer whose events were read already, and after that."""
    changes = ["events", "entries"]
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        for name in ("a", "b", "zz"):
            workshop.add_foreign(name, foreign_certificate(name))
        others = {name: facts_of(foreign_certificate(f"other {name}")) for name in ("a", "zz")}

        def change_places(what: str, done: int, total: int) -> None:
            if what not in changes:
                return
            changes.remove(what)
            workshop.add_foreign(f"new with {what}", foreign_certificate(what))
            if what == "events":
                store.replace_entry(path=f"{STORE}.a", type="base", **others["a"])
                store.delete_entry(f"{STORE}.b")
            else:
                store.replace_entry(path=f"{STORE}.a", type="vical-entry", metadata={}, **others["a"])
                store.replace_entry(path=f"{STORE}.zz", type="base", **others["zz"])
                store.delete_entry(f"{STORE}.foreign")

        with reading_records(scene.url) as records:
            one = Sweep(records, change_places)
            assert list(one.run()) == []
    assert changes == []
    assert scene.faults() == []


def test_a_place_that_was_not_intended_is_named(scene: Scene) -> None:
    scene.change(f"UPDATE entries SET path = '{STORE}.moved' WHERE path = '{STORE}.leaf'")
    assert scene.faults() == [
        f"{scene.row('leaf')}: it is at {STORE}.moved, which was not intended",
        f"{scene.row('leaf')}: it is not at {STORE}.leaf any more, and no event tells of that",
    ]


@ON_BOTH
def test_a_place_that_was_taken_away_is_named(scene: Scene, token: Token) -> None:
    fault = f"{scene.row('leaf')}: it is not at {STORE}.leaf any more, and no event tells of that"
    scene.change(f"DELETE FROM entries WHERE path = '{STORE}.leaf'")
    assert scene.faults() == [fault]
    with Store.open(scene.url) as store:
        # Of another place of it, of another certificate at a place of that name, and of others: that is no help.
        store.delete_entry("test.tenant1.x509-store-2.leaf")
        workshop = Workshop(store, token)
        workshop.add_foreign("leaf", foreign_certificate("Other"))
        store.delete_entry(f"{STORE}.leaf")
    assert scene.faults() == [fault]


@ON_BOTH
def test_a_place_that_was_given_another_certificate_is_no_fault_if_an_event_tells(scene: Scene) -> None:
    der = foreign_certificate("Instead")
    with Store.open(scene.url) as store:
        store.replace_entry(path=f"{STORE}.leaf", type="base", **facts_of(der))
        assert scene.faults() == []
        store.delete_entry(f"{STORE}.leaf")
    assert scene.faults() == []
    serial = f"{load_certificate(der).serial_number:040x}"
    scene.change(f"DELETE FROM events WHERE kind = 'entry-replaced' AND serial_number = '{serial}'")
    assert f"{scene.row('leaf')}: it is not at {STORE}.leaf any more, and no event tells of that" in scene.faults()


def test_what_was_put_into_a_store_without_an_event_is_named(scene: Scene) -> None:
    scene.change("DELETE FROM events WHERE kind = 'entry-added'")
    serial = scene.of("foreign", "serial_number")
    what = "no intent of it is there, and no event tells that it was put into a store"
    assert scene.faults() == [
        f"serial {serial} SHA-256 {scene.sha256['foreign']}: {what}",
        f"{FOREIGN}: no event tells of it",
    ]


@ON_BOTH
def test_a_certificate_that_is_nowhere_is_no_older_than_the_trail_for_an_intent_that_says_so(scene: Scene) -> None:
    scene.change(
        "DELETE FROM events WHERE kind = 'entry-added'",
        f"DELETE FROM entries WHERE certificate_sha256 = '{scene.sha256['foreign']}'",
    )
    old = "'2001-01-01 00:00:00.000000'" if scene.url.startswith("sqlite:") else "'2001-01-01T00:00:00Z'"
    scene.change(f"UPDATE intents SET recorded_at = {old} WHERE intent_id = '{scene.intent('leaf')}'")
    what = "no intent of it is there, and no event tells that it was put into a store"
    assert f"{scene.row('foreign')}: {what}" in scene.faults()


def test_what_was_put_into_a_store_and_changed_is_named(scene: Scene) -> None:
    serial, der = scene.of("foreign", "serial_number"), foreign_certificate("Another")
    sha256 = scene.put("foreign", der)
    faults = scene.faults()
    assert f"serial {serial} SHA-256 {sha256}: the column subject is not what it says" in faults
    assert any("no event tells" in one for one in faults)
    assert faults[-2].endswith(f"the certificate of serial {serial} SHA-256 {scene.sha256['foreign']} is not stored")
    told = f"its event entry-added has {scene.sha256['foreign']}"
    assert faults[-1] == f"{FOREIGN}: its certificateSha256 is {sha256}, and {told}"


@ON_BOTH
def test_a_second_certificate_of_an_intent_is_named_wherever_it_came_from(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        signer, first = workshop.find_signer("ca"), scene.of("leaf", "der")
        tbs = read_children(read_element(first).content)[0].encoding
        algorithm = signature_algorithm_for(signer.public_key)
        signature = encode_signature(signer.public_key, signer.sign(algorithm.name, tbs))
        workshop.add_foreign("second", assemble_certificate(tbs, algorithm, signature))
        ca = scene.of("ca", "der")
        workshop.add_foreign("prank", foreign_certificate("Prank", ca, load_certificate(first).serial_number))
    assert scene.faults() == [
        f"serial {scene.of('leaf', 'serial_number')} SHA-256 {workshop.sha256['second']}: it is not the certificate of "
        f"the intent {scene.intent('leaf')}, and has its issuer, its serial number and a signature by its key"
    ]


def intend(workshop: Workshop, intent_id: str, grounds: str | None = None) -> int:
    """An intent of which nothing has come yet; its serial number."""
    number = (1 << 158) + int.from_bytes(intent_id.encode())
    workshop.store.record_intent(
        intent_id=intent_id,
        kind="certificate",
        profile="generic",
        issuer=b"issuer name",
        serial_number=number,
        tbs=b"tbs",
        tbs_sha256=hashlib.sha256(b"tbs").hexdigest(),
        signing_key="test.tenant1.kms1.ca",
        caller="credential-1",
        target="test.tenant1.x509-service-1",
        request_id="request-1",
        request_digest="",
        entries=(),
        grounds=grounds,
    )
    return number


@ON_BOTH
def test_what_is_open_is_a_fault_when_its_writer_is_gone(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        number = intend(Workshop(store, token), "open")
        found, counts = sweep(scene.url)
        assert (found, counts.open, counts.faults) == ([], 1, 0)
    row = f"serial {number:040x} tbs SHA-256 {hashlib.sha256(b'tbs').hexdigest()} intent open"
    what = "it is open, and its writer is gone: the next start of an engine closes it"
    wait_for(lambda: scene.faults() == [f"{row}: {what}"])


def wait_for(holds: Callable[[], bool]) -> None:
    """PostgreSQL learns of the end of a connection after the fact."""
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while not holds():
        assert datetime.now(UTC) < deadline


@ON_BOTH
def test_what_may_have_been_signed_is_listed_to_be_revoked(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        number = intend(Workshop(store, token), "unknown")
    with Store.open(scene.url) as store:
        wait_for(lambda: len(store.close_dangling_intents()) == 1)
        failed = intend(Workshop(store, token), "failed")
        store.record_failure(intent_id="failed", reason="SigningFailed")
    found, counts = sweep(scene.url)
    assert (counts.unknown, counts.faults, len(found)) == (1, 0, 1)
    assert found[0].startswith(f"note: serial {number:040x} tbs SHA-256 ")
    assert "of unknown outcome, to be revoked: intended on " in found[0]
    scene.change("UPDATE intents SET state = 'failed', reason = 'x' WHERE intent_id = 'unknown'")
    (fault,) = scene.faults()
    assert fault.endswith("intent unknown: it is failed, and the audit trail has signature-outcome-unknown of it")
    scene.change(f"DELETE FROM events WHERE kind = 'signature-failed' AND serial_number = '{failed:040x}'")
    assert any(
        one.endswith("intent failed: it is failed, and the audit trail has none of it") for one in scene.faults()
    )


def test_a_signature_by_a_key_that_is_nowhere_is_told(scene: Scene, token: Token) -> None:
    """As it was recorded before the grounds of a certificate held the key that signed."""
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        lost = workshop.make_key("lost")
        workshop.ledger = Nowhere()
        issuer = workshop.issue_ca("lost", lost)
        workshop.ledger = WithoutGrounds(store)
        workshop.issue_leaf("of a lost key", lost, issuer)
        kept = workshop.make_key("kept")
        workshop.issue_leaf("of a kept key", kept, workshop.issue_ca("kept", kept))
        assert sweep(scene.url)[0] == []
        for key in (lost, kept):
            store.remove_key(key.name, organization="test", even_in_use=True)
    scene.sha256 |= workshop.sha256
    found, counts = sweep(scene.url)
    what = f"its signature is not verified: the key {lost.name} is not in the database"
    assert found == [f"note: {scene.row('of a lost key')}: {what}"]
    assert (counts.unverified, counts.faults) == (1, 0)
    der = bytearray(scene.of("of a kept key", "der"))
    der[-1] ^= 1
    scene.put("of a kept key", bytes(der))
    assert any(one.endswith(f"its signature does not verify under the key {kept.name}") for one in scene.faults())


def test_a_signature_by_a_key_that_only_its_grounds_have_is_verified(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        lost = workshop.make_key("lost")
        workshop.ledger = Nowhere()
        issuer = workshop.issue_ca("lost", lost)
        workshop.ledger = store
        workshop.issue_leaf("of a lost key", lost, issuer)
        store.remove_key(lost.name, organization="test", even_in_use=True)
    found, counts = sweep(scene.url)
    assert (found, counts.unverified) == ([], 0)
    scene.sha256 |= workshop.sha256
    der = bytearray(scene.of("of a lost key", "der"))
    der[-1] ^= 1
    scene.put("of a lost key", bytes(der))
    assert any(one.endswith(f"its signature does not verify under the key {lost.name}") for one in scene.faults())


@ON_BOTH
def test_what_was_kept_about_an_issuing_key_and_is_not_there_any_more_is_named(scene: Scene, token: Token) -> None:
    custody = f'{{"sensitive":true,"test":"{secrets.token_hex(8)}"}}'
    custody_sha256 = hashlib.sha256(custody.encode()).hexdigest()
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        signer = dataclasses.replace(workshop.make_key("held", json.loads(custody)), custody_sha256=custody_sha256)
        workshop.issue_leaf("of a held key", signer, workshop.issue_ca("held", signer))
    assert sweep(scene.url)[0] == []
    scene.sha256 |= workshop.sha256
    stated = json.loads(str(scene.of("of a held key", "grounds", "intents")))["issuingKeySha256"]
    kept = {stated: "the statement about its issuing key", custody_sha256: "the custody record of its issuing key"}
    rows = {scene.row("held"), scene.row("of a held key")}
    for digest, what in kept.items():
        with scene.changed("statements", f"sha256 = '{digest}'", "statement = '{}'"):
            assert set(scene.faults()) == {f"{row}: {what}, SHA-256 {digest}, was changed" for row in rows}
    for digest, what in reversed(kept.items()):
        scene.change(f"DELETE FROM statements WHERE sha256 = '{digest}'")
        assert set(scene.faults()) == {f"{row}: {what}, SHA-256 {digest}, is not there" for row in rows}


@ON_BOTH
def test_of_what_is_older_than_the_trail_no_event_is_expected(scene: Scene) -> None:
    serials = f"('{scene.of('leaf', 'serial_number')}', '{scene.of('foreign', 'serial_number')}')"
    scene.change(f"DELETE FROM events WHERE serial_number IN {serials}")
    assert len(scene.faults()) == 4
    old = "'2020-01-01 00:00:00.000000'" if scene.url.startswith("sqlite:") else "'2020-01-01T00:00:00Z'"
    scene.change(f"UPDATE intents SET recorded_at = {old} WHERE intent_id = '{scene.intent('leaf')}'")
    scene.change(f"UPDATE entries SET created_at = {old} WHERE certificate_sha256 = '{scene.sha256['foreign']}'")
    assert len(scene.faults()) == 2  # what is older than the trail has no grounds
    scene.change(f"UPDATE intents SET grounds = NULL WHERE intent_id = '{scene.intent('leaf')}'")
    found, counts = sweep(scene.url)
    what = "no event tells of it: it is from before there was an audit trail, or says so"
    assert set(found) == {f"note: {row}: {what}" for row in (scene.row("leaf"), scene.row("foreign"), FOREIGN)}
    assert (counts.untold, counts.faults) == (2, 0)
    scene.change("DELETE FROM events")
    assert len(scene.faults()) >= len(scene.sha256)  # it is not the trail that is younger


@ON_BOTH
def test_what_says_that_it_is_older_than_the_trail_and_is_told_of_is_checked(scene: Scene) -> None:
    old = "'2001-01-01 00:00:00.000000'" if scene.url.startswith("sqlite:") else "'2001-01-01T00:00:00Z'"
    where = f"intent_id = '{scene.intent('leaf')}'"
    with scene.changed("intents", where, f"recorded_at = {old}"):
        (fault,) = scene.faults()
        assert fault.startswith(f"{scene.row('leaf')}: it was intended on 2001-01-01 ")
        scene.change(f"UPDATE intents SET grounds = NULL, caller = 'x' WHERE {where}")
        assert f"{scene.row('leaf')}: its event certificate-signed has another actor: credential-1" in scene.faults()


@ON_BOTH
def test_a_key_that_only_untold_grounds_name_is_not_believed(scene: Scene, token: Token) -> None:
    """A certificate that somebody has signed with a key of his own, its intent before the trail."""
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        workshop.issue_leaf("forged", lost := workshop.make_key("forged"), workshop.issue_ca("forger", lost))
        store.remove_key(lost.name, organization="test", even_in_use=True)
    scene.sha256 |= workshop.sha256
    serials = [str(scene.of(name, "serial_number")) for name in ("forged", "forger")]
    scene.change(f"DELETE FROM events WHERE serial_number IN ('{serials[0]}', '{serials[1]}')")
    old = "'2020-01-01 00:00:00.000000'" if scene.url.startswith("sqlite:") else "'2020-01-01T00:00:00Z'"
    intents = f"('{scene.intent('forged')}', '{scene.intent('forger')}')"
    scene.change(f"UPDATE intents SET recorded_at = {old} WHERE intent_id IN {intents}")
    found, counts = sweep(scene.url)
    faults = [line for line in found if not line.startswith("note: ")]
    assert {one.partition(": ")[0] for one in faults} == {scene.row("forged"), scene.row("forger")}
    assert counts.untold == 0
    scene.change(f"DELETE FROM certificates WHERE sha256 = '{scene.sha256['forger']}'")
    note = f"note: {scene.row('forged')}: its signature is not verified: the key {lost.name} is not in the database"
    assert note in sweep(scene.url)[0]


def test_an_intent_that_says_that_it_is_older_than_the_trail_is_checked(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        number = intend(Workshop(store, token), "failed", grounds="{}")
        store.record_failure(intent_id="failed", reason="SigningFailed")
    assert scene.faults() == []
    scene.change("UPDATE intents SET recorded_at = '2020-01-01 00:00:00.000000' WHERE intent_id = 'failed'")
    scene.change(f"DELETE FROM events WHERE kind = 'signature-failed' AND serial_number = '{number:040x}'")
    (fault,) = scene.faults()
    assert fault.endswith("intent failed: it is failed, and the audit trail has none of it")
    scene.change(f"DELETE FROM events WHERE serial_number = '{number:040x}'")
    assert scene.faults() == [fault]
    scene.change("UPDATE intents SET grounds = NULL WHERE intent_id = 'failed'")
    assert scene.faults() == []


def test_an_intent_that_is_told_of_is_no_older_than_the_trail(scene: Scene, token: Token) -> None:
    with Store.open(scene.url) as store:
        number = intend(Workshop(store, token), "failed")
        store.record_failure(intent_id="failed", reason="SigningFailed")
    scene.change("UPDATE intents SET recorded_at = '2020-01-01 00:00:00.000000' WHERE intent_id = 'failed'")
    scene.change(f"DELETE FROM events WHERE kind = 'signature-failed' AND serial_number = '{number:040x}'")
    (fault,) = scene.faults()
    assert fault.endswith("intent failed: it is failed, and the audit trail has none of it")


UNDECODABLE = {
    "certificates": ("der", "subject", "issuer", "serial_number", "spki_sha256", "not_before", "not_after", "sha256"),
    "intents": ("tbs", "issuer", "grounds", "signing_key", "profile", "caller", "request_id", "recorded_at"),
}


@pytest.mark.parametrize(("table", "column"), [(table, one) for table, those in UNDECODABLE.items() for one in those])
def test_text_that_is_not_utf_8_is_named_and_stops_nothing(
    scene: Scene, table: str, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has no such text."""
    rows = {name: scene.row(name) for name in ("nowhere", "leaf")}
    where = f"sha256 = '{scene.sha256['leaf']}'"
    if table == "intents":
        where = f"intent_id = '{scene.intent('leaf')}'"
    # Of a length that the constraints ask for, and before all others.
    octets = "2fff" + "61" * (38 if column == "serial_number" else 62)
    scene.change(f"UPDATE {table} SET {column} = CAST(X'{octets}' AS TEXT) WHERE {where}")
    scene.change(f"UPDATE certificates SET is_ca = NOT is_ca WHERE sha256 = '{scene.sha256['nowhere']}'")
    for page in (500, 1):
        monkeypatch.setattr(stored_records, "PAGE", page)
        faults, counts = sweep(scene.url)
        assert (counts.issued, counts.intents) == (len(scene.sha256) - 1, len(scene.sha256) - 1)
        what = f"the column {table}.{column} holds text that is not UTF-8"
        name = rows["leaf"] if column not in ("serial_number", "sha256") or table == "intents" else "serial "
        assert any(one.startswith(name) and one.endswith(what) for one in faults), faults
        assert f"{rows['nowhere']}: the column is_ca is not what it says" in faults


def test_an_intent_with_a_name_that_is_text_hides_nothing(scene: Scene) -> None:
    """Text is before all octets, and an issuer is octets."""
    scene.change("UPDATE intents SET state = 'failed', reason = 'x' WHERE state = 'signed' AND kind = 'certificate'")
    before = len(sweep(scene.url)[0])
    scene.change(f"UPDATE intents SET issuer = 'text' WHERE intent_id = '{scene.intent('leaf')}'")
    assert sweep(scene.url)[1].intents == len(scene.sha256) - 1
    assert len(sweep(scene.url)[0]) > before


def test_an_event_that_is_not_utf_8_is_named_and_stops_nothing(scene: Scene) -> None:
    serial = scene.of("leaf", "serial_number")
    where = f"kind = 'certificate-signed' AND serial_number = '{serial}'"
    ((writer, sequence),) = select(scene.url, f"SELECT writer, sequence FROM events WHERE {where}")
    scene.change(f"UPDATE events SET details = CAST(X'7bff7d' AS TEXT) WHERE {where}")
    assert scene.faults() == [
        f"{scene.row('leaf')}: the audit trail must have one event certificate-signed of it, and has none",
        f"event {sequence} of writer {writer}: its details cannot be read",
    ]


@pytest.mark.parametrize("built", [POSTGRESQL], indirect=True)
def test_a_time_that_python_does_not_know_is_named_and_stops_nothing(scene: Scene) -> None:
    """SQLite's are text."""
    scene.change(f"UPDATE intents SET recorded_at = 'infinity' WHERE intent_id = '{scene.intent('leaf')}'")
    scene.change(f"UPDATE certificates SET not_before = '0044-03-15 BC' WHERE sha256 = '{scene.sha256['leaf']}'")
    scene.change("UPDATE events SET recorded_at = '-infinity' WHERE kind = 'key-unbound'")
    faults = scene.faults()
    assert f"{scene.row('leaf')}: the column not_before is not what it says" in faults
    assert any(one.startswith(f"{scene.row('leaf')}: it was intended on infinity") for one in faults)


def test_a_value_that_is_of_no_use_is_named_and_stops_nothing(scene: Scene) -> None:
    """A column of PostgreSQL holds values of its type only."""
    scene.change(
        f"UPDATE certificates SET der = 7, not_before = 'x', subject = 'y' WHERE sha256 = '{scene.sha256['leaf']}'",
        f"UPDATE intents SET tbs = 'x', recorded_at = 'y', grounds = 5 WHERE intent_id = '{scene.intent('nowhere')}'",
    )
    assert {one.partition(": ")[0] for one in scene.faults()} == {scene.row("leaf"), scene.row("nowhere")}


@ON_BOTH
def test_what_is_issued_meanwhile_is_no_fault(scene: Scene, token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_records, "PAGE", 3)
    over = threading.Event()
    with Store.open(scene.url) as store:
        workshop = Workshop(store, token)
        issued = 0

        def issue() -> None:
            nonlocal issued
            signer = workshop.make_key("meanwhile")
            issuer = workshop.issue_ca("meanwhile", signer)
            while not over.is_set():
                workshop.issue_leaf(f"leaf {issued}", signer, issuer)
                if issued % 3 == 2:
                    store.delete_entry(f"{STORE}.leaf {issued}")
                issued += 1

        writing = threading.Thread(target=issue)
        writing.start()
        try:
            while issued < 30:
                assert sweep(scene.url)[0] == []
        finally:
            over.set()
            writing.join()
    assert sweep(scene.url)[0] == []


def test_every_row_is_found_through_an_index(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a sweep takes as long for each certificate, however many there are."""
    monkeypatch.setattr(stored_records, "PAGE", 2)  # so that there are second pages
    scene.change(f"UPDATE entries SET type = 'vical-entry' WHERE path = '{STORE}.foreign'")  # so that it is read again
    statements: dict[str, object] = {}

    def keep(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements[statement] = parameters

    with reading_records(scene.url) as records:
        event.listen(records._connection.engine, "before_cursor_execute", keep)
        assert len(list(Sweep(records, lambda what, done, total: None).run())) == 1
    with closing(sqlite3.connect(scene.url.removeprefix("sqlite:///"))) as database:
        plans = {
            statement: [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in statements.items()
        }
    assert len(plans) > 12
    known = ("ix_intents_open", "COVERING INDEX")  # what is open is never much, and to count is to look at each
    for statement, plan in plans.items():
        assert [step for step in plan if step.startswith("SCAN") and not any(one in step for one in known)] == [], (
            statement
        )


@pytest.mark.parametrize("built", [POSTGRESQL], indirect=True)
def test_every_row_is_found_through_an_index_of_postgresql(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_records, "PAGE", 2)  # so that there are second pages
    scene.change(f"UPDATE entries SET type = 'vical-entry' WHERE path = '{STORE}.foreign'")  # so that it is read again
    statements: dict[str, object] = {}

    def keep(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT") and "count(" not in statement:
            statements[statement] = parameters

    with reading_records(scene.url) as records:
        event.listen(records._connection.engine, "before_cursor_execute", keep)
        assert len(list(Sweep(records, lambda what, done, total: None).run())) == 1
    statements = {text: wanted for text, wanted in statements.items() if "pg_catalog" not in text}
    with psycopg.connect(scene.url) as connection:
        connection.execute("SET enable_seqscan TO off")
        scans = {statement: postgresql_scans(connection, statement, wanted) for statement, wanted in statements.items()}
    assert len(scans) > 12
    assert {statement: found for statement, found in scans.items() if found} == {}


def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no audit trail"), reading_records(f"sqlite:///{tmp_path}/none.db"):
        pass
