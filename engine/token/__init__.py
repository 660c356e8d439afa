"""PKCS#11 tokens: open one, generate and find keys on it, sign with them. The only importer of pkcs11."""

from engine.token.administration import GeneratedKey
from engine.token.custody import find_attribute_faults
from engine.token.finding import key_not_found
from engine.token.identity import TokenIdentity
from engine.token.jwk import PrivateJwk, load_private_jwk
from engine.token.keys import PROOF, KeyReference
from engine.token.mechanisms import KEY_TYPES
from engine.token.settings import TokenSettings
from engine.token.token import FoundKey, Token
from engine.token.uri import Pkcs11Uri, load_uri

__all__ = [
    "KEY_TYPES",
    "PROOF",
    "FoundKey",
    "GeneratedKey",
    "KeyReference",
    "Pkcs11Uri",
    "PrivateJwk",
    "Token",
    "TokenIdentity",
    "TokenSettings",
    "find_attribute_faults",
    "key_not_found",
    "load_private_jwk",
    "load_uri",
]
