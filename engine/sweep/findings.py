"""What a sweep finds, in words that do nothing to a terminal, wherever they came from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.store import UndecodableText

UNTOLD = "no event tells of it: it is from before there was an audit trail, or says so"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is to be known and is no fault."""

    row: str
    what: str

    def __str__(self) -> str:
        return f"note: {self.row}: {self.what}"


@dataclass(slots=True)
class Counts:
    """How many there were."""

    issued: int = 0
    elsewhere: int = 0
    unverified: int = 0
    """Signatures that could not be verified, since the issuing key is nowhere in the database."""
    untold: int = 0
    """Certificates from before there was an audit trail, or what is made to look like that."""
    intents: int = 0
    unknown: int = 0
    open: int = 0
    entries: int = 0
    keys: int = 0
    credentials: int = 0
    accounts: int = 0
    events: int = 0
    faults: int = 0

    def lines(self) -> Iterator[str]:
        """For people."""
        both = self.issued + self.elsewhere
        yield f"certificates: {both}, {self.issued} issued here, {self.elsewhere} from elsewhere"
        if self.unverified:
            yield f"signatures not verified, since the issuing key is not in the database: {self.unverified}"
        if self.untold:
            yield f"certificates from before there was an audit trail: {self.untold}"
        yield f"intents of certificates: {self.intents}; of unknown outcome, to be revoked: {self.unknown}"
        yield f"signatures under way: {self.open}"
        yield f"places in certificate stores: {self.entries}"
        yield f"keys: {self.keys}, credentials: {self.credentials}, accounts: {self.accounts}"
        yield f"events: {self.events}"
        yield f"faults: {self.faults}"


def shown(value: object) -> str:
    """As it is, if it is plain; else as JSON in ASCII."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and value:
        return value
    return json.dumps(value, default=repr)


def undecodable(row: Any) -> Iterator[str]:
    """What is wrong with those columns of a row that hold text that is not UTF-8."""
    for column, value in row._mapping.items():
        if isinstance(value, UndecodableText):
            yield f"the column {column.replace('_', '.', 1)} holds text that is not UTF-8"
