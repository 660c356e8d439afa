"""Keys on a token: templates, generation, finding exactly one, signing with it.

Everything is packed in Python before the binding sees it: at a value that it cannot pack, it frees memory that it never
had.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pkcs11.attributes import AttributeMapper
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag, ObjectClass
from pkcs11.exceptions import (
    AttributeSensitive,
    AttributeTypeInvalid,
    FunctionFailed,
    PKCS11Error,
    UserNotLoggedIn,
)
from pkcs11.mechanisms import KeyType
from pkcs11.types import Object, Session, SignMixin, VerifyMixin

from engine.errors import (
    IssuanceDefect,
    MalformedRequest,
    SigningFailed,
    TokenKeyAmbiguous,
    TokenKeyNotFound,
    UnsupportedRequest,
)
from engine.token.mechanisms import KeyPairKind, SignatureMechanism
from engine.token.publickey import CURVE_BY_PARAMETERS, PublicHalf, load_public_half
from engine.token.returncodes import is_template_refusal
from engine.token.vendors import find_vendor

Template = dict[Attribute, Any]

_MAPPER = AttributeMapper()
_PROOF = b"One signature to prove that the halves of a new key pair belong together."

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

# (public, private). Everything that is not wanted is refused by name, for SoftHSM grants what is not mentioned.
_EXPLICIT: tuple[Template, Template] = (
    {
        Attribute.PRIVATE: False,
        Attribute.VERIFY: True,
        Attribute.VERIFY_RECOVER: False,
        Attribute.ENCRYPT: False,
        Attribute.WRAP: False,
    },
    {**PRIVATE_SIGN_ONLY, Attribute.SIGN_RECOVER: False},
)
# For tokens that refuse to be told: public capabilities are left to the token.
_PORTABLE: tuple[Template, Template] = (
    dict.fromkeys((Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP), DEFAULT),
    PRIVATE_SIGN_ONLY,
)
# Twice, because SoftHSM fails one generation in a hundred, when other threads use the token, with the very codes by
# which others refuse a template. What it would make of the second template is not sign-only and would be destroyed.
_PAIR_TEMPLATES = (_EXPLICIT, _EXPLICIT, _PORTABLE)


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
                    f"The private key with {_described(self.label, self.id)} has another CKA_{attribute.name} than the "
                    "public key with that id; give the public key that belongs to it that CKA_ID and take it from the "
                    "other."
                )

    def check_pinned(self, reference: KeyReference) -> None:
        """Raises TokenKeyAmbiguous if this is another key than the one that was pinned under its label and id."""
        if self.spki_sha256 != reference.spki_sha256:
            raise TokenKeyAmbiguous(
                f"The key with {_described(self.label, self.id)} has a public key of SHA-256 {self.spki_sha256}, "
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


def find_pair(session: Session, label: str | None, key_id: bytes | None, is_logged_in: Callable[[], bool]) -> KeyPair:
    """The one private key with this label and id, either of which may be None, and its public key (same CKA_ID).

    Raises TokenKeyNotFound or TokenKeyAmbiguous; UserNotLoggedIn if the search was blind for want of a login.
    """
    if label is None and key_id is None:
        raise MalformedRequest("A key is found by its label, its id or both; neither was given.")
    private_keys = _find(session, ObjectClass.PRIVATE_KEY, label, key_id)
    if not private_keys and not is_logged_in():
        raise UserNotLoggedIn
    described = _described(label, key_id)
    if not private_keys:
        raise TokenKeyNotFound(f"The token has no private key with {described}{_apart(session, label, key_id)}.")
    if len(private_keys) > 1:
        cure = {(True, False): "name the id as well", (False, True): "name the label as well"}.get(
            (label is not None, key_id is not None), "change CKA_ID of all but one"
        )
        raise TokenKeyAmbiguous(f"The token has {len(private_keys)} private keys with {described}; {cure}.")
    private_key = private_keys[0]
    try:
        found_label, found_id = private_key[Attribute.LABEL], private_key[Attribute.ID]
    except UnicodeDecodeError:
        raise UnsupportedRequest(f"The private key with {described} has a label that is not UTF-8.") from None
    public_key = _find_public(session, found_label, found_id)
    return KeyPair(private_key, public_key, found_label, found_id, load_public_half(public_key))


def _apart(session: Session, label: str | None, key_id: bytes | None) -> str:
    """That one key has the label and another one the id, if that is so."""
    if label is None or key_id is None:
        return ""
    by_label, by_id = (len(_find(session, ObjectClass.PRIVATE_KEY, *one)) for one in ((label, None), (None, key_id)))
    if not by_label and not by_id:
        return ""
    return f", but {by_label} with that label and {by_id} with that id; name one of them, or change CKA_LABEL or CKA_ID"


def _find_public(session: Session, label: str, key_id: bytes) -> Object:
    by_id = _find(session, ObjectClass.PUBLIC_KEY, None if key_id else label, key_id or None)
    same_label = [key for key in by_id if key[Attribute.LABEL] == label] if len(by_id) > 1 else by_id
    described = _described(label, key_id)
    if not by_id:
        raise TokenKeyNotFound(
            f"The private key with {described} has no public key with the same id on the token; give its "
            "public key that CKA_ID, or create one."
        )
    if len(same_label) != 1:
        raise TokenKeyAmbiguous(
            f"The token has {len(by_id)} public keys for the private key with {described}; change CKA_ID of the others."
        )
    return same_label[0]


def check_free(session: Session, key_id: bytes) -> None:
    """Raises TokenKeyAmbiguous if a key on the token has this CKA_ID: some tokens would silently replace it."""
    if _is_taken(session, key_id):
        raise TokenKeyAmbiguous(f"The token has a key with id {key_id.hex()} already; choose another id.")


def _is_taken(session: Session, key_id: bytes) -> bool:
    classes = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    return any(_find(session, object_class, None, key_id) for object_class in classes)


def generate_pair(session: Session, kind: KeyPairKind, label: str, key_id: bytes, library: str) -> None:
    """Generate a token key pair, sign-only and verify-only. `session` is read-write; raises the binding's errors.

    `library` is the CK_INFO manufacturerID.
    """
    check_template({Attribute.LABEL: label, Attribute.ID: key_id})
    templates = (_PORTABLE,) if find_vendor(library).lean_public_template else _PAIR_TEMPLATES
    for public_template, private_template in templates:
        options: dict[str, Any] = {
            "id": key_id,
            "label": label,
            "store": True,
            # With these flags the binding adds ENCRYPT, WRAP, VERIFY and DECRYPT, UNWRAP, DERIVE, SIGN by itself.
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
            "mechanism": kind.mechanism,
            "public_template": public_template,
            "private_template": private_template,
        }
        try:
            if kind.key_type is KeyType.RSA:
                session.generate_keypair(kind.key_type, kind.bits, **options)
            else:
                curve = {Attribute.EC_PARAMS: kind.parameters}
                session.create_domain_parameters(kind.key_type, curve, local=True).generate_keypair(**options)
        except PKCS11Error as error:
            last = public_template is templates[-1][0]
            if last or not is_template_refusal(error) or _is_taken(session, key_id):
                raise
        else:
            return


def check_pair(pair: KeyPair, mechanism: SignatureMechanism, sign: Callable[[SigningKey, bytes], bytes]) -> None:
    """Raises IssuanceDefect unless one signature by the private half verifies, on the token, under the public half."""
    prepared = mechanism.prepare(_PROOF)
    signature = sign(pair.signing_key(), prepared)
    if isinstance(pair.public_key, VerifyMixin) and not pair.public_key.verify(
        prepared, signature, mechanism=mechanism.mechanism, mechanism_param=mechanism.parameter
    ):
        raise IssuanceDefect("The token made a key pair whose halves do not belong together; it was destroyed.")


def destroy_all(session: Session, label: str, key_id: bytes) -> int:
    """Destroy every private and public key with this label and id; how many. `session` is read-write."""
    found = [
        key
        for object_class in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
        for key in _find(session, object_class, label, key_id)
    ]
    for key in found:
        key.destroy()
    return len(found)


def _find(session: Session, object_class: ObjectClass, label: str | None, key_id: bytes | None) -> list[Object]:
    """Token objects of a class with these attributes. Never all objects: a corrupt one makes that fail."""
    template: dict[Attribute, object] = {Attribute.CLASS: object_class, Attribute.TOKEN: True}
    if label is not None:
        check_label(label)
        template[Attribute.LABEL] = label
    if key_id is not None:
        check_key_id(key_id)
        template[Attribute.ID] = key_id
    return list(session.get_objects(template))  # a search that is not read to its end blocks the session


def _described(label: str | None, key_id: bytes | None) -> str:
    parts = ([] if label is None else [f"label {label!r}"]) + ([] if key_id is None else [f"id {key_id.hex()}"])
    return " and ".join(parts)
