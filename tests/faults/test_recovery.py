"""Loss and return of a token, fault by fault: what its callers got, and that nothing wrong was released.

Every signature that a caller got is verified; every process must end well, since what these faults cause in a module
that is handled wrongly is a crash.
"""

from collections.abc import Callable

import pytest

from tests.softhsm import RECIPE

Run = Callable[..., str]


def test_no_caller_notices_when_every_fifth_signature_fails_with_a_code_that_another_session_or_login_cures(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        for code in (
            Ckr.DEVICE_ERROR, Ckr.GENERAL_ERROR, Ckr.FUNCTION_FAILED, Ckr.SESSION_HANDLE_INVALID, Ckr.SESSION_CLOSED,
            Ckr.OBJECT_HANDLE_INVALID, Ckr.KEY_HANDLE_INVALID, Ckr.OPERATION_ACTIVE, Ckr.OPERATION_NOT_INITIALIZED,
            Ckr.USER_NOT_LOGGED_IN, Ckr.DEVICE_REMOVED, Ckr.TOKEN_NOT_PRESENT, Ckr.CRYPTOKI_NOT_INITIALIZED,
        ):
            for after in (False, True):
                rule = faulty.fail("C_Sign", code, every=5, after=after)
                for number in range(20):
                    sign(token, key, spki, f"{code} {number}".encode())
                rule.clear()
                if rule.fired < 4:
                    print(code, rule.fired)
        print(token.state(), faulty.counters().session_overlaps, faulty.counters().finalized_in_flight)
        token.close()
        print(faulty.counters().open_sessions)
        """
    )
    assert printed == "ready 0 0\n0\n"


def test_under_many_threads_those_that_fail_once_too_often_are_unavailable_and_no_signature_is_wrong(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(sessions=8))
        key, spki = new_key(token)
        rule = faulty.fail("C_Sign", Ckr.DEVICE_ERROR, every=7)
        signed, refused = [], []
        def work(number):
            for i in range(40):
                try:
                    sign(token, key, spki, f"{number} {i}".encode())
                    signed.append(1)
                except TokenUnavailable:
                    refused.append(1)
        print(in_threads(8, work))
        rule.clear()
        until(lambda: token.state() == "ready")
        sign(token, key, spki)
        print(len(signed) + len(refused), len(signed) > 250, faulty.counters().finalized_in_flight)
        token.close()
        """
    )
    assert printed == "[]\n320 True 0\n"


def test_a_signature_is_asked_for_twice_at_most_and_then_the_token_is_away_until_it_signs_again(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(wait_seconds=0.2))
        key, spki = new_key(token)
        sign(token, key, spki)
        before, rule = token.signatures, faulty.fail("C_Sign", Ckr.DEVICE_ERROR)
        print(error_of(token.sign, key, ALGORITHM, b"message"), token.signatures - before)
        until(lambda: token.state().endswith("the device reported an error (CKR_DEVICE_ERROR); trying again"))
        print(error_of(token.sign, key, ALGORITHM, b"message").split(" since ")[0], token.signatures - before)
        rule.clear()
        until(lambda: token.state() == "ready", 2.0)
        sign(token, key, spki)
        print(token.signatures - before)
        """
    )
    assert printed == (
        "TokenUnavailable: The token 'test' could not sign: the device reported an error (CKR_DEVICE_ERROR). 2\n"
        "TokenUnavailable: The token 'test' is away 2\n"
        "3\n"
    )


def test_while_the_token_is_pulled_calls_are_refused_without_asking_it_and_after_its_return_they_sign(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(wait_seconds=0.2))
        key, spki = new_key(token)
        sign(token, key, spki)
        for _ in range(3):
            faulty.remove_token()
            print(error_of(token.sign, key, ALGORITHM, b"message").split(": ")[0], token.state().split(" since ")[0])
            asked, begin = faulty.counters().sign_calls, time.monotonic()
            for _ in range(100):
                assert error_of(token.sign, key, ALGORITHM, b"message").startswith("TokenUnavailable: ")
            print(time.monotonic() - begin < 0.5, faulty.counters().sign_calls - asked, token.is_hung())
            faulty.insert_token()
            until(lambda: token.state() == "ready", 2.0)
            sign(token, key, spki)
        token.close()
        print(faulty.counters().open_sessions)
        """
    )
    assert printed == "TokenUnavailable away\nTrue 0 False\n" * 3 + "0\n"


