"""Strength of public keys: what a well-formed key must still be before it gets a certificate.

RSA is judged by size, public exponent (65537 only), small factors, primes that lie close together (Fermat) and the
pattern of the ROCA primes. The elliptic curve keys and Ed25519 have no weak members once `x509.spki` has read them:
the curve is one of three and the point is on it.
"""

from functools import lru_cache
from math import gcd, isqrt, prod

from engine.errors import PolicyRefusal
from engine.x509.spki import PublicKey

MINIMUM_RSA_BITS = 2048
MAXIMUM_RSA_BITS = 8192
"""A verifier's work grows with the square of the size; more than this buys nothing but denial of service."""

PUBLIC_EXPONENT = 65537
FERMAT_ROUNDS = 100

_SMALL_PRIMES = tuple(
    number for number in range(2, 1000) if all(number % divisor for divisor in range(2, isqrt(number) + 1))
)
_ODD_PRIMORIAL = prod(_SMALL_PRIMES[1:])

# Of the residues modulo 2^4 * 3^2 * 5 * 7 * 11 one in fifty is a square: a cheap test before a root is taken.
_SIEVE = 55440
_SQUARES = frozenset(root * root % _SIEVE for root in range(_SIEVE // 2 + 1))


def check_public_key(key: PublicKey) -> None:
    """Raise PolicyRefusal, in one sentence, unless the key is strong enough to be certified.

    The verdict on an RSA key is remembered. RFC 5280 says nothing of strength; the limits are NIST SP 800-57 (size) and
    SP 800-89 section 5.3.3 (exponent and modulus).
    """
    if key.modulus is None or key.exponent is None:
        return
    fault = _weakness(key.modulus, key.exponent)
    if fault is not None:
        raise PolicyRefusal(fault)


@lru_cache(maxsize=4096)
def _weakness(modulus: int, exponent: int) -> str | None:
    return _weak_exponent(exponent) or _weak_modulus(modulus)


def _weak_exponent(exponent: int) -> str | None:
    if exponent == PUBLIC_EXPONENT:
        return None
    if exponent % 2 == 0:
        return "The RSA public exponent must be 65537, found an even one."
    if exponent.bit_length() > 64:
        return f"The RSA public exponent must be 65537, found one of {exponent.bit_length()} bits."
    return f"The RSA public exponent must be 65537, found {exponent}."


def _weak_modulus(modulus: int) -> str | None:
    bits = modulus.bit_length()
    if not MINIMUM_RSA_BITS <= bits <= MAXIMUM_RSA_BITS:
        return f"The RSA modulus must have {MINIMUM_RSA_BITS} to {MAXIMUM_RSA_BITS} bits, found {bits}."
    if modulus % 2 == 0:
        return "The RSA modulus must be odd, found an even one."
    common = gcd(modulus, _ODD_PRIMORIAL)
    if common != 1:
        factor = next(prime for prime in _SMALL_PRIMES if common % prime == 0)
        return f"The RSA modulus must have no small prime factor, found {factor}."
    if _has_close_primes(modulus):
        return f"The RSA primes must lie far apart, found a modulus that {FERMAT_ROUNDS} Fermat rounds factor."
    if _has_roca_pattern(modulus):
        return "The RSA modulus must come from random primes, found the pattern of the ROCA primes (CVE-2017-15361)."
    return None


def _has_close_primes(modulus: int) -> bool:
    """Whether Fermat's method factors the modulus at once: n = a² - b² with a just above the square root of n.

    As in CVE-2022-26320.
    """
    root = isqrt(modulus)
    if root * root == modulus:
        return True
    square = (root + 1) ** 2 - modulus
    for a in range(root + 1, root + 1 + FERMAT_ROUNDS):
        if square % _SIEVE in _SQUARES and isqrt(square) ** 2 == square:
            return True
        square += 2 * a + 1
    return False


def _powers_of_65537(prime: int) -> frozenset[int]:
    powers, power = set(), 1
    while power not in powers:
        powers.add(power)
        power = power * PUBLIC_EXPONENT % prime
    return frozenset(powers)


# M. Nemec, M. Sys, P. Svenda, D. Klinec, V. Matyas: "The Return of Coppersmith's Attack: Practical Factorization
# of Widely Used RSA Moduli", ACM CCS 2017, section 2. The library's primes are k*M + (65537^a mod M) with M the
# product of the first primes (39 of them, up to 167, at every key size), so the modulus is a power of 65537 modulo
# each of these primes. A random modulus is one modulo all of them with a probability of about 2^-28.
_ROCA_GROUPS = tuple(
    (prime, powers) for prime in _SMALL_PRIMES if prime <= 167 and len(powers := _powers_of_65537(prime)) < prime - 1
)


def _has_roca_pattern(modulus: int) -> bool:
    return all(modulus % prime in powers for prime, powers in _ROCA_GROUPS)
