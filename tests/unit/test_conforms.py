"""The outside judges are awake: each refuses a certificate with a fault that is its business."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests import conforms
from tests.conforms import assert_conforms

CA_KEY, LEAF_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
CA_NAME, LEAF_NAME = (
    x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Judged CA", "Judged leaf")
)
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def build(*, leaf=True, signer=CA_KEY, key_usage=True, authority=True, begin=BEGIN):
    key = LEAF_KEY if leaf else CA_KEY
    builder = x509.CertificateBuilder(CA_NAME, LEAF_NAME if leaf else CA_NAME, key.public_key(), 1 << 150)
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=30 if leaf else 3650))
    builder = builder.add_extension(x509.BasicConstraints(not leaf, None), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    if authority:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(CA_KEY.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if key_usage:
        usage = x509.KeyUsage(leaf, False, False, False, False, not leaf, not leaf, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


ROOT = build(leaf=False)


@pytest.fixture
def as_files(tmp_path):
    """Write a certificate and ROOT as PEM files."""

    def write(certificate):
        paths = tmp_path / "certificate.pem", tmp_path / "issuer.pem"
        for path, der in zip(paths, (certificate, ROOT), strict=True):
            path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        return paths

    return write


def test_sound_certificates_pass_every_judge():
    assert_conforms(ROOT)
    assert_conforms(build(), ROOT)


def test_sound_certificates_of_another_time_pass_every_judge():
    past = datetime(2020, 1, 1, tzinfo=UTC)
    root = build(leaf=False, begin=past)
    assert_conforms(build(begin=past), root)


def test_a_certificate_of_another_key_is_refused_by_each_judge(as_files):
    forged = build(signer=LEAF_KEY)
    with pytest.raises(InvalidSignature):
        assert_conforms(forged, ROOT)
    with pytest.raises(AssertionError, match="OpenSSL refuses"):
        conforms._assert_openssl_accepts(*as_files(forged), datetime.now(UTC))
    with pytest.raises(AssertionError, match="GnuTLS refuses"):
        conforms._assert_gnutls_accepts(*as_files(forged))
    assert "pkix.signature_verification_failed" in str(conforms.lint_chain_with_pkilint(forged, ROOT))


def test_openssl_judges_by_its_strict_rules(as_files):
    with pytest.raises(AssertionError, match="OpenSSL refuses"):
        conforms._assert_openssl_accepts(*as_files(build(authority=False)), datetime.now(UTC))


def test_pkilint_judges_the_contents():
    findings = conforms.lint_with_pkilint(build(leaf=False, key_usage=False))
    assert findings == {"pkix.ca_certificate_no_ku_extension: None"}


def test_octets_that_are_not_der_are_refused():
    certificate = bytearray(ROOT)
    position = ROOT.index(b"\x06\x03\x55\x1d\x13\x01\x01\xff") + 7
    certificate[position] = 1
    with pytest.raises(AssertionError, match="it is not DER"):
        assert_conforms(bytes(certificate))


def test_certificates_that_are_never_valid_together_are_refused():
    with pytest.raises(AssertionError, match="never valid together"):
        assert_conforms(build(begin=BEGIN - timedelta(days=100)), ROOT)
