"""signing-engine doctor: each step that can fail says which one it is, what was found and what to do."""

import _ssl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.store import read_keys
from engine.token import PROOF
from engine.trial.quickstart import AUDIT_KEY, AUDIT_KMS_PATH
from tests.database import database_url
from tests.faults.faulty import SOFTHSM, Ckr, FaultyModule, FaultyModuleUnavailable, TokenFlags, build_module
from tests.page.live import ENGINE, init, live_engine
from tests.scripts.terminal import on_terminal
from tests.softhsm import no_token
from tests.trail import read_trail

SECONDS = 120
ROOT = Path(__file__).resolve().parents[2]
LABEL = "engine-trial"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's."""

    outcome: str
    step: str
    sentence: str
    cure: str


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor printed, and its exit code."""

    code: int
    text: str
    errors: str

    @property
    def findings(self) -> list[Finding]:
        lines = re.findall(
            r"^  (ok|note|warning|FAILED) +(\S+) +(.*)(?:\n {23}What to do: (.*))?$", self.text, re.MULTILINE
        )
        return [Finding(*line) for line in lines]

    def failed(self) -> Finding:
        """The one finding that is a failure."""
        assert self.code == 1, self.text
        (failed,) = [finding for finding in self.findings if finding.outcome == "FAILED"]
        assert failed.cure, self.text
        assert self.text.endswith(f"not usable; failed: {failed.step}.\n")
        return failed

    def warning(self, step: str) -> Finding:
        """The one warning of a step that the engine can work with."""
        assert self.code == 0, self.text
        (warning,) = [finding for finding in self.findings if (finding.outcome, finding.step) == ("warning", step)]
        return warning


def doctor(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Diagnosis:
    """Run it; SOFTHSM2_CONF is only what `environment` says."""
    inherited = {name: value for name, value in os.environ.items() if name != "SOFTHSM2_CONF"}
    done = subprocess.run(
        [*ENGINE, "doctor", *arguments],
        env={**inherited, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        start_new_session=True,  # no terminal
    )
    return Diagnosis(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete trial folder, not to be changed."""
    if not SOFTHSM.exists():
        no_token("SoftHSM is not installed")
    folder = tmp_path_factory.mktemp("doctor") / "data"
    init(folder)
    return folder


