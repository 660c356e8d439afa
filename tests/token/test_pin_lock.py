"""A token that counts wrong PINs is never locked by the engine, and one that is locked is said to be."""

from pathlib import Path

from tests.token.conftest import OtherProcess

BY_HAND = """
from engine.token import module as modules
def log_in_by_hand(pin):
    loaded = modules.acquire(device.module, device.environment, device.initialize_arguments)
    session = loaded.library.get_token(token_label=load_uri(device.uri).token).open(rw=True)
    buffer = ctypes.create_string_buffer(pin)
    code = call(device.module, "C_Login", session.handle, 1, ctypes.addressof(buffer), len(pin))
    session.close()
    modules.release(loaded)
    return code
right = FilePin(device.pin_file).load_pin().reveal()
wrong = Path(sys.argv[2])
wrong.write_bytes(right[::-1] if right[::-1] != right else b"0" * len(right))
wrong.chmod(0o600)
"""


def test_the_engine_leaves_the_last_try_alone_until_somebody_has_logged_in_by_hand(
    lockable: OtherProcess, tmp_path: Path
) -> None:
    lockable.device.skip_unless("a PIN that locks", "a warning before its PIN locks")
    printed = lockable.run(
        BY_HAND
        + """
with counted(device.module) as calls:
    for _ in range(20):
        print(error_of(Token.open, device.settings(pin=FilePin(str(wrong)))))
    print(error_of(Token.open, device.settings()))
print(calls["C_Login"], log_in_by_hand(right))
print(Token.open(device.settings()).state())
""",
        str(tmp_path / "wrong"),
    )
    *refusals, tries, state = printed.splitlines()
    last = "is not logged in to: one wrong PIN more would lock it; log in by hand once to clear that."
    assert len(refusals) == 21
    assert sum(refusal.endswith("the PIN is wrong (CKR_PIN_INCORRECT).") for refusal in refusals) == int(tries[0])
    assert all(refusal.endswith(last) for refusal in refusals[int(tries[0]) :])
    assert tries[1:] == " 0"
    assert state == "ready"


def test_a_locked_pin_is_said_to_be_locked_whatever_pin_is_given(lockable: OtherProcess, tmp_path: Path) -> None:
    lockable.device.skip_unless("a PIN that locks")
    printed = lockable.run(
        BY_HAND
        + """
answers = [log_in_by_hand(wrong.read_bytes()) for _ in range(5)]
assert answers[0] == 0xA0 and answers[-1] == 0xA4, answers
for pin in (right, wrong.read_bytes()):
    wrong.write_bytes(pin)
    print(error_of(Token.open, device.settings(pin=FilePin(str(wrong)))))
""",
        str(tmp_path / "wrong"),
    )
    assert [line.startswith("TokenLoginRefused: ") and "PIN is locked" in line for line in printed.splitlines()] == [
        True,
        True,
    ]
