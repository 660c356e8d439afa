"""Signatures a second by sessions and by how long the token takes for one: the raw token against the token room.

    scripts/bench sessions [--seconds N]

SoftHSM behind the fault-injecting module of tests/faults, which makes each C_Sign last longer as a network HSM would.
Either side signs a P-256 digest in as many threads as there are sessions, key handles at hand. The raw side is
python-pkcs11 and nothing else; the token room adds the pool, the breaker, the counts and the hash.
"""

import argparse
import hashlib
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pkcs11 import KeyType, Mechanism, ObjectClass

from engine.pin import FilePin
from engine.token import KeyReference, Token, TokenSettings
from engine.token.module import acquire, release
from engine.trial.quickstart import RECIPE
from tests.faults.faulty import FaultyModule, build_module

LABEL = "engine-bench"
SESSIONS = (1, 2, 4, 8, 16, 32)
MILLISECONDS = (0, 2, 5)
MESSAGE = b"one message"


def rate(signers: list[Callable[[], object]], seconds: float) -> float:
    """Signatures a second when every signer has a thread of its own."""
    counts = [0] * len(signers)
    start, over = threading.Barrier(len(signers) + 1), threading.Event()

    def work(place: int) -> None:
        sign, count = signers[place], 0
        sign()  # finds the key
        start.wait()
        while not over.is_set():
            sign()
            count += 1
        counts[place] = count

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(signers))]
    for thread in threads:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    time.sleep(seconds)
    over.set()
    elapsed = time.perf_counter() - begin
    for thread in threads:
        thread.join()
    return sum(counts) / elapsed


def measure(settings: TokenSettings, faulty: FaultyModule, seconds: float) -> None:
    token = Token.open(settings)
    key_id = secrets.token_bytes(8)
    spki = token.generate_key("secp256r1", "bench", key_id).spki
    reference = KeyReference("bench", key_id, hashlib.sha256(spki).hexdigest())
    module = acquire(settings.module, settings.environment, None)
    digest = hashlib.sha256(MESSAGE).digest()
    sessions = [module.library.get_token(token_label=LABEL).open() for _ in range(max(SESSIONS))]
    keys = [
        session.get_key(object_class=ObjectClass.PRIVATE_KEY, key_type=KeyType.EC, id=key_id) for session in sessions
    ]

    def raw(place: int) -> Callable[[], object]:
        return lambda: keys[place].sign(digest, mechanism=Mechanism.ECDSA)

    def room() -> object:
        return token.sign(reference, "ecdsa-with-SHA256", MESSAGE)

    print(f"{'':>11}" + "".join(f"{number:>9}" for number in SESSIONS) + "  sessions")
    for milliseconds in MILLISECONDS:
        faulty.sign_latency(milliseconds)
        rows: dict[str, list[float]] = {"raw": [], "token room": []}
        for number in SESSIONS:
            rows["raw"].append(rate([raw(place) for place in range(number)], seconds))
            rows["token room"].append(rate([room] * number, seconds))
        for name, rates in rows.items():
            print(f"{name:>11}" + "".join(f"{one:9.0f}" for one in rates) + f"  /s at {milliseconds} ms")
    for session in sessions:
        session.close()
    release(module)
    token.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number")
    parser.add_argument("--switch-interval", type=float, help="sys.setswitchinterval, in seconds")
    options = parser.parse_args()
    if options.switch_interval:
        sys.setswitchinterval(options.switch_interval)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([RECIPE, folder, LABEL], check=True, capture_output=True)
        module = build_module(folder)
        with FaultyModule(module, folder / "control") as faulty:
            settings = TokenSettings(
                name="bench",
                module=str(module),
                uri=f"pkcs11:token={LABEL}",
                pin=FilePin(str(folder / "pin")),
                sessions=max(SESSIONS),
                environment={"SOFTHSM2_CONF": str(folder / "softhsm2.conf"), **faulty.environment},
            )
            measure(settings, faulty, options.seconds)


if __name__ == "__main__":
    main()
