"""Key usages: which a certificate may name, given its key (RFC 5280 section 4.2.1.3 and the algorithm documents)."""

from engine.profiles.faults import must
from engine.x509.spki import PublicKey

KEY_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
"""In the order of their bits."""

_SIGNING = frozenset({"digitalSignature", "nonRepudiation", "keyCertSign", "cRLSign"})
_RSA = _SIGNING | {"keyEncipherment", "dataEncipherment"}  # RFC 3279 section 2.3.1
_EC = _SIGNING | {"keyAgreement", "encipherOnly", "decipherOnly"}  # RFC 5480 section 3, RFC 8813 section 3

USAGES_BY_KEY_TYPE = {
    "RSA": _RSA,
    "secp256r1": _EC,
    "secp384r1": _EC,
    "secp521r1": _EC,
    "Ed25519": _SIGNING,  # RFC 8410 section 5
}
_ALWAYS_SOUND = frozenset.intersection(*USAGES_BY_KEY_TYPE.values())  # Alone or together, with every key.


def load_key_usage(names: tuple[str, ...], key: PublicKey, faults: list[str]) -> frozenset[str]:
    """The named usages as a set; unknown names and usages the key has no algorithm for are faults."""
    uses = frozenset(names)
    if uses <= _ALWAYS_SOUND:
        return uses
    unknown = [name for name in names if name not in KEY_USAGES]
    faults.extend(must("keyUsage", f"be one of {', '.join(KEY_USAGES)}", name) for name in unknown)
    uses = uses.difference(unknown)
    allowed = USAGES_BY_KEY_TYPE[key.key_type]
    faults.extend(must("keyUsage", f"fit a key of type {key.key_type}", name) for name in sorted(uses - allowed))
    if uses & {"encipherOnly", "decipherOnly"} and "keyAgreement" not in uses:
        found = ", ".join(sorted(uses & {"encipherOnly", "decipherOnly"}))
        faults.append(must("keyUsage", "have keyAgreement beside encipherOnly or decipherOnly", found))
    return uses