def test_a_call_that_finds_the_token_gone_waits_for_a_quick_return_and_signs(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        sign(token, key, spki)
        faulty.remove_token()
        threading.Timer(0.3, faulty.insert_token).start()
        print(in_threads(16, lambda number: sign(token, key, spki, str(number).encode())))
        """
    )
    assert printed == "[]\n"


@pytest.mark.parametrize(
    "answer", ["SESSION_HANDLE_INVALID", "DEVICE_ERROR", "DEVICE_REMOVED", "OBJECT_HANDLE_INVALID"]
)
def test_a_token_that_comes_back_in_another_slot_is_found_there(at_fault: Run, answer: str) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        for offset in (5, 0, 9):
            sign(token, key, spki)
            faulty.move_slots(offset, answer=Ckr[sys.argv[4]])
        print(in_threads(8, lambda number: sign(token, key, spki, str(number).encode())), token.state())
        """,
        answer,
    )
    assert printed == "[] ready\n"


@pytest.mark.parametrize("answer", ["USER_NOT_LOGGED_IN", "OBJECT_HANDLE_INVALID", "KEY_HANDLE_INVALID", "None"])
def test_a_login_that_something_else_ended_is_made_again_once_and_every_call_signs(at_fault: Run, answer: str) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        sign(token, key, spki)
        answer = None if sys.argv[4] == "None" else Ckr[sys.argv[4]]
        logins = faulty.counters().logins
        faulty.force_logout(at="C_SignInit", answer=answer)
        print(in_threads(16, lambda number: sign(token, key, spki, str(number).encode())), token.state())
        print(faulty.counters().logins - logins)
        """,
        answer,
    )
    assert printed == "[] ready\n1\n"


def test_a_pin_that_is_refused_when_the_login_was_lost_is_not_tried_again(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        sign(token, key, spki)
        (FOLDER / "pin").write_text("wrong-0451-pin")
        faulty.force_logout()
        for _ in range(20):
            print(error_of(token.sign, key, ALGORITHM, b"message"), faulty.counters().logins)
        print(token.state())
        token.close()
        """
    )
    refused = "TokenLoginRefused: The token 'test' refused its login; that needs the operator. 2\n"
    assert printed == refused * 20 + (
        "login refused: The token 'test' could not log in: the PIN is wrong (CKR_PIN_INCORRECT); needs the operator\n"
    )


