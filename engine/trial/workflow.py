"""The end-to-end workflow of the quick start, walked over HTTP against a running engine.

The five requests are the documented ones: a generic certification request, one for a document signer, a leaf and a
document signer certificate from a request, and the two steps of the end-to-end example. Each answer is verified
with `openssl` where that is on the machine, else with pyca/cryptography: a request by its own signature, a
certificate by its issuer's certificate, which is read back from the engine's certificate store.
"""

import hashlib
import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.errors import IssuanceDefect

SERVICE = "test.tenant1.x509-service-1"
STORE = "test.tenant1.x509-store-1"
KMS = "test.tenant1.kms1"

_SECONDS = 30
_PAGE = 100

Json = dict[str, object]


def walk(base_url: str, api_key: str, out: TextIO, *, api_key_file: Path | None = None) -> None:
    """Walk the workflow against the engine at `base_url` and say on `out` what happened, in plain lines.

    With `api_key_file`, the file that holds `api_key`, curl lines ready to paste follow; the key itself is never
    printed. Raises IssuanceDefect for the first answer that is missing, refused or does not verify.
    """
    walker = _Walker(_Api(base_url, api_key), out)
    walker.say(f"The documented workflow, against {base_url}", "")
    suffix = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    generic = walker.request(
        "A certification request (generic)",
        {
            "type": "generic",
            "subjectKeyDescriptor": _hosted("leaf-secp256r1"),
            "subjectName": {"commonName": "Example Leaf", "country": "US", "organizationName": "Example Org"},
            "subjectAlternativeNames": {"dnsNames": ["leaf.example.com"]},
        },
    )
    document_signer = walker.request(
        "A certification request (ISO 18013-5 document signer)",
        {
            "type": "iso-document-signer",
            "subjectKeyDescriptor": _hosted("leaf-secp256r1"),
            "certificateData": {"country": "US", "commonName": "Example DS"},
        },
    )
    walker.certificate(
        "A leaf certificate from the first request, under the IACA's key",
        "certificate",
        generic,
        {
            "storedCertificateId": f"generic-leaf-from-csr-{suffix}",
            "certificateData": {
                "subjectName": {"commonName": "Example Leaf From CSR", "country": "US"},
                "keyUsage": ["DigitalSignature"],
            },
            "subjectPublicKeySource": {"type": "csr", "csrPEM": generic},
            "issuer": {"type": "ca-signed", "issuerKeyDescriptor": _hosted("iaca-secp256r1")},
        },
    )
    walker.certificate(
        "A document signer certificate from the second request",
        "iso/document-signers",
        document_signer,
        {
            "storedCertificateId": f"ds-from-csr-{suffix}",
            "iacaSigner": {
                "type": "iaca-cert-data-descriptor",
                "iacaKeyDesc": _hosted("iaca-secp256r1"),
                "certificateData": {
                    "country": "US",
                    "commonName": "Example IACA",
                    "notBefore": "2025-05-28T12:23:01Z",
                    "notAfter": "2040-05-24T12:23:01Z",
                    "issuerAlternativeNameConf": {"uri": "https://iaca.example.com"},
                },
            },
            "certificateData": {
                "country": "US",
                "commonName": "Example DS",
                "crlDistributionPointUri": "https://crl-example.com",
            },
            "dsPublicKeySource": {"type": "csr", "csrPEM": document_signer},
        },
    )
    end_to_end = walker.request("End to end, step 1: a certification request", END_TO_END_REQUEST)
    walker.certificate(
        "End to end, step 2: its certificate",
        "certificate",
        end_to_end,
        _end_to_end_certificate(end_to_end),
    )
    walker.say("All of it was issued, read back and verified.", "")
    if api_key_file is not None:
        walker.say(*curl_lines(base_url, api_key_file))


def _hosted(key_id: str) -> Json:
    return {"type": "kms-hosted-key-descriptor", "keyIdPath": f"{KMS}.{key_id}"}


