"""Strength of RSA keys. The moduli are made for one weakness each; none needs a private key."""

import secrets
from dataclasses import replace
from math import gcd, prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from engine.errors import PolicyRefusal
from engine.profiles.keys import check_public_key

from .workshop import public_key

SMALL_PRIMES = [n for n in range(2, 1000) if all(n % d for d in range(2, int(n**0.5) + 1))]
PRIMORIAL = prod(SMALL_PRIMES)


def rsa_key(modulus, exponent=65537):
    spki = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big") + exponent.to_bytes(600, "big")
    return replace(public_key("RSA"), spki=spki, bits=modulus.bit_length(), modulus=modulus, exponent=exponent)


def sound_modulus(bits=2048):
    return rsa.generate_private_key(65537, bits).public_key().public_numbers().n


def without_small_factors(number):
    number |= 1
    while gcd(number, PRIMORIAL) != 1:
        number += 2
    return number


def random_factor(bits=1024):
    return without_small_factors(secrets.randbits(bits) | 3 << (bits - 2))


def refusal_of(key):
    with pytest.raises(PolicyRefusal) as refusal:
        check_public_key(key)
    return refusal.value.message


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
def test_sound_keys_pass(kind):
    check_public_key(public_key(kind))


@pytest.mark.parametrize("bits", [2048, 2056, 8192])
def test_moduli_from_2048_to_8192_bits_pass(bits):
    check_public_key(rsa_key(random_factor(bits // 2) * random_factor(bits // 2)))


@pytest.mark.parametrize("bits", [512, 1024, 2046, 8194])
def test_other_sizes_are_refused(bits):
    modulus = random_factor(bits // 2) * random_factor(bits // 2)
    assert refusal_of(rsa_key(modulus)) == f"The RSA modulus must have 2048 to 8192 bits, found {bits}."


@pytest.mark.parametrize(
    ("exponent", "found"),
    [
        (1, "found 1."),
        (3, "found 3."),
        (65536, "found an even one."),
        (65539, "found 65539."),
        (1 << 2000 | 1, "found one of 2001 bits."),
    ],
)
def test_public_exponents_other_than_65537_are_refused(exponent, found):
    message = refusal_of(rsa_key(sound_modulus(), exponent))
    assert message == f"The RSA public exponent must be 65537, {found}"


def test_an_even_modulus_is_refused():
    assert "must be odd, found an even one" in refusal_of(rsa_key(random_factor() * random_factor() + 1))


@pytest.mark.parametrize("prime", [3, 5, 691, 997])
def test_a_small_factor_is_refused_by_name(prime):
    assert f"no small prime factor, found {prime}." in refusal_of(rsa_key(prime * random_factor(2048)))


@pytest.mark.parametrize("distance", [0, 2, 1 << 100, 1 << 514])
def test_factors_that_lie_close_together_are_refused(distance):
    factor = random_factor()
    assert "far apart" in refusal_of(rsa_key(factor * without_small_factors(factor + distance)))


def test_factors_that_lie_far_apart_pass():
    factor = random_factor()
    check_public_key(rsa_key(factor * without_small_factors(factor - (1 << 600))))


def roca_factor(primes):
    product = prod(SMALL_PRIMES[:primes])
    while True:
        start = (3 << 1022) // product
        factor = (start + secrets.randbelow(start // 4)) * product + pow(65537, secrets.randbits(200), product)
        if gcd(factor, PRIMORIAL) == 1:
            return factor


@pytest.mark.parametrize("primes", [39, 71, 126])
def test_the_pattern_of_the_roca_primes_is_refused(primes):
    assert "ROCA" in refusal_of(rsa_key(roca_factor(primes) * roca_factor(primes)))


def test_one_factor_of_the_roca_pattern_alone_is_none():
    check_public_key(rsa_key(roca_factor(126) * random_factor()))


def test_the_verdict_is_the_same_the_second_time():
    weak = rsa_key(3 * random_factor(2048))
    assert refusal_of(weak) == refusal_of(weak)
