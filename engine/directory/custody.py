"""What the custody record of a key must say before the key may sign for a service with `require-custody`.

The record is the token's own: attributes read back, and what it did when it was asked to give the key away. The rule
is this file; `find_shortfalls` is empty for a key that was made on its token, can only sign and cannot leave.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from engine.store import KeyRow
from engine.token import find_attribute_faults
from engine.x509.spki import PublicKey

GENERATED, ADOPTED, IMPORTED = "generated", "adopted", "imported"
"""Origins: made on the token by this engine, found there, or brought there from outside by a caller of this engine."""

_SUFFICIENT: Mapping[str, frozenset[str]] = {
    "read": frozenset({"refused"}),
    # A token that has nothing to wrap with cannot wrap, and one that does not copy cannot copy.
    "wrap": frozenset({"refused", "not tested"}),
    "copy": frozenset({"refused", "not tested"}),
}
"""The negative tests of a record, and the results that are good enough."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A registered key as an auditor wants to see it."""

    path: str
    public_key: PublicKey
    origin: str
    checked_at: datetime
    custody: Mapping[str, object]
    """Attributes in lower-case PKCS#11 names, `token`, `negative_tests`."""
    shortfalls: tuple[str, ...]
    """A sentence each, without its full stop; none if the record is sufficient."""


def find_shortfalls(custody: Mapping[str, object], origin: str) -> tuple[str, ...]:
    """Why a key with this record may not sign where custody is required; empty if it may."""
    return (*find_attribute_faults(custody), *_origin_faults(custody, origin), *_negative_test_faults(custody))


def build_record(row: KeyRow, public_key: PublicKey) -> KeyRecord:
    """The record of a registered key, from the store."""
    return KeyRecord(
        path=row.path,
        public_key=public_key,
        origin=row.origin,
        checked_at=row.checked_at,
        custody=row.custody,
        shortfalls=find_shortfalls(row.custody, row.origin),
    )


def _origin_faults(custody: Mapping[str, object], origin: str) -> list[str]:
    """Whether the key was made on its token: CKA_LOCAL, or this engine's own word where the token never says so."""
    if origin == IMPORTED and custody.get("local") is True:
        return ["the key was imported, whatever the token says of it"]
    if custody.get("local") is True or (origin == GENERATED and "local_not_told" in custody):
        return []
    return [f"local is {custody.get('local')}, expected True: the key was not made on the token ({origin})"]


def _negative_test_faults(custody: Mapping[str, object]) -> list[str]:
    tests = custody.get("negative_tests")
    if not isinstance(tests, Mapping):
        return ["nobody has tried to take the key out of the token"]
    faults = []
    for name, sufficient in _SUFFICIENT.items():
        test = tests.get(name)
        if not isinstance(test, Mapping) or test.get("result") not in sufficient:
            faults.append(f"trying to {name} the private key was not refused: {_shown(test)}")
    return faults


def _shown(test: object) -> str:
    if not isinstance(test, Mapping):
        return "not tried"
    return " ".join(str(test[member]) for member in ("result", "attribute", "mechanism", "answer") if member in test)


class CustodyWatch:
    """When the keys of a token were last found sufficient, and on which connection; in memory, so a start looks anew.

    A key is known by its path and its public half: one that is made anew under the path of another was not examined.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self.clock = clock
        self.checking = threading.Lock()
        """Held while a key is examined because requests wait for it, so that they do not all examine it."""
        self._found: dict[str, tuple[str, float, object]] = {}

    def record(self, path: str, spki_sha256: str, began: float, connection: object, *, is_sufficient: bool) -> None:
        """The key with that public half at `path` was examined, beginning at `began`, on that connection."""
        if is_sufficient:
            self._found[path] = (spki_sha256, began, connection)
        else:
            self._found.pop(path, None)

    def forget(self, path: str) -> None:
        """The path stands for no key any more."""
        self._found.pop(path, None)

    def is_recent(self, path: str, spki_sha256: str, connection: object, seconds: float) -> bool:
        """Whether the key was found sufficient on this connection in the last `seconds`."""
        found = self._found.get(path)
        if found is None:
            return False
        examined, began, examined_on = found
        return examined == spki_sha256 and examined_on is connection and self.clock() - began < seconds
