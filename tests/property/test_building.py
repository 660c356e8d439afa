"""Whatever valid draft is built, the fast encoder agrees with asn1crypto, and pyca reads back what was ordered."""

from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.x509.algorithms import signature_algorithm_for
from engine.x509.certificate import CertificateDraft, assemble_certificate, build_tbs_certificate, load_certificate
from engine.x509.der import check_der, encode_object_identifier, load_object_identifier
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CopiedExtension,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    GeneralName,
    IssuerAlternativeName,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
)
from engine.x509.names import Name, build_name, load_name
from engine.x509.pem import load_pem, render_pem
from engine.x509.reference import (
    build_certification_request_info_reference,
    build_name_reference,
    build_tbs_certificate_reference,
)
from engine.x509.request import assemble_request, build_certification_request_info
from engine.x509.spki import PublicKey, load_public_jwk, render_public_jwk
from tests.property.orders import drafts, extension_lists, keys, names, object_identifiers

# The first draw of a key generates it, which takes as long as it takes.
bounded = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

# pyca warns when a name has more octets than RFC 5280 allows it characters.
octets_not_characters = pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")

NAME_OIDS = {
    "2.5.4.6": "country",
    "2.5.4.8": "state_or_province_name",
    "2.5.4.7": "locality_name",
    "2.5.4.10": "organization_name",
    "2.5.4.11": "organizational_unit_name",
    "2.5.4.3": "common_name",
    "2.5.4.5": "serial_number",
    "1.2.840.113549.1.9.1": "email_address",
}


@bounded
@given(drafts())
def test_the_fast_encoder_writes_what_the_reference_writes_and_twice_the_same(draft: CertificateDraft) -> None:
    tbs = build_tbs_certificate(draft)
    assert tbs == build_tbs_certificate_reference(draft)
    assert tbs == build_tbs_certificate(draft)
    check_der(tbs, "The TBSCertificate")


@bounded
@given(names, keys, extension_lists(least=0))
def test_requests_are_written_as_the_reference_writes_them(
    name: Name, key: PublicKey, extensions: tuple[Extension, ...]
) -> None:
    subject = build_name(name)
    assert subject == build_name_reference(name)
    information = build_certification_request_info(subject, key, extensions)
    assert information == build_certification_request_info_reference(subject, key, extensions)
    check_der(information, "The CertificationRequestInfo")


@octets_not_characters
@bounded
@given(drafts())
def test_pyca_reads_back_every_field_as_ordered(draft: CertificateDraft) -> None:
    der = assemble_certificate(build_tbs_certificate(draft), draft.algorithm, b"not a signature")
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number == draft.serial_number
    assert certificate.not_valid_before_utc == draft.not_before
    assert certificate.not_valid_after_utc == draft.not_after
    assert [(NAME_OIDS[each.oid.dotted_string], each.value) for each in certificate.subject] == [
        *draft.subject.attributes
    ]
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki == draft.public_key.spki
    assert certificate.issuer.public_bytes() == draft.issuer
    assert certificate.signature == b"not a signature"
    assert [_as_ordered(each) for each in certificate.extensions] == [*draft.extensions]


def _as_ordered(extension: x509.Extension[x509.ExtensionType]) -> Extension:
    """What pyca found, in the words of an order."""
    value = extension.value
    found: Extension
    match value:
        case x509.SubjectKeyIdentifier():
            found = SubjectKeyIdentifier(value.digest)
        case x509.AuthorityKeyIdentifier():
            assert value.authority_cert_issuer is None
            assert value.authority_cert_serial_number is None
            found = AuthorityKeyIdentifier(value.key_identifier or b"")
        case x509.BasicConstraints():
            found = BasicConstraints(value.ca, value.path_length)
        case x509.KeyUsage():
            found = KeyUsage(_uses(value))
        case x509.ExtendedKeyUsage():
            found = ExtendedKeyUsage(tuple(each.dotted_string for each in value), extension.critical)
        case x509.SubjectAlternativeName():
            found = SubjectAlternativeName(tuple(map(_general_name, value)), extension.critical)
        case x509.IssuerAlternativeName():
            found = IssuerAlternativeName(tuple(map(_general_name, value)))
        case x509.CRLDistributionPoints():
            (point,) = value
            assert (point.reasons, point.crl_issuer, point.relative_name) == (None, None, None)
            assert point.full_name is not None
            (name,) = point.full_name
            found = CRLDistributionPoints(_general_name(name).value)
        case x509.UnrecognizedExtension():
            found = CopiedExtension(extension.oid.dotted_string, extension.critical, value.value)
    assert (found.oid, found.critical) == (extension.oid.dotted_string, extension.critical)
    return found


