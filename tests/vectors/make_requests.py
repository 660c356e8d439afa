"""Makes the request vectors of `requests/`: every file anew, with new keys, after which the .expected files still hold.

    python tests/vectors/make_requests.py FOLDER

Independent of the engine: keys and signatures come from pyca/cryptography, or from plain integers where a key is so
broken that no library would make it; the structure of RFC 2986 is joined octet by octet. A request is signed after
its defect has been put in, so that the defect is the only thing wrong with it, wherever the key can still sign.
"""

import base64
import secrets
import sys
from collections.abc import Callable
from hashlib import sha256
from math import gcd, prod
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Sign = Callable[[bytes], bytes]


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes(4, "big").lstrip(b"\x00")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(hexadecimal: str) -> bytes:
    return tlv(6, bytes.fromhex(hexadecimal))


NULL = b"\x05\x00"
VERSION_0 = b"\x02\x01\x00"

EC_PUBLIC_KEY = oid("2a8648ce3d0201")
P256, P384, P521 = oid("2a8648ce3d030107"), oid("2b81040022"), oid("2b81040023")
RSA_ENCRYPTION = oid("2a864886f70d010101")

ECDSA = {name: sequence(oid("2a8648ce3d0403" + arc)) for name, arc in (("256", "02"), ("384", "03"), ("512", "04"))}
ECDSA_SHA1 = sequence(oid("2a8648ce3d0401"))
ECDSA_SHA224 = sequence(oid("2a8648ce3d040301"))
RSA_SHA256 = sequence(oid("2a864886f70d01010b"), NULL)
RSA_SHA1 = sequence(oid("2a864886f70d010105"), NULL)
RSA_MD5 = sequence(oid("2a864886f70d010104"), NULL)
RSA_MD4 = sequence(oid("2a864886f70d010103"), NULL)
RSA_PSS_DEFAULTS = sequence(oid("2a864886f70d01010a"), sequence())
SHA256_IDENTIFIER = sequence(oid("608648016503040201"), NULL)
RSA_PSS_SHA256 = sequence(
    oid("2a864886f70d01010a"),
    sequence(
        tlv(0xA0, SHA256_IDENTIFIER),
        tlv(0xA1, sequence(oid("2a864886f70d010108"), SHA256_IDENTIFIER)),
        tlv(0xA2, integer(32)),
    ),
)
DSA_SHA256 = sequence(oid("608648016503040302"))
ED25519 = sequence(oid("2b6570"))
ED448 = sequence(oid("2b6571"))

SUBJECT = sequence(
    tlv(0x31, sequence(oid("550406"), tlv(0x13, b"US"))),
    tlv(0x31, sequence(oid("550403"), tlv(0x0C, b"Vector"))),
)
SAN = sequence(oid("551d11"), tlv(4, sequence(tlv(0x82, b"leaf.example.com"))))
EXTENSION_REQUEST = oid("2a864886f70d01090e")
CHALLENGE_PASSWORD = oid("2a864886f70d010907")
UNSTRUCTURED_NAME = oid("2a864886f70d010902")


def attribute(kind: bytes, *values: bytes) -> bytes:
    return sequence(kind, tlv(0x31, *values))


def extension_request(*extensions: bytes) -> bytes:
    return attribute(EXTENSION_REQUEST, sequence(*extensions))


def spki(key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ec_spki(parameters: bytes, point: bytes) -> bytes:
    return sequence(sequence(EC_PUBLIC_KEY, parameters), tlv(3, b"\x00", point))


def rsa_spki(modulus: int, exponent: int, parameters: bytes = NULL) -> bytes:
    key = sequence(integer(modulus), integer(exponent))
    return sequence(sequence(RSA_ENCRYPTION, parameters), tlv(3, b"\x00", key))


def point(key, form: PublicFormat = PublicFormat.UncompressedPoint) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, form)


def ecdsa(key, digest=None) -> Sign:
    """On P-256 a signature of 71 octets, as half of them have: the positions in .expected files stay the same."""

    def sign(message: bytes) -> bytes:
        while True:
            signature = key.sign(message, ec.ECDSA(digest or hashes.SHA256()))
            if key.curve.name != "secp256r1" or len(signature) == 71:
                return signature

    return sign


def pkcs1(key, digest=None) -> Sign:
    return lambda message: key.sign(message, padding.PKCS1v15(), digest or hashes.SHA256())


