"""Signing: three calls, the right key, one retry, and a count that does not lie."""

import hashlib
from collections.abc import Callable

import pytest

from engine.errors import (
    SigningFailed,
    TokenBusy,
    TokenKeyAmbiguous,
    TokenKeyNotFound,
    TokenUnavailable,
    UnsupportedRequest,
)
from engine.token import KeyReference, Token, TokenSettings
from tests.token.conftest import NewKey, OtherProcess, verify
from tests.token.devices import Device
from tests.token.interposer import answering, counted


def test_a_warm_signature_is_three_pkcs11_calls(
    token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey]
) -> None:
    key = new_key()
    token.sign(key.reference, key.algorithm, b"the first finds the key")
    with counted(token_settings.module) as calls:
        token.sign(key.reference, key.algorithm, b"message")
    assert calls == {"C_SignInit": 1, "C_Sign": 2}


def test_each_signature_is_counted_before_it_is_asked_for(
    token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey]
) -> None:
    key = new_key()
    before = token.signatures
    token.sign(key.reference, key.algorithm, b"one")
    assert token.signatures == before + 1
    with answering(token_settings.module, "C_SignInit", 0x31), pytest.raises(TokenUnavailable):
        token.sign(key.reference, key.algorithm, b"two, refused")
    assert token.signatures == before + 2


def test_a_message_may_be_any_buffer(token: Token, device: Device, new_key: Callable[..., NewKey]) -> None:
    for key in map(new_key, device.supported("secp256r1", "RSA", "Ed25519")):
        for message in (bytearray(b"message"), memoryview(b"message")):
            verify(key.spki, key.algorithm, token.sign(key.reference, key.algorithm, message), b"message")


def test_a_key_other_than_the_pinned_one_does_not_sign(token: Token, new_key: Callable[..., NewKey]) -> None:
    key = new_key()
    token.sign(key.reference, key.algorithm, b"message")
    before = token.signatures
    other = KeyReference(key.reference.label, key.reference.id, hashlib.sha256(b"another").hexdigest())
    with pytest.raises(TokenKeyAmbiguous, match="expected the pinned"):
        token.sign(other, key.algorithm, b"message")
    assert token.signatures == before


def test_a_right_pin_under_a_wrong_label_is_not_found_even_when_the_key_is_known(
    token: Token, new_key: Callable[..., NewKey]
) -> None:
    key = new_key()
    token.sign(key.reference, key.algorithm, b"message")
    with pytest.raises(TokenKeyNotFound):
        token.sign(
            KeyReference("no such label", key.reference.id, key.reference.spki_sha256), key.algorithm, b"message"
        )


@pytest.mark.parametrize(
    ("key_type", "algorithm"),
    [("secp256r1", "id-Ed25519"), ("Ed25519", "ecdsa-with-SHA256"), ("RSA", "ecdsa-with-SHA256")],
)
def test_an_algorithm_for_another_kind_of_key_is_refused_before_the_token_is_asked(
    key_type: str, algorithm: str, token: Token, new_key: Callable[..., NewKey]
) -> None:
    key = new_key(key_type)
    before = token.signatures
    with pytest.raises(UnsupportedRequest, match=r"algorithm for|cannot sign with"):
        token.sign(key.reference, algorithm, b"message")
    assert token.signatures == before


def test_an_algorithm_that_is_not_known_is_refused_naming_those_that_are(
    token: Token, new_key: Callable[..., NewKey]
) -> None:
    with pytest.raises(UnsupportedRequest, match="must be one of ecdsa-with-SHA256"):
        token.sign(new_key().reference, "sha1WithRSAEncryption", b"message")


@pytest.mark.parametrize("code", [0x05, 0x06, 0x30, 0x60, 0x82, 0x90, 0x91, 0xB0, 0xB3])
@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign"])
def test_a_signature_that_fails_for_its_session_is_made_in_a_new_one(
    function: str,
    code: int,
    token: Token,
    token_settings: TokenSettings,
    device: Device,
    new_key: Callable[..., NewKey],
) -> None:
    if function == "C_Sign":
        device.skip_unless("ending an operation with its session")
    key = new_key()
    token.sign(key.reference, key.algorithm, b"warm")
    with counted(token_settings.module) as calls, answering(token_settings.module, function, code):
        signature = token.sign(key.reference, key.algorithm, b"message")
    verify(key.spki, key.algorithm, signature, b"message")
    assert calls["C_OpenSession"] == 1
    assert calls["C_CloseSession"] >= 1
    assert token.state() == "ready"


def test_a_signature_is_retried_once_and_not_again(
    token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey]
) -> None:
    key = new_key()
    before = token.signatures
    with (
        answering(token_settings.module, "C_SignInit", *[0x30] * 5) as calls,
        pytest.raises(TokenUnavailable, match=r"could not sign: the device reported an error \(CKR_DEVICE_ERROR\)"),
    ):
        token.sign(key.reference, key.algorithm, b"message")
    assert calls["C_SignInit"] >= 2  # and more, by which the token is tried before anybody is let through again
    assert token.signatures == before + 2
    token.sign(key.reference, key.algorithm, b"message")
    assert token.state() == "ready"
    assert token.signatures == before + 3


