"""One signature that proves a key, and its record: no key signs without a durable intent made before.

The halves of a pair belong together if what the private one signs verifies, outside the token, under the public one.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidSignature

from engine.errors import EngineError
from engine.issuance import Caller
from engine.store import Store
from engine.token import PROOF
from engine.x509.algorithms import check_signature, encode_signature, signature_algorithm_for
from engine.x509.spki import PublicKey


@contextmanager
def proving(store: Store, path: str, caller: Caller) -> Iterator[str]:
    """Around the signature that proves the key of `path`: an intent, whose id this gives, before it.

    The block closes the intent when the key is proven. If it raises, the intent is closed as failed.
    """
    intent_id = secrets.token_hex(16)
    store.record_intent(
        intent_id=intent_id,
        kind="proof",
        profile="",
        issuer=None,
        serial_number=None,
        tbs=None,
        tbs_sha256=hashlib.sha256(PROOF).hexdigest(),
        signing_key=path,
        caller=caller.credential_id,
        target=caller.target,
        request_id=caller.request_id,
        request_digest=caller.request_digest,
        entries=(),
        source=caller.source,
    )
    try:
        yield intent_id
    except BaseException as error:
        store.record_failure(intent_id=intent_id, reason=type(error).__name__)
        raise


def check_proof(public_key: PublicKey, signature: bytes, refusal: EngineError) -> None:
    """Raises `refusal` unless the token's raw signature of PROOF verifies under the public key."""
    algorithm = signature_algorithm_for(public_key)
    try:
        check_signature(public_key, algorithm, encode_signature(public_key, signature), PROOF)
    except InvalidSignature:
        raise refusal from None
