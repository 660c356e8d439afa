"""Signature algorithms and signature values.

AlgorithmIdentifiers follow RFC 5758 section 3.2 (ECDSA), RFC 4055 sections 3 and 5 (RSA) and RFC 8410
section 3 (Ed25519); the ECDSA value follows RFC 3279 section 2.2.3. Each identifier the engine emits is
encoded once, by asn1crypto.
"""

from dataclasses import dataclass

from asn1crypto.algos import DigestAlgorithm, SignedDigestAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from engine.errors import IssuanceDefect, MalformedRequest, UnsupportedRequest
from engine.x509 import der as asn1
from engine.x509.spki import PublicKey


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """A signature algorithm by its name and its DER AlgorithmIdentifier, parameters included."""

    name: str
    identifier: bytes


_HASHES: dict[str, HashAlgorithm] = {"SHA256": SHA256(), "SHA384": SHA384(), "SHA512": SHA512()}
_FIELD_OCTETS = {"secp256r1": 32, "secp384r1": 48, "secp521r1": 66}

# What verifies a signature of each name. Ed25519 needs nothing but the key.
_EC_VERIFICATIONS = {f"ecdsa-with-{name}": ECDSA(digest) for name, digest in _HASHES.items()}
_RSA_VERIFICATIONS: dict[str, tuple[PKCS1v15 | PSS, HashAlgorithm]] = {
    f"{name.lower()}WithRSAEncryption": (PKCS1v15(), digest) for name, digest in _HASHES.items()
} | {
    f"id-RSASSA-PSS-{name}": (PSS(mgf=MGF1(digest), salt_length=digest.digest_size), digest)
    for name, digest in _HASHES.items()
}
_ED25519 = SignatureAlgorithm("id-Ed25519", SignedDigestAlgorithm({"algorithm": "ed25519"}).dump())


def _pss_identifier(hash_name: str, *, null: bool = True) -> bytes:
    """Encode RSASSA-PSS with everything stated (RFC 4055 section 3.1); the hashes' NULL is optional there."""
    digest: bytes = DigestAlgorithm({"algorithm": hash_name.lower()}).dump()
    if not null:
        digest = asn1.encode_tlv(asn1.SEQUENCE, asn1.read_children(asn1.read_element(digest).content)[0].encoding)
    mask = asn1.encode_tlv(asn1.SEQUENCE, asn1.encode_object_identifier("1.2.840.113549.1.1.8"), digest)
    salt = asn1.encode_integer(_HASHES[hash_name].digest_size)
    parameters = asn1.encode_tlv(
        asn1.SEQUENCE,
        asn1.encode_tlv(0xA0, digest),
        asn1.encode_tlv(0xA1, mask),
        asn1.encode_tlv(0xA2, salt),
    )
    return asn1.encode_tlv(asn1.SEQUENCE, asn1.encode_object_identifier(_RSASSA_PSS), parameters)


_RSASSA_PSS = "1.2.840.113549.1.1.10"
_EMITTED = {
    "secp256r1": SignatureAlgorithm("ecdsa-with-SHA256", SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}).dump()),
    "secp384r1": SignatureAlgorithm("ecdsa-with-SHA384", SignedDigestAlgorithm({"algorithm": "sha384_ecdsa"}).dump()),
    "secp521r1": SignatureAlgorithm("ecdsa-with-SHA512", SignedDigestAlgorithm({"algorithm": "sha512_ecdsa"}).dump()),
    "RSA": SignatureAlgorithm("sha256WithRSAEncryption", SignedDigestAlgorithm({"algorithm": "sha256_rsa"}).dump()),
    "Ed25519": _ED25519,
}
RSASSA_PSS_SHA256 = SignatureAlgorithm("id-RSASSA-PSS-SHA256", _pss_identifier("SHA256"))


def _accepted() -> dict[bytes, SignatureAlgorithm]:
    algorithms = [*_EMITTED.values()]
    for name in _HASHES:
        lower = name.lower()
        pkcs1: bytes = SignedDigestAlgorithm({"algorithm": f"{lower}_rsa"}).dump()
        # RFC 4055 section 5: NULL parameters must be written, and absent ones must be accepted.
        bare = asn1.encode_tlv(asn1.SEQUENCE, asn1.read_children(asn1.read_element(pkcs1).content)[0].encoding)
        algorithms += [
            SignatureAlgorithm(f"{lower}WithRSAEncryption", pkcs1),
            SignatureAlgorithm(f"{lower}WithRSAEncryption", bare),
            SignatureAlgorithm(f"id-RSASSA-PSS-{name}", _pss_identifier(name)),
            SignatureAlgorithm(f"id-RSASSA-PSS-{name}", _pss_identifier(name, null=False)),
        ]
    return {algorithm.identifier: algorithm for algorithm in algorithms}


