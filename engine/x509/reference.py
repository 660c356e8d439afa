"""The slow encoder: the same structures out of nothing but asn1crypto objects.

It shares no encoder with the fast path, so that a property test can compare the octets of both
(tests/property). Nothing in the engine calls it. Text of general names is given to asn1crypto as octets,
because its setters normalise URIs and domains; lists of names and extensions are given the octets of their
members, because a list that is appended to sets everything below it anew.
"""

from collections.abc import Callable
from typing import Any

from asn1crypto import algos, core, csr, keys, x509

from engine.x509.certificate import CertificateDraft
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CopiedExtension,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    IssuerAlternativeName,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
)
from engine.x509.general_names import GeneralName
from engine.x509.names import Name
from engine.x509.spki import PublicKey

_ATTRIBUTE_TYPES = {
    "country": "country_name",
    "state_or_province_name": "state_or_province_name",
    "locality_name": "locality_name",
    "organization_name": "organization_name",
    "organizational_unit_name": "organizational_unit_name",
    "common_name": "common_name",
    "serial_number": "serial_number",
    "email_address": "email_address",
}
_USES = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "non_repudiation",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}


def build_tbs_certificate_reference(draft: CertificateDraft) -> bytes:
    """Return the octets that `build_tbs_certificate` must return for this draft."""
    tbs_certificate = x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": draft.serial_number,
            "signature": algos.SignedDigestAlgorithm.load(draft.algorithm.identifier),
            "issuer": x509.Name.load(draft.issuer),
            "validity": {"not_before": _time(draft.not_before), "not_after": _time(draft.not_after)},
            "subject": _name(draft.subject),
            "subject_public_key_info": keys.PublicKeyInfo.load(draft.public_key.spki),
            "extensions": _extensions(draft.extensions),
        }
    )
    octets: bytes = tbs_certificate.dump()
    return octets


def build_certification_request_info_reference(
    subject: bytes, public_key: PublicKey, extensions: tuple[Extension, ...]
) -> bytes:
    """Return the octets that `build_certification_request_info` must return for these arguments."""
    attribute = b""
    if extensions:
        values = csr.SetOfExtensions(contents=_extensions(extensions).dump())
        attribute = csr.CRIAttribute({"type": "extension_request", "values": values}).dump()
    information = csr.CertificationRequestInfo(
        {
            "version": "v1",
            "subject": x509.Name.load(subject),
            "subject_pk_info": keys.PublicKeyInfo.load(public_key.spki),
            "attributes": csr.CRIAttributes(contents=attribute),
        }
    )
    octets: bytes = information.dump()
    return octets


def build_name_reference(name: Name) -> bytes:
    """Return the octets that `build_name` must return for this name."""
    octets: bytes = _name(name).dump()
    return octets


def _name(name: Name) -> x509.Name:
    rdns = []
    for kind, text in name.attributes:
        value: core.Asn1Value
        if kind in ("country", "serial_number"):
            value = x509.DirectoryString("printable_string", core.PrintableString(text))
        elif kind == "email_address":
            value = x509.EmailAddress(contents=text.encode("ascii"))
        else:
            value = x509.DirectoryString("utf8_string", core.UTF8String(text))
        pair = x509.NameTypeAndValue({"type": _ATTRIBUTE_TYPES[kind], "value": value})
        rdns.append(x509.RelativeDistinguishedName([pair]))
    return x509.Name("", x509.RDNSequence(rdns))


def _time(time: Any) -> x509.Time:
    if time.year < 2050:
        return x509.Time("utc_time", core.UTCTime(time))
    return x509.Time("general_time", core.GeneralizedTime(time))


def _extensions(extensions: tuple[Extension, ...]) -> x509.Extensions:
    return x509.Extensions(contents=b"".join(_extension(extension).dump() for extension in extensions))


def _extension(extension: Extension) -> x509.Extension:
    if isinstance(extension, CopiedExtension):
        value: core.Asn1Value = core.ParsableOctetString(extension.value)
    else:
        value = _VALUES[type(extension)](extension)
    return x509.Extension({"extn_id": extension.oid, "critical": extension.critical, "extn_value": value})


def _general_name(name: GeneralName) -> x509.GeneralName:
    if name.kind == "iPAddress":
        return x509.GeneralName("ip_address", x509.IPAddress(name.value))
    octets = name.value.encode("ascii")
    if name.kind == "dNSName":
        return x509.GeneralName("dns_name", x509.DNSName(contents=octets))
    if name.kind == "rfc822Name":
        return x509.GeneralName("rfc822_name", x509.EmailAddress(contents=octets))
    return x509.GeneralName("uniform_resource_identifier", x509.URI(contents=octets))


def _general_names(extension: SubjectAlternativeName | IssuerAlternativeName) -> x509.GeneralNames:
    return x509.GeneralNames(contents=b"".join(_general_name(name).dump() for name in extension.names))


def _basic_constraints(extension: BasicConstraints) -> x509.BasicConstraints:
    return x509.BasicConstraints({"ca": extension.ca, "path_len_constraint": extension.path_length})


def _crl_distribution_points(extension: CRLDistributionPoints) -> x509.CRLDistributionPoints:
    uri = _general_name(GeneralName("uniformResourceIdentifier", extension.uri))
    point = x509.DistributionPointName("full_name", x509.GeneralNames([uri]))
    return x509.CRLDistributionPoints([{"distribution_point": point}])


_VALUES: dict[type[Extension], Callable[[Any], core.Asn1Value]] = {
    SubjectKeyIdentifier: lambda extension: core.OctetString(extension.key_identifier),
    AuthorityKeyIdentifier: lambda extension: x509.AuthorityKeyIdentifier({"key_identifier": extension.key_identifier}),
    BasicConstraints: _basic_constraints,
    KeyUsage: lambda extension: x509.KeyUsage({_USES[use] for use in extension.uses}),
    ExtendedKeyUsage: lambda extension: x509.ExtKeyUsageSyntax(list(extension.purposes)),
    SubjectAlternativeName: _general_names,
    IssuerAlternativeName: _general_names,
    CRLDistributionPoints: _crl_distribution_points,
}
