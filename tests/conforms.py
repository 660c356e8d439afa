"""Outside judges for every certificate the engine issues: OpenSSL, GnuTLS, pyca/cryptography, asn1crypto and pkilint.

`assert_conforms(certificate_der, issuer_der)` passes when each of them accepts the certificate under its issuer;
`issuer_der` None means self-signed. None of the judges shares code with the engine. Differences that are accepted are
listed in ACCEPTED_FINDINGS and ACCEPTED_WHEN_SELF_SIGNED, each with its reason; anything else above a notice fails.
"""

import re
import subprocess
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import asn1crypto.x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store
from pkilint import loader
from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain_linter
from pkilint.pkix import certificate as linted
from pkilint.pkix import extension, name
from pkilint.validation import ValidationFindingSeverity, ValidatorContainer

ACCEPTED_FINDINGS = (
    (
        r'pkix\.invalid_domain_name_syntax: Invalid domain name syntax: "\*\.[a-z0-9.-]+"',
        "A wildcard is the left-most whole label (RFC 6125 section 6.4.3); the linter knows plain host names only.",
    ),
    (
        r"itu\.invalid_asn1_syntax: .*OID contains out-of-range arc: \d+",
        "pkilint's decoder cannot read a first sub-identifier of several octets (2.999); asn1crypto and OpenSSL can.",
    ),
)
"""Findings of pkilint that the engine's certificates may have ("code: message", whole), and why."""

ACCEPTED_WHEN_SELF_SIGNED = (
    (
        r"pkix\.authority_key_id_extension_missing: None",
        "RFC 5280 section 4.2.1.1 lets a self-signed certificate leave it out; pkilint means to, but its property "
        "is_self_signed is never true.",
    ),
)
"""Further ones of self-signed certificates."""


def assert_conforms(certificate_der: bytes, issuer_der: bytes | None = None) -> None:
    """Fail, naming the judge, unless every outside reader accepts the certificate under its issuer."""
    issuer_der = issuer_der or certificate_der
    _assert_asn1crypto_encodes_the_same(certificate_der)
    moment = _moment_inside(certificate_der, issuer_der)
    _assert_pyca_accepts(certificate_der, issuer_der, moment)
    with tempfile.TemporaryDirectory() as folder:
        certificate, issuer = Path(folder, "certificate.pem"), Path(folder, "issuer.pem")
        certificate.write_bytes(x509.load_der_x509_certificate(certificate_der).public_bytes(Encoding.PEM))
        issuer.write_bytes(x509.load_der_x509_certificate(issuer_der).public_bytes(Encoding.PEM))
        _assert_openssl_accepts(certificate, issuer, moment)
        _assert_gnutls_accepts(certificate, issuer)
    findings = lint_with_pkilint(certificate_der) | lint_chain_with_pkilint(certificate_der, issuer_der)
    accepted = ACCEPTED_FINDINGS + (ACCEPTED_WHEN_SELF_SIGNED if certificate_der == issuer_der else ())
    unexpected = sorted(
        finding for finding in findings if not any(re.fullmatch(pattern, finding) for pattern, _ in accepted)
    )
    assert not unexpected, f"pkilint finds {unexpected}"


