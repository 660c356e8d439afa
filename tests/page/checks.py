"""What holds for everything the examples return, said by readers other than the engine."""

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conforms import assert_conforms
from tests.page.examples import STORE


def assert_issued(call, pem: str, folder: Path) -> x509.Certificate:
    """PEM as documented, conforming, and verified by OpenSSL and GnuTLS under the issuer from the store."""
    assert pem.startswith("-----BEGIN CERTIFICATE-----\n")
    assert pem.endswith("-----END CERTIFICATE-----")
    certificate = x509.load_pem_x509_certificate(pem.encode())
    issuer = issuer_of(call, certificate)
    assert_conforms(certificate.public_bytes(Encoding.DER), issuer.public_bytes(Encoding.DER))
    chain = folder / "chain.pem"
    chain.write_bytes(pem.encode() + b"\n" + issuer.public_bytes(Encoding.PEM))
    (folder / "issuer.pem").write_bytes(issuer.public_bytes(Encoding.PEM))
    for command in (
        ["openssl", "verify", "-x509_strict", "-CAfile", folder / "issuer.pem", chain],
        ["certtool", "--verify", f"--load-ca-certificate={folder}/issuer.pem", f"--infile={chain}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    return certificate


def issuer_of(call, certificate: x509.Certificate) -> x509.Certificate:
    """The certificate's issuer, read back from the store and checked by pyca and by its name's bytes."""
    _, entries = call("GET", f"/v1/{STORE}/x509-store-api/certificates")
    candidates = [x509.load_pem_x509_certificate(entry["data"]["pem"].encode()) for entry in entries]
    issuer = next(one for one in candidates if one.subject.public_bytes() == certificate.issuer.public_bytes())
    certificate.verify_directly_issued_by(issuer)
    return issuer


def stored(call, entry_id: str) -> str:
    status, entry = call("GET", f"/v1/{STORE}.{entry_id}/x509-store-api/certificates")
    assert status == 200
    assert entry == {"_id": f"{STORE}.{entry_id}", "data": {"type": "base", "pem": entry["data"]["pem"]}}
    return entry["data"]["pem"]


def assert_request_verifies(pem: str) -> x509.CertificateSigningRequest:
    done = subprocess.run(
        ["openssl", "req", "-verify", "-noout"], input=pem, capture_output=True, text=True, check=True, timeout=60
    )
    assert "verify OK" in done.stdout + done.stderr
    done = subprocess.run(["certtool", "--crq-info"], input=pem, capture_output=True, text=True, check=True, timeout=60)
    assert "Self signature: verified" in done.stdout
    return x509.load_pem_x509_csr(pem.encode())


def spki(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return signed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
