"""What a profile hands on for a certification request; `x509.certificate` has its counterpart for certificates."""

from dataclasses import dataclass

from engine.x509.extensions import Extension
from engine.x509.names import Name


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """Subject and requested extensions, checked; the key is the signer's."""

    subject: Name
    extensions: tuple[Extension, ...]