def _uses(value: x509.KeyUsage) -> frozenset[str]:
    uses = {
        "digitalSignature": value.digital_signature,
        "nonRepudiation": value.content_commitment,
        "keyEncipherment": value.key_encipherment,
        "dataEncipherment": value.data_encipherment,
        "keyAgreement": value.key_agreement,
        "keyCertSign": value.key_cert_sign,
        "cRLSign": value.crl_sign,
        # pyca answers these two only for key agreement.
        "encipherOnly": value._encipher_only,
        "decipherOnly": value._decipher_only,
    }
    return frozenset(use for use, there in uses.items() if there)


def _general_name(name: x509.GeneralName) -> GeneralName:
    kinds = {
        x509.DNSName: "dNSName",
        x509.RFC822Name: "rfc822Name",
        x509.UniformResourceIdentifier: "uniformResourceIdentifier",
        x509.IPAddress: "iPAddress",
    }
    return GeneralName(kinds[type(name)], str(name.value))


@bounded
@given(drafts())
def test_loading_gives_what_was_built(draft: CertificateDraft) -> None:
    certificate = load_certificate(
        assemble_certificate(build_tbs_certificate(draft), draft.algorithm, b"not a signature")
    )
    assert load_name(certificate.subject) == draft.subject
    assert certificate.issuer == draft.issuer
    assert certificate.serial_number == draft.serial_number
    assert (certificate.not_before, certificate.not_after) == (draft.not_before, draft.not_after)
    assert isinstance(certificate.not_before, datetime)
    assert certificate.public_key == draft.public_key
    assert list(certificate.extensions) == [extension.oid for extension in draft.extensions]
    for extension in draft.extensions:
        match extension:
            case KeyUsage(uses):
                assert certificate.key_usage == uses
            case BasicConstraints(ca, path_length):
                assert (certificate.is_ca, certificate.path_length) == (ca, path_length)
            case SubjectKeyIdentifier(key_identifier):
                assert certificate.subject_key_identifier == key_identifier
            case AuthorityKeyIdentifier(key_identifier):
                assert certificate.authority_key_identifier == key_identifier


@octets_not_characters
@bounded
@given(names, keys, extension_lists(least=0))
def test_pyca_reads_back_a_request(name: Name, key: PublicKey, extensions: tuple[Extension, ...]) -> None:
    information = build_certification_request_info(build_name(name), key, extensions)
    der = assemble_request(information, signature_algorithm_for(key), b"not a signature")
    request = x509.load_der_x509_csr(der)
    assert request.tbs_certrequest_bytes == information
    assert request.subject.public_bytes() == build_name(name)
    assert [_as_ordered(each) for each in request.extensions] == [*extensions]


@bounded
@given(st.binary(min_size=1, max_size=300))
def test_pem_round_trip(der: bytes) -> None:
    assert load_pem(render_pem("CERTIFICATE", der), "CERTIFICATE") == der


@bounded
@given(keys)
def test_jwk_round_trip(key: PublicKey) -> None:
    assert load_public_jwk(render_public_jwk(key)) == key


@bounded
@given(object_identifiers)
def test_object_identifier_round_trip(dotted: str) -> None:
    encoded = encode_object_identifier(dotted)
    check_der(encoded, "An object identifier")
    assert load_object_identifier(encoded[2 if encoded[1] < 128 else 3 :]) == dotted
