"""The store room: what the engine must remember, in a database. The only importer of the database library.

`Store` is opened once per process. Every method may be called from any thread; a method that writes returns when
what it wrote survives a crash, and not before. Nothing but the classes of `engine.errors` comes out of this room.
"""

from engine.store.chain import KINDS
from engine.store.evidence import EvidenceRecords, reading_evidence
from engine.store.keys import read_keys
from engine.store.raw_values import UndecodableText, load_octets, load_time
from engine.store.rows import (
    ENGINE,
    AccountRow,
    Actor,
    AttemptRow,
    CaCertificate,
    CertificateFacts,
    CredentialRow,
    DanglingIntent,
    IssuedRow,
    KeptAnswer,
    KeyInUse,
    KeyMaking,
    KeyRow,
    NewEntry,
    Obstacles,
    Operator,
    ProofIntent,
    RemovedKey,
    ResourceRow,
    StoredCertificate,
)
from engine.store.store import Store
from engine.store.stored_records import StandingRecords, StoredRecords, ToldEvent, reading_records
from engine.store.stored_trail import StoredTrail, reading_trail
from engine.store.wanted_events import WantedEvents

__all__ = [
    "ENGINE",
    "KINDS",
    "AccountRow",
    "Actor",
    "AttemptRow",
    "CaCertificate",
    "CertificateFacts",
    "CredentialRow",
    "DanglingIntent",
    "EvidenceRecords",
    "IssuedRow",
    "KeptAnswer",
    "KeyInUse",
    "KeyMaking",
    "KeyRow",
    "NewEntry",
    "Obstacles",
    "Operator",
    "ProofIntent",
    "RemovedKey",
    "ResourceRow",
    "StandingRecords",
    "Store",
    "StoredCertificate",
    "StoredRecords",
    "StoredTrail",
    "ToldEvent",
    "UndecodableText",
    "WantedEvents",
    "load_octets",
    "load_time",
    "read_keys",
    "reading_evidence",
    "reading_records",
    "reading_trail",
]
