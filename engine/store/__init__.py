"""The store room: what the engine must remember, in a database. The only importer of the database library.

`Store` is opened once per process. Every method may be called from any thread; a method that writes returns when
what it wrote survives a crash, and not before. Nothing but the classes of `engine.errors` comes out of this room.
"""

from engine.store.keys import read_keys
from engine.store.rows import (
    AccountRow,
    AttemptRow,
    CaCertificate,
    CertificateFacts,
    CredentialRow,
    DanglingIntent,
    KeptAnswer,
    KeyInUse,
    KeyMaking,
    KeyRow,
    NewEntry,
    Obstacles,
    RemovedKey,
    ResourceRow,
    StoredCertificate,
)
from engine.store.store import Store

__all__ = [
    "AccountRow",
    "AttemptRow",
    "CaCertificate",
    "CertificateFacts",
    "CredentialRow",
    "DanglingIntent",
    "KeptAnswer",
    "KeyInUse",
    "KeyMaking",
    "KeyRow",
    "NewEntry",
    "Obstacles",
    "RemovedKey",
    "ResourceRow",
    "Store",
    "StoredCertificate",
    "read_keys",
]
