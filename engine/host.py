"""The name of a host, as a configuration file and a Host header (RFC 9110 section 7.2) write it."""

import re
from ipaddress import AddressValueError, IPv6Address

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_FIELD = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]{0,5})?")


def load_host(name: str) -> str:
    """A domain name, an IPv4 address or an IPv6 address in brackets, in the one spelling that is compared.

    Lower case, without the dot that may end a name; an IPv6 address as RFC 5952 writes it. Raises ValueError.
    """
    if name.startswith("[") and name.endswith("]"):
        try:
            return f"[{IPv6Address(name[1:-1]).compressed}]"
        except AddressValueError:
            raise ValueError(f"Expected an IPv6 address in the brackets, found {name!r}") from None
    bare = name.removesuffix(".")
    if len(bare) > 253 or not _NAME.fullmatch(bare):
        raise ValueError(f"Expected the name of a host without a port, found {name!r}")
    return bare.lower()


def load_host_field(value: str) -> str:
    """The host of a Host header, its port left out. Raises ValueError."""
    match = _FIELD.fullmatch(value.strip())
    if match is None:
        raise ValueError("Expected a host and perhaps a port.")
    return load_host(match[1])
