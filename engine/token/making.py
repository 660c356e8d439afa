"""Making key pairs on a token: generated there, or created from a private JWK; sign-only and verify-only either way.

Everything is packed in Python before the binding sees it: at a value that it cannot pack, it frees memory that it never
had.
"""

from typing import Any

from pkcs11.constants import DEFAULT, Attribute, MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KeyType
from pkcs11.types import Session

from engine.token.finding import destroy_all, is_taken
from engine.token.jwk import PrivateJwk
from engine.token.keys import PRIVATE_SIGN_ONLY, Template, check_template
from engine.token.mechanisms import KeyPairKind
from engine.token.returncodes import is_template_refusal
from engine.token.vendors import find_vendor

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
# What is added to either half, as for keys that are generated: by name first, twice because SoftHSM fails now and then,
# and then without what some tokens refuse to be told.
_ADDED: tuple[tuple[Template, Template], ...] = (_EXPLICIT, _EXPLICIT, ({Attribute.VERIFY: True}, {}), ({}, {}))


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
            if last or not is_template_refusal(error) or is_taken(session, key_id):
                raise
        else:
            return


def import_pair(session: Session, jwk: PrivateJwk, label: str, key_id: bytes) -> None:
    """Create both halves of a JWK as token keys. `session` is read-write; raises the binding's errors.

    Of a call that fails, something may be left.
    """
    named = {Attribute.TOKEN: True, Attribute.LABEL: label, Attribute.ID: key_id}
    check_template(named)
    for attempt, (public, private) in enumerate(_ADDED, start=1):
        try:
            session.create_object({**jwk.template, **private, **named})
            session.create_object({**jwk.public_template, **public, **named})
        except PKCS11Error as error:
            if attempt == len(_ADDED) or not is_template_refusal(error):
                raise
            destroy_all(session, label, key_id)
        else:
            return
