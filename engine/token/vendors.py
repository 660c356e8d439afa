"""What particular PKCS#11 libraries do otherwise than the standard, or their own list of mechanisms, says; and why.

By CK_INFO manufacturerID. Nothing else in the engine asks which library it is talking to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pkcs11.mechanisms import Mechanism


@dataclass(frozen=True, slots=True)
class Vendor:
    """One library. Every text is the reason."""

    unusable: Mapping[Mechanism | str, str] = field(default_factory=dict)
    """Mechanisms that are offered and key types that can be generated, neither of which work."""
    lean_public_template: str | None = None
    """Why it must not be tried whether the library takes the capabilities of a public key."""
    local_not_told: str | None = None
    """Why a false CKA_LOCAL does not mean that a key came from elsewhere."""
    one_at_a_time: str | None = None
    """Why only one thread may call at a time, although the library says that it locks."""
    never_finalized: str | None = None
    """Why C_Finalize must not be called; closing all sessions, which logs out, takes its place."""


_VENDORS: Mapping[str, Vendor] = {
    "tpm2-software.github.io": Vendor(  # tpm2-pkcs11 1.9
        unusable={
            Mechanism.RSA_PKCS: "It is TPM2_RSA_Decrypt, refused to a sign-only key; CKM_SHA256_RSA_PKCS is not.",
            "secp521r1": "CKA_EC_POINT is written with a length of one octet, which C_SignInit cannot read.",
        },
        lean_public_template="It refuses CKA_VERIFY after making the key, which then keeps a place in the TPM.",
    ),
    "PKCS#11 Kit": Vendor(  # p11-kit-client 0.24.1
        one_at_a_time="When its connection ends, threads that wait for an answer may wait for ever; and calls through "
        "one connection are answered one after the other anyway.",
    ),
    "Mozilla Foundation": Vendor(  # NSS softokn 3.87
        local_not_told="It answers false for every key, also for those that it has just generated.",
    ),
    "IBM": Vendor(  # opencryptoki 3.8
        one_at_a_time="A thread that looks at an object while another destroys it reads what has been freed.",
        never_finalized="Initialised again, it takes for its lock file whatever got that descriptor, and closes it.",
    ),
}


def find_vendor(library: str | None) -> Vendor:
    """The row for this manufacturerID, or one without differences."""
    return _VENDORS.get(library or "", Vendor())
