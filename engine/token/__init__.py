"""PKCS#11 tokens: open one, generate and find keys on it, sign with them. The only importer of pkcs11."""

from engine.token.keys import KeyReference
from engine.token.pin import EnvironmentPin, FilePin, Pin, PinSource
from engine.token.settings import TokenSettings
from engine.token.token import FoundKey, GeneratedKey, Token
from engine.token.uri import Pkcs11Uri, load_uri

__all__ = [
    "EnvironmentPin",
    "FilePin",
    "FoundKey",
    "GeneratedKey",
    "KeyReference",
    "Pin",
    "PinSource",
    "Pkcs11Uri",
    "Token",
    "TokenSettings",
    "load_uri",
]
