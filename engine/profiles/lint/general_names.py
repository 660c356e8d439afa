"""Reading GeneralNames (RFC 5280 section 4.2.1.6) for judging: which forms, and what is wrong with one."""

import re

from engine.x509.der import Element, read_children, read_element

EMAIL, DNS, URI, IP = 0x81, 0x82, 0x86, 0x87

_DNS_NAME = re.compile(rb"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_MAILBOX = re.compile(rb"[!-~ ]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_ABSOLUTE_URI = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_HTTP_URI = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://[!-.0-~][!-~]*")

_FORMS = {EMAIL: _MAILBOX, DNS: _DNS_NAME, URI: _ABSOLUTE_URI}


def names_in(value: bytes) -> list[Element]:
    """The names of a GeneralNames."""
    return read_children(read_element(value).content)


def fault_of(name: Element) -> str | None:
    """What is wrong with the content of one name, or None."""
    if name.tag == IP:
        return None if len(name.content) in (4, 16) else "an IP address that has neither 4 nor 16 octets"
    form = _FORMS.get(name.tag)
    if form is None:
        return "a form other than DNS name, e-mail, URI and IP address"
    if not form.fullmatch(name.content):
        return f"a {'URI' if name.tag == URI else 'DNS name' if name.tag == DNS else 'mailbox'} of another shape"
    if name.tag == DNS and len(name.content) > 253:
        return "a DNS name of more than 253 octets"
    return None


def is_http_uri(name: Element) -> bool:
    """Whether the name is an http or https URI with a host."""
    return name.tag == URI and _HTTP_URI.fullmatch(name.content) is not None