@pytest.mark.parametrize(
    ("flag", "words"),
    [("USER_PIN_FINAL_TRY", "one wrong PIN more would lock it"), ("USER_PIN_LOCKED", "its PIN is locked")],
)
def test_a_token_that_comes_back_with_its_pin_all_but_locked_is_not_logged_in_to(
    at_fault: Run, flag: str, words: str
) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        sign(token, key, spki)
        faulty.token_flags(TokenFlags[sys.argv[4]])
        faulty.force_logout()
        print(error_of(token.sign, key, ALGORITHM, b"message").split(":")[0], faulty.counters().logins)
        print(token.state())
        """,
        flag,
    )
    assert printed.startswith("TokenLoginRefused 1\nlogin refused: ")
    assert words in printed


def test_a_token_that_comes_back_with_another_key_of_the_same_name_stays_away_until_the_right_one_is_there(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        import subprocess
        token = Token.open(settings(wait_seconds=0.2))
        key, spki = new_key(token)
        sign(token, key, spki)
        faulty.remove_token()
        print(error_of(token.sign, key, ALGORITHM, b"message").split(": ")[0])
        kept = FOLDER / "kept"
        (FOLDER / "tokens").rename(kept)
        import shutil
        shutil.copytree(kept, FOLDER / "tokens")
        # Another process, as another administrator would, puts another key in its place.
        change = '''if True:
            import sys
            from engine.pin import FilePin
            from engine.token import *
            label, key_id, pin, spki, configuration = sys.argv[1:]
            key = KeyReference(label, bytes.fromhex(key_id), spki)
            module, uri = "/usr/lib/softhsm/libsofthsm2.so", "pkcs11:token=faults"
            environment = {"SOFTHSM2_CONF": configuration}
            token = Token.open(TokenSettings("t", module, uri, FilePin(pin), environment=environment))
            token.destroy_key(key)
            token.generate_key("secp256r1", key.label, key.id)
        '''
        names = [key.label, key.id.hex(), FOLDER / "pin", key.spki_sha256, FOLDER / "softhsm2.conf"]
        subprocess.run([sys.executable, "-c", change, *map(str, names)], check=True)
        signatures = faulty.counters().signatures
        faulty.insert_token()
        until(lambda: "expected the pinned" in token.state())
        print(error_of(token.sign, key, ALGORITHM, b"message").split(" since ")[0])
        print(token.state().split(": ", 1)[1])
        print(faulty.counters().signatures - signatures)
        faulty.remove_token()
        shutil.rmtree(FOLDER / "tokens")
        kept.rename(FOLDER / "tokens")
        faulty.insert_token()
        until(lambda: token.state() == "ready")
        sign(token, key, spki)
        """
    )
    lines = printed.splitlines()
    assert lines[:2] == ["TokenUnavailable", "TokenUnavailable: The token 'test' is away"]
    assert lines[2].startswith("The key with label 'key' and id ")
    assert lines[2].endswith("; trying again")
    assert lines[3:] == ["0"]


def test_a_token_whose_signatures_are_wrong_when_it_comes_back_stays_away(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(wait_seconds=0.2))
        key, spki = new_key(token)
        sign(token, key, spki)
        faulty.corrupt_signatures()
        faulty.force_logout()
        print(error_of(token.sign, key, ALGORITHM, b"message").split(" since ")[0])
        until(lambda: "made a signature that is wrong" in token.state())
        faulty.corrupt_signatures(times=0)
        until(lambda: token.state() == "ready", 2.0)
        sign(token, key, spki)
        """
    )
    assert printed == "TokenUnavailable: The token 'test' is away\n"


def test_a_token_whose_keys_vanish_without_a_word_is_away_and_not_said_to_have_no_such_key(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(wait_seconds=0.2))
        key, spki = new_key(token)
        other, other_spki = new_key(token, "other")
        sign(token, key, spki)
        for _ in range(3):
            (FOLDER / "tokens").rename(FOLDER / "elsewhere")
            for one in (other, key):
                print(error_of(token.sign, one, ALGORITHM, b"message").split(" ")[0])
            (FOLDER / "elsewhere").rename(FOLDER / "tokens")
            until(lambda: token.state() == "ready", 2.0)
            sign(token, key, spki)
            sign(token, other, other_spki)
        """
    )
    assert printed == "TokenUnavailable:\n" * 6


