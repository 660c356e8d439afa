"""The token is taken away and given back, again and again, under sixteen clients: every request is answered, nothing
wrong is released, and the same worker serves again within two seconds of each return."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.database import copy_data_folder
from tests.faults.served import Orders, client, put_behind, worker_of
from tests.page.live import init, live_engine
from tests.token.devices.device import DeviceError, find_module
from tests.token.devices.p11_kit import MODULES, PACKAGES

AT_ONCE = 16
SECONDS = 2.0
"""Until a certificate is issued again, from the return of the token."""

Absence = Callable[[], "contextlib.AbstractContextManager[None]"]


class Remoting:
    """`p11-kit server` in front of the data folder's SoftHSM token. To kill it is to pull the HSM's cable."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.socket = scratch / "p11-kit"
        served = "/usr/lib/softhsm/libsofthsm2.so"
        command = ["p11-kit", "server", "--foreground", "--name", self.socket, "--provider", served]
        self._command = [*command, "pkcs11:token=engine-trial"]
        self._environment = {**os.environ, "SOFTHSM2_CONF": str(folder / "softhsm" / "softhsm2.conf")}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, start_new_session=True, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def stop(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)  # it has a child for every connection
        self._process.wait()
        self.socket.unlink()

    @contextlib.contextmanager
    def absence(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()


@contextlib.contextmanager
def served_remotely(folder: Path, scratch: Path) -> Iterator[Absence]:
    try:
        module = find_module(*MODULES, packages=PACKAGES)
    except DeviceError as missing:
        if os.environ.get("ENGINE_REQUIRE_TOKEN"):
            raise
        pytest.skip(str(missing))
    remoting = Remoting(folder, scratch)
    put_behind(folder, module, {"P11_KIT_SERVER_ADDRESS": f"unix:path={remoting.socket}"})
    remoting.start()
    yield remoting.absence
    remoting.stop()


@contextlib.contextmanager
def served_from_a_folder(folder: Path, scratch: Path) -> Iterator[Absence]:
    tokens = folder / "softhsm" / "tokens"

    @contextlib.contextmanager
    def absence() -> Iterator[None]:
        tokens.rename(scratch / "tokens")
        yield
        (scratch / "tokens").rename(tokens)

    yield absence


def take_away_and_give_back(orders: Orders, absence: Absence, times: int) -> list[float]:
    """While sixteen clients order: how long after each return the next certificate came. Every second absence is so
    long that requests are refused meanwhile, the others are waited for by those that meet them."""
    over = threading.Event()

    def order_until_over() -> None:
        while not over.is_set():
            if orders.order().status_code == 503:
                over.wait(0.05)

    def wait_for_more(status: int, count: int, seconds: float) -> float:
        begin, before = time.monotonic(), orders.statuses[status]
        while orders.statuses[status] < before + count:
            assert time.monotonic() - begin < seconds, (status, orders.statuses, orders.state())
            time.sleep(0.005)
        return time.monotonic() - begin

    returns = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        clients = [threads.submit(order_until_over) for _ in range(AT_ONCE)]
        try:
            for turn in range(times):
                wait_for_more(200, 10, 10.0)
                with absence():
                    if turn % 2 == 0:
                        wait_for_more(503, AT_ONCE, 10.0)
                        assert orders.state().startswith("away since ")
                    else:
                        time.sleep(0.1)
                returns.append(wait_for_more(200, 1, SECONDS))
        finally:
            over.set()
    for one in clients:
        one.result()
    return returns


@pytest.mark.parametrize("served", [served_remotely, served_from_a_folder])
@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_a_token_that_is_taken_away_and_given_back_is_served_again_within_two_seconds_and_nothing_wrong_is_released(
    served: Callable[[Path, Path], "contextlib.AbstractContextManager[Absence]"],
    times: int,
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    copy_data_folder(data_folder, folder)
    init(folder)  # which puts the paths in it right
    with (
        served(folder, tmp_path) as absence,
        live_engine(folder) as live,
        client(live.base_url, live.api_key) as http,
    ):
        orders, worker = Orders(http), worker_of(folder)
        returns = take_away_and_give_back(orders, absence, times)
        assert orders.order().status_code == 200
        assert orders.state() == "ready"
        assert worker_of(folder) == worker
        orders.check()
    with capsys.disabled():
        print(
            f"\n{served.__name__}: {times} absences, {orders.statuses[200]} certificates, "
            f"{orders.statuses[503]} times 503;"
            f" served again after at most {max(returns):.3f} s, {sum(returns) / len(returns):.3f} s on average"
        )
