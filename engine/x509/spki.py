"""SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7; EC RFC 5480, RSA RFC 3279 section 2.3.1, Ed25519 RFC 8410).

Structure is judged here and each refusal has its own sentence; whether a sound key is strong enough is the
profiles' business. On-curve checks are done by pyca/cryptography.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from asn1crypto.keys import ECDomainParameters, PublicKeyAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from engine.errors import MalformedRequest, UnsupportedRequest
from engine.x509 import der as asn1

Verifier = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that has been read and found sound. Two are equal when their encodings are.

    `spki` is the DER SubjectPublicKeyInfo; `key_type` one of secp256r1, secp384r1, secp521r1, RSA, Ed25519;
    `bits` the size of the field or modulus; `key_identifier` the SHA-1 of the subjectPublicKey bits (RFC 5280
    section 4.2.1.2 method 1); `sha256` the hexadecimal SHA-256 of `spki`; `modulus` and `exponent` are of RSA.
    """

    spki: bytes = field(repr=False)
    key_type: str = field(compare=False)
    bits: int = field(compare=False)
    key_identifier: bytes = field(compare=False)
    sha256: str = field(compare=False)
    modulus: int | None = field(compare=False, repr=False)
    exponent: int | None = field(compare=False, repr=False)
    verifier: Verifier = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Curve:
    key_type: str
    jwk_name: str
    field_octets: int
    bits: int
    instance: EllipticCurve
    algorithm_identifier: bytes


