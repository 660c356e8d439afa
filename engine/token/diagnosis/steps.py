"""The steps up to the login and what they see, one function each; conversation.py has the order they are taken in.

A step yields what it saw and raises StepFailed, an EngineError or the binding's error where it cannot be passed.
"""

import ctypes
import difflib
import os
from contextlib import ExitStack

from pkcs11.constants import Attribute, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error, SessionCount, TokenNotPresent, TokenNotRecognised
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Object

from engine.errors import ConfigError, TokenUnavailable
from engine.token import module as modules
from engine.token.connection import find_token
from engine.token.cryptoki import session_handle
from engine.token.diagnosis.examination import Examination, Said
from engine.token.diagnosis.flags import find_rules, render_flags
from engine.token.diagnosis.reports import Outcome, StepFailed
from engine.token.diagnosis.shared_object import check_shared_object
from engine.token.diagnosis.vendors import check_environment
from engine.token.mechanisms import KEY_PAIR_KINDS, SIGNATURE_MECHANISMS, KeyPairKind, find_usable
from engine.token.returncodes import CKR_OK, classify, classify_number
from engine.token.sessions import close_session
from engine.token.settings import check_uri, find_pin_source
from engine.token.vendors import find_vendor

_MOST_LISTED = 50


def find_file(seen: Examination) -> Said:
    """The file is there, may be read, and is a library for this kind of process."""
    built_for = check_shared_object(seen.settings.module)
    yield Outcome.OK, f"{seen.settings.module} is a shared library for {built_for}.", ""


def load(seen: Examination) -> Said:
    """The dynamic linker takes it, and it is a PKCS#11 module."""
    settings = seen.settings
    os.environ.update(settings.environment)
    seen.hint = check_environment(settings.module, os.environ)
    try:
        library = ctypes.CDLL(settings.module)
    except OSError as error:
        raise StepFailed(
            f"The library cannot be loaded: {error}.", "Install the package that has what is missing (ldd shows it)."
        ) from None
    if not hasattr(library, "C_GetFunctionList"):
        raise StepFailed(
            "The library loads, but has no C_GetFunctionList, so it is not a PKCS#11 module.",
            "Vendors ship several libraries; name the PKCS#11 one in {module}.",
        )
    yield Outcome.OK, "It loads and has C_GetFunctionList.", ""


def start(seen: Examination) -> Said:
    """C_Initialize, asking the library to lock for itself."""
    settings = seen.settings
    seen.locked.enter_context(modules.exclusive(settings.module))
    try:
        module = modules.acquire(settings.module, settings.environment, settings.initialize_arguments)
    except TokenUnavailable as error:
        raise StepFailed(
            error.message, _with_hint(seen, "Look into the library's own log and configuration.")
        ) from None
    seen.opened.callback(modules.release, module)
    seen._module = module
    library = module.library
    versions = [".".join(map(str, version)) for version in (library.library_version, library.cryptoki_version)]
    about = f"{library.library_description} {versions[0]} of {library.manufacturer_id}, PKCS#11 {versions[1]}"
    yield Outcome.OK, f"C_Initialize succeeds: {about}.", ""
    if module.one_at_a_time:
        reason = find_vendor(library.manufacturer_id).one_at_a_time or "It cannot lock for itself (CKR_CANT_LOCK)."
        yield (
            Outcome.WARNING,
            f"One call at a time is made, however many sessions there are. {reason}",
            "Ask the vendor for a library that threads may use.",
        )


def list_slots(seen: Examination) -> Said:
    """Every slot with a token in it."""
    found = 0
    for slot in seen.module.library.get_slots():
        try:
            token = slot.get_token()
        except TokenNotPresent:
            continue
        except TokenNotRecognised:
            yield Outcome.NOTE, f"Slot {slot.slot_id} ({slot.slot_description}): something that is not a token.", ""
            continue
        found += 1
        about = f"{token.manufacturer_id} {token.model}, serial {token.serial.decode(errors='replace') or 'none'}"
        yield (
            Outcome.NOTE,
            f"Slot {slot.slot_id} ({slot.slot_description}): token {token.label!r}, {about}; "
            f"{render_flags(token.flags)}.",
            "",
        )
    if not found:
        cure = "Connect the device, start its daemon, or make a token with the vendor's tool."
        raise StepFailed("No slot has a token in it.", _with_hint(seen, cure))
    yield Outcome.OK, f"{found} token{'s are' if found > 1 else ' is'} there.", ""


