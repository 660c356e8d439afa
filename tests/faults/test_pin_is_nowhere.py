"""After a full run no secret is found anywhere but in the file that is there to hold it.

The run: first start, server, the documented workflow, JWKs, refusals, doctor, commands beside and after the server, a
wrong PIN, a killed worker, a restart. Looked through: all that was printed and answered, every file of the data folder
and of the temporary one, what is in a PostgreSQL database, and the arguments and environment of every process of the
server.
"""

import base64
import io
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.trial.workflow import walk
from tests.api.bodies import certificate_body, changed, csr_body, described_jwk, outside_key, private_jwk
from tests.database import CHOSEN, POSTGRESQL, SQLITE, database_options, database_url, select
from tests.page.live import DEADLINE, ENGINE, announced

SERVICE = "/v1/test.tenant1.x509-service-1/x509-service-api"
WRONG_PIN = "wrong-pin-0451-96e1"
WRONG_URL_PASSWORD = "in-url-0451-4be8"
DATABASE_PASSWORD = ("database-password",) if CHOSEN == POSTGRESQL else ()
HOLDERS = ("softhsm/pin", "softhsm/so-pin", "api-key", *DATABASE_PASSWORD)
"""Files of the data folder that are there to hold a secret; they are looked through for the others."""


@dataclass
class Run:
    """Everything that came out of a run, by where it came from."""

    folder: Path
    temporary: Path
    seen: dict[str, bytes] = field(default_factory=dict)

    def note(self, where: str, what: bytes | str) -> None:
        octets = what if isinstance(what, bytes) else what.encode()
        self.seen[f"{len(self.seen):03d} {where}"] = octets

    def command(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> int:
        """Run a command of the engine and note what it prints; the exit code."""
        done = subprocess.run(
            [*ENGINE, *arguments],
            env={**self.environment, **(environment or {})},
            capture_output=True,
            check=False,
            timeout=DEADLINE,
            start_new_session=True,
        )
        self.note(f"signing-engine {arguments[0]}: output", done.stdout)
        self.note(f"signing-engine {arguments[0]}: errors", done.stderr)
        return done.returncode

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.temporary), "PYTHONFAULTHANDLER": "1"}

    def secret(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def note_processes(self, pid: int) -> None:
        """Arguments and environment of a process and all that it started."""
        for name in ("cmdline", "environ"):
            self.note(f"{name} of process {pid}", Path(f"/proc/{pid}/{name}").read_bytes())
        for child in children(pid):
            self.note_processes(child)

    def note_files(self) -> None:
        for folder in (self.folder, self.temporary):
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self.note(f"file {path.relative_to(folder)}", path.read_bytes())

    def note_database(self, url: str) -> None:
        """A SQLite database is one of the files."""
        if url.startswith("sqlite:"):
            return
        tables = select(url, "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
        for (table,) in tables:
            self.note(
                f"database table {table}", "\n".join(row for (row,) in select(url, f'SELECT t::text FROM "{table}" t'))
            )


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def serve(run: Run, config: Path) -> "subprocess.Popen[str]":
    """A server whose log goes to a file of the temporary folder."""
    log = run.temporary / f"serve-{len(run.seen)}.log"
    with log.open("wb") as file:
        return subprocess.Popen(
            [*ENGINE, "serve", "--config", config, "--port", "0"],
            env=run.environment,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )


def ask(run: Run, http: httpx.Client, method: str, path: str, expected: int, **options: Any) -> None:
    """One request; its answer is noted, headers too."""
    answer = http.request(method, path, **options)
    assert answer.status_code == expected, answer.text
    headers = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
    run.note(f"{method} {path}: {answer.status_code}", headers.encode() + answer.content)


def call_everything(run: Run, base_url: str, jwk: dict[str, str]) -> None:
    """The documented workflow, then what succeeds and fails with secrets in the request."""
    api_key = run.secret("api-key")
    shown = io.StringIO()
    walk(base_url, api_key, shown, api_key_file=run.folder / "api-key")
    run.note("workflow", shown.getvalue())
    signing = changed(csr_body(), "subjectKeyDescriptor", described_jwk(jwk))
    strange = described_jwk({**jwk, "x": jwk["y"]})
    halves = described_jwk({**private_jwk(outside_key("other half")), "d": jwk["d"]})
    subject = {"type": "key-descriptor", "keyDescriptor": described_jwk(jwk)}
    self_signed = {
        "certificateData": {"subjectName": {"commonName": "x"}},
        "subjectPublicKeySource": subject,
        "issuer": {"type": "self-signed"},
    }
    private_where_public_is_enough = changed(certificate_body(), "subjectPublicKeySource", subject)
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=DEADLINE, trust_env=False) as http:
        ask(run, http, "POST", f"{SERVICE}/csrs", 200, json=signing)
        for body in (
            changed(csr_body(), "subjectKeyDescriptor", strange),
            changed(csr_body(), "subjectKeyDescriptor", halves),
            changed(csr_body(), "subjectKeyDescriptor", described_jwk({**jwk, "d": f"{jwk['d']}="})),
            changed(csr_body(), "subjectKeyDescriptor", {"type": "jwk-encoded-key-descriptor", **jwk}),
            changed(csr_body(), "subjectName", jwk),
            changed(csr_body(), "type", jwk["d"]),
        ):
            ask(run, http, "POST", f"{SERVICE}/csrs", 400, json=body)
        ask(run, http, "POST", f"{SERVICE}/certificate", 200, json=self_signed)
        ask(run, http, "POST", f"{SERVICE}/certificate", 400, json=private_where_public_is_enough)
        ask(run, http, "POST", f"{SERVICE}/csrs", 400, content=f'{{"jwk": "{jwk["d"]}"')
        ask(run, http, "GET", "/v1/test.tenant1.x509-store-1/x509-store-api/certificates", 200)
        ask(run, http, "GET", f"/v1/{api_key}/x509-store-api/certificates", 404)
        ask(run, http, "GET", "/health/ready", 200)
        for wrong in ("", f"Bearer {api_key}x", f"Basic {api_key}", api_key):
            ask(run, http, "POST", f"{SERVICE}/csrs", 401, json=csr_body(), headers={"Authorization": wrong})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("nowhere") / "data"
    run = Run(folder, tmp_path_factory.mktemp("temporary"))
    config = folder / "engine.toml"
    jwk = private_jwk(outside_key("nowhere"))
    assert run.command("init", "--data", folder, *database_options(folder)) == 0
    for name in DATABASE_PASSWORD:  # the tests' server believes without one
        (folder / name).touch(mode=0o600)
        (folder / name).write_text("held-0451-77fe\n")
        config.write_text(config.read_text().replace("[store]\n", f'[store]\npassword = {{ file = "{name}" }}\n'))

    with serve(run, config) as process:
        try:
            base_url = announced(process)
            call_everything(run, base_url, jwk)
            run.note_processes(process.pid)
            assert run.command("doctor", "--config", config) == 0
            assert run.command("check", "--config", config) == 0
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            wait_until_served(base_url, process)
            run.note_processes(process.pid)
            process.terminate()
            run.note("serve: output", process.communicate(timeout=DEADLINE)[0])
        finally:
            process.kill()

    assert run.command("check", "--config", config) == 0
    assert run.command("keys", "list", "test.tenant1.kms1", "--config", config) == 0
    assert run.command("keys", "generate", "test.tenant1.kms1.more", "--config", config) == 0
    assert run.command("keys", "adopt", "test.tenant1.kms1.none", "--label", "none", "--config", config) == 1
    assert run.command("keys", "adopt", "test.tenant1.kms1.more", "--label", "none", "--config", config) == 1
    refuse_pins(run, config)
    assert run.command("init", "--data", folder) == 0  # a second start
    assert run.command("trial", "--once", "--port", "0", "--data", folder) == 0
    run.note_files()
    run.note_database(database_url(folder))
    return run


def wait_until_served(base_url: str, process: "subprocess.Popen[str]") -> None:
    """A request waits in the socket's queue for the next worker, if the killed one has not taken it with it."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{base_url}/health/ready", timeout=DEADLINE, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None
    raise AssertionError("the next worker did not serve")


def refuse_pins(run: Run, config: Path) -> None:
    """Each way in which a PIN is wrong or not to be had, with the PIN, or another secret, at hand."""
    pin = run.secret("softhsm/pin")
    wrong = run.temporary.parent / "wrong-pin"  # outside what is looked through
    copies = {"open": (pin, 0o644), "two-lines": (f"{pin}\n{pin}", 0o600), "wrong": (WRONG_PIN, 0o600)}
    named = {}
    for name, (content, mode) in copies.items():
        named[name] = wrong.with_name(f"{wrong.name}-{name}")
        named[name].write_text(content)
        named[name].chmod(mode)
    sources = {
        **{f'file = "{path}"': 1 for name, path in named.items() if name != "wrong"},
        f'file = "{named["wrong"]}"': 77,
        'file = "softhsm/so-pin"': 77,
        'environment = "ENGINE_TEST_TWO_LINES"': 1,
        f'command = ["sh", "-c", "cat {config.parent}/softhsm/pin; cat {config.parent}/softhsm/pin >&2; exit 3"]': 1,
        f'command = ["cat", "{config.parent}/softhsm/pin", "{config.parent}/softhsm/so-pin"]': 1,
    }
    for number, (source, code) in enumerate(sources.items()):
        broken = config.with_name(f"broken-{number}.toml")
        broken.write_text(config.read_text().replace('file = "softhsm/pin"', source))
        environment = {"ENGINE_TEST_TWO_LINES": f"{pin}\n{pin}"}
        assert run.command("check", "--config", broken, environment=environment) == code
        if code == 1:
            assert run.command("doctor", "--config", broken, environment=environment) == 1
    text = config.read_text().replace("pkcs11:token=engine-trial", f"pkcs11:token=engine-trial?pin-value={pin}")
    assert text != config.read_text()
    wrong_uri = run.temporary.parent / "wrong-uri.toml"
    wrong_uri.write_text(
        text.replace('{ file = "', f'{{ file = "{config.parent}/').replace("sqlite:///", f"sqlite:///{config.parent}/")
    )
    assert run.command("check", "--config", wrong_uri) == 1
    assert run.command("doctor", "--config", wrong_uri) == 1
    wrong = WRONG_URL_PASSWORD
    for number, place in enumerate(("nobody@127.0.0.1:1/none", f"nobody:{wrong}@127.0.0.1/none", f"{wrong}@:none/")):
        no_database = run.temporary.parent / f"no-database-{number}.toml"
        text = re.sub(r"^url = .*$", f'url = "postgresql://{place}"', config.read_text(), flags=re.MULTILINE)
        no_database.write_text(text.replace('{ file = "', f'{{ file = "{run.folder}/'))
        for command in ("check", "serve", "doctor"):
            assert run.command(command, "--config", no_database) == 1
    in_file = run.temporary.parent / "wrong-config.toml"
    in_file.write_text(config.read_text().replace('{ file = "softhsm/pin" }', f'"{pin}"'))
    assert run.command("check", "--config", in_file) == 1


def encodings(secret: str, octets: bytes | None = None) -> set[bytes]:
    """The secret as it is, in hex and in base64, wherever in a longer text that would begin."""
    found = {secret.encode()}
    for raw in {secret.encode(), octets or secret.encode()}:
        found |= {raw, raw.hex().encode(), raw.hex().upper().encode()}
        for before in range(3):
            # Whole groups only: the characters at both ends depend on what stands before and after.
            start, end = (-before) % 3, len(raw) - (len(raw) - (-before) % 3) % 3
            found |= {base64.b64encode(raw[start:end]), base64.urlsafe_b64encode(raw[start:end])}
    return found


def places(run: Run, secret: str, octets: bytes | None = None) -> list[str]:
    return sorted(
        where.partition(" ")[2]
        for where, what in run.seen.items()
        if any(encoded in what for encoded in encodings(secret, octets))
    )


@pytest.mark.parametrize("holder", HOLDERS)
def test_secret_is_in_its_own_file_and_nowhere_else(run: Run, holder: str) -> None:
    assert places(run, run.secret(holder)) == [f"file {holder}"]


def test_wrong_pin_is_nowhere_either(run: Run) -> None:
    assert places(run, WRONG_PIN) == []


def test_password_in_the_url_of_a_database_is_nowhere_either(run: Run) -> None:
    assert places(run, WRONG_URL_PASSWORD) == []


def test_private_member_of_a_jwk_is_nowhere(run: Run) -> None:
    key = outside_key("nowhere")
    octets = key.private_numbers().private_value.to_bytes(32)
    assert places(run, private_jwk(key)["d"], octets) == []


def test_run_was_looked_through_in_every_place(run: Run) -> None:
    """Else the tests above would be true of nothing."""
    everything = b"\n".join(run.seen.values())
    names = "\n".join(run.seen)
    for expected in (
        *(
            "file engine.db" if CHOSEN == SQLITE else "database table intents",
            "file engine.toml",
            "file serve-",
            "workflow",
            "serve: output",
            "environ of process",
        ),
        *("signing-engine doctor: output", "signing-engine trial: output", "POST /v1/test.tenant1.x509-service-1"),
    ):
        assert expected in names
    for expected in (
        *(b"CKR_PIN_INCORRECT", b"must be open to its owner only", b"ended with status 3", b"pin-value"),
        *(b"\0worker\0", b"the next one is started", b"-----BEGIN CERTIFICATE-----"),
    ):
        assert expected in everything