def raw_rsa(modulus: int, private_exponent: int) -> Sign:
    """RSASSA-PKCS1-v1_5 with SHA-256 by hand, for keys that no library would sign with (RFC 8017 section 9.2)."""
    width = (modulus.bit_length() + 7) // 8

    def sign(message: bytes) -> bytes:
        digest = sequence(SHA256_IDENTIFIER, tlv(4, sha256(message).digest()))
        encoded = b"\x00\x01" + b"\xff" * (width - len(digest) - 3) + b"\x00" + digest
        return pow(int.from_bytes(encoded, "big"), private_exponent, modulus).to_bytes(width, "big")

    return sign


def information(key_info: bytes, *attributes: bytes, version: bytes = VERSION_0, more: bytes = b"") -> bytes:
    return sequence(version, SUBJECT, key_info, tlv(0xA0, *attributes), more)


def request(cri: bytes, algorithm: bytes, sign: Sign, more: bytes = b"") -> bytes:
    return sequence(cri, algorithm, tlv(3, b"\x00", sign(cri)), more)


def pem(der: bytes, label: str = "CERTIFICATE REQUEST", newline: str = "\n") -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return newline.join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


SMALL_PRIMES = [n for n in range(2, 1000) if all(n % d for d in range(2, int(n**0.5) + 1))]
PRIMORIAL = prod(SMALL_PRIMES)


def is_prime(number: int) -> bool:
    """Miller-Rabin to 24 random bases."""
    if gcd(number, PRIMORIAL) != 1:
        return False
    twos = (number - 1 & -(number - 1)).bit_length() - 1
    for _ in range(24):
        power = pow(secrets.randbelow(number - 3) + 2, (number - 1) >> twos, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def next_prime(number: int, exponent: int = 65537) -> int:
    number |= 1
    while (number - 1) % exponent == 0 or not is_prime(number):
        number += 2
    return number


def random_prime(bits: int, exponent: int = 65537) -> int:
    return next_prime(secrets.randbits(bits) | 3 << (bits - 2), exponent)


def roca_prime() -> int:
    """k * M + (65537^a mod M), M the product of the first 126 primes: what the library made for 2048-bit keys."""
    product = prod(SMALL_PRIMES[:126])
    while True:
        multiplier = (3 << 1022) // product + secrets.randbits(48)
        candidate = multiplier * product + pow(65537, secrets.randbits(256), product)
        if candidate.bit_length() == 1024 and (candidate - 1) % 65537 and is_prime(candidate):
            return candidate


def rsa_request(p: int, q: int, exponent: int = 65537) -> str:
    modulus, phi = p * q, (p - 1) * (q - 1)
    sign = raw_rsa(modulus, pow(exponent, -1, phi))
    return pem(request(information(rsa_spki(modulus, exponent)), RSA_SHA256, sign))


def ok() -> dict[str, str]:
    p256, p384, p521 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()))
    rsa2048, rsa3072, rsa4096 = (rsa.generate_private_key(65537, bits) for bits in (2048, 3072, 4096))
    edwards = ed25519.Ed25519PrivateKey.generate()
    plain = request(information(spki(p256)), ECDSA["256"], ecdsa(p256))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    attributes = (
        attribute(CHALLENGE_PASSWORD, tlv(0x0C, b"not to be shown")),
        extension_request(SAN, sequence(oid("551d0f"), b"\x01\x01\xff", tlv(4, b"\x03\x02\x07\x80"))),
    )
    return {
        "p-256": pem(plain),
        "p-256-sha384": pem(request(information(spki(p256)), ECDSA["384"], ecdsa(p256, hashes.SHA384()))),
        "p-384": pem(request(information(spki(p384)), ECDSA["384"], ecdsa(p384, hashes.SHA384()))),
        "p-521": pem(request(information(spki(p521)), ECDSA["512"], ecdsa(p521, hashes.SHA512()))),
        "rsa-2048": pem(request(information(spki(rsa2048)), RSA_SHA256, pkcs1(rsa2048))),
        "rsa-3072": pem(request(information(spki(rsa3072)), RSA_SHA256, pkcs1(rsa3072))),
        "rsa-4096": pem(request(information(spki(rsa4096)), RSA_SHA256, pkcs1(rsa4096))),
        "rsa-2048-pss": pem(
            request(information(spki(rsa2048)), RSA_PSS_SHA256, lambda cri: rsa2048.sign(cri, pss, hashes.SHA256()))
        ),
        "ed25519": pem(request(information(spki(edwards)), ED25519, edwards.sign)),
        "new-certificate-request-label": pem(plain, "NEW CERTIFICATE REQUEST"),
        "crlf": pem(plain, newline="\r\n"),
        "surrounding-white-space": f"\n \t\n{pem(plain)}\n\n",
        "attributes": pem(
            request(
                information(spki(p256), *sorted(attributes, key=lambda each: (len(each), each))),
                ECDSA["256"],
                ecdsa(p256),
            )
        ),
        "empty-subject": pem(
            request(sequence(VERSION_0, sequence(), spki(p256), b"\xa0\x00"), ECDSA["256"], ecdsa(p256))
        ),
    }


