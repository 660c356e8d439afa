"""One login's worth of a token: the slot it is in, the session that logged in, the pool.

A connection is never repaired. What brings a token back builds another one and puts it in the place of the first.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from pkcs11.constants import TokenFlag
from pkcs11.exceptions import PKCS11Error, TokenNotPresent, TokenNotRecognised
from pkcs11.types import Session
from pkcs11.types import Token as PresentToken

from engine.errors import ConfigError, TokenLoginRefused, TokenUnavailable
from engine.pin import PinSource
from engine.token.cryptoki import session_handle
from engine.token.identity import TokenIdentity, load_identity
from engine.token.mechanisms import find_usable
from engine.token.module import Module
from engine.token.returncodes import CKR_OK, CKR_USER_ALREADY_LOGGED_IN, classify, classify_number
from engine.token.sessions import SessionPool, close_session
from engine.token.uri import Pkcs11Uri

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """What is open. `owner` did the one C_Login; it does nothing else and is closed last."""

    module: Module
    token: PresentToken
    owner: Session
    pool: SessionPool
    usable: frozenset[int | str]
    """Mechanisms, by number, and key types, by name."""
    start: int
    """Which start of the module this belongs to: after another one its handles are not to be used, or closed."""
    logs_in: bool
    """Whether private keys were visible when it was opened; a token that needs no login never says that they are."""
    identity: TokenIdentity
    mark: object = field(default_factory=object)
    """Another one for every connection."""

    def is_logged_in(self) -> bool:
        """Whether private keys can be seen at all, asked of the token (C_GetSessionInfo)."""
        with self.module.one_at_a_time or nullcontext():
            return self.module.cryptoki.is_logged_in(session_handle(self.owner))

    def find_loss(self) -> str | None:
        """What is wrong with the owner's session, asked of the token (C_GetSessionInfo); None if nothing is."""
        with self.module.one_at_a_time or nullcontext():
            code, is_logged_in = self.module.cryptoki.session_state(session_handle(self.owner))
        if code != CKR_OK:
            fault = classify_number(code)
            return f"{fault.meaning} ({fault.code})"
        if self.logs_in and not is_logged_in:
            return "its login was lost"
        return None

    def is_alive(self, session: Session) -> bool:
        """Whether a session still exists, asked of the token (C_GetSessionInfo)."""
        with self.module.one_at_a_time or nullcontext():
            code, _ = self.module.cryptoki.session_state(session_handle(session))
        return code == CKR_OK

    @contextmanager
    def read_write(self) -> Iterator[Session]:
        """A read-write session of its own, for generating and destroying. Raises the binding's errors."""
        with self.module.one_at_a_time or nullcontext():
            session = self.token.open(rw=True)
            try:
                yield session
            finally:
                close_session(session)

    def give_up(self) -> None:
        """Close what nobody uses; sessions in use are closed by those who use them.

        After another start of the module nothing is closed: its sessions went with it, and their handles may be those
        of new ones.
        """
        if self.start != self.module.starts or not self.module.is_started:
            self.pool.abandon()
            return
        with self.module.one_at_a_time or nullcontext():
            self.pool.retire()
            close_session(self.owner)


def open_connection(
    module: Module, uri: Pkcs11Uri, pin: PinSource, *, name: str, sessions: int, wait_seconds: float
) -> Connection:
    """Find the token, log in once, and make an empty pool. The caller holds `exclusive`.

    Raises TokenUnavailable, TokenLoginRefused or ConfigError.
    """
    with module.one_at_a_time or nullcontext():
        try:
            token = find_token(module, uri, name)
            writable = not token.flags & TokenFlag.WRITE_PROTECTED
            owner = token.open(rw=writable)
        except PKCS11Error as error:
            _log.warning("Token %r did not open: %r.", name, error)
            raise classify(error).build_error(name, "be opened") from None
        try:
            _login(module, token, owner, pin, name)
            usable = find_usable(map(int, token.slot.get_mechanisms()), module.library.manufacturer_id)
            logs_in = module.cryptoki.is_logged_in(session_handle(owner))
        except PKCS11Error as error:
            close_session(owner)
            raise classify(error).build_error(name, "be opened") from None
        except BaseException:
            close_session(owner)
            raise
        limit = module.cryptoki.session_limit(token.slot.slot_id)
        identity = load_identity(token, module)
    pool = SessionPool(
        token.open,
        partial(module.cryptoki.is_logged_in, session_handle(owner)),
        # The owner's session counts against the token's limit. Without locking there is one thread, so one session.
        limit=1 if module.one_at_a_time else max(1, sessions if limit is None else min(sessions, limit - 1)),
        wait_seconds=wait_seconds,
        one_at_a_time=module.one_at_a_time,
    )
    return Connection(module, token, owner, pool, usable, module.starts, logs_in, identity)


def find_token(module: Module, uri: Pkcs11Uri, name: str) -> PresentToken:
    wanted = {
        "label": uri.token,
        "serial": uri.serial,
        "manufacturer": uri.manufacturer,
        "model": uri.model,
        "slot-id": None if uri.slot_id is None else str(uri.slot_id),
    }
    wanted = {attribute: value for attribute, value in wanted.items() if value is not None}
    present: list[PresentToken] = []
    for slot in module.library.get_slots(token_present=True):
        try:
            present.append(slot.get_token())
        except (TokenNotPresent, TokenNotRecognised):
            continue  # it left its slot while the slots were listed
    matching = [token for token in present if wanted.items() <= _identity(token).items()]
    described = " and ".join(f"{attribute} {value!r}" for attribute, value in wanted.items())
    if not matching:
        labels = ", ".join(repr(token.label) for token in present if token.label) or "none"
        raise TokenUnavailable(f"The token {name!r} is not there: expected one with {described}, found {labels}.")
    if len(matching) > 1:
        cure = "name its label (token) as well" if "serial" in wanted else "name its serial"
        raise ConfigError(f"The token {name!r} is not one but {len(matching)} with {described}; {cure}.")
    return matching[0]


def _identity(token: PresentToken) -> dict[str, str]:
    return {
        "label": token.label,
        "serial": token.serial.decode("utf-8", errors="replace"),
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "slot-id": str(token.slot.slot_id),
    }


def _login(module: Module, token: PresentToken, owner: Session, pin: PinSource, name: str) -> None:
    """The one attempt. Raises TokenLoginRefused, also without an attempt where one more might lock the token."""
    flags = token.flags
    if not flags & TokenFlag.LOGIN_REQUIRED:
        return
    for flag, what in (
        (TokenFlag.USER_PIN_LOCKED, "its PIN is locked"),
        (TokenFlag.USER_PIN_FINAL_TRY, "one wrong PIN more would lock it; log in by hand once to clear that"),
    ):
        if flags & flag:
            raise TokenLoginRefused(f"The token {name!r} is not logged in to: {what}.")
    code = module.cryptoki.login(session_handle(owner), pin.load_pin())
    # The login is the token's: another Token of this process on the same one may have made it.
    if code not in (CKR_OK, CKR_USER_ALREADY_LOGGED_IN):
        raise classify_number(code).build_error(name, "log in")
