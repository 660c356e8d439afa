"""What benchmarks of real issuances share: a SoftHSM token, databases on a real disk, and checkpoints of the trail."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from engine.audit.checkpoint import CheckpointMaker
from engine.audit.keeper import CheckpointKeeper, Gate
from engine.store import Store
from engine.token import Token
from tests.postgresql import new_database, postgresql_server
from tests.softhsm import make_softhsm

EVENTS = 1000
"""Make a checkpoint due, as in the trial's configuration."""


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def softhsm() -> Iterator[Token]:
    """An open token, with a session for each of sixteen threads."""
    with tempfile.TemporaryDirectory() as folder:
        token = Token.open(make_softhsm(Path(folder) / "token", "engine-bench").settings(sessions=16))
        try:
            yield token
        finally:
            token.close()


@contextmanager
def databases(folder: Path, kinds: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """URLs of an empty database of each kind, with their files under `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as here:
        urls = {"sqlite": f"sqlite:///{Path(here).resolve()}/bench.db"}
        if "postgresql" not in kinds:
            yield urls
            return
        with (
            tempfile.TemporaryDirectory(dir=folder) as there,
            postgresql_server(Path(there).resolve()) as server,
        ):
            urls["postgresql"] = new_database(server)
            yield {kind: urls[kind] for kind in kinds}


def build_keeper(store: Store, maker: CheckpointMaker) -> CheckpointKeeper:
    """As an engine that serves has it."""
    return CheckpointKeeper(maker, store.find_waiting_events, Gate(3600.0), now, events=EVENTS, seconds=60.0)