END_TO_END_REQUEST: Json = {
    "type": "generic",
    "subjectKeyDescriptor": _hosted("leaf-secp256r1"),
    "subjectName": {"commonName": "Example Leaf", "country": "US"},
}


def _end_to_end_certificate(request_pem: str) -> Json:
    return {
        "certificateData": {
            "subjectName": {"commonName": "Example Leaf", "country": "US"},
            "keyUsage": ["DigitalSignature"],
        },
        "subjectPublicKeySource": {"type": "csr", "csrPEM": request_pem},
        "issuer": {"type": "ca-signed", "issuerKeyDescriptor": _hosted("ca-secp256r1")},
    }


def curl_lines(base_url: str, api_key_file: Path) -> tuple[str, ...]:
    """The end-to-end example as shell lines; the key is read from its file when a line runs, never printed."""
    call = "curl -sS -H \"$auth\" -H 'Content-Type: application/json'"
    service, store = f"{base_url}/v1/{SERVICE}/x509-service-api", f"{base_url}/v1/{STORE}/x509-store-api"
    order = _quoted(json.dumps(_end_to_end_certificate("@"))).replace('"@"', "'\"$csr\"'")
    return (
        "To do it by hand, paste these lines into another terminal (they need curl and jq):",
        "",
        f'auth="Authorization: Bearer $(cat {_quoted(str(api_key_file))})"',
        f"csr=$({call} {service}/csrs -d {_quoted(json.dumps(END_TO_END_REQUEST))} | jq .csrPEM)",
        f"{call} {service}/certificate -d {order}",
        f"{call} {store}/certificates",
        "",
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@dataclass(frozen=True, slots=True)
class _Api:
    """The engine's JSON API. http.client and not urllib.request: no proxy variable may send the key elsewhere."""

    base_url: str
    api_key: str = field(repr=False)

    def call(self, method: str, path: str, body: Json | None = None) -> object:
        """The decoded answer with status 200. Raises IssuanceDefect for any other."""
        url = urlsplit(self.base_url)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=_SECONDS)
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, HTTPException) as error:
            raise IssuanceDefect(f"{self.base_url} did not answer {method} {path}: {error}.") from error
        finally:
            connection.close()
        if response.status != 200:
            raise IssuanceDefect(f"Expected 200 for {method} {path}, found {response.status}: {text}")
        return json.loads(text)