def choose_token(seen: Examination) -> Said:
    """Exactly one token is the one that the URI names."""
    uri = seen.uri
    check_uri(seen.settings, uri)
    try:
        token = find_token(seen.module, uri, seen.settings.name)
    except TokenUnavailable as error:
        labels = [token.label for token in seen.module.library.get_tokens()]
        close = difflib.get_close_matches(uri.token or "", labels, n=1)
        meant = f" Was {close[0]!r} meant?" if close and close[0] != uri.token else ""
        raise StepFailed(error.message, _with_hint(seen, f"Correct {{uri}}.{meant}")) from None
    seen._token = token
    yield Outcome.OK, f"The URI names one token: {token.label!r} in slot {token.slot.slot_id}.", ""
    if uri.slot_id is not None:
        yield (
            Outcome.WARNING,
            "It is named by its slot; slot numbers change when devices come and go.",
            "Name the token by its label or serial in {uri}.",
        )


def read_flags(seen: Examination) -> Said:
    """Nothing that the token says of itself speaks against a login."""
    for rule in find_rules(seen.token.flags):
        if rule.outcome is Outcome.FAILED:
            raise StepFailed(f"The token is {rule.words}.", rule.cure)
        yield rule.outcome, f"The token is {rule.words}.", rule.cure
    yield Outcome.OK, "Its flags allow a login.", ""


def read_pin(seen: Examination) -> Said:
    """The PIN can be had from its one source."""
    try:
        seen._pin = find_pin_source(seen.settings, seen.uri).load_pin()
    except ConfigError as error:
        raise StepFailed(error.message, "Correct {pin}, or what it names, as the user that runs the engine.") from None
    yield Outcome.OK, "The PIN can be read.", ""


def log_in(seen: Examination) -> Said:
    """One C_Login, and never a second one."""
    module, token = seen.module, seen.token
    owner = seen._owner = token.open(rw=not token.flags & TokenFlag.WRITE_PROTECTED)
    seen.opened.callback(close_session, owner)
    if not token.flags & TokenFlag.LOGIN_REQUIRED:
        yield Outcome.OK, "The token wants no login.", ""
        return
    code = module.cryptoki.login(session_handle(owner), seen.pin)
    seen.locked.close()
    if code != CKR_OK:
        fault = classify_number(code)
        raise StepFailed(
            f"The login was refused: {fault.meaning} ({fault.code}). One attempt was made.",
            _LOGIN_CURES.get(fault.code, "Look {code} up in the vendor's documentation.".replace("{code}", fault.code)),
        )
    yield Outcome.OK, "The login succeeds, at the first and only attempt.", ""


_LOGIN_CURES = {
    "CKR_PIN_INCORRECT": "Find out which token the PIN in {pin} is for, before you try again: "
    "a few wrong ones lock the token.",
    "CKR_PIN_LOCKED": "Have the security officer set a new user PIN, and keep it where {pin} says.",
    "CKR_PIN_EXPIRED": "Change the PIN with the vendor's tool, and keep it where {pin} says.",
    "CKR_USER_PIN_NOT_INITIALIZED": "Have the security officer set the user PIN with the vendor's tool.",
}


