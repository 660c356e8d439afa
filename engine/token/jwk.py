"""A private JWK as the attributes of PKCS#11 objects (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

Nothing is computed with the private numbers here; they go to the token. No message repeats a member's value.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType

from engine.errors import MalformedRequest, UnsupportedRequest
from engine.token.keys import PRIVATE_SIGN_ONLY, Template, check_template
from engine.token.publickey import (
    CURVES,
    ED25519_PARAMETERS,
    PublicHalf,
    ed25519_half,
    elliptic_half,
    rsa_half,
    wrap_point,
)

_LONGEST_RSA_BITS = 8192
_CURVES = {"P-256": CURVES[0], "P-384": CURVES[1], "P-521": CURVES[2]}

# RFC 7518 section 6.3 and PKCS#11 2.40 mechanisms, section 2.1.3.
_RSA_MEMBERS: Mapping[str, Attribute] = {
    "n": Attribute.MODULUS,
    "e": Attribute.PUBLIC_EXPONENT,
    "d": Attribute.PRIVATE_EXPONENT,
    "p": Attribute.PRIME_1,
    "q": Attribute.PRIME_2,
    "dp": Attribute.EXPONENT_1,
    "dq": Attribute.EXPONENT_2,
    "qi": Attribute.COEFFICIENT,
}


@dataclass(frozen=True, slots=True)
class PrivateJwk:
    """What C_CreateObject is given for either half; neither says yet whether it is a token object."""

    public_half: PublicHalf
    """As the public members say; whether the private ones belong to them, a signature has to show."""
    template: Template = field(repr=False)
    """Of the private key: sensitive, not extractable, sign only."""
    public_template: Template = field(repr=False)


def load_private_jwk(jwk: Mapping[str, object]) -> PrivateJwk:
    """Read a private EC (P-256, P-384, P-521), RSA (two primes, all eight numbers) or Ed25519 JWK.

    Other members say nothing here and may be there (RFC 7517 section 4). Raises MalformedRequest naming the member that
    is missing or badly encoded, UnsupportedRequest for other keys.
    """
    kty = jwk.get("kty")
    if kty == "EC":
        return _elliptic(jwk)
    if kty == "RSA":
        return _rsa(jwk)
    if kty == "OKP":
        return _ed25519(jwk)
    raise UnsupportedRequest("A private JWK must have kty EC, RSA or OKP.")


def _elliptic(jwk: Mapping[str, object]) -> PrivateJwk:
    crv = jwk.get("crv")
    curve = _CURVES.get(crv) if isinstance(crv, str) else None
    if curve is None:
        raise UnsupportedRequest("An EC private JWK must have crv P-256, P-384 or P-521.")
    _check_members(jwk, ("d", "x", "y"))
    d, x, y = (_fixed(jwk, name, curve.width) for name in ("d", "x", "y"))
    point = b"\x04" + x + y
    curve.check_point(point)
    if not 0 < int.from_bytes(d) < curve.order:
        raise MalformedRequest("The member 'd' of the JWK is not a private key on its curve.")
    shared: Template = {Attribute.KEY_TYPE: KeyType.EC, Attribute.EC_PARAMS: curve.parameters}
    public: Template = {**shared, Attribute.EC_POINT: wrap_point(point)}
    return _private(elliptic_half(curve, point), {**shared, Attribute.VALUE: d}, public)


def _ed25519(jwk: Mapping[str, object]) -> PrivateJwk:
    if jwk.get("crv") != "Ed25519":
        raise UnsupportedRequest("An OKP private JWK must have crv Ed25519.")
    _check_members(jwk, ("d", "x"))
    d, x = _fixed(jwk, "d", 32), _fixed(jwk, "x", 32)
    shared: Template = {Attribute.KEY_TYPE: KeyType.EC_EDWARDS, Attribute.EC_PARAMS: ED25519_PARAMETERS[0]}
    public: Template = {**shared, Attribute.EC_POINT: wrap_point(x)}
    return _private(ed25519_half(x), {**shared, Attribute.VALUE: d}, public)


def _rsa(jwk: Mapping[str, object]) -> PrivateJwk:
    if "oth" in jwk:
        raise UnsupportedRequest("An RSA private JWK must have two primes; 'oth' says that it has more.")
    _check_members(jwk, tuple(_RSA_MEMBERS))
    numbers = {name: _number(jwk, name) for name in _RSA_MEMBERS}
    modulus = int.from_bytes(numbers["n"])
    if int.from_bytes(numbers["p"]) * int.from_bytes(numbers["q"]) != modulus:
        raise MalformedRequest("The member 'n' of the RSA JWK is not the product of 'p' and 'q'.")
    private = {attribute: numbers[name] for name, attribute in _RSA_MEMBERS.items()}
    public = {attribute: private[attribute] for attribute in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT)}
    shared: Template = {Attribute.KEY_TYPE: KeyType.RSA}
    return _private(rsa_half(numbers["n"], numbers["e"]), {**shared, **private}, {**shared, **public})


def _private(public_half: PublicHalf, private: Template, public: Template) -> PrivateJwk:
    template = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, **PRIVATE_SIGN_ONLY, **private}
    public_template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.PRIVATE: False, **public}
    check_template(template)
    check_template(public_template)
    return PrivateJwk(public_half, template, public_template)


def _check_members(jwk: Mapping[str, object], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in jwk]
    if missing:
        raise MalformedRequest(f"The private JWK lacks {', '.join(repr(name) for name in missing)}.", details=missing)


def _fixed(jwk: Mapping[str, object], name: str, width: int) -> bytes:
    """RFC 7518 section 6.2: exactly the width of the field, leading zeros kept."""
    octets = _octets(jwk, name)
    if len(octets) != width:
        raise MalformedRequest(f"The member {name!r} of the JWK is {len(octets)} octets long, expected {width}.")
    return octets


def _number(jwk: Mapping[str, object], name: str) -> bytes:
    """RFC 7518 section 2, Base64urlUInt: a positive number in the fewest octets."""
    octets = _octets(jwk, name)
    if not octets or octets[0] == 0:
        raise MalformedRequest(f"The member {name!r} of the JWK must be a positive number without leading zero octets.")
    if len(octets) * 8 > _LONGEST_RSA_BITS:
        raise UnsupportedRequest(f"The member {name!r} of the RSA JWK has more than {_LONGEST_RSA_BITS} bits.")
    return octets


def _octets(jwk: Mapping[str, object], name: str) -> bytes:
    """RFC 7515 section 2: base64url without padding; the bits left over are zero."""
    text = jwk[name]
    if isinstance(text, str) and len(text) < 4096 and re.fullmatch(r"[A-Za-z0-9_-]+", text):
        try:
            octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            octets = b""
        if base64.urlsafe_b64encode(octets).rstrip(b"=") == text.encode():
            return octets
    raise MalformedRequest(f"The member {name!r} of the JWK is not base64url without padding (RFC 7515 section 2).")
