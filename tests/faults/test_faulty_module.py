"""Each fault of the fault-injecting module does what it says, so that the tests that rely on it can."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tests.faults.cryptoki_client import PRIVATE_KEY, PUBLIC_KEY
from tests.faults.faulty import (
    ANY,
    FUNCTIONS,
    HEADERS,
    Ckr,
    FaultyModule,
    FaultyModuleUnavailable,
    TokenFlags,
    build_module,
)

DIGEST = sha256(b"to be signed").hexdigest()
LABEL = "signing"


class Answered(Exception):
    """A function of the module answered something else than CKR_OK."""

    def __init__(self, function: str, answer: int) -> None:
        super().__init__(f"{function} answered {answer:#x}")
        self.function, self.answer = function, answer


class Caller:
    """A process that has the module loaded and does one thing at a time when told."""

    def __init__(self, faulty: FaultyModule, configuration: Path) -> None:
        environment = {"SOFTHSM2_CONF": str(configuration), "FAULTY_SO": str(faulty.module), **faulty.environment}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("cryptoki_client.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )

    def begin(self, method: str, *arguments: object) -> None:
        self.process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self.process.stdin.flush()

    def end(self) -> object:
        reply = json.loads(self.process.stdout.readline())
        if "function" in reply:
            raise Answered(reply["function"], reply["answer"])
        return reply["value"]

    def __call__(self, method: str, *arguments: object) -> object:
        self.begin(method, *arguments)
        return self.end()

    def log_in(self, sessions: int = 1) -> list[int]:
        """Initialise, open so many sessions on the token, log in; the sessions."""
        self("initialize")
        opened = [self("open_session", self.slot()) for _ in range(sessions)]
        self("login", opened[0])
        return opened

    def slot(self) -> int:
        return next(each for each in self("slots") if self("token_info", each)["label"] == "faults")

    def ready(self, sessions: int = 1) -> tuple[list[int], int]:
        """Sessions of a logged-in process and the handle of the private key."""
        opened = self.log_in(sessions)
        return opened, self("find", opened[0], PRIVATE_KEY, LABEL)[0]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def answered(caller: Caller, method: str, *arguments: object) -> tuple[str, int]:
    """The function that did not answer CKR_OK, and what it answered."""
    with pytest.raises(Answered) as failure:
        caller(method, *arguments)
    return failure.value.function, failure.value.answer


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_module(tmp_path_factory.mktemp("faulty"))
    except FaultyModuleUnavailable as unavailable:
        if os.environ.get("ENGINE_REQUIRE_TOKEN"):
            raise
        pytest.skip(str(unavailable))


@pytest.fixture(scope="module")
def configuration(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SoftHSM token with one P-256 key pair, made through the module itself."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with FaultyModule(module, folder / "control") as faulty:
        caller = Caller(faulty, configuration)
        try:
            caller("initialize")
            caller("make_token", "faults")
            session = caller("open_session", caller.slot())
            caller("login", session)
            caller("generate", session, LABEL)
        finally:
            caller.close()
    return configuration


@pytest.fixture
def faulty(module: Path, tmp_path: Path) -> Iterator[FaultyModule]:
    with FaultyModule(module, tmp_path / "control") as faulty:
        yield faulty


@pytest.fixture
def new_caller(faulty: FaultyModule, configuration: Path) -> Iterator[Callable[[], Caller]]:
    callers = []

    def start() -> Caller:
        callers.append(Caller(faulty, configuration))
        return callers[-1]

    yield start
    for caller in callers:
        caller.close()


@pytest.fixture
def caller(new_caller: Callable[[], Caller]) -> Caller:
    return new_caller()


def public_key(caller: Caller, session: int) -> ec.EllipticCurvePublicKey:
    key = caller("find", session, PUBLIC_KEY, LABEL)[0]
    point = bytes.fromhex(caller("attributes", session, key, ["ec_point"], [100])["values"][0])
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-65:])


def verify(key: ec.EllipticCurvePublicKey, signature: str) -> None:
    r, s = int(signature[:64], 16), int(signature[64:], 16)
    key.verify(encode_dss_signature(r, s), bytes.fromhex(DIGEST), ec.ECDSA(Prehashed(SHA256())))


# -- forwarding and counting -------------------------------------------------------------------------------------------


def test_function_numbers_are_the_order_of_the_function_list() -> None:
    header = (HEADERS / "p11-kit/pkcs11.h").read_text()
    members = header.split("struct ck_function_list\n{")[1].split("};")[0]
    assert tuple(re.findall(r"CK_C_\w+ (C_\w+);", members)) == FUNCTIONS


def test_every_function_is_forwarded_and_counted_under_its_own_name(caller: Caller, faulty: FaultyModule) -> None:
    answers = dict(zip(FUNCTIONS, caller("function_answers"), strict=True))
    not_initialized = {name for name, answer in answers.items() if answer == Ckr.CRYPTOKI_NOT_INITIALIZED}
    # Called in the order of the list and with zeros: C_Initialize and C_Finalize succeed, then nothing is initialised.
    assert answers["C_Initialize"] == answers["C_Finalize"] == Ckr.OK
    others = {"C_Initialize", "C_Finalize", "C_GetFunctionList", "C_WaitForSlotEvent"}
    assert set(FUNCTIONS) - not_initialized <= others
    counted = {name: faulty.calls(name) for name in FUNCTIONS}
    assert counted == dict.fromkeys(FUNCTIONS, 1) | {"C_GetFunctionList": 2}


def test_a_signature_through_the_module_verifies_and_is_counted_once(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    verify(public_key(caller, session), caller("sign", session, key, DIGEST))
    counters = faulty.counters()
    assert (counters.sign_calls, counters.signatures, counters.logins) == (1, 1, 1)
    assert faulty.calls("C_Sign") == 2  # python-pkcs11, too, asks for the length first


def test_counters_survive_a_killed_process_and_its_sessions_do_not(
    new_caller: Callable[[], Caller], faulty: FaultyModule
) -> None:
    first = new_caller()
    (session, _), key = first.ready(sessions=2)
    first("sign", session, key, DIGEST)
    assert faulty.counters().open_sessions == 2
    first.process.send_signal(signal.SIGKILL)
    faulty.wait_for(lambda counters: counters.open_sessions == 0)  # also while it is a zombie
    second = new_caller()
    (session,), key = second.ready()
    second("sign", session, key, DIGEST)
    counters = faulty.counters()
    assert (counters.sign_calls, counters.open_sessions, counters.max_open_sessions) == (2, 1, 2)


def test_closing_sessions_by_every_way_is_counted(caller: Caller, faulty: FaultyModule) -> None:
    sessions = caller.log_in(sessions=3)
    caller("close_session", sessions[0])
    assert faulty.counters().open_sessions == 2
    caller("close_all_sessions", caller.slot())
    assert faulty.counters().open_sessions == 0
    caller("open_session", caller.slot())
    caller("finalize")
    assert faulty.counters().open_sessions == 0
    assert faulty.counters().max_open_sessions == 3


def test_counters_can_begin_again(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    caller("sign", session, key, DIGEST)
    faulty.reset_counters()
    assert faulty.counters().sign_calls == faulty.calls("C_SignInit") == 0
    assert faulty.counters().max_open_sessions == 1


def test_two_calls_on_one_session_are_noticed(caller: Caller, faulty: FaultyModule) -> None:
    (first, second), key = caller.ready(sessions=2)
    faulty.hang_signing()
    caller("begin_signing", first, key, DIGEST)
    faulty.wait_for(lambda counters: counters.signs_hanging == 1)
    caller("session_info", second)
    assert faulty.counters().session_overlaps == 0
    caller("session_info", first)
    assert faulty.counters().session_overlaps == 1
    assert faulty.counters().max_calls_in_flight == 2
    faulty.release_signing()
    caller("end_signing")


# -- failing calls -----------------------------------------------------------------------------------------------------


def test_every_third_signature_fails_until_cleared(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    rule = faulty.fail("C_Sign", Ckr.DEVICE_ERROR, every=3)
    done = []
    for _ in range(9):
        try:
            done.append(len(caller("sign", session, key, DIGEST)))
        except Answered as failure:
            done.append((failure.function, failure.answer))
    assert done == [128, 128, ("C_Sign", Ckr.DEVICE_ERROR)] * 3
    assert rule.fired == 3
    rule.clear()
    for _ in range(3):
        caller("sign", session, key, DIGEST)
    assert faulty.counters().sign_calls == 12
    assert faulty.counters().signatures == 9


def test_the_next_two_calls_fail_and_no_more(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    rule = faulty.fail("C_SignInit", Ckr.GENERAL_ERROR, times=2)
    for _ in range(2):
        assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", Ckr.GENERAL_ERROR)
    assert rule.used_up
    caller("sign", session, key, DIGEST)


def test_only_the_second_login_fails(caller: Caller, faulty: FaultyModule) -> None:
    faulty.fail("C_Login", Ckr.PIN_LOCKED, every=2, times=1)
    (session,) = caller.log_in()
    assert answered(caller, "login", session) == ("C_Login", Ckr.PIN_LOCKED)
    assert answered(caller, "login", session) == ("C_Login", Ckr.USER_ALREADY_LOGGED_IN)


def test_any_function_can_be_meant_and_a_vendor_code_answered(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    faulty.fail(ANY, Ckr.VENDOR_DEFINED + 7)
    assert answered(caller, "session_info", session) == ("C_GetSessionInfo", 0x80000007)
    assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", 0x80000007)
    faulty.clear_failures()
    caller("sign", session, key, DIGEST)


def test_a_lost_answer_leaves_the_work_done(caller: Caller, faulty: FaultyModule) -> None:
    (session,) = caller.log_in()
    faulty.fail("C_GenerateKeyPair", Ckr.DEVICE_ERROR, times=1, after=True)
    assert answered(caller, "generate", session, "lost") == ("C_GenerateKeyPair", Ckr.DEVICE_ERROR)
    assert len(caller("find", session, PRIVATE_KEY, "lost")) == 1
    faulty.fail("C_GenerateKeyPair", Ckr.DEVICE_ERROR, times=1)
    assert answered(caller, "generate", session, "never made") == ("C_GenerateKeyPair", Ckr.DEVICE_ERROR)
    assert caller("find", session, PRIVATE_KEY, "never made") == []


def test_an_ended_rule_keeps_its_count_beside_a_new_one(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    first = faulty.fail("C_Sign", Ckr.DEVICE_ERROR, times=1)
    answered(caller, "sign", session, key, DIGEST)
    second = faulty.fail("C_Sign", Ckr.DEVICE_ERROR)
    assert (first.fired, second.fired) == (1, 0)


def test_more_rules_than_there_is_room_for_are_refused(faulty: FaultyModule) -> None:
    for _ in range(16):
        faulty.fail("C_Sign", Ckr.DEVICE_ERROR)
    with pytest.raises(ValueError, match="expected at most 16 rules"):
        faulty.fail("C_Sign", Ckr.DEVICE_ERROR)


# -- slow, hanging and wrong signatures --------------------------------------------------------------------------------


def test_latency_is_added_to_each_signature_and_shared_by_sessions(caller: Caller, faulty: FaultyModule) -> None:
    sessions, key = caller.ready(sessions=8)
    faulty.sign_latency(150)
    begun = time.monotonic()
    caller("sign_at_once", sessions, key, DIGEST)
    took = time.monotonic() - begun
    assert 0.15 <= took < 8 * 0.15
    assert faulty.counters().max_signs_in_flight > 1


def test_a_hanging_signature_goes_on_when_released(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    faulty.hang_signing()
    caller.begin("sign", session, key, DIGEST)
    counters = faulty.wait_for(lambda counters: counters.signs_hanging == 1)
    assert (counters.sign_calls, counters.signatures, counters.signs_in_flight) == (1, 0, 1)
    faulty.release_signing()
    assert len(caller.end()) == 128
    faulty.wait_for(lambda counters: counters.signs_hanging == 0)
    caller("sign", session, key, DIGEST)


def test_one_signature_hangs_while_others_go_on(caller: Caller, faulty: FaultyModule) -> None:
    sessions, key = caller.ready(sessions=3)
    faulty.hang_signing(times=1)
    caller.begin("sign_at_once", sessions, key, DIGEST)
    counters = faulty.wait_for(lambda counters: counters.signatures == 2)
    assert counters.signs_hanging == 1
    faulty.release_signing()
    assert {len(each) for each in caller.end()} == {128}


def test_a_signature_can_be_made_and_never_handed_over(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    faulty.hang_signing(after=True)
    caller.begin("sign", session, key, DIGEST)
    counters = faulty.wait_for(lambda counters: counters.signs_hanging == 1)
    assert counters.signatures == 1
    caller.process.kill()
    counters = faulty.wait_for(lambda counters: counters.signs_hanging == 0)
    assert (counters.sign_calls, counters.signatures) == (1, 1)


@pytest.mark.parametrize("after", [False, True])
def test_a_process_is_killed_at_the_signature_that_was_chosen_and_before_or_after_it_is_made(
    caller: Caller, faulty: FaultyModule, after: bool
) -> None:
    (session,), key = caller.ready()
    faulty.watch_signing(32)
    caller("sign", session, key, DIGEST)
    faulty.kill_signing(2, after=after)
    caller("sign", session, key, DIGEST[:40])  # not of 32 octets, so not watched
    caller("sign", session, key, DIGEST)
    assert faulty.is_to_kill
    caller.begin("sign", session, key, DIGEST)
    assert caller.process.wait(10) == -signal.SIGKILL
    assert not faulty.is_to_kill
    counters = faulty.counters()
    assert (counters.sign_calls, counters.watched_signs, counters.signatures) == (4, 3, 4 if after else 3)


def test_a_corrupt_signature_has_the_right_length_and_does_not_verify(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    public = public_key(caller, session)
    faulty.corrupt_signatures(times=1)
    wrong = caller("sign", session, key, DIGEST)
    assert len(wrong) == 128
    with pytest.raises(InvalidSignature):
        verify(public, wrong)
    verify(public, caller("sign", session, key, DIGEST))


# -- sessions, slots, tokens -------------------------------------------------------------------------------------------


def test_no_more_sessions_than_the_cap_over_all_processes(
    new_caller: Callable[[], Caller], faulty: FaultyModule
) -> None:
    faulty.limit_sessions(3)
    first, second = new_caller(), new_caller()
    sessions = first.log_in(sessions=2)
    second.log_in()
    slot = second.slot()
    assert second("token_info", slot)["max_sessions"] == 3
    assert answered(second, "open_session", slot) == ("C_OpenSession", Ckr.SESSION_COUNT)
    first("close_session", sessions[0])
    second("open_session", slot)
    assert answered(first, "open_session", slot) == ("C_OpenSession", Ckr.SESSION_COUNT)
    second.close()
    first("open_session", slot)
    faulty.limit_sessions(None)
    for _ in range(4):
        first("open_session", slot)
    assert faulty.counters().open_sessions == 6


@pytest.mark.parametrize("answer", [Ckr.SESSION_HANDLE_INVALID, Ckr.DEVICE_REMOVED])
def test_a_moved_slot_takes_sessions_and_login_with_it(caller: Caller, faulty: FaultyModule, answer: Ckr) -> None:
    (session, other), key = caller.ready(sessions=2)
    old = caller.slot()
    faulty.move_slots(1000, answer=answer)
    assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", answer)
    assert answered(caller, "session_info", other) == ("C_GetSessionInfo", answer)
    assert faulty.counters().open_sessions == 0
    assert answered(caller, "token_info", old) == ("C_GetTokenInfo", Ckr.SLOT_ID_INVALID)
    assert answered(caller, "open_session", old) == ("C_OpenSession", Ckr.SLOT_ID_INVALID)
    assert caller.slot() == old + 1000
    session = caller("open_session", old + 1000)
    assert caller("session_info", session)["slot"] == old + 1000
    assert caller("find", session, PRIVATE_KEY, LABEL) == []  # nobody is logged in
    caller("login", session)
    key = caller("find", session, PRIVATE_KEY, LABEL)[0]
    caller("sign", session, key, DIGEST)
    assert answered(caller, "close_session", other) == ("C_CloseSession", answer)


def test_an_absent_token_is_not_found_and_its_sessions_stay_dead(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    slot = caller.slot()
    faulty.remove_token()
    assert answered(caller, "token_info", slot) == ("C_GetTokenInfo", Ckr.TOKEN_NOT_PRESENT)
    assert answered(caller, "open_session", slot) == ("C_OpenSession", Ckr.TOKEN_NOT_PRESENT)
    assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", Ckr.DEVICE_REMOVED)
    assert caller("slots") == []
    assert slot in caller("slots", False)
    assert caller("slot_flags", slot) & 1 == 0
    assert faulty.counters().open_sessions == 0
    faulty.insert_token()
    assert caller("slot_flags", slot) & 1 == 1
    assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", Ckr.SESSION_HANDLE_INVALID)
    session = caller("open_session", caller.slot())
    assert caller("find", session, PRIVATE_KEY, LABEL) == []
    caller("login", session)
    caller("sign", session, caller("find", session, PRIVATE_KEY, LABEL)[0], DIGEST)


def test_a_token_pulled_and_put_back_between_two_calls_is_noticed(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    faulty.remove_token()
    faulty.insert_token(answer=Ckr.SESSION_CLOSED)
    assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", Ckr.SESSION_CLOSED)


def test_pulling_the_token_under_sixteen_signing_threads_crashes_nothing(caller: Caller, faulty: FaultyModule) -> None:
    sessions, key = caller.ready(sessions=16)
    caller.begin("sign_at_once", sessions, key, DIGEST, 200)
    faulty.wait_for(lambda counters: counters.signatures > 100)
    faulty.remove_token()
    answers = set(caller.end())
    assert answers <= {f"{name} answered {Ckr.DEVICE_REMOVED:#x}" for name in ("C_SignInit", "C_Sign")}
    assert faulty.counters().open_sessions == 0


def test_a_signature_that_hung_while_the_token_was_pulled_fails(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    faulty.hang_signing()
    caller.begin("sign", session, key, DIGEST)
    faulty.wait_for(lambda counters: counters.signs_hanging == 1)
    faulty.remove_token()
    faulty.release_signing()
    with pytest.raises(Answered, match=f"C_Sign answered {Ckr.DEVICE_REMOVED:#x}"):
        caller.end()


def test_finalizing_while_a_call_is_in_flight_is_noticed(caller: Caller, faulty: FaultyModule) -> None:
    caller.ready()
    caller("finalize")
    assert faulty.counters().finalized_in_flight == 0
    (session,), key = caller.ready()
    faulty.hang_signing()
    caller("begin_signing", session, key, DIGEST)
    faulty.wait_for(lambda counters: counters.signs_hanging == 1)
    caller("finalize")
    assert faulty.counters().finalized_in_flight == 1
    faulty.release_signing()
    assert caller("end_signing") == f"C_Sign answered {Ckr.SESSION_HANDLE_INVALID:#x}"


# -- what tokens answer differently ------------------------------------------------------------------------------------


def test_an_ec_point_comes_without_its_wrapper(caller: Caller, faulty: FaultyModule) -> None:
    (session,), _ = caller.ready()
    key = caller("find", session, PUBLIC_KEY, LABEL)[0]

    def read(*rooms: int | None) -> tuple[int, list[int], list[str | None]]:
        got = caller("attributes", session, key, ["label", "ec_point", "ec_params"], list(rooms))
        return got["answer"], got["lengths"], got["values"]

    wrapped = read(20, 100, 20)[2][1]
    assert wrapped.startswith("044104")
    faulty.raw_ec_points()
    assert read(None, None, None) == (Ckr.OK, [7, 65, 10], [None, None, None])
    values = [LABEL.encode().hex(), wrapped[4:], "06082a8648ce3d030107"]
    assert read(20, 100, 20) == (Ckr.OK, [7, 65, 10], values)
    assert read(7, 65, 10) == (Ckr.OK, [7, 65, 10], values)
    assert read(7, 64, 10) == (Ckr.BUFFER_TOO_SMALL, [7, -1, 10], [values[0], None, values[2]])
    faulty.raw_ec_points(False)
    assert read(20, 100, 20)[2][1] == wrapped


def test_locking_is_refused_only_to_those_who_ask_for_it(caller: Caller, faulty: FaultyModule) -> None:
    faulty.refuse_locking()
    assert answered(caller, "initialize") == ("C_Initialize", Ckr.CANT_LOCK)
    caller("initialize", False)
    caller("finalize")
    faulty.refuse_locking(False)
    caller("initialize")


def test_pin_warnings_appear_in_the_token_flags(caller: Caller, faulty: FaultyModule) -> None:
    caller("initialize")
    slot = caller.slot()
    real = caller("token_info", slot)["flags"]
    for flag in (TokenFlags.USER_PIN_COUNT_LOW, TokenFlags.USER_PIN_FINAL_TRY, TokenFlags.USER_PIN_LOCKED):
        assert not real & flag
        faulty.token_flags(flag)
        assert caller("token_info", slot)["flags"] == real | flag
    faulty.token_flags(TokenFlags.NONE)
    assert caller("token_info", slot)["flags"] == real


@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign"])
def test_a_forced_logout_answers_once_and_lasts_until_the_next_login(
    caller: Caller, faulty: FaultyModule, function: str
) -> None:
    (session,), key = caller.ready()
    faulty.force_logout(at=function)
    assert answered(caller, "sign", session, key, DIGEST) == (function, Ckr.USER_NOT_LOGGED_IN)
    assert caller("find", session, PRIVATE_KEY, LABEL) == []
    caller("login", session)
    caller("sign", session, caller("find", session, PRIVATE_KEY, LABEL)[0], DIGEST)


def test_a_silent_logout_shows_as_the_real_module_shows_it(caller: Caller, faulty: FaultyModule) -> None:
    (session,), key = caller.ready()
    faulty.force_logout(answer=None)
    assert answered(caller, "sign", session, key, DIGEST) == ("C_SignInit", Ckr.OBJECT_HANDLE_INVALID)
    assert caller("find", session, PRIVATE_KEY, LABEL) == []
    caller("login", session)


def test_clear_ends_every_fault(caller: Caller, faulty: FaultyModule) -> None:
    faulty.fail(ANY, Ckr.DEVICE_ERROR)
    faulty.hang_signing(after=True)
    faulty.corrupt_signatures()
    faulty.limit_sessions(0)
    faulty.move_slots(5)
    faulty.remove_token()
    faulty.raw_ec_points()
    faulty.refuse_locking()
    faulty.force_logout()
    faulty.token_flags(TokenFlags.USER_PIN_LOCKED)
    faulty.sign_latency(100_000)
    faulty.clear()
    (session,), key = caller.ready()
    verify(public_key(caller, session), caller("sign", session, key, DIGEST))
    assert not caller("token_info", caller.slot())["flags"] & TokenFlags.USER_PIN_LOCKED


# -- building and loading ----------------------------------------------------------------------------------------------


def test_a_built_module_is_not_built_again(module: Path) -> None:
    before = module.stat().st_mtime_ns
    assert build_module(module.parent) == module
    assert module.stat().st_mtime_ns == before


def test_a_missing_compiler_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FaultyModuleUnavailable, match="needs gcc: apt-get install gcc libc6-dev libp11-kit-dev"):
        build_module(tmp_path)


def test_without_a_control_file_the_module_gives_no_function_list(module: Path) -> None:
    script = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).C_GetFunctionList(None))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENGINE_FAULTY")}
    command = [sys.executable, "-c", script, str(module)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) == Ckr.GENERAL_ERROR
    assert "ENGINE_FAULTY_MODULE and ENGINE_FAULTY_CONTROL must both be set" in run.stderr
