"""One login, one attempt, and a PIN that is shown nowhere."""

import pickle
from pathlib import Path
from urllib.parse import quote

import pytest

from engine.errors import ConfigError, EngineError
from engine.pin import FilePin
from engine.token import Token
from tests.token.conftest import OtherProcess
from tests.token.devices import Device

WRONG = "wrong-0451-pin"


def test_a_wrong_pin_is_refused_after_exactly_one_attempt(
    lockable: OtherProcess, tmp_path: Path, device: Device
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(WRONG)
    wrong.chmod(0o600)
    printed = lockable.run(
        """
        with counted(device.module) as calls:
            print(error_of(Token.open, device.settings(pin=FilePin(sys.argv[2]))))
        print(calls["C_Login"], calls["C_OpenSession"], calls["C_CloseSession"])
        print(bool(calls["C_Finalize"] or calls["C_CloseAllSessions"]))
        token = Token.open(device.settings())
        print(token.state())
        """,
        str(wrong),
    )
    assert printed == (
        "TokenLoginRefused: The token 'test' could not log in: the PIN is wrong (CKR_PIN_INCORRECT).\n"
        "1 1 1\nTrue\nready\n"
    )


@pytest.mark.parametrize(
    ("flag", "message"), [(0x20000, "one wrong PIN more would lock it"), (0x40000, "its PIN is locked")]
)
def test_a_token_whose_pin_is_nearly_or_quite_locked_is_not_logged_in_to(
    flag: int, message: str, other_process: OtherProcess, device: Device
) -> None:
    printed = other_process.run(
        """
        def flagged(name, original):
            def call(slot, info, *rest):
                code = original(slot, info, *rest)
                ctypes.c_ulong.from_address(info + 96).value |= int(sys.argv[2])
                return code
            return call
        with interposed(device.module, flagged, ["C_GetTokenInfo"]), answering(device.module, "C_Login") as calls:
            print(error_of(Token.open, device.settings()))
        print(calls["C_Login"])
        """,
        str(flag),
    )
    assert printed.startswith("TokenLoginRefused: ")
    assert message in printed
    assert printed.endswith("\n0\n")


def test_a_lost_login_is_made_again_and_not_said_to_be_a_missing_key(other_process: OtherProcess) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings())
        key, spki = new_key(token)
        token.sign(key, ALGORITHM, b"warm")
        def log_out():
            with token._connection.read_write() as session:
                assert call(device.module, "C_Logout", session.handle) == 0
        log_out()
        verify(spki, ALGORITHM, token.sign(key, ALGORITHM, b"message"), b"message")
        log_out()
        assert token.find_key("key", None).spki == spki
        print(token.state())
        """
    )
    assert printed == "ready\n"


def test_closing_one_of_two_tokens_leaves_the_other_logged_in(other_process: OtherProcess, device: Device) -> None:
    printed = other_process.run(
        """
        first, second = Token.open(device.settings()), Token.open(device.settings())
        key, spki = new_key(first)
        first.close()
        verify(spki, ALGORITHM, second.sign(key, ALGORITHM, b"message"), b"message")
        print(second.state())
        """
    )
    assert printed == "ready\n"


def test_the_pin_is_in_no_error_no_repr_and_no_log(lockable: OtherProcess, tmp_path: Path, device: Device) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(WRONG)
    wrong.chmod(0o600)
    printed = lockable.run(
        """
        import logging, traceback
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
        for pin in (FilePin(sys.argv[2]), FilePin(str(device.pin_file))):
            settings = device.settings(pin=pin)
            print(repr(settings), repr(pin), repr(pin.load_pin()), f"{pin.load_pin()}")
            try:
                token = Token.open(settings)
                print(repr(token), vars(token))
            except TokenLoginRefused as error:
                frames = traceback.TracebackException.from_exception(error, capture_locals=True)
                print("".join(frames.format()))
        """,
        str(wrong),
    )
    assert "Pin(********)" in printed
    assert WRONG not in printed
    assert Path(lockable.device.pin_file).read_text().strip() not in printed


def test_a_pin_cannot_be_pickled(device: Device) -> None:
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(FilePin(str(device.pin_file)).load_pin())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_pin_file_that_others_may_open_is_refused(mode: int, device: Device, tmp_path: Path) -> None:
    open_to_others = tmp_path / "pin"
    open_to_others.write_bytes(Path(device.pin_file).read_bytes())
    open_to_others.chmod(mode)
    with pytest.raises(ConfigError, match="open to its owner only"):
        Token.open(device.settings(pin=FilePin(str(open_to_others))))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pkcs11:", "must name it by token"),
        ("pkcs11:model=SoftHSM%20v2", "must name it by token"),
        ("pkcs11:token=engine-tests;object=key", "'object'"),
        ("pkcs11:token=engine-tests;library-version=2", "'library-version'"),
        ("pkcs11:token=engine-tests?module-path=/elsewhere.so", "another module-path"),
        ("pkcs11:token=engine-tests?pin-source=/run/pin", "must come from one place"),
        ("pkcs11:token=engine-tests?pin-value=1234", "holds a PIN"),
        ("pkcs11:token=no%20such%20token", "found '"),
        ("pkcs11:token=engine-tests;serial=0000", "with label 'engine-tests' and serial '0000'"),
    ],
)
def test_a_uri_that_does_not_name_one_token_is_refused(uri: str, message: str, device: Device) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Token.open(device.settings(uri=uri))
    assert "1234" not in str(caught.value)


def test_a_token_is_found_by_serial_model_and_manufacturer_too(device: Device, token: Token) -> None:
    found = token._connection.token
    serial, model, manufacturer = found.serial.decode(), quote(found.model), quote(found.manufacturer_id)
    Token.open(device.settings(uri=f"{device.uri};serial={serial};model={model};manufacturer={manufacturer}")).close()
    device.skip_unless("a serial number of its own")
    Token.open(device.settings(uri=f"pkcs11:serial={serial}")).close()


def test_a_slot_number_is_taken_with_a_warning(device: Device, token: Token, caplog: pytest.LogCaptureFixture) -> None:
    slot_id = token._connection.token.slot.slot_id
    Token.open(device.settings(uri=f"pkcs11:slot-id={slot_id}")).close()
    assert "slot numbers change" in caplog.text


def test_the_pin_source_of_the_uri_is_used_when_no_other_is_named(device: Device) -> None:
    uri = f"{device.uri}?pin-source=file:{device.pin_file}&module-path={device.module}"
    Token.open(device.settings(uri=uri, pin=None)).close()


def test_a_module_that_cannot_be_loaded_is_a_configuration_error(device: Device, tmp_path: Path) -> None:
    (tmp_path / "not-a-module.so").write_text("not a library")
    for module in (
        str(tmp_path / "absent.so"),
        str(tmp_path / "not-a-module.so"),
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
    ):
        with pytest.raises(ConfigError, match="PKCS#11 module"):
            Token.open(device.settings(module=module))


def test_one_module_under_two_environments_is_refused(device: Device, token: Token) -> None:
    del token
    with pytest.raises(ConfigError, match="another value of HSM_CONF"):
        Token.open(device.settings(environment={**device.environment, "HSM_CONF": "/elsewhere"}))
