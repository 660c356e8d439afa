"""Keys on a token: how they are named, what is known of a pair, and the checks that it must pass.

Everything is packed in Python before the binding sees it: at a value that it cannot pack, it frees memory that it never
had.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pkcs11.attributes import AttributeMapper
from pkcs11.constants import Attribute
from pkcs11.exceptions import (
    AttributeSensitive,
    AttributeTypeInvalid,
    FunctionFailed,
)
from pkcs11.types import Object, SignMixin, VerifyMixin

from engine.errors import (
    IssuanceDefect,
    MalformedRequest,
    SigningFailed,
    TokenKeyAmbiguous,
    UnsupportedRequest,
)
from engine.token.mechanisms import SignatureMechanism
from engine.token.publickey import CURVE_BY_PARAMETERS, PublicHalf

Template = dict[Attribute, Any]

_MAPPER = AttributeMapper()
PROOF = b"One signature to prove that the halves of a key pair belong together."
"""The message of every signature that proves a key and is not one that a caller asked for."""

PRIVATE_SIGN_ONLY: Template = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.SIGN: True,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}
"""What every private key is, generated or imported."""


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A key on a token: CKA_LABEL, CKA_ID and the SHA-256 of its SubjectPublicKeyInfo in lower-case hex."""

    label: str
    id: bytes
    spki_sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key's handle in one session."""

    private_key: SignMixin
    family: str
    signature_length: int
    always_authenticate: bool = False
    """Whether the token wants the PIN for every signature."""

    def pad_signature(self, signature: bytes) -> bytes:
        """r and s, padded to the field's width, from a token that shortens them. Raises SigningFailed."""
        half, odd = divmod(len(signature), 2)
        width = self.signature_length // 2
        if self.family != "EC" or odd or not 0 < half < width:
            raise SigningFailed(
                f"The token returned a signature of {len(signature)} bytes, expected {self.signature_length}."
            )
        return signature[:half].rjust(width, b"\x00") + signature[half:].rjust(width, b"\x00")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both objects of a key pair in one session, and what was read from them."""

    private_key: Object
    public_key: Object
    label: str
    id: bytes
    public_half: PublicHalf

    @property
    def spki_sha256(self) -> str:
        """Lower-case hex."""
        return hashlib.sha256(self.public_half.spki).hexdigest()

    def signing_key(self) -> SigningKey:
        """The private half, ready to sign. Raises UnsupportedRequest if CKA_SIGN is not true."""
        return load_signing_key(self.private_key, self.public_half.family, self.public_half.signature_length)

    def check_kind(self) -> None:
        """Raises TokenKeyAmbiguous if the halves are of different types, on different curves or have other moduli.

        Whether halves of one kind belong together only a signature shows.
        """
        for attribute in (Attribute.KEY_TYPE, Attribute.EC_PARAMS, Attribute.MODULUS):
            private, public = _told(self.private_key, attribute), _told(self.public_key, attribute)
            if attribute is Attribute.EC_PARAMS:  # a curve may be written in several ways
                private, public = CURVE_BY_PARAMETERS.get(private), CURVE_BY_PARAMETERS.get(public)
            if None not in (private, public) and private != public:
                raise TokenKeyAmbiguous(
                    f"The private key with {described(self.label, self.id)} has another CKA_{attribute.name} than the "
                    "public key with that id; give the public key that belongs to it that CKA_ID and take it from the "
                    "other."
                )

    def check_pinned(self, reference: KeyReference) -> None:
        """Raises TokenKeyAmbiguous if this is another key than the one that was pinned under its label and id."""
        if self.spki_sha256 != reference.spki_sha256:
            raise TokenKeyAmbiguous(
                f"The key with {described(self.label, self.id)} has a public key of SHA-256 {self.spki_sha256}, "
                f"expected the pinned {reference.spki_sha256}."
            )


def load_signing_key(private_key: Object, family: str, signature_length: int) -> SigningKey:
    """A private key object as one that signs. Raises UnsupportedRequest if its CKA_SIGN is not true."""
    if not isinstance(private_key, SignMixin):
        raise UnsupportedRequest("The private key on the token may not sign: its CKA_SIGN is not true.")
    return SigningKey(private_key, family, signature_length, _told(private_key, Attribute.ALWAYS_AUTHENTICATE) is True)


def _told(key: Object, attribute: Attribute) -> Any:
    """The value of an attribute, or None where the token does not tell."""
    try:
        return key[attribute]
    except (AttributeTypeInvalid, AttributeSensitive, FunctionFailed):
        return None


def check_label(label: str) -> None:
    """Raises MalformedRequest unless `label` can be a CKA_LABEL: text that has a UTF-8 form, not empty."""
    if not isinstance(label, str) or not label or len(label) > 4096 or "\x00" in label:
        raise MalformedRequest("A key label must be text of 1 to 4096 characters without zero characters.")
    check_template({Attribute.LABEL: label})


def check_key_id(key_id: bytes) -> None:
    """Raises MalformedRequest unless `key_id` can be a CKA_ID: 1 to 255 octets."""
    if not isinstance(key_id, bytes) or not 1 <= len(key_id) <= 255:
        raise MalformedRequest("A key id must be 1 to 255 octets.")


def check_template(template: Template) -> None:
    """Raises MalformedRequest naming the attribute whose value cannot be packed."""
    for attribute, value in template.items():
        try:
            _MAPPER.pack_attribute(attribute, value)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            raise MalformedRequest(
                f"The key attribute {attribute.name} has a value that cannot be encoded ({type(error).__name__})."
            ) from None


def check_pair(pair: KeyPair, mechanism: SignatureMechanism, sign: Callable[[SigningKey, bytes], bytes]) -> bytes:
    """The signature of PROOF by the private half. Raises IssuanceDefect unless it verifies, on the token, under the
    public half; of one that may not verify there (CKA_VERIFY), only who verifies it elsewhere knows that."""
    prepared = mechanism.prepare(PROOF)
    signature = sign(pair.signing_key(), prepared)
    if isinstance(pair.public_key, VerifyMixin) and not pair.public_key.verify(
        prepared, signature, mechanism=mechanism.mechanism, mechanism_param=mechanism.parameter
    ):
        raise IssuanceDefect("The token made a key pair whose halves do not belong together; it was destroyed.")
    return signature


def described(label: str | None, key_id: bytes | None) -> str:
    """What a key is looked for by, for messages."""
    parts = ([] if label is None else [f"label {label!r}"]) + ([] if key_id is None else [f"id {key_id.hex()}"])
    return " and ".join(parts)