def refused_text(key) -> dict[str, str]:
    """Not one PEM object."""
    plain = request(information(spki(key)), ECDSA["256"], ecdsa(key))
    big = request(
        information(spki(key), attribute(UNSTRUCTURED_NAME, tlv(0x0C, b"x" * 49_000))), ECDSA["256"], ecdsa(key)
    )
    return {
        "pem-over-64-kib": pem(big),
        "pem-wrong-label": pem(plain, "CERTIFICATE"),
        "pem-two-objects": pem(plain) + pem(plain),
        "pem-trailing-garbage": pem(plain) + "garbage\n",
        "pem-leading-text": "Subject: Vector\n" + pem(plain),
        "pem-end-label-differs": pem(plain).replace("END CERTIFICATE", "END NEW CERTIFICATE"),
        "pem-headers": pem(plain).replace("REQUEST-----\n", "REQUEST-----\nProc-Type: 4,CLEAR\n\n", 1),
        "pem-base64-noise": pem(plain).replace("MI", "M*I", 1),
        "pem-base64-truncated": pem(plain[:-2]),
        "not-pem": base64.b64encode(plain).decode() + "\n",
        "empty": "",
    }


def refused_encoding(key) -> dict[str, str]:
    """Not DER, or not the structure of RFC 2986."""
    info, sign = spki(key), ecdsa(key)
    plain = request(information(info), ECDSA["256"], sign)
    spelt_out = sequence(oid("551d13"), b"\x01\x01\x00", tlv(4, sequence()))
    basic = sequence(oid("551d13"), b"\x01\x01\x01", tlv(4, sequence()))
    long_name = sequence(oid("550406"), b"\x13\x81\x02US")
    descending = (
        attribute(UNSTRUCTURED_NAME, tlv(0x0C, b"a long unstructured name")),
        attribute(CHALLENGE_PASSWORD, tlv(0x0C, b"short")),
    )

    def signed(cri: bytes) -> str:
        return pem(request(cri, ECDSA["256"], sign))

    return {
        "ber-length-not-minimal": signed(sequence(VERSION_0, sequence(tlv(0x31, long_name)), info, b"\xa0\x00")),
        "ber-length-indefinite": pem(b"\x30\x80" + plain[4:] + b"\x00\x00"),
        "ber-integer-not-minimal": signed(information(info, version=b"\x02\x02\x00\x00")),
        "ber-boolean-01": signed(information(info, extension_request(basic))),
        "ber-default-spelt-out": signed(information(info, extension_request(spelt_out))),
        "ber-set-of-not-sorted": signed(information(info, *descending)),
        "ber-inside-extension-value": signed(
            information(info, extension_request(sequence(oid("551d13"), tlv(4, b"\x30\x81\x00"))))
        ),
        "ber-octets-after-extension-value": signed(
            information(info, extension_request(sequence(oid("551d13"), tlv(4, b"\x30\x00\x05\x00"))))
        ),
        "ber-constructed-bit-string": pem(
            sequence(information(info), ECDSA["256"], tlv(0x23, tlv(3, b"\x00", sign(information(info)))))
        ),
        "octets-after-request": pem(plain + b"\x00"),
        "cut-short": pem(plain[:-1]),
        "extra-member-in-request": pem(request(information(info), ECDSA["256"], sign, NULL)),
        "extra-member-in-information": signed(information(info, more=NULL)),
        "extra-member-in-extension": signed(
            information(info, extension_request(sequence(oid("551d13"), tlv(4, sequence()), NULL)))
        ),
        "version-1": signed(information(info, version=b"\x02\x01\x01")),
        "version-missing": signed(information(info, version=b"")),
        "attributes-missing": signed(sequence(VERSION_0, SUBJECT, info)),
        "subject-not-a-name": signed(sequence(VERSION_0, sequence(NULL), info, b"\xa0\x00")),
        "signature-unused-bits": pem(
            sequence(information(info), ECDSA["256"], tlv(3, b"\x04", sign(information(info))[:-1] + b"\xf0"))
        ),
        "attribute-duplicate": signed(
            information(
                info,
                attribute(CHALLENGE_PASSWORD, tlv(0x0C, b"one")),
                attribute(CHALLENGE_PASSWORD, tlv(0x0C, b"two")),
            )
        ),
        "attribute-malformed": signed(information(info, sequence(CHALLENGE_PASSWORD, tlv(0x0C, b"no set")))),
        "attribute-without-values": signed(information(info, attribute(CHALLENGE_PASSWORD))),
        "attribute-challenge-password-twice": signed(
            information(info, attribute(CHALLENGE_PASSWORD, tlv(0x0C, b"one"), tlv(0x0C, b"two")))
        ),
        "extension-duplicate": signed(information(info, extension_request(SAN, SAN))),
        "extension-requests-two-in-one": signed(
            information(info, attribute(EXTENSION_REQUEST, sequence(SAN), sequence(SAN)))
        ),
        "extension-without-value": signed(information(info, extension_request(sequence(oid("551d11"))))),
    }