_ACCEPTED = _accepted()
_ACCEPTED_OIDS = {
    asn1.load_object_identifier(asn1.read_children(asn1.read_element(identifier).content)[0].content): algorithm
    for identifier, algorithm in _ACCEPTED.items()
}
_REFUSED = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.2.840.113549.1.1.3": "MD4",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.3.14.3.2.3": "MD5",
    "1.3.14.3.2.15": "SHA-1",
    "1.3.14.3.2.29": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.113549.1.1.14": "SHA-224",
    "1.2.840.10045.4.3.1": "SHA-224",
}
_DSA = {
    "1.2.840.10040.4.3",
    "1.3.14.3.2.12",
    "1.3.14.3.2.27",
    *(f"2.16.840.1.101.3.4.3.{arc}" for arc in range(1, 9)),
}


def signature_algorithm_for(key: PublicKey) -> SignatureAlgorithm:
    """Return the algorithm the engine signs with under `key`: the hash as wide as the curve, RSA with SHA-256."""
    return _EMITTED[key.key_type]


def load_signature_algorithm(identifier: bytes) -> SignatureAlgorithm:
    """Return the algorithm of a received DER AlgorithmIdentifier.

    ECDSA, RSA PKCS #1 v1.5 and RSASSA-PSS with SHA-256, SHA-384 or SHA-512, and Ed25519. UnsupportedRequest
    with a sentence of its own for SHA-1, MD5, MD4, MD2, DSA and the rest; MalformedRequest for parameters
    that the algorithm does not take.
    """
    algorithm = _ACCEPTED.get(identifier)
    if algorithm is not None:
        return algorithm
    asn1.check_der(identifier, "A signatureAlgorithm")
    outer = asn1.read_element(identifier)
    members = asn1.read_children(outer.content) if outer.tag == asn1.SEQUENCE else []
    if not members or members[0].tag != asn1.OBJECT_IDENTIFIER or len(members) > 2:
        raise MalformedRequest(
            "A signatureAlgorithm must be a SEQUENCE of an OBJECT IDENTIFIER and optional parameters, "
            "found another shape."
        )
    oid = asn1.load_object_identifier(members[0].content)
    if oid in _REFUSED:
        raise UnsupportedRequest(f"A signature must use SHA-256, SHA-384 or SHA-512, found {_REFUSED[oid]}.")
    if oid in _DSA:
        raise UnsupportedRequest("A signature must be ECDSA, RSA or Ed25519, found DSA.")
    if oid == _RSASSA_PSS:
        raise UnsupportedRequest(
            "RSASSA-PSS must state SHA-256, SHA-384 or SHA-512, MGF1 with the same hash and a salt of its length, "
            "found other parameters."
        )
    if oid in _ACCEPTED_OIDS:
        expected = "NULL" if "RSA" in _ACCEPTED_OIDS[oid].name else "absent"
        raise MalformedRequest(f"The parameters of {_ACCEPTED_OIDS[oid].name} must be {expected}, found others.")
    raise UnsupportedRequest(f"A signature must be ECDSA, RSA or Ed25519 with SHA-2, found the algorithm {oid}.")


def check_algorithm_fits(key: PublicKey, algorithm: SignatureAlgorithm) -> None:
    """Raise UnsupportedRequest unless a key of this type can have made a signature of this algorithm."""
    if key.key_type in _FIELD_OCTETS:
        fits = algorithm.name in _EC_VERIFICATIONS
    elif key.key_type == "RSA":
        fits = algorithm.name in _RSA_VERIFICATIONS
    else:
        fits = algorithm.name == _ED25519.name
    if not fits:
        raise UnsupportedRequest(
            f"The signature algorithm must fit the {key.key_type} public key, found {algorithm.name}."
        )


def encode_signature(key: PublicKey, raw: bytes) -> bytes:
    """Return the signature as X.509 writes it: ECDSA r and s as a SEQUENCE of two INTEGERs, others unchanged.

    `raw` of an EC key is r followed by s, each of the field's width. IssuanceDefect for another length, or
    for an r or s of zero, which no signature has.
    """
    width = _FIELD_OCTETS.get(key.key_type)
    if width is None:
        return raw
    if len(raw) != 2 * width:
        raise IssuanceDefect(
            f"An ECDSA signature on {key.key_type} must have {2 * width} octets from the token, found {len(raw)}."
        )
    r = int.from_bytes(raw[:width], "big")
    s = int.from_bytes(raw[width:], "big")
    if r == 0 or s == 0:
        raise IssuanceDefect("The r and s of an ECDSA signature must be positive, found zero.")
    return asn1.encode_tlv(asn1.SEQUENCE, asn1.encode_integer(r), asn1.encode_integer(s))


def check_signature(key: PublicKey, algorithm: SignatureAlgorithm, signature: bytes, message: bytes) -> None:
    """Raise cryptography's InvalidSignature unless `signature` (as X.509 writes it) verifies over `message`.

    UnsupportedRequest if the algorithm does not fit the key.
    """
    check_algorithm_fits(key, algorithm)
    verifier = key.verifier
    if isinstance(verifier, EllipticCurvePublicKey):
        verifier.verify(signature, message, _EC_VERIFICATIONS[algorithm.name])
    elif isinstance(verifier, RSAPublicKey):
        padding, digest = _RSA_VERIFICATIONS[algorithm.name]
        verifier.verify(signature, message, padding, digest)
    else:
        verifier.verify(signature, message)
