"""PKCS#11 tokens: open one, generate and find keys on it, sign with them. The only importer of pkcs11."""

from engine.token.custody import find_attribute_faults
from engine.token.keys import KeyReference
from engine.token.pin import CommandPin, CredentialPin, EnvironmentPin, FilePin, HeldPin, Pin, PinSource, ask_pin
from engine.token.settings import TokenSettings
from engine.token.token import FoundKey, GeneratedKey, Token
from engine.token.uri import Pkcs11Uri, load_uri

__all__ = [
    "CommandPin",
    "CredentialPin",
    "EnvironmentPin",
    "FilePin",
    "FoundKey",
    "GeneratedKey",
    "HeldPin",
    "KeyReference",
    "Pin",
    "PinSource",
    "Pkcs11Uri",
    "Token",
    "TokenSettings",
    "ask_pin",
    "find_attribute_faults",
    "load_uri",
]