def refused_signature(key) -> dict[str, str]:
    """No proof of possession, or one of an algorithm that is not accepted."""
    info, sign = spki(key), ecdsa(key)
    other = ec.generate_private_key(ec.SECP256R1())
    rsa2048 = rsa.generate_private_key(65537, 2048)
    edwards, edwards448 = ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()
    dsa2048 = dsa.generate_private_key(2048)
    plain = request(information(info), ECDSA["256"], sign)
    unsigned = information(spki(rsa2048))
    salted = padding.PSS(padding.MGF1(hashes.SHA1()), 20)

    def by_rsa(algorithm: bytes, make: Sign) -> str:
        return pem(request(unsigned, algorithm, make))

    return {
        "signature-of-another-key": pem(request(information(info), ECDSA["256"], ecdsa(other))),
        "signature-of-another-request": pem(plain.replace(b"Vector", b"Victor")),
        "signature-bad-rsa": by_rsa(RSA_SHA256, lambda cri: pkcs1(rsa2048)(cri)[:-1] + b"\x00"),
        "signature-bad-ed25519": pem(
            request(information(spki(edwards)), ED25519, lambda cri: edwards.sign(cri + b"x"))
        ),
        "signature-of-another-hash": pem(request(information(info), ECDSA["384"], sign)),
        "signature-r-s-not-der": pem(request(information(info), ECDSA["256"], lambda cri: b"\x01" * 64)),
        "algorithm-does-not-fit-key": pem(request(information(info), RSA_SHA256, sign)),
        "algorithm-ed25519-for-ec-key": pem(request(information(info), ED25519, sign)),
        "algorithm-ecdsa-null-parameters": pem(
            request(information(info), sequence(oid("2a8648ce3d040302"), NULL), sign)
        ),
        "algorithm-ecdsa-sha1": pem(request(information(info), ECDSA_SHA1, ecdsa(key, hashes.SHA1()))),
        "algorithm-ecdsa-sha224": pem(request(information(info), ECDSA_SHA224, ecdsa(key, hashes.SHA224()))),
        "algorithm-rsa-sha1": by_rsa(RSA_SHA1, pkcs1(rsa2048, hashes.SHA1())),
        "algorithm-rsa-md5": by_rsa(RSA_MD5, pkcs1(rsa2048, hashes.MD5())),
        "algorithm-rsa-md4": by_rsa(RSA_MD4, pkcs1(rsa2048, hashes.MD5())),
        "algorithm-rsa-pss-default-sha1": by_rsa(
            RSA_PSS_DEFAULTS, lambda cri: rsa2048.sign(cri, salted, hashes.SHA1())
        ),
        "algorithm-unknown": pem(request(information(info), sequence(oid("2a0304")), sign)),
        "dsa": pem(request(information(spki(dsa2048)), DSA_SHA256, lambda cri: dsa2048.sign(cri, hashes.SHA256()))),
        "ed448": pem(request(information(spki(edwards448)), ED448, edwards448.sign)),
        "ed25519-null-parameters": pem(
            request(
                information(
                    spki(edwards)
                    .replace(bytes.fromhex("300506032b6570"), sequence(oid("2b6570"), NULL))
                    .replace(b"\x30\x2a", b"\x30\x2c", 1)
                ),
                ED25519,
                edwards.sign,
            )
        ),
    }


