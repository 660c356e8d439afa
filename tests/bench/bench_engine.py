"""How much of the raw token's signing rate the engine keeps: certification request in, verified certificate out.

    scripts/bench [--rounds N]

Both sides run in this process on one SoftHSM token, in turns of at most 50 ms, so that a noisy machine is noisy for
both; what counts is the median of the ratios of the rounds. The raw side signs a ready digest in a loop, key handle and
session at hand. The engine's side is the whole corridor, PEM to verified DER, with a ledger that only counts: how much
durability costs is measured by bench_store.py.
"""

import argparse
import gc
import hashlib
import itertools
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pkcs11 import KeyType, Mechanism, ObjectClass

from engine.issuance import Caller, Corridor, Provenance, utc_now
from engine.pin import FilePin
from engine.profiles.issuer import issuer_from_certificate
from engine.profiles.orders import AlternativeNames, GenericOrder, SubjectName
from engine.token import KeyReference, Token, TokenIdentity, TokenSettings
from engine.token.module import acquire, release
from engine.trial.quickstart import MODULES, RECIPE
from engine.x509.certificate import load_certificate
from engine.x509.spki import PublicKey, load_spki

SLICE_SECONDS = 0.04
REQUESTS = 5000
"""More than any cache of the engine holds: every certificate has a key and names of its own, as in the field."""
LABEL = "engine-bench"
GOALS = {"secp256r1": 0.12, "RSA": 0.5}
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # SHA-256, RFC 8017 section 9.2


@dataclass(slots=True)
class CountingLedger:
    """Keeps nothing, counts what it was told."""

    intents: int = 0
    certificates: int = 0

    def record_intent(self, **_: object) -> None:
        self.intents += 1

    def record_certificate(self, **_: object) -> None:
        self.certificates += 1

    def record_signed(self, **_: object) -> None:
        raise AssertionError("the bench makes no certification request")

    def record_failure(self, **told: object) -> None:
        raise AssertionError(f"the bench met a failure: {told}")

    def is_ca_key(self, _spki_sha256: str, _organization: str) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """A key of the token."""

    token: Token = field(repr=False)
    reference: KeyReference
    public_key: PublicKey
    name: str = "bench.tenant.kms.ca"
    custody_sha256: str = "0" * 64

    def check_present(self) -> None:
        self.token.connected()

    def token_identity(self) -> TokenIdentity:
        return self.token.identity()

    def sign(self, algorithm: str, message: bytes) -> bytes:
        return self.token.sign(self.reference, algorithm, message)


def request_pem(number: int) -> str:
    """A certification request of an outside party."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"leaf {number}")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    return request.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM).decode()


def engine_side(signer: TokenSigner, ledger: CountingLedger) -> Callable[[], None]:
    """One call issues one certificate under a CA that was made for it."""
    corridor = Corridor(ledger=ledger, now=utc_now, random_bytes=secrets.token_bytes)
    caller = Caller("bench", "test.tenant1.x509-service-1", "bench", "")
    authority = GenericOrder(
        subject_name=SubjectName(common_name="Bench CA", country="US"),
        key_usage=("keyCertSign", "cRLSign"),
        is_certificate_authority=True,
    )
    issued = corridor.issue_certificate(authority, Provenance(public_key=signer.public_key), None, signer, (), caller)
    issuer = issuer_from_certificate(load_certificate(issued.der), signer.public_key)
    orders = itertools.cycle(
        [
            GenericOrder(
                subject_name=SubjectName(common_name=f"Leaf {number}", country="US", organization_name="Example Org"),
                key_usage=("digitalSignature",),
                extended_key_usage=("1.3.6.1.5.5.7.3.1",),
                subject_alternative_names=AlternativeNames(dns_names=(f"leaf-{number}.example.com",)),
                not_after=issuer.not_after,
                crl_distribution_point_uri="https://crl.example.com/ca.crl",
            )
            for number in range(REQUESTS)
        ]
    )
    subjects = itertools.cycle([Provenance(request_pem=request_pem(number)) for number in range(REQUESTS)])

    def issue() -> None:
        corridor.issue_certificate(next(orders), next(subjects), issuer, signer, (), caller)

    return issue


def rate(once: Callable[[], object]) -> float:
    """Calls a second, over one slice."""
    count, begin = 0, time.perf_counter()
    end = begin + SLICE_SECONDS
    while (now := time.perf_counter()) < end:
        once()
        count += 1
    return count / (now - begin)


def measure(token: Token, module_path: str, key_type: str, rounds: int) -> None:
    generated = token.generate_key(key_type, f"bench-{key_type}", secrets.token_bytes(8))
    public_key = load_spki(generated.spki)
    found = token.find_key(f"bench-{key_type}", None)
    reference = KeyReference(found.label, found.id, public_key.sha256)
    ledger = CountingLedger()
    issue = engine_side(TokenSigner(token, reference, public_key), ledger)

    module = acquire(module_path, {}, None)
    digest = hashlib.sha256(b"raw").digest()
    if key_type == "RSA":
        family, mechanism, octets = KeyType.RSA, Mechanism.RSA_PKCS, DIGEST_INFO + digest
    else:
        family, mechanism, octets = KeyType.EC, Mechanism.ECDSA, digest
    with module.library.get_token(token_label=LABEL).open() as session:  # the engine's login is the token's
        key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, key_type=family, label=reference.label)

        def sign() -> None:
            key.sign(octets, mechanism=mechanism)

        gc.collect()
        gc.freeze()  # as a worker does when it has opened everything
        rate(sign), rate(issue)  # warm
        pairs = [(rate(issue), rate(sign)) for _ in range(rounds)]
    release(module)
    assert ledger.intents == ledger.certificates
    engine_rate, raw_rate = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(engine / raw for engine, raw in pairs)
    verdict = "reached" if ratio >= GOALS[key_type] else "MISSED"
    print(
        f"{key_type:10} engine {engine_rate:7.0f}/s   raw token {raw_rate:7.0f}/s   ratio {ratio:.3f}"
        f"   goal {GOALS[key_type]:.2f} {verdict}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds
    module_path = next(path for path in MODULES if Path(path).exists())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([RECIPE, folder, LABEL], check=True, capture_output=True)
        settings = TokenSettings(
            name="bench",
            module=module_path,
            uri=f"pkcs11:token={LABEL}",
            pin=FilePin(folder / "pin"),
            environment={"SOFTHSM2_CONF": str(folder / "softhsm2.conf")},
        )
        token = Token.open(settings)
        try:
            for key_type in GOALS:
                measure(token, module_path, key_type, rounds)
        finally:
            token.close()


if __name__ == "__main__":
    main()
