"""What a token is opened with, and the checks that need no token."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.errors import ConfigError
from engine.pin import FilePin, PinSource
from engine.token.uri import Pkcs11Uri

_log = logging.getLogger(__name__)

_NOT_OF_A_TOKEN = (
    "library_manufacturer",
    "library_version",
    "library_description",
    "object",
    "type",
    "id",
    "slot_description",
    "slot_manufacturer",
    "module_name",
)


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """One token: which module, which token in it, how to log in."""

    name: str
    """What messages call it."""
    module: str
    """The PKCS#11 library, an absolute path."""
    uri: str
    """RFC 7512; `token` and/or `serial` name the token."""
    pin: PinSource | None
    """None: the URI's `pin-source`."""
    sessions: int = 8
    """The most sessions to sign with at once."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are set before the module is loaded, such as SOFTHSM2_CONF."""
    wait_seconds: float = 5.0
    """How long a call waits for a session."""
    sign_seconds: float = 10.0
    """How long one call on the token may last before the token counts as not answering."""
    keep_alive_seconds: float = 60.0
    """Sessions idle for longer are asked for their state, lest the network or the token end them; 0: they are not."""
    initialize_arguments: str | None = None
    """CK_C_INITIALIZE_ARGS.pReserved, for modules that want it."""


def find_pin_source(settings: TokenSettings, uri: Pkcs11Uri) -> PinSource:
    """The one place the PIN comes from. Raises ConfigError if there are two or none."""
    if settings.pin is None and uri.pin_source is not None:
        return FilePin(uri.pin_source)
    if settings.pin is not None and uri.pin_source is None:
        return settings.pin
    raise ConfigError(
        f"The PIN of token {settings.name!r} must come from one place: the settings or the URI's pin-source."
    )


def check_uri(settings: TokenSettings, uri: Pkcs11Uri) -> None:
    """Raises ConfigError unless the URI names a token, and nothing that would be passed over."""
    if uri.token is None and uri.serial is None and uri.slot_id is None:
        raise ConfigError(f"The URI of token {settings.name!r} must name it by token (its label) and/or serial.")
    if uri.module_path not in (None, settings.module):
        raise ConfigError(f"The URI of token {settings.name!r} has another module-path than {settings.module}.")
    ignored = [name for name in _NOT_OF_A_TOKEN if getattr(uri, name) is not None]
    if ignored:
        names = ", ".join(repr(name.replace("_", "-")) for name in ignored)
        raise ConfigError(f"The URI of token {settings.name!r} has {names}, by which no token is chosen here.")
    if uri.slot_id is not None:
        _log.warning("The URI of token %r has a slot-id; slot numbers change, labels do not.", settings.name)