def refused_ec_key(key) -> dict[str, str]:
    """EC keys that are none, or not in the one accepted form."""
    sign = ecdsa(key)
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    generator = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    generator += "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    coefficient = "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"
    explicit = sequence(
        integer(1),
        sequence(oid("2a8648ce3d0101"), integer(prime)),
        sequence(tlv(4, (prime - 3).to_bytes(32, "big")), tlv(4, bytes.fromhex(coefficient))),
        tlv(4, b"\x04" + bytes.fromhex(generator)),
        integer(order),
        integer(1),
    )
    uncompressed = point(key)
    hybrid = bytes((6 + (uncompressed[-1] & 1),)) + uncompressed[1:]
    off_curve = uncompressed[:-1] + bytes((uncompressed[-1] ^ 1,))
    outside_field = b"\x04" + b"\xff" * 32 + uncompressed[33:]

    def of(key_info: bytes, make: Sign = sign) -> str:
        return pem(request(information(key_info), ECDSA["256"], make))

    others = {
        name: ec.generate_private_key(curve)
        for name, curve in (
            ("secp256k1", ec.SECP256K1()),
            ("secp224r1", ec.SECP224R1()),
            ("brainpool-p256r1", ec.BrainpoolP256R1()),
        )
    }
    return {
        "ec-explicit-parameters": of(ec_spki(explicit, uncompressed)),
        "ec-missing-curve": of(ec_spki(b"", uncompressed)),
        "ec-implicit-curve": of(ec_spki(NULL, uncompressed)),
        "ec-compressed-point": of(ec_spki(P256, point(key, PublicFormat.CompressedPoint))),
        "ec-hybrid-point": of(ec_spki(P256, hybrid)),
        "ec-point-at-infinity": of(ec_spki(P256, b"\x00")),
        "ec-point-off-curve": of(ec_spki(P256, off_curve)),
        "ec-point-outside-field": of(ec_spki(P256, outside_field)),
        "ec-point-of-another-curve": of(ec_spki(P384, uncompressed)),
        "ec-point-cut-short": of(ec_spki(P256, uncompressed[:-1])),
        **{f"ec-curve-{name}": of(spki(other), ecdsa(other)) for name, other in others.items()},
    }


def refused_rsa_key() -> dict[str, str]:
    """RSA keys that are weak or malformed; the first ones have working signatures."""
    weak = rsa.generate_private_key(65537, 1024)
    sound = rsa.generate_private_key(65537, 2048)
    modulus = sound.public_key().public_numbers().n
    negative = tlv(2, modulus.to_bytes(256, "big"))
    close = random_prime(1024)
    sign = pkcs1(sound)

    def of(key_info: bytes) -> str:
        return pem(request(information(key_info), RSA_SHA256, sign))

    return {
        "rsa-1024": pem(request(information(spki(weak)), RSA_SHA256, pkcs1(weak))),
        "rsa-2047": rsa_request(random_prime(1023), next_prime(secrets.randbits(1022) | 3 << 1022)),
        "rsa-exponent-3": rsa_request(random_prime(1024, 3), random_prime(1024, 3), 3),
        "rsa-exponent-65539": rsa_request(random_prime(1024, 65539), random_prime(1024, 65539), 65539),
        "rsa-small-factor": rsa_request(691, random_prime(2040)),
        "rsa-fermat-close-primes": rsa_request(close, next_prime(close + (1 << 500))),
        "rsa-roca-pattern": rsa_request(roca_prime(), roca_prime()),
        "rsa-exponent-even": of(rsa_spki(modulus, 65536)),
        "rsa-exponent-1": of(rsa_spki(modulus, 1)),
        "rsa-modulus-even": rsa_request(2, random_prime(2047)),
        "rsa-modulus-negative": of(
            sequence(sequence(RSA_ENCRYPTION, NULL), tlv(3, b"\x00", sequence(negative, integer(65537))))
        ),
        "rsa-16400": of(rsa_spki(1 << 16399 | 1, 65537)),
        "rsa-parameters-missing": of(rsa_spki(modulus, 65537, b"")),
        "rsa-extra-member": of(
            sequence(
                sequence(RSA_ENCRYPTION, NULL), tlv(3, b"\x00", sequence(integer(modulus), integer(65537), integer(0)))
            )
        ),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    key = ec.generate_private_key(ec.SECP256R1())
    refused = (
        refused_text(key) | refused_encoding(key) | refused_signature(key) | refused_ec_key(key) | refused_rsa_key()
    )
    for group, vectors in (("ok", ok()), ("refused", refused)):
        (folder / group).mkdir(parents=True, exist_ok=True)
        for name, text in vectors.items():
            (folder / group / f"{name}.pem").write_bytes(text.encode())


if __name__ == "__main__":
    main()
