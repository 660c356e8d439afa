"""Rules for the fields of a tbsCertificate other than names and extensions (RFC 5280 section 4.1)."""

from engine.errors import PolicyRefusal
from engine.profiles.keys import check_public_key
from engine.profiles.lint.reading import Reading
from engine.profiles.lint.rule import Rule

_ECDSA = bytes.fromhex("300a06082a8648ce3d0403")
_RSA = bytes.fromhex("300d06092a864886f70d0101")
_ECDSA_SHA256, _ECDSA_SHA384, _ECDSA_SHA512 = (_ECDSA + bytes((arc,)) for arc in (2, 3, 4))
_RSA_SHA256, _RSA_SHA384, _RSA_SHA512 = (_RSA + bytes((arc, 5, 0)) for arc in (11, 12, 13))
_RSA_PSS_SHA256 = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d0609608648016503"
    "0402010500a203020120"
)
_ED25519 = bytes.fromhex("300506032b6570")

_EC_FAMILY = frozenset({_ECDSA_SHA256, _ECDSA_SHA384, _ECDSA_SHA512})
_RSA_FAMILY = frozenset({_RSA_SHA256, _RSA_SHA384, _RSA_SHA512, _RSA_PSS_SHA256})
_FAMILIES = {
    "secp256r1": _EC_FAMILY,
    "secp384r1": _EC_FAMILY,
    "secp521r1": _EC_FAMILY,
    "RSA": _RSA_FAMILY,
    "Ed25519": frozenset({_ED25519}),
}
_KNOWN = _EC_FAMILY | _RSA_FAMILY | {_ED25519}
_ISSUED = {
    "secp256r1": {_ECDSA_SHA256},
    "secp384r1": {_ECDSA_SHA384},
    "secp521r1": {_ECDSA_SHA512},
    "RSA": {_RSA_SHA256, _RSA_PSS_SHA256},
    "Ed25519": {_ED25519},
}


def version(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.version == b"\x02\x01\x02":
        return None
    return "The version must be v3, found another."


def unique_identifiers(certificate: Reading, issuer: Reading | None) -> str | None:
    return "There must be no unique identifiers, found some." if certificate.unique_identifiers else None


def serial_not_positive(certificate: Reading, issuer: Reading | None) -> str | None:
    serial = int.from_bytes(certificate.serial_number, "big", signed=True)
    return None if serial > 0 else "The serial number must be positive, found zero or a negative one."


def serial_too_long(certificate: Reading, issuer: Reading | None) -> str | None:
    length = len(certificate.serial_number)
    return None if length <= 20 else f"The serial number must have at most 20 octets, found {length}."


def serial_form(certificate: Reading, issuer: Reading | None) -> str | None:
    serial = certificate.serial_number
    if len(serial) == 20 and serial[0] & 0xC0 == 0x40:
        return None
    return "The serial number must have 20 octets of which the first two bits are 01, found another form."


def algorithm_unknown(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.algorithm in _KNOWN:
        return None
    return "The signature algorithm must be ECDSA or RSA with SHA-2, or Ed25519, found another."


def algorithm_does_not_fit(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is None or issuer.public_key is None or certificate.algorithm not in _KNOWN:
        return None
    if certificate.algorithm in _FAMILIES[issuer.public_key.key_type]:
        return None
    return f"The signature algorithm must fit the issuer's {issuer.public_key.key_type} key, found another."


def algorithm_not_ours(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is None or issuer.public_key is None:
        return None
    if certificate.algorithm in _ISSUED[issuer.public_key.key_type]:
        return None
    return f"The hash must be the one for an issuer's {issuer.public_key.key_type} key, found another algorithm."


def validity_encoding(certificate: Reading, issuer: Reading | None) -> str | None:
    for member, time, moment in (
        ("notBefore", certificate.not_before, certificate.begin),
        ("notAfter", certificate.not_after, certificate.end),
    ):
        if moment is None:
            return f"The {member} must be a time in whole seconds and Z, found another form."
        if (time.tag == 0x17) != (moment.year < 2050):
            return f"The {member} must be UTCTime to 2049 and GeneralizedTime from 2050, found the other."
    return None


def validity_order(certificate: Reading, issuer: Reading | None) -> str | None:
    begin, end = certificate.begin, certificate.end
    if begin is None or end is None or begin < end:
        return None
    return "The notBefore must be earlier than notAfter, found it is not."


def validity_outside_issuer(certificate: Reading, issuer: Reading | None) -> str | None:
    if issuer is None or issuer is certificate:
        return None
    begin, end = certificate.begin, certificate.end
    issuer_begin, issuer_end = issuer.begin, issuer.end
    if begin is None or end is None or issuer_begin is None or issuer_end is None:
        return None
    if begin < issuer_begin:
        return f"The notBefore must not be earlier than the issuer's, {issuer_begin}, found {begin}."
    return (
        None if end <= issuer_end else f"The notAfter must not be later than the issuer's, {issuer_end}, found {end}."
    )


def key_unreadable(certificate: Reading, issuer: Reading | None) -> str | None:
    return certificate.key_fault or None


def key_weak(certificate: Reading, issuer: Reading | None) -> str | None:
    if certificate.public_key is None:
        return None
    try:
        check_public_key(certificate.public_key)
    except PolicyRefusal as error:
        return error.message
    return None


RULES = (
    Rule("version.not_v3", "RFC 5280 4.1.2.1", version),
    Rule("unique_identifiers.present", "RFC 5280 4.1.2.8", unique_identifiers),
    Rule("serial_number.not_positive", "RFC 5280 4.1.2.2", serial_not_positive),
    Rule("serial_number.too_long", "RFC 5280 4.1.2.2", serial_too_long),
    Rule("serial_number.not_twenty_octets", "engine", serial_form, house=True),
    Rule("signature.unknown_algorithm", "RFC 5280 4.1.2.3", algorithm_unknown),
    Rule("signature.does_not_fit_issuer_key", "RFC 5280 4.1.2.3", algorithm_does_not_fit),
    Rule("signature.other_hash_than_for_issuer_key", "RFC 5758 3.2", algorithm_not_ours, house=True),
    Rule("validity.encoding", "RFC 5280 4.1.2.5", validity_encoding),
    Rule("validity.not_before_not_earlier", "RFC 5280 4.1.2.5", validity_order),
    Rule("validity.outside_issuer", "RFC 5280 6.1.3", validity_outside_issuer),
    Rule("subject_public_key_info.not_acceptable", "RFC 5280 4.1.2.7", key_unreadable),
    Rule("subject_public_key_info.weak", "NIST SP 800-89 5.3.3", key_weak),
)
