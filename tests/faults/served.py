"""A live engine whose token is behind another module than SoftHSM's own, and a client that counts what it got."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.page.examples import STORE, TARGET, hosted

ISSUE = f"/v1/{TARGET}/x509-service-api/certificate"


def put_behind(folder: Path, module: Path | str, environment: Mapping[str, str], **changes: object) -> None:
    """Change the trial token in a data folder's engine.toml: its module, its environment, other settings by name."""
    path = folder / "engine.toml"
    text = path.read_text()
    for name, value in {"module": str(module), **changes}.items():
        line = f"{name.replace('_', '-')} = {json.dumps(value)}"
        text, found = re.subn(rf"^{line.split(' ')[0]} = [^#\n]*", f"{line} ", text, count=1, flags=re.MULTILINE)
        assert found == 1, name
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in environment.items())
    text, found = re.subn(r"^environment = \{.*\}$", f"environment = {{ {values} }}", text, flags=re.MULTILINE)
    assert found == 1
    path.write_text(text)


def make_request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Leaf")])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


@contextmanager
def client(base_url: str, api_key: str) -> Iterator[httpx.Client]:
    """For many threads; a connection that is refused or broken is an error of the test."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=base_url, headers=headers, limits=limits, timeout=60, trust_env=False) as http:
        yield http


@dataclass
class Orders:
    """Orders for certificates under the trial CA, and every answer that came."""

    http: httpx.Client
    request_pem: str = field(default_factory=make_request)
    statuses: Counter[int] = field(default_factory=Counter)
    certificates: dict[str, x509.Certificate] = field(default_factory=dict)
    """By the id that they were to be stored under."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _number: int = 0

    def order(self) -> httpx.Response:
        """One order under an id of its own. 200 or 503 is an answer; anything else fails the test."""
        with self._lock:
            self._number += 1
            stored_id = f"order-{self._number}"
        answer = self.http.post(ISSUE, json=self.body(stored_id))
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 503:
            assert answer.headers["retry-after"].isdigit()
        with self._lock:
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                pem = answer.json()["certificatePEM"].encode()
                self.certificates[stored_id] = x509.load_pem_x509_certificate(pem)
        return answer

    def body(self, stored_id: str) -> dict[str, object]:
        return {
            "storedCertificateId": stored_id,
            "certificateData": {
                "subjectName": {"commonName": stored_id, "country": "US"},
                "keyUsage": ["DigitalSignature"],
            },
            "subjectPublicKeySource": {"type": "csr", "csrPEM": self.request_pem},
            "issuer": {"type": "ca-signed", "issuerKeyDescriptor": hosted("ca-secp256r1")},
        }

    def stored(self, stored_id: str) -> x509.Certificate | None:
        """What the store has under an id."""
        answer = self.http.get(f"/v1/{STORE}.{stored_id}/x509-store-api/certificates")
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        return x509.load_pem_x509_certificate(answer.json()["data"]["pem"].encode())

    def check(self) -> None:
        """Every certificate that was answered is under the CA, as ordered, stored as answered, and has its own serial;
        nothing else was stored."""
        issuer = self.stored("ca-secp256r1")
        assert issuer is not None
        for stored_id, certificate in self.certificates.items():
            certificate.verify_directly_issued_by(issuer)
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            assert [name.value for name in names] == [stored_id]
        answered = {certificate.serial_number for certificate in self.certificates.values()}
        assert len(answered) == len(self.certificates)
        entries = self.entries()
        assert {name: entries[name] for name in self.certificates} == self.certificates
        assert {name for name in entries if name.startswith("order-")} == set(self.certificates)

    def entries(self) -> dict[str, x509.Certificate]:
        """Everything that is stored, by id."""
        found: dict[str, x509.Certificate] = {}
        while True:
            page = self.http.get(
                f"/v1/{STORE}/x509-store-api/certificates", params={"limit": 100, "offset": len(found)}
            ).json()
            if not page:
                return found
            for entry in page:
                stored_id = entry["_id"].rpartition(".")[2]
                found[stored_id] = x509.load_pem_x509_certificate(entry["data"]["pem"].encode())

    def state(self) -> str:
        """What /health/ready says of the token."""
        return self.http.get("/health/ready").json()["parts"]["token trial"]


def worker_of(folder: Path) -> int:
    """The process id of the only worker that serves a data folder."""
    found = workers_of(folder)
    assert len(found) == 1, found
    return found[0]


def workers_of(folder: Path) -> list[int]:
    """The process ids of the workers that serve a data folder."""
    wanted = ["worker", "--config", str(folder / "engine.toml")]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if wanted == words[3:6]:
                found.append(int(entry.name))
    return found