def read_mechanisms(seen: Examination) -> Said:
    """The token signs in at least one of the ways the engine knows."""
    slot = seen.token.slot
    offered = frozenset(map(int, slot.get_mechanisms()))
    usable = find_usable(offered, seen.module.library.manufacturer_id)
    signs = [
        f"{algorithm} (CKM_{mechanism.mechanism.name})"
        for algorithm, mechanisms in SIGNATURE_MECHANISMS.items()
        if (mechanism := next((each for each in mechanisms if each.mechanism in usable), None)) is not None
    ]
    generates = [
        kind.name
        for kind in KEY_PAIR_KINDS.values()
        if kind.mechanism in usable and kind.name in usable and _fits(seen, kind)
    ]
    if not signs:
        raise StepFailed(
            f"None of the token's {len(offered)} mechanisms is a signature that the engine makes.",
            "Look for a policy of the token that turns mechanisms off (FIPS mode), or take another token.",
        )
    yield Outcome.OK, f"It signs: {', '.join(signs)}.", ""
    if generates:
        yield Outcome.NOTE, f"It generates, as far as mechanisms tell: {', '.join(generates)}.", ""
    else:
        yield Outcome.NOTE, "It generates no key pairs here; keys made elsewhere can be adopted.", ""


def _fits(seen: Examination, kind: KeyPairKind) -> bool:
    """Whether the token gives no largest size, or one that is not exceeded (bits for RSA and curves alike)."""
    if kind.key_type is not KeyType.RSA:
        return True
    largest = seen.token.slot.get_mechanism_info(Mechanism.RSA_PKCS_KEY_PAIR_GEN).max_key_length
    return not largest or kind.bits <= largest


def open_sessions(seen: Examination) -> Said:
    """As many sessions as the settings say can be open at once."""
    wanted = seen.settings.sessions
    limit = seen.module.cryptoki.session_limit(seen.token.slot.slot_id)
    refusal = ""
    with ExitStack() as sessions:
        for _ in range(max(wanted, seen.most_sessions)):
            try:
                sessions.callback(close_session, seen.token.open())
            except SessionCount:
                refusal = "CKR_SESSION_COUNT"
                break
            seen.sessions += 1
    told = "it tells no limit" if limit is None else f"its limit is {limit}, one of which holds the login"
    if seen.sessions == 0:
        raise StepFailed(
            f"Besides the session that logged in, none could be opened ({refusal}); {told}.",
            "End other programs that use the token, or raise the limit of the token.",
        )
    if seen.sessions < wanted:
        yield (
            Outcome.WARNING,
            f"{seen.sessions} of {wanted} sessions could be opened, then came {refusal}; {told}.",
            f"The engine gets by with {seen.sessions}. End other programs that use the token, "
            "raise its limit, or lower {sessions}.",
        )
    else:
        yield Outcome.OK, f"{wanted} of {wanted} sessions could be opened; {told}.", ""


def list_keys(seen: Examination) -> Said:
    """The private keys that a login shows. An object that cannot be read does not make the token unusable."""
    found: list[str] = []
    try:
        objects = list(seen.owner.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: True}))
        found = [_described(key) for key in objects[:_MOST_LISTED]]
    except PKCS11Error as error:
        yield (
            Outcome.WARNING,
            f"The private keys cannot be listed: {classify(error).meaning}.",
            "Some object on the token is damaged; keys are still found by label and id.",
        )
        return
    seen.private_keys = tuple(found)
    more = f" and {len(objects) - len(found)} more" if len(objects) > len(found) else ""
    yield Outcome.NOTE, f"Private keys on the token: {', '.join(found) or 'none'}{more}.", ""


def _described(key: Object) -> str:
    values: list[str] = []
    for attribute in (Attribute.LABEL, Attribute.ID, Attribute.KEY_TYPE):
        try:
            value = key[attribute]
        except (PKCS11Error, ValueError):  # a label that is not UTF-8, a vendor's key type
            value = None
        values.append(
            value.hex() if isinstance(value, bytes) else value.name if isinstance(value, KeyType) else repr(value)
        )
    return f"{values[0]} (id {values[1]}, {values[2]})"


def _with_hint(seen: Examination, cure: str) -> str:
    return f"{seen.hint} {cure}" if seen.hint else cure
