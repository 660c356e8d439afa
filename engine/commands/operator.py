"""Who is at the command line, for the audit trail, and what they were refused."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from engine.api.paths import masked
from engine.directory import Refusal
from engine.directory.refusals import Refusals
from engine.errors import RequestError
from engine.issuance import Caller
from engine.store import Store
from engine.whereabouts import local_source


def operator(target: str) -> Caller:
    """Whoever may read the configuration, about `target`."""
    return Caller(
        credential_id="command-line",
        target=target,
        request_id=secrets.token_hex(8),
        request_digest=hashlib.sha256(b"").hexdigest(),
        source=local_source(),
    )


@contextmanager
def telling_refusals(store: Store, by: Caller, command: str) -> Iterator[Caller]:
    """Tell the audit trail what the block is refused. Gives `by`, and raises what the block raises, or StoreError."""
    try:
        yield by
    except RequestError as error:
        call = f"signing-engine {command}"
        Refusals(store).record(Refusal(by, masked(by.target), error, call, "command"))
        raise
