"""What the audit trail, its checkpoints and durability cost: certification request in, recorded certificate out.

    scripts/bench cost [--folder DIR] [--database sqlite|postgresql] [--rounds N]

The whole corridor with a P-256 key of a SoftHSM token and a database whose files are in the folder, which should be on
the disk that a deployment would use (default: the current one) and reachable for the user `postgres`. In each round
every mode runs once for each number of threads, so that a noisy machine is noisy for all; the medians are printed, and
the medians of the ratios of the rounds. The modes:

    full            two events for each issuance, checkpoints as an engine makes them, group commit
    no checkpoints  the same without checkpoints
    no events       the same without events, of which then none are to be covered either
    commit each     as full, but a transaction for each write, of which an issuance has two

What leaves out events or groups exists here only.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from engine.audit.checkpoint import CheckpointMaker
from engine.audit.keeper import making_checkpoints
from engine.store import Store
from engine.store.events import Trail
from engine.token import Token
from tests.bench.scene import build_keeper, databases, softhsm
from tests.issuing import Load, Workshop
from tests.unit.store.auditing import cover, make_maker, make_signer

FULL, UNCOVERED, UNTOLD, ALONE = "full", "no checkpoints", "no events", "commit each"
ISSUANCES = {1: 200, 4: 500, 16: 1000}
"""By number of threads, in one slice."""


@contextmanager
def mode(name: str, store: Store, maker: CheckpointMaker) -> Iterator[None]:
    writer = store._database._writer
    if name == FULL:
        with making_checkpoints(build_keeper(store, maker)):
            yield
    elif name == UNCOVERED:
        yield
    elif name == UNTOLD:
        with patch.object(Trail, "_tell", lambda *told: None):
            yield
    else:
        with patch.object(writer, "_batch_limit", 1), making_checkpoints(build_keeper(store, maker)):
            yield


def measure(kind: str, url: str, token: Token, rounds: int, witness: Path) -> None:
    rates: dict[tuple[str, int], list[float]] = {}
    with Store.open(url) as store:
        maker = make_maker(store, make_signer(token), witness)
        load = Load(Workshop(store, token))
        load.issue_many(200, 16)  # warm
        gc.collect()
        gc.freeze()  # as a worker does when it has opened everything
        for _ in range(rounds):
            for threads, count in ISSUANCES.items():
                for name in (FULL, UNCOVERED, UNTOLD, ALONE):
                    begin = time.perf_counter()
                    with mode(name, store, maker):  # at its end everything is covered
                        load.issue_many(count, threads)
                    rates.setdefault((name, threads), []).append(count / (time.perf_counter() - begin))
                    while cover(maker):
                        pass
    print(kind)
    for threads in ISSUANCES:
        for name in (FULL, UNCOVERED, UNTOLD, ALONE):
            found = rates[name, threads]
            ratios = [one / full for one, full in zip(found, rates[FULL, threads], strict=True)]
            print(
                f"  {threads:2} threads  {name:14}  {statistics.median(found):6.0f} a second  "
                f"({min(found):.0f} to {max(found):.0f})   {statistics.median(ratios):.2f} of full",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    kinds = (options.database,) if options.database else ("sqlite", "postgresql")
    with softhsm() as token, databases(options.folder, kinds) as urls, tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            measure(kind, urls[kind], token, options.rounds, Path(folder) / f"{kind}.jsonl")


if __name__ == "__main__":
    main()
