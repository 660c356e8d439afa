"""The database goes away under clients that order without pause, and comes back: nothing is signed without a record,
every refusal says why, what it left open is closed, and the same process serves again."""

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGQUIT, Signals

import psycopg
import pytest

from tests.faults.outages import AT_ONCE, Report, copy_folder, serving
from tests.page.live import DEADLINE, ENGINE
from tests.postgresql import PostgreSQLServer, drop_database, new_database

NOT_COMMITTED = "StoreUnavailable: The database did not commit the record"
NOT_ANSWERED = "StoreUnavailable: The database did not answer a query"
NOT_KNOWN = "StoreUnavailable: The database did not confirm its COMMIT; whether the record was kept is not known."
NOT_IN_PLACE = (
    "StoreUnavailable: The database file or one beside it was moved, replaced or removed while it was in use; nothing "
    "is recorded until it is back, or the engine is started anew."
)
NO_CONNECTION = "no connection to its server can be made."
LOST = "the connection to its server was lost."


@pytest.fixture
def postgresql_folder(postgresql: PostgreSQLServer, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A data folder and the URL of its database."""
    url = new_database(postgresql)
    folder = tmp_path / "data"
    command = [*ENGINE, "init", "--data", folder, "--database", url]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    yield folder, url
    drop_database(postgresql, url)


@contextlib.contextmanager
def stopped(server: PostgreSQLServer, signal: Signals) -> Iterator[None]:
    server.stop(signal)
    try:
        yield
    finally:
        server.start()


def terminate_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_postgresql_server_that_crashes_and_comes_back_is_used_again_by_the_same_process(
    times: int,
    postgresql: PostgreSQLServer,
    postgresql_folder: tuple[Path, str],
    fault_module: Path,
    tmp_path: Path,
    report: Report,
) -> None:
    folder, url = postgresql_folder
    possible = {f"{what}: {why}" for what in (NOT_COMMITTED, NOT_ANSWERED) for why in (NO_CONNECTION, LOST)}
    with serving(folder, fault_module, tmp_path, report) as service, service.clients.ordering():
        for number in range(times):
            with service.clients.without(stopped(postgresql, SIGINT if number % 4 == 3 else SIGQUIT)) as passage:
                assert service.parts().keys() == {"store"}
            assert passage.sentences <= {*possible, NOT_KNOWN}
            assert passage.seconds_until_served < 2.0
            report(str(passage))
        # Without an end of the server: at most what is under way is refused.
        for _ in range(10 * times):
            terminate_connections(url)
            service.clients.wait_for_more(200, 2 * AT_ONCE)
        assert service.clients.sentences.keys() <= {*possible, NOT_KNOWN}


def put_apart(sqlite_folder: Path, folder: Path) -> Path:
    """A data folder whose database is in a folder of its own, which is returned."""
    copy_folder(sqlite_folder, folder)
    apart = folder.with_name("apart")
    apart.mkdir()
    for path in folder.glob("engine.db*"):
        path.rename(apart / path.name)
    config = folder / "engine.toml"
    url = json.dumps(f"sqlite:///{apart}/engine.db")
    config.write_text(config.read_text().replace('"sqlite:///engine.db"', url))
    return apart


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    elsewhere = path.with_name(f"{path.name}-away")
    path.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(path)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_sqlite_database_that_was_moved_away_is_not_written_to_until_it_is_back(
    times: int, sqlite_folder: Path, fault_module: Path, tmp_path: Path, report: Report
) -> None:
    """A process that has it open could go on, and its records would not be found where the database should be."""
    apart = put_apart(sqlite_folder, tmp_path / "data")
    unreadable = ("its file cannot be opened", "its files cannot be read or written")
    possible = {NOT_IN_PLACE, NOT_KNOWN, *(f"{NOT_ANSWERED}: {why}." for why in unreadable)}
    with serving(tmp_path / "data", fault_module, tmp_path, report) as service, service.clients.ordering():
        for _ in range(times):
            for path in (apart, apart / "engine.db"):
                with service.clients.without(moved_away(path)) as passage:
                    assert service.parts().keys() == {"store"}
                    assert not path.exists()  # nobody has made an empty one
                assert passage.sentences <= possible
                assert passage.seconds_until_served < 2.0
                report(f"{path.name}: {passage}")


@pytest.mark.soak
def test_a_sqlite_database_that_somebody_else_keeps_locked_is_written_to_when_it_is_free_again(
    sqlite_folder: Path, fault_module: Path, tmp_path: Path, report: Report
) -> None:
    folder = tmp_path / "data"
    copy_folder(sqlite_folder, folder)

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(folder / "engine.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    with serving(folder, fault_module, tmp_path, report) as service, service.clients.ordering():
        with service.clients.without(locked()) as passage:
            assert service.parts().keys() == {"store"}
        assert passage.sentences == {f"{NOT_COMMITTED}: another process keeps it locked."}
        assert passage.seconds_until_served < 2.0
        report(str(passage))
