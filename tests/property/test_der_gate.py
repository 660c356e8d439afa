"""What the gate lets through, asn1crypto encodes to the same octets again; and nothing makes the gate stumble.

Seeds are a request and certificates with every extension of RFC 5280. One element of a seed is spoilt, and every length
around it is put right, so that the fault is not hidden by a broken header. A request whose only remaining fault is its
signature has passed the gate.

Text under the tags of URI, DNS name and e-mail address is not spoilt: asn1crypto normalises such text when it encodes
anew, which has nothing to do with DER.
"""

from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address
from random import Random

from asn1crypto import csr, keys
from asn1crypto import x509 as asn1crypto_x509
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, ProofOfPossessionError, RequestError
from engine.x509.certificate import load_certificate
from engine.x509.der import check_der
from engine.x509.request import load_request
from engine.x509.spki import load_spki
from tests.property.der_trees import read_tree, spoil
from tests.unit.x509.forging import KEY_TYPES, pem, private_key, spki_of

NAME = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "US"), x509.NameAttribute(NameOID.COMMON_NAME, "é")])
POLICY = x509.ObjectIdentifier("1.2.3.4")
FULL_NAME = [x509.UniformResourceIdentifier("http://example.com/crl"), x509.DirectoryName(NAME)]
REASONS = frozenset({x509.ReasonFlags.key_compromise, x509.ReasonFlags.aa_compromise})
EXTENSIONS: list[x509.ExtensionType] = [
    x509.SubjectKeyIdentifier(b"k" * 20),
    x509.AuthorityKeyIdentifier(b"k" * 20, [x509.DirectoryName(NAME)], 130),
    x509.BasicConstraints(True, 3),
    x509.KeyUsage(True, False, True, False, True, True, True, False, True),
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
    x509.SubjectAlternativeName(
        [
            x509.DNSName("a.example"),
            x509.RFC822Name("a@b.example"),
            x509.IPAddress(IPv4Address("192.0.2.1")),
            x509.RegisteredID(POLICY),
            x509.OtherName(POLICY, b"\x0c\x01x"),
        ]
    ),
    x509.IssuerAlternativeName([x509.UniformResourceIdentifier("http://example.com/")]),
    x509.CRLDistributionPoints([x509.DistributionPoint(FULL_NAME, None, REASONS, [x509.DirectoryName(NAME)])]),
    x509.FreshestCRL([x509.DistributionPoint(None, x509.RelativeDistinguishedName([*NAME]), None, None)]),
    x509.NameConstraints([x509.DNSName("example")], [x509.DirectoryName(NAME)]),
    x509.PolicyConstraints(1, 2),
    x509.InhibitAnyPolicy(2),
    x509.CertificatePolicies(
        [
            x509.PolicyInformation(
                POLICY, ["http://example.com/cps", x509.UserNotice(x509.NoticeReference("Org", [1, 200]), "text")]
            )
        ]
    ),
    x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://example.com/")
            )
        ]
    ),
    x509.TLSFeature([x509.TLSFeatureType.status_request]),
    x509.OCSPNoCheck(),
    x509.PrivateKeyUsagePeriod(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    x509.UnrecognizedExtension(POLICY, b"\x30\x05\x01\x01\xff\x05\x00"),
]
TEXT_TAGS = (0x81, 0x82, 0x86)


@cache
def seeds() -> tuple[bytes, ...]:
    key = private_key("secp256r1")
    request = x509.CertificateSigningRequestBuilder().subject_name(NAME)
    request = request.add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
    certificate = x509.CertificateBuilder(NAME, NAME, private_key("RSA").public_key(), 2**100)
    certificate = certificate.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    certificate = certificate.not_valid_after(datetime(2055, 1, 1, tzinfo=UTC))
    for number, extension in enumerate(EXTENSIONS):
        request = request.add_extension(extension, critical=number % 2 == 0)
        certificate = certificate.add_extension(extension, critical=number % 2 == 1)
    return (
        request.sign(key, SHA256()).public_bytes(Encoding.DER),
        certificate.sign(key, SHA256()).public_bytes(Encoding.DER),
    )


def texts(der: bytes) -> set[bytes]:
    return {node.content for node in read_tree(der).walk() if node.tag in TEXT_TAGS}


def test_the_seeds_pass_the_gate_and_are_encoded_the_same_again() -> None:
    request, certificate = seeds()
    load_request(pem(request))
    load_certificate(certificate)
    assert csr.CertificationRequest.load(request).dump(force=True) == request
    assert asn1crypto_x509.Certificate.load(certificate).dump(force=True) == certificate


@settings(max_examples=4000, deadline=None, derandomize=True)
@given(st.integers(0, 1), st.integers(0, 2**32))
def test_what_the_gate_accepts_is_encoded_the_same_again(index: int, seed: int) -> None:
    random = Random(seed)
    tree = read_tree(seeds()[index])
    node = random.choice([node for node in tree.walk() if node.tag not in TEXT_TAGS])
    spoil(node, random)
    try:
        der = tree.encode()
    except OverflowError:
        return
    if not _passes(der, index):
        return
    structure = (csr.CertificationRequest, asn1crypto_x509.Certificate)[index]
    try:
        again = structure.load(der).dump(force=True)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return  # asn1crypto has no opinion on what it cannot read.
    if texts(der) <= texts(seeds()[index]):
        assert again == der


def _passes(der: bytes, index: int) -> bool:
    try:
        if index == 0:
            load_request(pem(der))
        else:
            load_certificate(der)
    except ProofOfPossessionError:
        return True
    except RequestError:
        return False
    return True


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.integers(0, 1), st.data())
def test_octets_changed_anywhere_raise_nothing_but_errors_of_the_engine(index: int, data: st.DataObject) -> None:
    octets = bytearray(seeds()[index])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(octets) - 1))
        octets[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    _passes(bytes(octets), index)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.binary(max_size=64), st.binary(max_size=40).map(lambda content: b"\x30" + bytes([len(content)]) + content)
    )
)
def test_any_octets_raise_nothing_but_errors_of_the_engine(octets: bytes) -> None:
    for load in (load_certificate, load_spki, lambda each: check_der(each, "x"), lambda each: load_request(pem(each))):
        try:
            load(octets)
        except EngineError:
            continue


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_text_raises_nothing_but_errors_of_the_engine(text: str) -> None:
    for request in (text, f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----"):
        assert not _passes_text(request)


def _passes_text(text: str) -> bool:
    try:
        load_request(text)
    except RequestError:
        return False
    return True


def test_every_key_type_is_encoded_the_same_again() -> None:
    for key_type in KEY_TYPES:
        der = spki_of(private_key(key_type))
        assert keys.PublicKeyInfo.load(der).dump(force=True) == load_spki(der).spki