def _moment_inside(certificate_der: bytes, issuer_der: bytes) -> datetime:
    """A moment at which both certificates are valid: now if possible, else the middle of the certificate's life."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    issuer = x509.load_der_x509_certificate(issuer_der)
    begin = max(certificate.not_valid_before_utc, issuer.not_valid_before_utc)
    end = min(certificate.not_valid_after_utc, issuer.not_valid_after_utc)
    assert begin < end, f"certificate and issuer are never valid together: {begin} to {end}"
    now = datetime.now(UTC)
    return now if begin < now < end else begin + (end - begin) / 2


def _assert_asn1crypto_encodes_the_same(certificate_der: bytes) -> None:
    reencoded = asn1crypto.x509.Certificate.load(certificate_der, strict=True).copy().dump(force=True)
    assert reencoded == certificate_der, "asn1crypto encodes the certificate differently: it is not DER"


def _assert_pyca_accepts(certificate_der: bytes, issuer_der: bytes, moment: datetime) -> None:
    certificate = x509.load_der_x509_certificate(certificate_der)
    issuer = x509.load_der_x509_certificate(issuer_der)
    assert certificate.version is x509.Version.v3
    for rendered in (certificate.subject, certificate.issuer, certificate.extensions):
        assert repr(rendered)
    certificate.public_key()
    certificate.verify_directly_issued_by(issuer)
    # pyca's path validator judges chains of two; it knows no Ed25519 signatures and no self-signed leaf.
    if certificate_der == issuer_der or isinstance(issuer.public_key(), Ed25519PublicKey):
        return
    if isinstance(certificate.public_key(), Ed25519PublicKey):
        return
    if _is_ca(certificate):
        return
    permissive = ExtensionPolicy.permit_all()
    verifier = (
        PolicyBuilder()
        .store(Store([issuer]))
        .time(moment.replace(tzinfo=None))
        .extension_policies(
            ca_policy=permissive.require_present(x509.BasicConstraints, Criticality.CRITICAL, None),
            ee_policy=permissive,
        )
        .build_client_verifier()
    )
    verifier.verify(certificate, [])


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _assert_openssl_accepts(certificate: Path, issuer: Path, moment: datetime) -> None:
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", "any", "-partial_chain"]
    command += ["-attime", str(int(moment.timestamp())), "-trusted", str(issuer), str(certificate)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"OpenSSL refuses the certificate: {answer.stdout} {answer.stderr}"


def _assert_gnutls_accepts(certificate: Path, issuer: Path) -> None:
    """certtool cannot verify at another time than now, so its remarks on the time alone are accepted.

    It trusts no chain whose root is not a CA, so a self-signed end entity is only read by it.
    """
    if certificate.read_bytes() == issuer.read_bytes() and not _is_ca(
        x509.load_pem_x509_certificate(issuer.read_bytes())
    ):
        subprocess.run(
            ["certtool", "--certificate-info", "--infile", str(certificate)], capture_output=True, check=True
        )
        return
    command = ["certtool", "--verify", "--load-ca-certificate", str(issuer), "--infile", str(certificate)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return
    verdict = answer.stdout.rpartition("Chain verification output:")[2]
    for remark in (
        "Not verified.",
        "The certificate is NOT trusted.",
        "The certificate chain uses expired certificate.",
        "The certificate chain uses not yet valid certificate.",
        "The certificate issuer is expired.",
    ):
        verdict = verdict.replace(remark, "")
    timely = "expired" in answer.stdout or "not yet valid" in answer.stdout
    complaint = verdict.strip(" \n.") or not timely
    assert not complaint, f"GnuTLS refuses the certificate: {answer.stdout}"


def lint_with_pkilint(certificate_der: bytes) -> set[str]:
    """pkilint's PKIX certificate findings above a notice, each "code: message"."""
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(certificate_der)
    return _findings(_pkilint_validator().validate(document.root))


def lint_chain_with_pkilint(certificate_der: bytes, issuer_der: bytes) -> set[str]:
    """pkilint's signer-signee findings above a notice, each "code: message"."""
    documents: dict[str, object] = {}
    load = loader.RFC5280CertificateDocumentLoader().load_der_document
    for role, octets in (("issuer", issuer_der), ("subject", certificate_der)):
        documents[role] = load(octets, role, role, documents)
    decode = chain_linter.create_decoder_validation_container()
    results = decode.validate(documents["issuer"].root) + decode.validate(documents["subject"].root)
    results += chain_linter.create_issuer_validation_container().validate(documents["issuer"].root)
    results += chain_linter.create_subject_validation_container().validate(documents["subject"].root)
    return _findings(results)


@cache
def _pkilint_validator() -> ValidatorContainer:
    return linted.create_pkix_certificate_validator_container(
        linted.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            linted.create_issuer_validator_container([]),
            linted.create_validity_validator_container(),
            linted.create_subject_validator_container([]),
            linted.create_extensions_validator_container([]),
            linted.create_spki_validator_container([]),
        ],
    )


def _findings(results: list) -> set[str]:
    return {
        f"{description.finding.code}: {description.message}"
        for result in results
        for description in result.finding_descriptions
        if description.finding.severity < ValidationFindingSeverity.NOTICE
    }
