"""signing-engine credentials and accounts: made, listed and ended beside a running engine, which heeds them at once."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from engine.__main__ import main
from tests.page.live import DEADLINE, ENGINE, LiveEngine, live_engine
from tests.scripts.terminal import on_terminal

PASSWORD = "correct horse battery"
LOG_IN = "/auth/account/emailpass"
IDS = "/v1/test.tenant1.x509-store-1/x509-store-api/certificates/ids"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    with live_engine(tmp_path_factory.mktemp("credentials") / "data") as engine:
        yield engine


@dataclass(frozen=True)
class Operator:
    """Gives commands in this process, which is not the engine's."""

    engine: LiveEngine
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        """Exit code, output and errors; `typed` is the standard input."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
        self.capsys.readouterr()
        try:
            code = main([*arguments, "--config", str(self.engine.folder / "engine.toml")])
        except SystemExit as wrong:
            code = int(str(wrong.code))
        return code, *self.capsys.readouterr()

    def said(self, *arguments: str, typed: str = "") -> str:
        code, output, errors = self.run(*arguments, typed=typed)
        assert (code, errors) == (0, "")
        return output

    def refused(self, *arguments: str, typed: str = "") -> str:
        """The one sentence."""
        code, output, errors = self.run(*arguments, typed=typed)
        assert (code, output) == (1, "")
        (sentence,) = errors.splitlines()
        return sentence

    def create_account(self, email: str, *options: str) -> None:
        self.said("accounts", "create", email, "--scope", "test", "--password-file", "-", *options, typed=PASSWORD)


@pytest.fixture
def operator(engine: LiveEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(engine, capsys, monkeypatch)


def log_in(engine: LiveEngine, email: str, password: str = PASSWORD) -> httpx.Response:
    body = {"email": email, "password": password}
    return httpx.post(engine.base_url + LOG_IN, json=body, timeout=DEADLINE, trust_env=False)


def status(engine: LiveEngine, secret: str, path: str = IDS) -> int:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.get(engine.base_url + path, headers=headers, timeout=DEADLINE, trust_env=False).status_code


def line_of(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name}: ")]
    return line


def test_a_fresh_engine_has_no_account_but_those_its_operator_makes(engine: LiveEngine, operator: Operator) -> None:
    assert operator.said("accounts", "list") == ""
    for email in ("admin@example.com", "admin@localhost"):
        for password in ("admin", "password"):
            assert log_in(engine, email, password).status_code == 401


def test_an_api_key_works_as_soon_as_it_is_made_and_no_more_when_it_is_revoked(
    engine: LiveEngine, operator: Operator
) -> None:
    secret = operator.said("credentials", "create", "deployer", "--scope", "test.tenant1").strip()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", secret)
    assert status(engine, secret) == 200
    listed = operator.said("credentials", "list")
    assert re.fullmatch(rf"deployer: scope test\.tenant1, role issuer, created {TIME}", line_of(listed, "deployer"))
    assert operator.said("credentials", "revoke", "deployer") == "deployer: revoked\n"
    assert status(engine, secret) == 401
    listed = operator.said("credentials", "list")
    assert re.search(rf", created {TIME}, revoked {TIME}$", line_of(listed, "deployer"))
    assert secret not in listed
    assert "already exists" in operator.refused("credentials", "create", "deployer", "--scope", "test")


def test_roles_are_given_by_name_and_may_be_several(operator: Operator) -> None:
    operator.said("credentials", "create", "two", "--scope", "test", "--role", "store-manager", "--role", "issuer")
    assert "scope test, roles issuer store-manager, " in line_of(operator.said("credentials", "list"), "two")
    code, _, errors = operator.run("credentials", "create", "three", "--scope", "test", "--role", "root")
    assert code == 2
    assert "administrator" in errors


@pytest.mark.parametrize(
    ("scope", "sentence"),
    [
        ("tset", "Expected --scope in an organization that the configuration declares (test, engine), found 'tset'."),
        ("test..tenant1", "Expected ids of 1 to 256 letters"),
        ("test.*", "Expected ids of 1 to 256 letters"),
        ("", "Expected ids of 1 to 256 letters"),
    ],
)
@pytest.mark.parametrize("command", ["credentials", "accounts"])
def test_a_scope_must_be_a_path_in_an_organization_that_is_declared(
    operator: Operator, command: str, scope: str, sentence: str
) -> None:
    name = "misspelt" if command == "credentials" else "misspelt@example.com"
    assert sentence in operator.refused(command, "create", name, "--scope", scope)
    assert "misspelt" not in operator.said(command, "list")


@pytest.mark.parametrize("credential_id", ["account:alice@example.com", "a b", "a.b"])
def test_an_api_key_s_name_is_an_id_and_never_that_of_a_session(operator: Operator, credential_id: str) -> None:
    assert "Expected an id" in operator.refused("credentials", "create", credential_id, "--scope", "test")


def test_what_is_not_there_cannot_be_revoked_or_changed(operator: Operator) -> None:
    assert "There is no credential nobody." in operator.refused("credentials", "revoke", "nobody")
    for command in ("disable", "enable"):
        assert "There is no account nobody@example.com." in operator.refused("accounts", command, "nobody@example.com")
    options = ("--password-file", "-")
    assert "There is no account" in operator.refused("accounts", "password", "a@b.example", *options, typed=PASSWORD)


def test_an_account_logs_in_until_it_is_disabled(engine: LiveEngine, operator: Operator) -> None:
    operator.create_account("Bob@Example.com", "--role", "administrator")
    listed = line_of(operator.said("accounts", "list"), "bob@example.com")
    assert re.fullmatch(rf"bob@example\.com: scope test, role administrator, created {TIME}", listed)
    token = log_in(engine, "bob@example.com").json()["token"]
    assert status(engine, token) == 200
    assert operator.said("accounts", "disable", "BOB@example.com") == "bob@example.com: disabled, no sessions\n"
    assert status(engine, token) == 401
    assert log_in(engine, "bob@example.com").status_code == 401
    assert re.search(rf", disabled {TIME}$", line_of(operator.said("accounts", "list"), "bob@example.com"))
    operator.said("accounts", "enable", "bob@example.com")
    assert status(engine, token) == 401
    assert log_in(engine, "bob@example.com").status_code == 200


def test_a_locked_account_is_listed_as_such_and_enabled_again(engine: LiveEngine, operator: Operator) -> None:
    operator.create_account("carol@example.com")
    for _ in range(5):
        assert log_in(engine, "carol@example.com", "wrong horse battery").status_code == 401
    assert log_in(engine, "carol@example.com").status_code == 401
    listed = line_of(operator.said("accounts", "list"), "carol@example.com")
    assert re.search(rf", role issuer, created {TIME}, locked until {TIME} after 5 failed log-ins$", listed)
    operator.said("accounts", "enable", "carol@example.com")
    assert log_in(engine, "carol@example.com").status_code == 200


def test_a_password_is_typed_twice_without_being_shown_and_kept_nowhere(engine: LiveEngine) -> None:
    command = [*ENGINE, "accounts", "create", "dave@example.com", "--scope", "test.tenant1", "--role", "reader"]
    with on_terminal([*command, "--config", engine.folder / "engine.toml"]) as terminal:
        terminal.wait_for("Password of dave@example.com: ")
        pid = terminal.process.pid
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        terminal.type(PASSWORD)
        terminal.wait_for("The same again: ")
        terminal.type(PASSWORD)
        assert terminal.end() == 0
    assert "dave@example.com: scope test.tenant1, role reader" in terminal.shown
    assert PASSWORD not in terminal.shown
    token = log_in(engine, "dave@example.com").json()["token"]
    assert status(engine, token) == 200
    for path in engine.folder.rglob("*"):
        if path.is_file():
            octets = path.read_bytes()
            assert PASSWORD.encode() not in octets, path
            assert token.encode() not in octets, path


def test_two_passwords_that_differ_are_refused(engine: LiveEngine, operator: Operator) -> None:
    command = [*ENGINE, "accounts", "create", "erin@example.com", "--scope", "test"]
    with on_terminal([*command, "--config", engine.folder / "engine.toml"]) as terminal:
        terminal.wait_for("Password of erin@example.com: ")
        terminal.type(PASSWORD)
        terminal.wait_for("The same again: ")
        terminal.type(PASSWORD + "!")
        assert terminal.end() == 1
    assert "Expected the same password twice, found two that differ." in terminal.shown
    assert "erin@example.com" not in operator.said("accounts", "list")


def test_another_password_ends_the_sessions_that_the_old_one_opened(
    engine: LiveEngine, operator: Operator, tmp_path: Path
) -> None:
    operator.create_account("frank@example.com")
    token = log_in(engine, "frank@example.com").json()["token"]
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("another horse battery\n")
    operator.said("accounts", "password", "frank@example.com", "--password-file", str(file))
    assert status(engine, token) == 401
    assert log_in(engine, "frank@example.com").status_code == 401
    assert log_in(engine, "frank@example.com", "another horse battery").status_code == 200


def test_a_password_file_that_others_may_read_is_refused(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o644)
    options = ("--scope", "test", "--password-file", str(file))
    sentence = operator.refused("accounts", "create", "g@example.com", *options)
    assert "must be open to its owner only (mode 0600 or 0400), found mode 0644" in sentence


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Expected a password of 12 to 256 characters, found 0."),
        ("eleven char", "Expected a password of 12 to 256 characters, found 11."),
        ("x" * 257, "Expected a password of 12 to 256 characters, found 257."),
        ("x" * 5000, "must hold a password of at most 256 characters"),
        ("first line of two\nsecond line\n", "on one line"),
    ],
)
def test_a_password_that_will_not_do_is_refused_saying_what_is_expected(
    operator: Operator, typed: str, sentence: str
) -> None:
    options = ("--scope", "test", "--password-file", "-")
    assert sentence in operator.refused("accounts", "create", "g@example.com", *options, typed=typed)


def test_without_a_terminal_the_command_says_what_to_do(engine: LiveEngine) -> None:
    done = subprocess.run(
        [*ENGINE, "accounts", "create", "g@example.com", "--scope", "test", "--config", engine.folder / "engine.toml"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert "there is no terminal; name a file, or - for standard input, with --password-file." in sentence


def test_an_email_that_is_none_is_refused_before_a_password_is_asked_for(operator: Operator) -> None:
    assert "Expected an email address" in operator.refused("accounts", "create", "alice", "--scope", "test")


def test_the_server_s_log_holds_no_password_and_no_token(engine: LiveEngine, operator: Operator) -> None:
    operator.create_account("heidi@example.com")
    token = log_in(engine, "heidi@example.com").json()["token"]
    log_in(engine, "heidi@example.com", "wrong horse battery")
    log = (engine.folder / "serve.err").read_text()
    assert "account heidi@example.com opened session" in log
    for secret in (PASSWORD, token, "wrong horse battery"):
        assert secret not in log
