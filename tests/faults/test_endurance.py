"""Nothing grows: not the process, not the sessions and objects on the token, over many signatures and many returns."""

from collections.abc import Callable

import pytest

WATCHED = """
import gc
def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
def objects():
    with token._connection.read_write() as session:
        return len(list(session.get_objects({})))
token = Token.open(settings(sessions=4))
key, spki = new_key(token)
jwk = {
    "kty": "EC", "crv": "P-256", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}  # RFC 7517 appendix A.2
def report(*what, before):
    after = resident()
    print(*what, f"{before:.1f} MiB before, {after:.1f} MiB after")
    assert abs(after - before) < 5
"""


@pytest.mark.soak
def test_memory_sessions_and_objects_stay_level_over_a_hundred_thousand_signatures(
    at_fault: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = at_fault(
        WATCHED
        + """
def work(count):
    def some(number):
        for i in range(count // 4):
            token.sign(key, ALGORITHM, b"message")
            if i % 100 == 0:
                token.sign_with_jwk(jwk, ALGORITHM, b"message")
    assert in_threads(4, some) == []
work(10_000)
before, kept, signatures = resident(), objects(), token.signatures
work(100_000)
report("signatures", token.signatures - signatures, before=before)
print(objects() - kept, faulty.counters().open_sessions <= 5)
token.close()
print(faulty.counters().open_sessions)
""",
        seconds=600,
    )
    measured, rest = printed.split("\n", 1)
    with capsys.disabled():
        print(f"\n{measured}")
    assert rest == "0 True\n0\n"


@pytest.mark.soak
def test_memory_sessions_and_objects_stay_level_over_a_thousand_returns(
    at_fault: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = at_fault(
        WATCHED
        + """
def pull():
    faulty.remove_token()
    threading.Timer(0.01, faulty.insert_token).start()
def start_anew():
    faulty.fail("C_OpenSession", Ckr.GENERAL_ERROR, times=1)
    faulty.move_slots(0)
misfortunes = (faulty.force_logout, lambda: faulty.move_slots(next(offsets)), pull, start_anew)
import itertools
offsets = itertools.cycle(range(1, 20))
def work(count):
    for number in range(count):
        logins = faulty.counters().logins
        misfortunes[number % 4]()
        assert in_threads(4, lambda _: sign(token, key, spki)) == []
        until(lambda: token.state() == "ready")
        assert faulty.counters().logins > logins
work(100)
before, kept, began = resident(), objects(), faulty.calls("C_Initialize")
work(1_000)
report("returns with", faulty.calls("C_Initialize") - began, "starts of the module", before=before)
counters = faulty.counters()
print(objects() - kept, counters.open_sessions <= 5, counters.session_overlaps, counters.finalized_in_flight)
token.close()
print(faulty.counters().open_sessions)
""",
        seconds=600,
    )
    measured, rest = printed.split("\n", 1)
    with capsys.disabled():
        print(f"\n{measured}")
    assert rest == "0 True 0 0\n0\n"