def _curve(key_type: str, jwk_name: str, instance: EllipticCurve) -> _Curve:
    parameters = ECDomainParameters(name="named", value=key_type)
    identifier = PublicKeyAlgorithm({"algorithm": "ec", "parameters": parameters}).dump()
    bits = instance.key_size
    return _Curve(key_type, jwk_name, (bits + 7) // 8, bits, instance, identifier)


_CURVES = (
    _curve("secp256r1", "P-256", SECP256R1()),
    _curve("secp384r1", "P-384", SECP384R1()),
    _curve("secp521r1", "P-521", SECP521R1()),
)
_CURVE_OF_IDENTIFIER = {curve.algorithm_identifier: curve for curve in _CURVES}
_CURVE_OF_TYPE = {curve.key_type: curve for curve in _CURVES}
_CURVE_OF_JWK = {curve.jwk_name: curve for curve in _CURVES}
_RSA_IDENTIFIER: bytes = PublicKeyAlgorithm({"algorithm": "rsa"}).dump()
_ED25519_IDENTIFIER: bytes = PublicKeyAlgorithm({"algorithm": "ed25519"}).dump()

_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
_ED25519 = "1.3.101.112"
_NOT_SUPPORTED = {
    "1.2.840.10040.4.1": "DSA",
    "1.2.840.10046.2.1": "Diffie-Hellman",
    "1.2.840.113549.1.1.7": "RSAES-OAEP",
    "1.2.840.113549.1.1.10": "RSASSA-PSS",
    "1.3.101.110": "X25519",
    "1.3.101.111": "X448",
    "1.3.101.113": "Ed448",
    "1.3.132.1.12": "ECDH",
}
_CURVES_NOT_SUPPORTED = {
    "1.2.840.10045.3.1.1": "secp192r1",
    "1.3.132.0.10": "secp256k1",
    "1.3.132.0.33": "secp224r1",
    "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
    "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
    "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
}

# OpenSSL verifies no RSA signature with a longer modulus, and the cost of one grows with its square.
_MAXIMUM_RSA_BITS = 16384


def load_spki(der: bytes) -> PublicKey:
    """Return the public key of a DER SubjectPublicKeyInfo.

    MalformedRequest for octets that are no sound key (not DER, no curve, off the curve, wrong parameters);
    UnsupportedRequest for sound ones of an algorithm, curve or point form that is not supported.
    """
    asn1.check_der(der, "The subjectPublicKeyInfo")
    return load_checked_spki(asn1.read_element(der))


@lru_cache(maxsize=1024)
def load_checked_spki(outer: asn1.Element) -> PublicKey:
    """Do what `load_spki` does for an element that has passed `check_der` as a part of something larger."""
    der = outer.encoding
    members = asn1.read_children(outer.content) if outer.tag == asn1.SEQUENCE else []
    if [member.tag for member in members] != [asn1.SEQUENCE, asn1.BIT_STRING]:
        raise MalformedRequest(
            "The subjectPublicKeyInfo must be a SEQUENCE of an algorithm identifier and a BIT STRING, "
            "found another shape."
        )
    algorithm, bit_string = members
    if bit_string.content[0]:
        raise MalformedRequest(f"The subjectPublicKey must be whole octets, found {bit_string.content[0]} unused bits.")
    bits = bit_string.content[1:]
    curve = _CURVE_OF_IDENTIFIER.get(algorithm.encoding)
    if curve is not None:
        return _public_key(der, bits, curve.key_type, curve.bits, _load_point(curve, bits))
    if algorithm.encoding == _RSA_IDENTIFIER:
        return _rsa_key(der, bits)
    if algorithm.encoding == _ED25519_IDENTIFIER:
        return _public_key(der, bits, "Ed25519", 255, _load_ed25519(bits))
    raise _refused_algorithm(algorithm)


def _public_key(
    der: bytes, bits: bytes, key_type: str, size: int, verifier: Verifier, n: int | None = None, e: int | None = None
) -> PublicKey:
    key_identifier = hashlib.sha1(bits, usedforsecurity=False).digest()
    return PublicKey(der, key_type, size, key_identifier, hashlib.sha256(der).hexdigest(), n, e, verifier)


def _load_point(curve: _Curve, point: bytes) -> EllipticCurvePublicKey:
    """Read an ECPoint (RFC 5480 section 2.2): uncompressed and on the curve."""
    form = point[:1]
    width = curve.field_octets
    if point == b"\x00":
        raise MalformedRequest("The EC public key must be a point of its curve, found the point at infinity.")
    if form in (b"\x02", b"\x03") and len(point) == 1 + width:
        raise UnsupportedRequest("The EC public key must be an uncompressed point, found a compressed one.")
    if form in (b"\x06", b"\x07") and len(point) == 1 + 2 * width:
        raise UnsupportedRequest("The EC public key must be an uncompressed point, found a hybrid one.")
    if form != b"\x04" or len(point) != 1 + 2 * width:
        raise MalformedRequest(
            f"An uncompressed point on {curve.key_type} must have {1 + 2 * width} octets and begin with 04, "
            f"found {len(point)} octets beginning with {form.hex() or 'nothing'}."
        )
    try:
        return EllipticCurvePublicKey.from_encoded_point(curve.instance, point)
    except ValueError:
        raise MalformedRequest(
            f"The EC public key must be a point on {curve.key_type}, found one off the curve."
        ) from None


def _rsa_key(der: bytes, bits: bytes) -> PublicKey:
    """Read an RSAPublicKey (RFC 8017 appendix A.1.1)."""
    asn1.check_der(bits, "The RSAPublicKey")
    outer = asn1.read_element(bits)
    members = asn1.read_children(outer.content) if outer.tag == asn1.SEQUENCE else []
    if [member.tag for member in members] != [asn1.INTEGER, asn1.INTEGER]:
        raise MalformedRequest("The RSAPublicKey must be a SEQUENCE of two INTEGERs, found another shape.")
    modulus, exponent = (int.from_bytes(member.content, "big", signed=True) for member in members)
    if modulus <= 0 or exponent <= 0:
        raise MalformedRequest("An RSA modulus and exponent must be positive, found zero or a negative number.")
    size = modulus.bit_length()
    if size > _MAXIMUM_RSA_BITS:
        raise UnsupportedRequest(f"An RSA modulus must have at most {_MAXIMUM_RSA_BITS} bits, found {size}.")
    try:
        verifier = RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        shown = exponent if exponent < 1 << 64 else f"one of {exponent.bit_length()} bits"
        raise UnsupportedRequest(
            "An RSA key must have an odd public exponent of 3 or more, less than its modulus, "
            f"found a modulus of {size} bits and the exponent {shown}."
        ) from None
    return _public_key(der, bits, "RSA", size, verifier, modulus, exponent)


def _load_ed25519(bits: bytes) -> Ed25519PublicKey:
    if len(bits) != 32:
        raise MalformedRequest(f"An Ed25519 public key must have 32 octets, found {len(bits)}.")
    return Ed25519PublicKey.from_public_bytes(bits)


def _refused_algorithm(algorithm: asn1.Element) -> MalformedRequest | UnsupportedRequest:
    """Return the error that says what is wrong with an AlgorithmIdentifier that is none of the supported."""
    members = asn1.read_children(algorithm.content)
    if not members or members[0].tag != asn1.OBJECT_IDENTIFIER or len(members) > 2:
        return MalformedRequest(
            "An AlgorithmIdentifier must be a SEQUENCE of an OBJECT IDENTIFIER and optional parameters, "
            "found another shape."
        )
    oid = asn1.load_object_identifier(members[0].content)
    parameters = members[1] if len(members) == 2 else None
    if oid == _RSA_ENCRYPTION:
        found = "none" if parameters is None else f"the tag 0x{parameters.tag:02x}"
        return MalformedRequest(f"The parameters of an RSA public key must be NULL, found {found}.")
    if oid == _ED25519:
        return MalformedRequest("The parameters of an Ed25519 public key must be absent, found some.")
    if oid == _EC_PUBLIC_KEY:
        if parameters is None:
            return MalformedRequest("An EC public key must name its curve, found no parameters.")
        if parameters.tag == asn1.SEQUENCE:
            return UnsupportedRequest("An EC public key must name its curve, found explicit curve parameters.")
        if parameters.tag == asn1.NULL:
            return UnsupportedRequest("An EC public key must name its curve, found parameters inherited from the CA.")
        if parameters.tag != asn1.OBJECT_IDENTIFIER:
            return MalformedRequest(
                f"An EC public key must name its curve by an OBJECT IDENTIFIER, found the tag 0x{parameters.tag:02x}."
            )
        curve = asn1.load_object_identifier(parameters.content)
        return UnsupportedRequest(
            "An EC public key must be on secp256r1, secp384r1 or secp521r1, "
            f"found the curve {_CURVES_NOT_SUPPORTED.get(curve, curve)}."
        )
    return UnsupportedRequest(
        f"A public key must be EC, RSA or Ed25519, found {_NOT_SUPPORTED.get(oid, f'the algorithm {oid}')}."
    )


def load_public_jwk(jwk: Mapping[str, object]) -> PublicKey:
    """Return the public key of a JSON Web Key (RFC 7517; EC and RSA RFC 7518 section 6, OKP RFC 8037).

    Only `kty` and the public members of its kind are read; whether private members may be there is the
    caller's business. Numbers are base64url without padding, EC coordinates of the field's exact width.
    MalformedRequest or UnsupportedRequest as for `load_spki`.
    """
    kty = jwk.get("kty")
    if kty == "EC":
        curve = _CURVE_OF_JWK.get(str(jwk.get("crv")))
        if curve is None:
            raise UnsupportedRequest(
                f"An EC JWK must have crv P-256, P-384 or P-521, found {str(jwk.get('crv'))[:40]!r}."
            )
        x, y = (_jwk_octets(jwk, member, curve.field_octets) for member in ("x", "y"))
        return load_spki(_encode_spki(curve.algorithm_identifier, b"\x04" + x + y))
    if kty == "RSA":
        numbers = (int.from_bytes(_jwk_octets(jwk, member, None), "big") for member in ("n", "e"))
        key = asn1.encode_tlv(asn1.SEQUENCE, *map(asn1.encode_integer, numbers))
        return load_spki(_encode_spki(_RSA_IDENTIFIER, key))
    if kty == "OKP":
        if jwk.get("crv") != "Ed25519":
            raise UnsupportedRequest(f"An OKP JWK must have crv Ed25519, found {str(jwk.get('crv'))[:40]!r}.")
        return load_spki(_encode_spki(_ED25519_IDENTIFIER, _jwk_octets(jwk, "x", 32)))
    raise UnsupportedRequest(f"A JWK must have kty EC, RSA or OKP, found {str(kty)[:40]!r}.")


def _encode_spki(algorithm_identifier: bytes, bits: bytes) -> bytes:
    return asn1.encode_tlv(asn1.SEQUENCE, algorithm_identifier, asn1.encode_tlv(asn1.BIT_STRING, b"\x00", bits))


def _jwk_octets(jwk: Mapping[str, object], member: str, width: int | None) -> bytes:
    """Decode one member; without `width` it is a Base64urlUInt (RFC 7518 section 2), of the least octets."""
    text = jwk.get(member)
    if not isinstance(text, str):
        raise MalformedRequest(f"The JWK member {member} must be a base64url string, found none.")
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        octets = b""
    # The decoder skips foreign characters; only one text may stand for these octets.
    if not octets or _base64url(octets) != text:
        raise MalformedRequest(
            f"The JWK member {member} must be canonical base64url without padding, found other text."
        )
    if width is not None and len(octets) != width:
        raise MalformedRequest(f"The JWK member {member} must have {width} octets, found {len(octets)}.")
    if width is None and octets[0] == 0:
        raise MalformedRequest(f"The JWK member {member} must have no leading zero octets, found some.")
    return octets


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def render_public_jwk(key: PublicKey) -> dict[str, str]:
    """Return the public JWK: kty, crv, x, y for EC; kty, n, e for RSA; kty, crv, x for OKP; nothing else."""
    curve = _CURVE_OF_TYPE.get(key.key_type)
    if curve is not None:
        point = key.spki[-2 * curve.field_octets :]
        x, y = point[: curve.field_octets], point[curve.field_octets :]
        return {"kty": "EC", "crv": curve.jwk_name, "x": _base64url(x), "y": _base64url(y)}
    if key.modulus is not None and key.exponent is not None:
        n, e = (
            _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (key.modulus, key.exponent)
        )
        return {"kty": "RSA", "n": n, "e": e}
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.spki[-32:])}
