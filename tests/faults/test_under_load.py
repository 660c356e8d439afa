"""Many requests at once, and a server that is killed among them: nothing answered is lost, no serial is used twice."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.page.examples import STORE, TARGET, hosted
from tests.page.live import announced, init, live_engine

AT_ONCE = 16
REQUESTS = 200
ANSWERS_BEFORE_THE_KILL = 60


@pytest.fixture(scope="module")
def csr() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Load")])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def order(csr: str, stored_id: str) -> dict[str, object]:
    return {
        "storedCertificateId": stored_id,
        "certificateData": {
            "subjectName": {"commonName": stored_id, "country": "US"},
            "keyUsage": ["DigitalSignature"],
        },
        "subjectPublicKeySource": {"type": "csr", "csrPEM": csr},
        "issuer": {"type": "ca-signed", "issuerKeyDescriptor": hosted("ca-secp256r1")},
    }


def client(base_url: str, api_key: str) -> httpx.Client:
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    return httpx.Client(
        base_url=base_url, headers={"Authorization": f"Bearer {api_key}"}, limits=limits, timeout=60, trust_env=False
    )


def stored(http: httpx.Client, stored_id: str) -> x509.Certificate:
    answer = http.get(f"/v1/{STORE}.{stored_id}/x509-store-api/certificates")
    assert answer.status_code == 200, answer.text
    return x509.load_pem_x509_certificate(answer.json()["data"]["pem"].encode())


def every_stored_serial(http: httpx.Client) -> Iterator[int]:
    for offset in itertools.count(0, 100):
        entries = http.get(f"/v1/{STORE}/x509-store-api/certificates", params={"limit": 100, "offset": offset}).json()
        if not entries:
            return
        for entry in entries:
            yield x509.load_pem_x509_certificate(entry["data"]["pem"].encode()).serial_number


def test_two_hundred_requests_at_sixteen_at_once_are_all_answered_with_distinct_verified_certificates(
    tmp_path: Path, csr: str
) -> None:
    with live_engine(tmp_path / "data") as live, client(live.base_url, live.api_key) as http:
        issuer = stored(http, "ca-secp256r1")
        path = f"/v1/{TARGET}/x509-service-api/certificate"
        with ThreadPoolExecutor(AT_ONCE) as threads:
            answers = list(threads.map(lambda n: http.post(path, json=order(csr, f"load-{n}")), range(REQUESTS)))
        assert [answer.status_code for answer in answers] == [200] * REQUESTS
        certificates = [x509.load_pem_x509_certificate(answer.json()["certificatePEM"].encode()) for answer in answers]
        for certificate in certificates:
            certificate.verify_directly_issued_by(issuer)
        assert len({certificate.serial_number for certificate in certificates}) == REQUESTS
        assert {stored(http, f"load-{n}") for n in range(REQUESTS)} == set(certificates)


def test_after_a_kill_under_load_every_answered_certificate_is_there_and_no_serial_is_used_twice(
    tmp_path: Path, csr: str
) -> None:
    folder = tmp_path / "data"
    init(folder)
    api_key = (folder / "api-key").read_text().strip()
    command = [sys.executable, "-m", "engine", "serve", "--config", folder / "engine.toml", "--port", "0"]
    answered: dict[str, x509.Certificate] = {}
    enough = threading.Event()
    numbers = itertools.count()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with client(announced(process), api_key) as http:

            def ask_until_the_server_is_gone() -> None:
                while True:
                    stored_id = f"killed-{next(numbers)}"
                    try:
                        answer = http.post(f"/v1/{TARGET}/x509-service-api/certificate", json=order(csr, stored_id))
                    except httpx.TransportError:
                        return
                    assert answer.status_code == 200, answer.text
                    answered[stored_id] = x509.load_pem_x509_certificate(answer.json()["certificatePEM"].encode())
                    if len(answered) >= ANSWERS_BEFORE_THE_KILL:
                        enough.set()

            with ThreadPoolExecutor(AT_ONCE) as threads:
                clients = [threads.submit(ask_until_the_server_is_gone) for _ in range(AT_ONCE)]
                assert enough.wait(60)
                process.kill()
            for one in clients:
                one.result()
        process.wait()

    with live_engine(folder) as live, client(live.base_url, live.api_key) as http:
        for stored_id, certificate in answered.items():
            assert stored(http, stored_id) == certificate
        again = http.post(f"/v1/{TARGET}/x509-service-api/certificate", json=order(csr, "after-the-kill"))
        assert again.status_code == 200, again.text
        serials = list(every_stored_serial(http))
        assert len(serials) == len(set(serials))
        assert len(serials) >= len(answered) + 3
