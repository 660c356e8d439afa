"""Algorithm names and the PKCS#11 mechanisms behind them, as data.

The engine hashes and names mechanism and parameters every time: the binding's defaults are ECDSA with SHA-512 and PSS
with SHA-1. A mechanism that hashes on the token comes second in its row and is taken only where the first is missing.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pkcs11.mechanisms import MGF, KeyType, Mechanism

from engine.errors import UnsupportedRequest
from engine.token.publickey import CURVES, ED25519_PARAMETERS
from engine.token.vendors import find_vendor


class _Digest(Protocol):
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SignatureMechanism:
    """One way to make a signature: what to do to the message, then which mechanism, for keys of which family."""

    family: str
    mechanism: Mechanism
    parameter: tuple[Mechanism, MGF, int] | None = None
    hash: Callable[[bytes], _Digest] | None = None
    """None: the message goes to the token whole."""
    prefix: bytes = b""
    """What precedes the digest: the DigestInfo header of RFC 8017 section 9.2, with NULL parameters."""

    def prepare(self, message: bytes) -> bytes:
        """The octets for C_Sign, always `bytes`: the binding takes any other buffer for an iterator."""
        return bytes(message) if self.hash is None else self.prefix + self.hash(message).digest()


_PSS_SHA256 = (Mechanism.SHA256, MGF.SHA256, 32)

SIGNATURE_MECHANISMS: Mapping[str, tuple[SignatureMechanism, ...]] = {
    "ecdsa-with-SHA256": (
        SignatureMechanism("EC", Mechanism.ECDSA, hash=hashlib.sha256),
        SignatureMechanism("EC", Mechanism.ECDSA_SHA256),
    ),
    "ecdsa-with-SHA384": (
        SignatureMechanism("EC", Mechanism.ECDSA, hash=hashlib.sha384),
        SignatureMechanism("EC", Mechanism.ECDSA_SHA384),
    ),
    "ecdsa-with-SHA512": (
        SignatureMechanism("EC", Mechanism.ECDSA, hash=hashlib.sha512),
        SignatureMechanism("EC", Mechanism.ECDSA_SHA512),
    ),
    "sha256WithRSAEncryption": (
        SignatureMechanism(
            "RSA",
            Mechanism.RSA_PKCS,
            hash=hashlib.sha256,
            prefix=bytes.fromhex("3031300d060960864801650304020105000420"),
        ),
        SignatureMechanism("RSA", Mechanism.SHA256_RSA_PKCS),
    ),
    "id-RSASSA-PSS-SHA256": (
        SignatureMechanism("RSA", Mechanism.RSA_PKCS_PSS, _PSS_SHA256, hash=hashlib.sha256),
        SignatureMechanism("RSA", Mechanism.SHA256_RSA_PKCS_PSS, _PSS_SHA256),
    ),
    "id-Ed25519": (SignatureMechanism("Ed25519", Mechanism.EDDSA),),
}


@dataclass(frozen=True, slots=True)
class KeyPairKind:
    """How a key pair is generated: an elliptic curve by `parameters`, RSA by `bits`."""

    name: str
    key_type: KeyType
    mechanism: Mechanism
    signature_algorithm: str
    """The algorithm of the one signature that proves a new pair."""
    parameters: bytes = b""
    bits: int = 0


_ECDSA = {"secp384r1": "ecdsa-with-SHA384", "secp521r1": "ecdsa-with-SHA512"}
"""Where it is not SHA-256 that such keys sign with."""

KEY_PAIR_KINDS: Mapping[str, KeyPairKind] = {
    kind.name: kind
    for kind in (
        *(
            KeyPairKind(
                curve.name,
                KeyType.EC,
                Mechanism.EC_KEY_PAIR_GEN,
                _ECDSA.get(curve.name, "ecdsa-with-SHA256"),
                parameters=curve.parameters,
            )
            for curve in CURVES
        ),
        KeyPairKind("RSA", KeyType.RSA, Mechanism.RSA_PKCS_KEY_PAIR_GEN, "sha256WithRSAEncryption", bits=2048),
        KeyPairKind("RSA3072", KeyType.RSA, Mechanism.RSA_PKCS_KEY_PAIR_GEN, "sha256WithRSAEncryption", bits=3072),
        KeyPairKind("RSA4096", KeyType.RSA, Mechanism.RSA_PKCS_KEY_PAIR_GEN, "sha256WithRSAEncryption", bits=4096),
        KeyPairKind(
            "Ed25519",
            KeyType.EC_EDWARDS,
            Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            "id-Ed25519",
            parameters=ED25519_PARAMETERS[0],
        ),
    )
}

KEY_TYPES = tuple(KEY_PAIR_KINDS)
"""Names of the types of key pairs that are generated, on a token that has their mechanism."""


def find_usable(offered: Iterable[int], library: str) -> frozenset[int | str]:
    """The mechanisms of `offered`, and the key types, that work with this library (CK_INFO manufacturerID)."""
    return frozenset[int | str]((*offered, *KEY_PAIR_KINDS)) - find_vendor(library).unusable.keys()


def find_signature_mechanism(algorithm: str, available: Collection[int | str]) -> SignatureMechanism:
    """The mechanism for an algorithm on a token with these mechanisms. Raises UnsupportedRequest naming the wanted."""
    candidates = SIGNATURE_MECHANISMS.get(algorithm)
    if candidates is None:
        raise UnsupportedRequest(
            f"The signature algorithm must be one of {', '.join(SIGNATURE_MECHANISMS)}, found {algorithm!r}."
        )
    for candidate in candidates:
        if candidate.mechanism in available:
            return candidate
    wanted = " or ".join(f"CKM_{candidate.mechanism.name}" for candidate in candidates)
    raise UnsupportedRequest(f"The token cannot sign with {algorithm}: it would need {wanted}.")


def find_key_pair_kind(key_type: str, available: Collection[int | str]) -> KeyPairKind:
    """How this token generates a pair of this type. Raises UnsupportedRequest naming what is known, wanted and had."""
    kind = KEY_PAIR_KINDS.get(key_type)
    if kind is None:
        raise UnsupportedRequest(f"The key type must be one of {', '.join(KEY_PAIR_KINDS)}, found {key_type!r}.")
    able = [one.name for one in KEY_PAIR_KINDS.values() if one.mechanism in available and one.name in available]
    instead = f"it generates {', '.join(able) or 'no key pairs'}"
    if kind.mechanism not in available:
        raise UnsupportedRequest(
            f"The token cannot generate {key_type} keys: it would need CKM_{kind.mechanism.name}; {instead}."
        )
    if kind.name not in able:
        raise UnsupportedRequest(
            f"The token's library generates {key_type} keys, but cannot sign with them; {instead}."
        )
    return kind