@pytest.fixture
def changed(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """A configuration of the same folder with parts of it replaced."""

    def change(*replacements: tuple[str, str]) -> Path:
        text = (data / "engine.toml").read_text()
        for before, after in replacements:
            assert before in text
            text = text.replace(before, after)
        for name in ("softhsm/pin", "softhsm/softhsm2.conf"):  # relative paths are beside the file
            text = text.replace(f'"{name}"', f'"{data / name}"').replace(f'"./{name}"', f'"{data / name}"')
        path = tmp_path / "engine.toml"
        path.write_text(text.replace("sqlite:///engine.db", f"sqlite:///{data}/engine.db"))
        return path

    return change


@pytest.fixture(scope="module")
def faulty_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_module(tmp_path_factory.mktemp("faulty"))
    except FaultyModuleUnavailable as unavailable:
        no_token(str(unavailable))


@pytest.fixture
def faulty(faulty_module: Path, tmp_path: Path) -> Iterator[FaultyModule]:
    with FaultyModule(faulty_module, tmp_path / "control") as faulty:
        yield faulty


@pytest.fixture
def through_faults(faulty: FaultyModule, changed: Callable[..., Path]) -> Callable[..., Diagnosis]:
    """Run the doctor on the configuration, with the fault-injecting module between it and SoftHSM."""

    def run(*arguments: str, replaced: tuple[tuple[str, str], ...] = ()) -> Diagnosis:
        config = changed((f'module = "{SOFTHSM}"', f'module = "{faulty.module}"'), *replaced)
        return doctor("--config", config, *arguments, environment=faulty.environment)

    return run


def with_softhsm(data: Path, *, module: Path | str = SOFTHSM, uri: str = f"pkcs11:token={LABEL}") -> tuple[str, ...]:
    """Options for the trial token without a configuration."""
    configuration, pin = data / "softhsm" / "softhsm2.conf", data / "softhsm" / "pin"
    return (
        *("--module", str(module), "--uri", uri),
        *("--environment", f"SOFTHSM2_CONF={configuration}", "--pin-file", str(pin)),
    )


def compile_library(source: str, library: Path, *needed: Path) -> None:
    if shutil.which("gcc") is None:
        no_token("gcc is not installed")
    command = ["gcc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-x", "none", *needed]
    subprocess.run(command, input=source + "\n", text=True, check=True, timeout=SECONDS)


# -- the good run ------------------------------------------------------------------------------------------------------


def test_a_good_token_passes_every_step_and_every_registered_key_signs(data: Path) -> None:
    seen = doctor("--config", data / "engine.toml")
    assert seen.code == 0, seen.text
    assert {finding.outcome for finding in seen.findings} == {"ok", "note"}
    steps = list(dict.fromkeys(finding.step for finding in seen.findings))
    assert steps == [
        *("module", "load", "start", "slots", "token", "flags", "pin", "login", "mechanisms", "sessions", "keys"),
        "signing",
    ]
    keys = read_keys(database_url(data))
    assert len(keys) == 4
    for key in keys:
        assert f"{key.path}: found once, secp256r1, ecdsa-with-SHA256 verifies; SPKI SHA-256 {key.spki_sha256}" in (
            seen.text
        )
    assert "8 of 8 sessions could be opened" in seen.text
    assert "It generates, as far as mechanisms tell: secp256r1" in seen.text
    assert f"token '{LABEL}', SoftHSM project SoftHSM v2" in seen.text
    assert seen.text.endswith("token trial: usable.\n")
    assert seen.errors == ""


def test_a_token_is_examined_while_the_server_uses_it(tmp_path: Path) -> None:
    with live_engine(tmp_path / "data") as live:
        seen = doctor("--config", live.folder / "engine.toml")
    assert seen.code == 0, seen.text
    assert "signing     test.tenant1.kms1.ca-secp256r1: found once" in seen.text


def test_a_token_is_examined_by_module_and_uri_before_there_is_a_configuration(data: Path, tmp_path: Path) -> None:
    named = (*with_softhsm(data), "--label", "test.tenant1.kms1.ca-secp256r1")
    refused = doctor(*named)
    assert refused.code == 1
    assert "Expected --record FILE with --label or --id" in refused.errors
    record = tmp_path / "record"
    seen = doctor(*named, "--record", record)
    assert seen.code == 0, seen.text
    intended, ended = map(json.loads, record.read_text().splitlines())
    assert (intended["kind"], ended["kind"], ended["signatures"]) == ("signature-intended", "signature-ended", 1)
    assert intended["label"] == "test.tenant1.kms1.ca-secp256r1"
    assert intended["messageSha256"] == ended["messageSha256"]
    assert "the key: found once, secp256r1, ecdsa-with-SHA256 verifies" in seen.text
    assert re.search(r"Private keys on the token: .*'test\.tenant1\.kms1\.", seen.text)


def test_without_a_key_to_try_that_is_said(data: Path) -> None:
    seen = doctor(*with_softhsm(data))
    assert seen.code == 0, seen.text
    assert seen.text.endswith(f"token {LABEL}: usable; no key was tried, for none is named or registered.\n")


def test_bench_prints_a_rate_for_each_number_of_sessions(data: Path) -> None:
    seen = doctor("--config", data / "engine.toml", "--bench", "--bench-seconds", "0.1")
    assert seen.code == 0, seen.text
    rates = re.findall(r"ecdsa-with-SHA256, +(\d+) sessions? *: +([\d,]+) signatures per second", seen.text)
    assert [int(sessions) for sessions, _ in rates] == [1, 2, 4, 8, 16, 32]
    assert all(int(rate.replace(",", "")) > 0 for _, rate in rates)
    assert seen.errors == ""  # no bar where there is no terminal


def test_keys_do_not_prove_themselves_untold_when_a_token_comes_back_while_it_is_examined(
    data: Path, faulty_module: Path, changed: Callable[..., Path], tmp_path: Path
) -> None:
    with FaultyModule(faulty_module, tmp_path / "control", asked=tmp_path / "asked") as faulty:
        lost = faulty.fail("C_Sign", Ckr.DEVICE_REMOVED, every=20, times=2, after=True)
        config = changed((f'module = "{SOFTHSM}"', f'module = "{faulty.module}"'))
        seen = doctor("--config", config, "--bench", "--bench-seconds", "0.1", environment=faulty.environment)
        assert lost.fired > 0
        assert seen.code == 1, seen.text
        asked = set(faulty.asked())
    told = {one.details.get("tbsSha256") for one in read_trail(database_url(data)) if one.kind == "signature-intended"}
    assert asked <= told
    assert hashlib.sha256(PROOF).hexdigest() not in asked


def test_signatures_of_registered_keys_are_told_to_the_audit_trail_before_and_after(own: Path) -> None:
    before = len(read_trail(database_url(own)))
    seen = doctor("--config", own / "engine.toml", "--bench", "--bench-seconds", "0.05")
    assert seen.code == 0, seen.text
    told = [one for one in read_trail(database_url(own))[before:] if "signatureKind" in one.details]
    keys = {key.path for key in read_keys(database_url(own))}
    for kind, after, signing in (
        ("examination", "proof-signed", keys),
        # The audit key proves that it is there and signs nothing else but checkpoints.
        ("measurement", "rate-measured", {min(keys - {f"{AUDIT_KMS_PATH}.{AUDIT_KEY}"})}),
    ):
        these = [one for one in told if one.details["signatureKind"] == kind]
        for outcome in ("signature-intended", after):
            assert {one.details["signingKey"] for one in these if one.kind == outcome} == signing
        assert len(these) == 2 * len(signing)
        signatures = [one.details.get("signatures") for one in these if one.kind == after]
        assert all(number > 6 for number in signatures) if kind == "measurement" else set(signatures) == {None}


def test_bench_draws_a_bar_on_a_terminal_and_takes_it_away(data: Path) -> None:
    command = [*ENGINE, "doctor", "--config", data / "engine.toml", "--bench", "--bench-seconds", "0.3"]
    with on_terminal(command) as terminal:
        assert terminal.end() == 0
    assert re.search(r"\r  \[#* *\] test\.tenant1", terminal.shown)
    assert terminal.shown.count("signatures per second") == 6
    assert "\r\x1b[K  note     bench" in terminal.shown


def test_bench_stops_at_the_sessions_the_token_gives(
    faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.limit_sessions(6)
    seen = through_faults("--bench", "--bench-seconds", "0.1")
    assert seen.code == 0, seen.text
    assert re.findall(r"(\d+) sessions? *: ", seen.text) == ["1", "2", "4"]
    assert "The token gave no more than 5 sessions." in seen.text


# -- the module --------------------------------------------------------------------------------------------------------


def test_a_missing_module_is_named_with_its_dotted_path(changed: Callable[..., Path]) -> None:
    failed = doctor("--config", changed((str(SOFTHSM), "/usr/lib/vendor/libnone.so"))).failed()
    assert failed == Finding(
        "FAILED",
        "module",
        "There is no file /usr/lib/vendor/libnone.so.",
        "Install the vendor's client package, or correct tokens.trial.module.",
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"/* GNU ld script */ INPUT(libvendor.so)", "is not a shared library: an ELF file was expected"),
        (b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\x00\x03\x00", "is built for x86, 32 bits; this Python is for"),
        (b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x03\x00\x16", "is built for S/390, 64 bits; this Python is for"),
    ],
)
def test_a_file_that_this_process_cannot_load_is_said_to_be_what_it_is(
    content: bytes, sentence: str, data: Path, tmp_path: Path
) -> None:
    module = tmp_path / "module.so"
    module.write_bytes(content)
    failed = doctor(*with_softhsm(data, module=module)).failed()
    assert failed.step == "module"
    assert sentence in failed.sentence


def test_a_relative_path_of_a_module_is_refused(data: Path) -> None:
    failed = doctor(*with_softhsm(data, module=SOFTHSM.name)).failed()
    assert failed.step == "module"
    assert "must be absolute" in failed.sentence


def test_a_library_that_lacks_another_one_names_that(data: Path, tmp_path: Path) -> None:
    needed, module = tmp_path / "libneeded.so", tmp_path / "module.so"
    compile_library("int needed(void) { return 0; }", needed)
    compile_library("int needed(void); int C_GetFunctionList(void) { return needed(); }", module, needed)
    needed.unlink()
    failed = doctor(*with_softhsm(data, module=module)).failed()
    assert failed.step == "load"
    assert f"cannot be loaded: {needed}: cannot open shared object file" in failed.sentence


def test_a_cut_off_library_that_crashes_the_linker_is_reported_in_words(data: Path, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.write_bytes(SOFTHSM.read_bytes()[:4096])
    failed = doctor(*with_softhsm(data, module=module)).failed()
    assert failed.step == "load"
    assert "The library ended the process that had loaded it (signal" in failed.sentence


def test_a_library_that_is_not_a_pkcs11_module_is_said_to_be_none(data: Path) -> None:
    failed = doctor(*with_softhsm(data, module=_ssl.__file__)).failed()
    assert failed.step == "load"
    assert "no C_GetFunctionList" in failed.sentence


def test_a_module_that_crashes_is_reported_in_words(data: Path, tmp_path: Path) -> None:
    module = tmp_path / "crash.so"
    compile_library("int C_GetFunctionList(void *list) { (void)list; return *(volatile int *)0; }", module)
    failed = doctor(*with_softhsm(data, module=module)).failed()
    assert failed.step == "start"
    assert failed.sentence == "The library ended the process that had loaded it (signal 11, SIGSEGV)."
    assert "newest version" in failed.cure


def test_a_module_that_does_not_start_is_reported(
    faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.fail("C_Initialize", Ckr.GENERAL_ERROR)
    failed = through_faults().failed()
    assert failed.step == "start"
    assert "CKR_GENERAL_ERROR" in failed.sentence


def test_a_module_that_cannot_lock_is_a_warning(faulty: FaultyModule, through_faults: Callable[..., Diagnosis]) -> None:
    faulty.refuse_locking()
    assert "CKR_CANT_LOCK" in through_faults().warning("start").sentence


# -- the token ---------------------------------------------------------------------------------------------------------


def test_a_variable_that_names_nothing_is_said_before_the_library_is_started(changed: Callable[..., Path]) -> None:
    failed = doctor("--config", changed(("./softhsm/softhsm2.conf", "/nowhere/softhsm2.conf"))).failed()
    assert failed.step == "load"
    assert failed.sentence.startswith("SOFTHSM2_CONF names /nowhere/softhsm2.conf, which is not there")
    assert "tokens.trial.environment" in failed.cure


def test_a_softhsm_that_was_not_told_its_configuration_is_told_from_one_without_the_token(data: Path) -> None:
    pin = data / "softhsm" / "pin"
    failed = doctor("--module", SOFTHSM, "--uri", f"pkcs11:token={LABEL}", "--pin-file", pin).failed()
    assert failed.step in ("start", "slots", "token")  # whether this user may read /etc/softhsm
    assert failed.cure.startswith("SOFTHSM2_CONF is not set, so libsofthsm2.so reads /etc/softhsm/softhsm2.conf;")


def test_a_misspelt_label_lists_those_that_are_there(data: Path) -> None:
    failed = doctor(*with_softhsm(data, uri="pkcs11:token=engine-trail")).failed()
    assert failed.step == "token"
    assert failed.sentence.endswith("expected one with label 'engine-trail', found 'engine-trial'.")
    assert failed.cure == "Correct --uri. Was 'engine-trial' meant?"


def test_a_uri_that_cannot_be_read_is_refused_and_not_repeated(data: Path) -> None:
    seen = doctor(*with_softhsm(data, uri="pkcs11:token=engine-trial?pin-value=98765432"))
    assert seen.failed().step == "token"
    assert "pin-value" in seen.failed().sentence
    assert "98765432" not in seen.text + seen.errors


def test_a_token_that_was_pulled_is_said_to_be_absent(
    faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.remove_token()
    failed = through_faults().failed()
    assert failed.step == "slots"
    assert failed.sentence == "No slot has a token in it."


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        (TokenFlags.USER_PIN_LOCKED, "The token is with its user PIN locked."),
        (TokenFlags.USER_PIN_FINAL_TRY, "one wrong PIN more locks it"),
    ],
)
def test_a_token_whose_pin_is_nearly_or_quite_locked_is_not_logged_in_to(
    flag: TokenFlags, sentence: str, faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.token_flags(flag)
    failed = through_faults().failed()
    assert failed.step == "flags"
    assert sentence in failed.sentence
    assert faulty.counters().logins == 0


def test_a_wrong_pin_that_came_before_is_a_warning(
    faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.token_flags(TokenFlags.USER_PIN_COUNT_LOW)
    assert "a wrong user PIN came" in through_faults().warning("flags").sentence


# -- PIN and login -----------------------------------------------------------------------------------------------------


def test_a_pin_file_that_others_may_read_is_refused(data: Path, changed: Callable[..., Path], tmp_path: Path) -> None:
    readable = tmp_path / "pin"
    shutil.copyfile(data / "softhsm" / "pin", readable)
    readable.chmod(0o640)
    failed = doctor("--config", changed(("softhsm/pin", str(readable)))).failed()
    assert failed.step == "pin"
    assert "must be open to its owner only (mode 0600 or 0400), found mode 0640" in failed.sentence
    assert "tokens.trial.pin" in failed.cure


def test_a_wrong_pin_is_tried_exactly_once(
    data: Path, faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    wrong = data / "softhsm" / "so-pin"
    failed = through_faults(replaced=(("softhsm/pin", str(wrong)),)).failed()
    assert failed.step == "login"
    assert failed.sentence == "The login was refused: the PIN is wrong (CKR_PIN_INCORRECT). One attempt was made."
    assert "tokens.trial.pin" in failed.cure
    assert faulty.counters().logins == 1


def test_a_pin_to_be_typed_without_a_terminal_is_said_to_need_one(changed: Callable[..., Path]) -> None:
    failed = doctor("--config", changed(('{ file = "softhsm/pin" }', "{ prompt = true }"))).failed()
    assert failed.step == "pin"
    assert "there is no terminal" in failed.sentence


# -- sessions and keys -------------------------------------------------------------------------------------------------


def test_fewer_sessions_than_configured_are_a_warning_that_says_how_many(
    faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.limit_sessions(4)
    warning = through_faults().warning("sessions")
    assert warning.sentence.startswith("3 of 8 sessions could be opened, then came CKR_SESSION_COUNT")
    assert "tokens.trial.sessions" in warning.cure


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A trial folder whose token may be changed."""
    init(tmp_path / "data")
    return tmp_path / "data"


def raw(folder: Path, code: str) -> None:
    """Change the token of a trial folder with python-pkcs11, in a process of its own."""
    prelude = (
        "import sys, pkcs11\nfrom pkcs11 import Attribute, KeyType, ObjectClass\n"
        f"token = pkcs11.lib({str(SOFTHSM)!r}).get_token(token_label={LABEL!r})\n"
        "label = 'test.tenant1.kms1.ca-secp256r1'\n"
        "with token.open(rw=True, user_pin=open(sys.argv[1]).read().strip()) as session:\n"
    )
    subprocess.run(
        [
            sys.executable,
            "-c",
            prelude + "".join(f"    {line}\n" for line in code.splitlines()),
            folder / "softhsm/pin",
        ],
        env={**os.environ, "SOFTHSM2_CONF": str(folder / "softhsm" / "softhsm2.conf")},
        check=True,
        timeout=SECONDS,
    )


GENERATE = """\
curve = {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
parameters.generate_keypair(id=old_id, label=label, store=True)"""
OLD_ID = "old_id = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=label)[Attribute.ID]\n"
DESTROY = "[each.destroy() for each in list(session.get_objects({Attribute.LABEL: label}))]\n"


@pytest.mark.parametrize(
    ("change", "sentence", "cure"),
    [
        (DESTROY, "has no private key with label", "Bring it back from its backup"),
        (OLD_ID + GENERATE, "has 2 private keys with label", "a label and id of its own"),
        (OLD_ID + DESTROY + GENERATE, "lies another key", "Bring the registered key back"),
    ],
    ids=["missing", "duplicate", "another"],
)
def test_a_registered_key_that_is_not_found_once_as_registered_fails_alone(
    change: str, sentence: str, cure: str, own: Path
) -> None:
    raw(own, change)
    seen = doctor("--config", own / "engine.toml")
    failed = seen.failed()
    assert failed.step == "key"
    assert failed.sentence.startswith("test.tenant1.kms1.ca-secp256r1: ")
    assert sentence in failed.sentence
    assert cure in failed.cure
    assert seen.text.count("verifies; SPKI") == 3  # the other keys are tried all the same


def test_a_signature_that_does_not_verify_fails(faulty: FaultyModule, through_faults: Callable[..., Diagnosis]) -> None:
    faulty.corrupt_signatures(times=1)
    failed = through_faults().failed()
    assert failed.step == "signing"
    assert "does not verify" in failed.sentence


def test_a_signature_that_never_comes_back_ends_the_examination_in_words(
    faulty: FaultyModule, through_faults: Callable[..., Diagnosis]
) -> None:
    faulty.hang_signing()
    brief = (("sign-seconds = 10.0", "sign-seconds = 0.5"), ("wait-seconds = 5.0", "wait-seconds = 0.5"))
    failed = through_faults(replaced=brief).failed()
    assert failed.step == "signing"
    assert "did not come back within" in failed.sentence


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--config", "/nowhere/engine.toml"), "cannot be read: No such file"),
        (("--module", "/x.so"), "Expected --uri with --module"),
        (("--module", "/x.so", "--uri", "pkcs11:token=x", "--environment", "X"), "Expected --environment NAME=VALUE"),
        (("--module", "/x.so", "--uri", "pkcs11:token=x", "--id", "xyz"), "Expected --id in hex"),
    ],
)
def test_a_command_that_does_not_fit_is_refused_in_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    seen = doctor(*arguments)
    assert seen.code == 1
    assert sentence in seen.errors


def test_one_token_of_a_configuration_may_be_named(data: Path) -> None:
    seen = doctor("--config", data / "engine.toml", "--token", "other")
    assert seen.code == 1
    assert "Expected one of the tokens trial, found 'other'" in seen.errors
