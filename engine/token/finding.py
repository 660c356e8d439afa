"""Finding keys on a token: exactly one pair, by CKA_LABEL, CKA_ID or both; and destroying what is found."""

from collections.abc import Callable

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import UserNotLoggedIn
from pkcs11.types import Object, Session

from engine.errors import MalformedRequest, TokenKeyAmbiguous, TokenKeyNotFound, UnsupportedRequest
from engine.token.keys import KeyPair, check_key_id, check_label, described
from engine.token.publickey import load_public_half

IsHidden = Callable[[str, bytes], bool]
"""Whether who looks for a key may not know of the one with this CKA_LABEL and CKA_ID."""

_HALVES = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)


def find_pair(
    session: Session,
    label: str | None,
    key_id: bytes | None,
    is_logged_in: Callable[[], bool],
    is_hidden: IsHidden | None = None,
) -> KeyPair:
    """The one private key with this label and id, either of which may be None, and its public key (same CKA_ID).

    Keys that are hidden are as if they were not there. Raises TokenKeyNotFound or TokenKeyAmbiguous; UserNotLoggedIn if
    the search was blind for want of a login.
    """
    if label is None and key_id is None:
        raise MalformedRequest("A key is found by its label, its id or both; neither was given.")
    private_keys = _find(session, ObjectClass.PRIVATE_KEY, label, key_id, is_hidden)
    if not private_keys and not is_logged_in():
        raise UserNotLoggedIn
    wanted = described(label, key_id)
    if not private_keys:
        raise key_not_found(label, key_id, _apart(session, label, key_id, is_hidden))
    if len(private_keys) > 1:
        cure = {(True, False): "name the id as well", (False, True): "name the label as well"}.get(
            (label is not None, key_id is not None), "change CKA_ID of all but one"
        )
        raise TokenKeyAmbiguous(f"The token has {len(private_keys)} private keys with {wanted}; {cure}.")
    private_key = private_keys[0]
    try:
        found_label, found_id = private_key[Attribute.LABEL], private_key[Attribute.ID]
    except UnicodeDecodeError:
        raise UnsupportedRequest(f"The private key with {wanted} has a label that is not UTF-8.") from None
    public_key = _find_public(session, found_label, found_id, is_hidden)
    return KeyPair(private_key, public_key, found_label, found_id, load_public_half(public_key))


def key_not_found(label: str | None, key_id: bytes | None, apart: str = "") -> TokenKeyNotFound:
    """That the token has no such private key."""
    return TokenKeyNotFound(f"The token has no private key with {described(label, key_id)}{apart}.")


def _apart(session: Session, label: str | None, key_id: bytes | None, is_hidden: IsHidden | None) -> str:
    """That one key has the label and another one the id, if that is so."""
    if label is None or key_id is None:
        return ""
    by_label = len(_find(session, ObjectClass.PRIVATE_KEY, label, None, is_hidden))
    by_id = len(_find(session, ObjectClass.PRIVATE_KEY, None, key_id, is_hidden))
    if not by_label and not by_id:
        return ""
    return f", but {by_label} with that label and {by_id} with that id; name one of them, or change CKA_LABEL or CKA_ID"


def _find_public(session: Session, label: str, key_id: bytes, is_hidden: IsHidden | None) -> Object:
    by_id = _find(session, ObjectClass.PUBLIC_KEY, None if key_id else label, key_id or None, is_hidden)
    same_label = [key for key in by_id if key[Attribute.LABEL] == label] if len(by_id) > 1 else by_id
    wanted = described(label, key_id)
    if not by_id:
        raise TokenKeyNotFound(
            f"The private key with {wanted} has no public key with the same id on the token; give its "
            "public key that CKA_ID, or create one."
        )
    if len(same_label) != 1:
        raise TokenKeyAmbiguous(
            f"The token has {len(by_id)} public keys for the private key with {wanted}; change CKA_ID of the others."
        )
    return same_label[0]


def check_free(session: Session, key_id: bytes) -> None:
    """Raises TokenKeyAmbiguous if a key on the token has this CKA_ID: some tokens would silently replace it."""
    if is_taken(session, key_id):
        raise TokenKeyAmbiguous(f"The token has a key with id {key_id.hex()} already; choose another id.")


def is_taken(session: Session, key_id: bytes) -> bool:
    """Whether a key on the token has this CKA_ID."""
    return any(_find(session, half, None, key_id) for half in _HALVES)


def find_ids(session: Session, label: str, is_logged_in: Callable[[], bool]) -> frozenset[bytes]:
    """CKA_ID of every private or public key with this label; halves may be alone.

    Raises UserNotLoggedIn if no private one was found for want of a login.
    """
    private_keys = _find(session, ObjectClass.PRIVATE_KEY, label, None)
    if not private_keys and not is_logged_in():
        raise UserNotLoggedIn
    return frozenset(key[Attribute.ID] for key in (*private_keys, *_find(session, ObjectClass.PUBLIC_KEY, label, None)))


def destroy_all(session: Session, label: str, key_id: bytes) -> int:
    """Destroy every private and public key with this label and id; how many. `session` is read-write."""
    found = [key for half in _HALVES for key in _find(session, half, label, key_id)]
    for key in found:
        key.destroy()
    return len(found)


def _find(
    session: Session,
    object_class: ObjectClass,
    label: str | None,
    key_id: bytes | None,
    is_hidden: IsHidden | None = None,
) -> list[Object]:
    """Token objects of a class with these attributes. Never all objects: a corrupt one makes that fail."""
    template: dict[Attribute, object] = {Attribute.CLASS: object_class, Attribute.TOKEN: True}
    if label is not None:
        check_label(label)
        template[Attribute.LABEL] = label
    if key_id is not None:
        check_key_id(key_id)
        template[Attribute.ID] = key_id
    found = list(session.get_objects(template))  # a search that is not read to its end blocks the session
    return found if is_hidden is None else [key for key in found if not _is_hidden(key, is_hidden)]


def _is_hidden(key: Object, is_hidden: IsHidden) -> bool:
    try:
        return is_hidden(key[Attribute.LABEL], key[Attribute.ID])
    except UnicodeDecodeError:
        return False  # a label that no key of the engine's has