def test_a_key_that_was_removed_from_a_token_with_other_keys_is_said_to_be_missing_and_the_others_sign(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        (key, spki), (other, other_spki) = new_key(token), new_key(token, "other")
        sign(token, key, spki)
        sign(token, other, other_spki)
        with token._connection.read_write() as session:
            for found in session.get_objects({}):
                if found.label == "key":
                    found.destroy()
        for _ in range(2):
            print(error_of(token.sign, key, ALGORITHM, b"message").split(" with ")[0], token.state())
            sign(token, other, other_spki)
        """
    )
    assert printed == "TokenKeyNotFound: The token has no private key ready\n" * 2


def test_a_session_cap_of_the_token_is_lived_with_and_outgrown_when_it_is_lifted(at_fault: Run) -> None:
    printed = at_fault(
        """
        from engine.token import sessions
        sessions._GROW_SECONDS = 0.1
        token = Token.open(settings(sessions=8))
        key, spki = new_key(token)
        faulty.sign_latency(5)
        faulty.limit_sessions(3)
        def work(number):
            for i in range(10):
                sign(token, key, spki, f"{number} {i}".encode())
        print(in_threads(8, work), faulty.counters().max_open_sessions, token.state())
        faulty.limit_sessions(None)
        until(lambda: in_threads(8, work) == [] and faulty.counters().max_open_sessions == 9)
        """
    )
    assert printed == "[] 3 ready\n"


def test_eight_sessions_hide_the_latency_of_a_signature(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(sessions=8))
        key, spki = new_key(token)
        faulty.sign_latency(50)
        begin = time.monotonic()
        print(in_threads(32, lambda number: sign(token, key, spki, str(number).encode())))
        elapsed = time.monotonic() - begin
        print(elapsed < 32 * 0.05 / 2, faulty.counters().max_signs_in_flight)
        """
    )
    assert printed == "[]\nTrue 8\n"


def test_a_raw_ec_point_is_read_as_the_same_key(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        faulty.raw_ec_points()
        print(token.find_key("key", None).spki == spki)
        sign(token, key, spki)
        faulty.force_logout()
        sign(token, key, spki)
        """
    )
    assert printed == "True\n"


def test_three_answers_in_a_row_that_say_nothing_have_the_token_connected_anew(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        sign(token, key, spki)
        rule = faulty.fail("C_Sign", Ckr.VENDOR_DEFINED, times=3)
        logins = faulty.counters().logins
        for _ in range(2):
            print(error_of(token.sign, key, ALGORITHM, b"message").split(":")[0], token.state())
        sign(token, key, spki)
        print(faulty.counters().logins - logins, rule.fired)
        """
    )
    assert printed == "SigningFailed ready\n" * 2 + "1 3\n"


def test_the_keep_alive_finds_a_lost_login_before_a_caller_does(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(keep_alive_seconds=0.2, sessions=4))
        key, spki = new_key(token)
        faulty.sign_latency(20)
        in_threads(4, lambda number: sign(token, key, spki))
        faulty.sign_latency(0)
        asked = faulty.calls("C_GetSessionInfo")
        until(lambda: faulty.calls("C_GetSessionInfo") >= asked + 2 * 5)  # the owner's session and those of the pool
        signs = faulty.counters().sign_calls
        faulty.force_logout()
        until(lambda: faulty.counters().logins == 2 and token.state() == "ready")
        sign(token, key, spki)
        print(faulty.counters().sign_calls - signs)  # and the one that proved the key
        token.close()
        silent = Token.open(settings(keep_alive_seconds=0))
        print(silent._recovery._keeper.is_alive())
        silent.close()
        """
    )
    assert printed == "2\nTrue\n"


def test_a_token_that_is_absent_is_refused_unless_it_may_be_and_then_it_serves_when_it_comes(at_fault: Run) -> None:
    printed = at_fault(
        """
        token = Token.open(settings())
        key, spki = new_key(token)
        token.close()
        for gone in (faulty.remove_token, lambda: (FOLDER / "tokens").rename(FOLDER / "elsewhere")):
            gone()
            print(error_of(Token.open, settings()).split(":")[0])
            token = Token.open(settings(wait_seconds=0.1), may_be_away=True)
            print(error_of(token.sign, key, ALGORITHM, b"message").split(" since ")[0])
            faulty.insert_token()
            if (FOLDER / "elsewhere").exists():
                (FOLDER / "elsewhere").rename(FOLDER / "tokens")
            until(lambda: token.state() == "ready", 2.0)
            sign(token, key, spki)
            token.close()
            print(faulty.counters().open_sessions, token.state())
        """
    )
    assert printed == "TokenUnavailable\nTokenUnavailable: The token 'test' is away\n0 closed\n" * 2


def test_a_refused_login_at_a_start_that_may_be_away_is_one_attempt_and_said_in_words(at_fault: Run) -> None:
    printed = at_fault(
        """
        (FOLDER / "pin").write_text("wrong-0451-pin")
        token = Token.open(settings(), may_be_away=True)
        until(lambda: token.state().startswith("login refused: "))
        for _ in range(10):
            assert error_of(token.find_key, "key", None).startswith("TokenLoginRefused: ")
        print(faulty.counters().logins)
        token.close()
        """
    )
    assert printed == "1\n"


def test_a_module_that_starts_anew_for_one_token_is_not_finalised_under_the_calls_of_another(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        import subprocess
        subprocess.run([sys.argv[4], str(FOLDER), "second"], check=True, capture_output=True)
        first, second = Token.open(settings(wait_seconds=0.1)), Token.open(settings(uri="pkcs11:token=second"))
        (key, spki), (other, other_spki) = new_key(first), new_key(second)
        sign(first, key, spki)
        faulty.sign_latency(2)
        over, signed = threading.Event(), []
        def work(number):
            while not over.is_set():
                sign(second, other, other_spki)
                signed.append(1)
        def lose(number):
            if number:
                return work(number)
            try:
                until(lambda: len(signed) > 100)  # with all the sessions that it needs
                rule = faulty.fail("C_OpenSession", Ckr.GENERAL_ERROR)
                while first.state() == "ready":
                    in_threads(8, lambda _: error_of(first.sign, key, ALGORITHM, b"message"))
                until(lambda: faulty.calls("C_Initialize") > 1)
                rule.clear()
                until(lambda: first.state() == second.state() == "ready")
                sign(first, key, spki)
                before = len(signed)
                until(lambda: len(signed) > before + 100)
            finally:
                over.set()
        print(in_threads(5, lose))
        counters = faulty.counters()
        print(faulty.calls("C_Initialize") > 1, counters.finalized_in_flight, counters.session_overlaps)
        """,
        str(RECIPE),
    )
    assert printed == "[]\nTrue 0 0\n"