@dataclass(slots=True)
class _Walker:
    """One walk: says what it does, counts the steps, keeps the CA certificates it has read."""

    api: _Api
    out: TextIO
    step: int = 0

    def say(self, *lines: str) -> None:
        self.out.writelines(f"{line}\n" for line in lines)
        self.out.flush()

    def _title(self, title: str, path: str) -> None:
        self.step += 1
        self.say(f"{self.step}. {title}", f"   POST {path}")

    def request(self, title: str, body: Json) -> str:
        """Have a certification request made and verify it; its PEM."""
        path = f"/v1/{SERVICE}/x509-service-api/csrs"
        self._title(title, path)
        pem = _member(self.api.call("POST", path, body), "csrPEM")
        request = x509.load_pem_x509_csr(pem.encode())
        how = _verify_request(pem)
        self.say(
            f"   subject      {_rfc4514(request.subject)}",
            f"   public key   SHA-256 {_colons(hashlib.sha256(_spki(request)).digest())}",
            f"   verified     {how}",
            "",
        )
        return pem

    def certificate(self, title: str, call: str, request_pem: str, body: Json) -> None:
        """Have a certificate issued, verify it under its issuer's and compare the stored copy."""
        path = f"/v1/{SERVICE}/x509-service-api/{call}"
        self._title(title, path)
        answer = self.api.call("POST", path, body)
        pem = _member(answer, "certificatePEM")
        certificate = x509.load_pem_x509_certificate(pem.encode())
        if _spki(certificate) != _spki(x509.load_pem_x509_csr(request_pem.encode())):
            raise IssuanceDefect("Expected a certificate for the key of the request, found another key.")
        issuer_path, issuer_pem = self._find_issuer(certificate)
        how = _verify_certificate(pem, issuer_pem)
        stored = answer.get("storedCertificateIds", []) if isinstance(answer, dict) else []
        for stored_path in stored:
            if self._stored(stored_path) != pem:
                raise IssuanceDefect(f"Expected the issued certificate at {stored_path}, found another.")
        self.say(
            f"   subject      {_rfc4514(certificate.subject)}",
            f"   issuer       {_rfc4514(certificate.issuer)}",
            f"   serial       {certificate.serial_number:040x}",
            f"   valid        {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            f"   fingerprint  SHA-256 {_colons(certificate.fingerprint(SHA256()))}",
            f"   verified     {how}, issuer read back from {issuer_path}",
            *(f"   stored       {stored_path}, read back and equal" for stored_path in stored),
            "",
        )

    def _stored(self, path: str) -> str:
        entry = self.api.call("GET", f"/v1/{path}/x509-store-api/certificates")
        return _member(entry.get("data") if isinstance(entry, dict) else None, "pem")

    def _find_issuer(self, certificate: x509.Certificate) -> tuple[str, str]:
        """Path and PEM of the store's certificate that issued `certificate`."""
        offset = 0
        while True:
            query = f"limit={_PAGE}&offset={offset}"
            page = self.api.call("GET", f"/v1/{STORE}/x509-store-api/certificates?{query}")
            if not isinstance(page, list) or not page:
                raise IssuanceDefect(f"Expected the certificate of the issuer in {STORE}, found none.")
            for entry in page:
                pem = _member(entry["data"], "pem")
                candidate = x509.load_pem_x509_certificate(pem.encode())
                if candidate.subject == certificate.issuer and _has_issued(candidate, certificate):
                    return _member(entry, "_id"), pem
            offset += _PAGE


def _member(document: object, name: str) -> str:
    value = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(value, str):
        raise IssuanceDefect(f"Expected the member {name} in the answer, found {document!r}.")
    return value


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    return True


def _verify_request(pem: str) -> str:
    """How the request's own signature was verified. Raises IssuanceDefect when it does not."""
    openssl = shutil.which("openssl")
    if openssl is None:
        if not x509.load_pem_x509_csr(pem.encode()).is_signature_valid:
            raise IssuanceDefect("pyca/cryptography does not verify the request's signature.")
        return "pyca/cryptography, proof of possession"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "request.pem")
        file.write_text(pem + "\n", encoding="ascii")
        said = _openssl(openssl, "req", "-verify", "-noout", "-in", str(file))
    if "verify OK" not in said:  # before 3.0 a bad signature did not show in the exit code
        raise IssuanceDefect(f"openssl req -verify says: {said}")
    return "openssl req -verify"


def _verify_certificate(pem: str, issuer_pem: str) -> str:
    """How the certificate was verified under its issuer's. Raises IssuanceDefect when it does not."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return "pyca/cryptography"  # the issuer was found by verifying with it
    with tempfile.TemporaryDirectory() as folder:
        file, issuer_file = Path(folder, "certificate.pem"), Path(folder, "issuer.pem")
        file.write_text(pem + "\n", encoding="ascii")
        issuer_file.write_text(issuer_pem + "\n", encoding="ascii")
        _openssl(openssl, "verify", "-x509_strict", "-CAfile", str(issuer_file), str(file))
    return "openssl verify -x509_strict"


def _openssl(openssl: str, *arguments: str) -> str:
    """What openssl said, both streams. Raises IssuanceDefect unless it was content."""
    done = subprocess.run(  # noqa: S603  # the program is the machine's openssl, the arguments are ours
        [openssl, *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise IssuanceDefect(f"openssl {arguments[0]} says: {said}")
    return said


def _spki(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return signed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _rfc4514(name: x509.Name) -> str:
    return name.rfc4514_string()


def _colons(octets: bytes) -> str:
    return octets.hex(":").upper()
