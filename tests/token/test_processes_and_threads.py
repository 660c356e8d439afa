"""Many threads, many processes, forks, and modules that cannot lock. Each in another process: a crash is a failure."""

import subprocess
import sys
import threading
from pathlib import Path

from engine.token.module import exclusive
from tests.token.conftest import PRELUDE, OtherProcess

THREADS = """
def sign_in_threads(tokens, key, spki, threads, signatures):
    problems, signed = [], []
    def work(number):
        token = tokens[number % len(tokens)]
        for i in range(signatures):
            message = f"{number} {i}".encode()
            try:
                signature = token.sign(key, ALGORITHM, message)
                if i % 10 == 0:
                    verify(spki, ALGORITHM, signature, message)
                signed.append(1)
            except Exception as error:
                problems.append(repr(error))
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    print(len(signed), problems[:3], sum(token.signatures for token in tokens))
"""


def test_sixteen_threads_sign_on_two_tokens_of_one_module(other_process: OtherProcess) -> None:
    printed = other_process.run(
        THREADS
        + """
tokens = [Token.open(device.settings()), Token.open(device.settings(sessions=3))]
key, spki = new_key(tokens[0])
each = min(400, device.rate // 8)
sign_in_threads(tokens, key, spki, 16, each)
print(16 * each)
[token.close() for token in tokens]
"""
    )
    [signed, problems, counted], [expected] = (line.split() for line in printed.splitlines())
    assert (signed, problems, int(counted)) == (expected, "[]", int(expected) + 1)  # the one proved the new key


def test_threads_generate_sign_find_and_destroy_at_once(other_process: OtherProcess) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings(sessions=4))
        problems = []
        def work(number):
            try:
                for i in range(2 if device.key_type == "RSA" else 6):
                    key, spki = new_key(token, f"key {number}")
                    for _ in range(20):
                        token.sign(key, ALGORITHM, b"message")
                    assert token.find_key(key.label, key.id).spki == spki
                    token.destroy_key(key)
            except Exception as error:
                problems.append(repr(error))
        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
        print(problems[:3], token.state())
        token.close()
        """
    )
    assert printed == "[] ready\n"


def test_a_module_that_cannot_lock_is_called_by_one_thread_at_a_time(other_process: OtherProcess) -> None:
    printed = other_process.run(
        THREADS
        + """
inside, most, refused = 0, 0, []
watched = "C_Initialize C_OpenSession C_CloseSession C_SignInit C_Sign C_GenerateKeyPair C_FindObjects"
def alone(name, original):
    def call(*arguments):
        global inside, most
        if name == "C_Initialize" and arguments[0] and ctypes.c_ulong.from_address(arguments[0] + 32).value & 2:
            refused.append(name)
            return 0x0A
        inside += 1
        most = max(most, inside)
        try:
            return original(*arguments)
        finally:
            inside -= 1
    return call
with interposed(device.module, alone, watched.split()):
    tokens = [Token.open(device.settings()), Token.open(device.settings())]
    key, spki = new_key(tokens[0])
    sign_in_threads(tokens, key, spki, 8, 100)
    print(refused, most)
    [token.close() for token in tokens]
"""
    )
    assert printed == "800 [] 801\n['C_Initialize'] 1\n"


def test_a_token_is_refused_in_a_fork_and_lives_on_in_the_parent(other_process: OtherProcess) -> None:
    printed = other_process.run(
        """
        token = Token.open(device.settings())
        key, spki = new_key(token)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            print(error_of(token.sign, key, ALGORITHM, b"message"))
            print(error_of(Token.open, device.settings()))
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        verify(spki, ALGORITHM, token.sign(key, ALGORITHM, b"message"), b"message")
        """
    )
    lines = printed.splitlines()
    assert [line.startswith("TokenUnavailable: ") and "open tokens after forking" in line for line in lines[:2]] == [
        True,
        True,
    ]
    assert lines[2:] == []


def test_processes_that_start_and_generate_at_once_all_succeed(other_process: OtherProcess) -> None:
    code = """
for i in range(3):
    token = Token.open(device.settings())
    key, spki = new_key(token, f"{os.getpid()}")
    verify(spki, ALGORITHM, token.sign(key, ALGORITHM, b"message"), b"message")
    token.close()
"""
    rendered = other_process.device.render()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, rendered],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    assert [(process.communicate(timeout=120)[1], process.returncode) for process in processes] == [("", 0)] * 6


def test_a_module_that_other_code_initialised_for_one_thread_is_refused(other_process: OtherProcess) -> None:
    other_process.device.skip_unless("one initialisation for all of the process")
    printed = other_process.run(
        """
        os.environ.update(device.environment)
        import pkcs11
        pkcs11.lib(device.module)
        print(error_of(Token.open, device.settings()))
        """
    )
    assert "does not start: other code in this process uses its module (CKR_CRYPTOKI_ALREADY_INITIALIZED)" in printed


def test_the_lock_between_processes_is_held_by_one_at_a_time(other_process: OtherProcess) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with exclusive(other_process.device.module):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1