def test_sessions_from_before_a_start_anew_are_not_closed_after_it_since_their_handles_may_be_those_of_new_ones(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        from engine.token.gate import Call
        token = Token.open(settings(sessions=4))
        key, spki = new_key(token)
        faulty.sign_latency(20)
        in_threads(4, lambda number: sign(token, key, spki))
        module, closed = token._recovery.module, faulty.calls("C_CloseSession")
        for _ in range(3):
            with module.reconnecting:
                module.restart(Call(None, 60), 1)
            print(in_threads(4, lambda number: sign(token, key, spki)), token.state())
        print(faulty.calls("C_CloseSession") - closed, faulty.counters().open_sessions <= 5)
        """
    )
    assert printed == "[] ready\n" * 3 + "0 True\n"


def test_sixteen_threads_see_twenty_losses_and_returns_without_a_crash_an_overlap_or_a_leaked_session(
    at_fault: Run,
) -> None:
    printed = at_fault(
        """
        token = Token.open(settings(wait_seconds=0.5, sessions=6))
        key, spki = new_key(token)
        over, signed, refused = threading.Event(), [], []
        def work(number):
            while not over.is_set():
                try:
                    sign(token, key, spki, str(number).encode())
                    signed.append(1)
                except TokenUnavailable:
                    refused.append(1)
                    over.wait(0.01)
        def lose(number):
            if number:
                return work(number)
            try:
                for turn in range(20):
                    before = len(signed)
                    until(lambda: len(signed) > before + 20)
                    if turn % 2:
                        faulty.fail("C_OpenSession", Ckr.GENERAL_ERROR, times=2)  # so that the module starts anew
                        faulty.move_slots(turn)
                    else:
                        faulty.remove_token()
                        until(lambda: token.state() != "ready")
                        faulty.insert_token()
                    until(lambda: token.state() == "ready", 2.0)
            finally:
                over.set()
        print(in_threads(17, lose))
        counters = faulty.counters()
        print(counters.finalized_in_flight, counters.session_overlaps, counters.open_sessions <= 7)
        token.close()
        print(faulty.counters().open_sessions)
        """
    )
    assert printed == "[]\n0 0 True\n0\n"
