"""A disk fills up under clients that order without pause: nothing is signed without a record, every refusal says why,
and when there is room again the same process serves again."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGQUIT

import psycopg
import pytest
from psycopg import sql

from tests.faults.outages import Report, copy_folder, serving, set_witness
from tests.page.live import DEADLINE, ENGINE
from tests.postgresql import PostgreSQLMissing, PostgreSQLServer, new_database, postgresql_server
from tests.small_disk import SmallDisk, small_disk

OFTEN = {"events": 20, "seconds": 0.2, "longest_seconds": 2.0}
"""How checkpoints are made."""
NOT_COMMITTED = "StoreUnavailable: The database did not commit the record: its disk is full."


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_on_a_full_disk_nothing_is_issued_until_there_is_room(
    times: int, sqlite_folder: Path, fault_module: Path, tmp_path: Path, report: Report
) -> None:
    """The whole data folder is on it, also the token, the witness and the log."""
    with small_disk(tmp_path / "disk", 64) as disk:
        folder = disk.folder / "data"
        copy_folder(sqlite_folder, folder)
        with (
            serving(folder, fault_module, tmp_path, report, witness_fails=True) as service,
            service.clients.ordering(),
        ):
            for _ in range(times):
                with service.clients.without(disk.full()) as passage:
                    assert service.parts().keys() <= {"store"}  # what changes nothing needs no room
                assert passage.sentences == {NOT_COMMITTED}
                assert passage.seconds_until_served < 2.0
                report(str(passage))


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_when_the_witness_has_no_room_for_longer_than_an_event_may_wait_nothing_is_signed_until_it_has(
    times: int, sqlite_folder: Path, fault_module: Path, tmp_path: Path, report: Report
) -> None:
    folder = tmp_path / "data"
    copy_folder(sqlite_folder, folder)
    with small_disk(tmp_path / "disk", 1) as disk:
        witness = disk.folder / "witness.jsonl"
        set_witness(folder, witness)

        @contextlib.contextmanager
        def full() -> Iterator[None]:
            """But for what is left of the last block of the witness: less than it takes."""
            with disk.full(), witness.open("ab") as file:
                file.write(b"\n" * (-witness.stat().st_size % os.sysconf("SC_PAGE_SIZE") - 300))
                file.flush()
                yield

        with (
            serving(folder, fault_module, tmp_path, report, witness_fails=True, **OFTEN) as service,
            service.clients.ordering(),
        ):
            for _ in range(times):
                with service.clients.without(full()) as passage:
                    (why,) = service.parts().values()
                    assert service.parts().keys() == {"audit trail"}
                    asked = service.faulty.counters().sign_calls
                    service.clients.wait_for_more(503, 100)
                    # Nothing but another try at the checkpoint.
                    assert service.faulty.counters().sign_calls <= asked + 1
                assert f"StoreUnavailable: {why}" in passage.sentences
                assert why == (
                    "Nothing is signed until the audit trail has a checkpoint: events have waited for one for more "
                    "than 2 seconds (The witness file of the audit trail was not written: No space left on device)."
                )
                assert len(passage.sentences) == 1
                assert passage.seconds_until_served < 8.0
                report(str(passage))


@pytest.mark.soak
@pytest.mark.parametrize("ends", [False, True], ids=["server-lives", "server-ends"])
def test_when_postgresql_has_no_room_nothing_is_issued_until_it_has(
    ends: bool, fault_module: Path, tmp_path: Path, report: Report
) -> None:
    """It lives through that until it wants a new file for its log: then it ends, and has to be started anew."""
    with tempfile.TemporaryDirectory(prefix="engine-postgresql-") as reachable:
        Path(reachable).chmod(0o755)
        with small_disk(Path(reachable) / "disk", 160) as disk:
            place = disk.folder / "server"
            place.mkdir()
            try:
                with postgresql_server(place) as server:
                    folder, url = tmp_path / "data", new_database(server)
                    command = [*ENGINE, "init", "--data", folder, "--database", url]
                    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
                    with serving(folder, fault_module, tmp_path, report) as service, service.clients.ordering():
                        for _ in range(5):
                            with service.clients.without(without_room(disk, server, ends=ends)) as passage:
                                assert service.parts().keys() <= {"store"}
                            assert ends or passage.sentences == {NOT_COMMITTED}
                            report(f"{passage}; {passage.sentences}")
            except PostgreSQLMissing as missing:
                pytest.skip(f"PostgreSQL: {missing}")


@contextlib.contextmanager
def without_room(disk: SmallDisk, server: PostgreSQLServer, *, ends: bool) -> Iterator[None]:
    """And without the server, if it `ends`."""
    with disk.full():
        while ends and is_there(server):
            with contextlib.suppress(psycopg.OperationalError):
                server.execute(sql.SQL("SELECT pg_switch_wal(), pg_logical_emit_message(false, '', '')"))
        yield
    if ends:
        # Asked to end in order while it recovers from its crash, it may wait for ever for a process that is not asked.
        server.stop(SIGQUIT)
        server.start()
    assert is_there(server)


def is_there(server: PostgreSQLServer) -> bool:
    try:
        psycopg.connect(server.url("postgres")).close()
    except psycopg.OperationalError:
        return False
    return True
