"""GeneralName (RFC 5280 section 4.2.1.6) in the four forms the engine writes.

Text is normalised and judged once, by `load_general_name`; encoding then only moves octets.
"""

import ipaddress
import re
import socket
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna

from engine.errors import MalformedRequest
from engine.x509 import der as asn1


@dataclass(frozen=True, slots=True)
class GeneralName:
    """One name: `kind` is dNSName, rfc822Name, uniformResourceIdentifier or iPAddress; `value` is its text.

    Make one with `load_general_name`, which normalises: A-labels in lower case, addresses in their shortest form.
    """

    kind: str
    value: str


# Context-specific tags of the CHOICE in RFC 5280 section 4.2.1.6.
_TAGS = {"rfc822Name": 0x81, "dNSName": 0x82, "uniformResourceIdentifier": 0x86, "iPAddress": 0x87}

# Letters, digits and hyphens; two hyphens in third place are IDNA's business, and no name ends with a number.
_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN_LABEL = re.compile(_LABEL)
_PLAIN_NAME = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+$){_LABEL}")
_DOT_STRING = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTED_STRING = re.compile(r'"([ !#-\[\]-~]|\\[ -~])*"')
# RFC 3986 appendix A, without relative references; of the host only the characters are judged.
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_USER_INFORMATION = r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*"
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+)"
_AUTHORITY = rf"(?:{_USER_INFORMATION}@)?{_HOST}(?::[0-9]*)?"
_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/?{_PCHAR}+(?:/{_PCHAR}*)*)"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)


def load_general_name(kind: str, text: str) -> GeneralName:
    """Return the name of this kind that `text` means, normalised.

    dNSName: a host name, internationalised ones as A-labels (IDNA 2008), one wildcard only as the whole
    left-most label. rfc822Name: an RFC 5321 mailbox, its domain as a dNSName. uniformResourceIdentifier: an
    absolute URI of RFC 3986. iPAddress: an IPv4 or IPv6 address without prefix length or zone.
    MalformedRequest for anything else.
    """
    if kind == "dNSName":
        return GeneralName(kind, _load_dns_name(text, text))
    if kind == "rfc822Name":
        return GeneralName(kind, _load_mailbox(text))
    if kind == "uniformResourceIdentifier":
        return _load_uri(text)
    if kind == "iPAddress":
        return GeneralName(kind, _load_ip_address(text))
    raise MalformedRequest(f"A general name must be one of {', '.join(_TAGS)}, found {kind[:40]!r}.")


@lru_cache(maxsize=512)  # The address of an issuer's CRL is in every certificate.
def _load_uri(text: str) -> GeneralName:
    if not _URI.fullmatch(text):
        raise MalformedRequest(f"A URI must be absolute and of RFC 3986's characters, found {text[:80]!r}.")
    return GeneralName("uniformResourceIdentifier", text)


def _load_dns_name(name: str, text: str, *, wildcard: bool = True) -> str:
    lower = name.lower()
    if len(name) <= 253 and _PLAIN_NAME.fullmatch(lower):
        return lower
    labels = name.split(".")
    prefix = []
    if wildcard and labels[0] == "*" and len(labels) > 1:
        prefix = ["*"]
        labels = labels[1:]
    labels = prefix + [_load_label(label, text) for label in labels]
    loaded = ".".join(labels)
    if len(loaded) > 253:
        raise MalformedRequest(f"A DNS name must have at most 253 octets, found {len(loaded)}.")
    if labels[-1].isdigit():
        raise MalformedRequest(f"A DNS name must not be an IP address, found {text[:80]!r}.")
    return loaded


def _load_label(label: str, text: str) -> str:
    lower = label.lower()
    if _PLAIN_LABEL.fullmatch(lower):
        return lower
    lower = unicodedata.normalize("NFC", lower)
    try:
        # A lone U+002A or U+005F is refused here too: neither is valid in an A-label or a host name.
        return idna.alabel(lower).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise MalformedRequest(
            f"A DNS name must be host name labels, the left-most at most a whole wildcard, found {text[:80]!r}."
        ) from None


def _load_mailbox(text: str) -> str:
    local, at, domain = text.rpartition("@")
    sound = _DOT_STRING.fullmatch(local) or _QUOTED_STRING.fullmatch(local)
    if not at or not sound or len(local) > 64:
        raise MalformedRequest(f"An e-mail address must be an RFC 5321 mailbox in ASCII, found {text[:80]!r}.")
    return f"{local}@{_load_dns_name(domain, text, wildcard=False)}"


def _load_ip_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or "%" in text:
        raise MalformedRequest(f"An IP address must be one IPv4 or IPv6 address, found {text[:80]!r}.")
    return str(address)


def encode_general_name(name: GeneralName) -> bytes:
    """Return `name` as a GeneralName; IP addresses as 4 or 16 octets in network order."""
    tag = _TAGS.get(name.kind)
    if tag is None or not name.value:
        raise MalformedRequest(f"A general name must be one of {', '.join(_TAGS)} with a value, found another.")
    try:
        if tag == 0x87:
            family = socket.AF_INET6 if ":" in name.value else socket.AF_INET
            return asn1.encode_tlv(tag, socket.inet_pton(family, name.value))
        return asn1.encode_tlv(tag, name.value.encode("ascii"))
    except (OSError, UnicodeEncodeError):
        raise MalformedRequest(f"A {name.kind} must be normalised text, found {name.value[:80]!r}.") from None


def encode_general_names(names: tuple[GeneralName, ...]) -> bytes:
    """Return GeneralNames, the value of a SubjectAltName or IssuerAltName; there is at least one name."""
    if not names:
        raise MalformedRequest("GeneralNames must hold at least one name, found none.")
    return asn1.encode_tlv(asn1.SEQUENCE, *map(encode_general_name, names))