@pytest.mark.parametrize(
    ("code", "error"), [(0x70, UnsupportedRequest), (0x31, TokenUnavailable), (0x80000001, SigningFailed)]
)
def test_a_signature_that_a_new_session_would_not_help_is_not_retried(
    code: int, error: type[Exception], token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey]
) -> None:
    key = new_key()
    with answering(token_settings.module, "C_SignInit", *[code] * 5) as calls, pytest.raises(error):
        token.sign(key.reference, key.algorithm, b"message")
    assert calls["C_SignInit"] == 1
    assert token.state() == "ready"
    token.sign(key.reference, key.algorithm, b"message")


def test_no_vendor_text_and_no_traceback_of_the_binding_reaches_a_caller(
    token: Token, token_settings: TokenSettings, new_key: Callable[..., NewKey]
) -> None:
    key = new_key()
    with answering(token_settings.module, "C_SignInit", 0x80000001), pytest.raises(SigningFailed) as caught:
        token.sign(key.reference, key.algorithm, b"message")
    assert caught.value.message == "The token 'test' could not sign: it answered with an unexpected code (0x80000001)."
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_call_that_finds_no_session_free_is_busy_after_its_deadline(device: Device, token: Token) -> None:
    del token  # open, so that this second one shares its login
    second = Token.open(device.settings(sessions=1, wait_seconds=0.05))
    held = second._connection.pool.take()
    with pytest.raises(TokenBusy, match=r"within 0\.05 seconds"):
        second.find_key("any", None)
    second._connection.pool.give_back(held)
    with pytest.raises(TokenKeyNotFound):
        second.find_key("any", None)
    second.close()


def test_a_token_that_gives_fewer_sessions_than_wanted_is_used_with_those(
    other_process: OtherProcess, device: Device
) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings())
        key, spki = new_key(token)
        most, opened, lock = 2, set(), threading.Lock()
        def limited(name, original):
            def call(*arguments):
                with lock:
                    if name == "C_OpenSession" and len(opened) >= most:
                        return 0xB1
                    code = original(*arguments)
                    if name == "C_CloseSession":
                        opened.discard(arguments[0])
                    else:
                        opened.add(ctypes.c_ulong.from_address(arguments[4]).value)
                return code
            return call
        signed = []
        def work():
            for _ in range(50):
                signed.append(token.sign(key, ALGORITHM, b"message"))
        with interposed(device.module, limited, ["C_OpenSession", "C_CloseSession"]):
            threads = [threading.Thread(target=work) for _ in range(8)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        print(len(signed), len(opened) <= most, token.state())
        token.close()
        """
    )
    assert printed == "400 True ready\n"


def test_a_closed_token_says_so_and_closes_again(other_process: OtherProcess, device: Device) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings())
        key, spki = new_key(token)
        token.close()
        token.close()
        print(token.state())
        print(error_of(token.sign, key, ALGORITHM, b"message"))
        again = Token.open(device.settings())
        verify(spki, ALGORITHM, again.sign(key, ALGORITHM, b"message"), b"message")
        again.close()
        """
    )
    assert printed == "closed\nTokenUnavailable: The token 'test' is closed.\n"


def test_a_session_in_use_is_waited_for_when_the_token_is_closed(other_process: OtherProcess, device: Device) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings())
        key, _ = new_key(token)
        token.sign(key, ALGORITHM, b"warm")
        entered, order = threading.Event(), []
        def slow(name, original):
            def call(*arguments):
                entered.set()
                closer.start()
                closer.join(0.2)
                order.append("signed")
                return original(*arguments)
            return call
        def close():
            token.close()
            order.append("closed")
        closer = threading.Thread(target=close)
        with interposed(device.module, slow, ["C_SignInit"]):
            token.sign(key, ALGORITHM, b"message")
        closer.join()
        print(order)
        """
    )
    assert printed == "['signed', 'closed']\n"


def test_a_call_that_does_not_come_back_shows_in_the_state_and_keeps_the_module_loaded(
    other_process: OtherProcess, device: Device
) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings(sign_seconds=0.1))
        key, _ = new_key(token)
        token.sign(key, ALGORITHM, b"warm")
        go, entered = threading.Event(), threading.Event()
        def hung(name, original):
            def call(*arguments):
                entered.set()
                go.wait()
                return original(*arguments)
            return call
        with interposed(device.module, hung, ["C_SignInit"]):
            thread = threading.Thread(target=token.sign, args=(key, ALGORITHM, b"message"))
            thread.start()
            entered.wait()
            while token.state() == "ready":
                go.wait(0.01)
            print(token.state())
            print(error_of(token.close))
            go.set()
            thread.join()
        """
    )
    assert printed == (
        "not answering\nTokenUnavailable: The token 'test' was left open: a call on it has not come back.\n"
    )
