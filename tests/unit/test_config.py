"""The configuration file: strict keys, references that must resolve, dotted paths in errors."""

from dataclasses import asdict
from pathlib import Path

import pytest

from engine.config import KmsConfig, PinConfig, X509ServiceConfig, load_config, policy_of, policy_sha256
from engine.errors import ConfigError
from engine.trial.quickstart import CONFIGURATION, KMS_PATH, SERVICE_PATH

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
VALID = CONFIGURATION.replace("@MODULE@", MODULE).replace("@DATABASE@", '"sqlite:///engine.db"')


def write(folder: Path, text: str) -> Path:
    path = folder / "engine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_configuration_of_the_quick_start_is_valid(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, VALID))
    assert isinstance(config.services[KMS_PATH], KmsConfig)
    assert isinstance(config.services[SERVICE_PATH], X509ServiceConfig)


def test_relative_paths_mean_beside_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, VALID))
    token = config.tokens["trial"]
    assert token.pin.file == str(tmp_path / "softhsm" / "pin")
    assert token.environment == {"SOFTHSM2_CONF": str(tmp_path / "softhsm" / "softhsm2.conf")}
    assert config.store.url == f"sqlite:///{tmp_path}/engine.db"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("port = 8080", "prot = 8080", "server.prot: unknown key"),
        ("port = 8080", "port = 80800", "server.port"),
        ("port = 8080", "port = true", "server.port: Input should be a valid integer"),
        ("request-seconds = 15.0", "request-seconds = true", "server.request-seconds: Input should be a valid number"),
        (
            '# base-domain = "example.com"',
            'base-domain = "example.com:443"',
            "server.base-domain: Expected the name of",
        ),
        (
            '# host-aliases = ["engine.example.com"]',
            'host-aliases = ["a b"]',
            "organizations.test.host-aliases.0: Expec",
        ),
        ('# host-aliases = ["engine.example.com"]', 'host-aliases = ["[::1"]', "without a port, found '[::1'"),
        ('# host-aliases = ["engine.example.com"]', 'host-aliases = ["[::g]"]', "Expected an IPv6 address in the brac"),
        ('uri = "pkcs11:token=engine-trial"', "", "tokens.trial.uri: missing"),
        ("[store]", '[store]\npassword = "hunter2"', "store.password: "),
        (
            "[store]",
            "[store]\npassword = { }",
            "store.password: expected exactly one of file, environment, command, cr",
        ),
        ("[store]", '[store]\npassword = { file = "a", environment = "B" }', "found file and environment."),
        ("[store]", "[store]\npassword = { prompt = true }", "store.password.prompt: unknown key"),
        ('pin = { file = "softhsm/pin" }', 'pin = { value = "1234" }', "tokens.trial.pin.value: unknown key"),
        (
            'pin = { file = "softhsm/pin" }',
            "pin = { }",
            "tokens.trial.pin: expected exactly one of file, ",
        ),
        ('file = "softhsm/pin"', 'file = "pin", prompt = true', "tokens.trial.pin: expected exactly one of"),
        ('file = "softhsm/pin"', 'file = "pin", environment = "PIN"', "found file and environment"),
        ('file = "softhsm/pin"', "command = []", "tokens.trial.pin.command"),
        ('file = "softhsm/pin"', 'command = "cat pin"', "tokens.trial.pin.command"),
        ('file = "softhsm/pin"', 'command = ["cat\\u0000"]', "tokens.trial.pin.command.0"),
        ('file = "softhsm/pin"', 'credential = "../pin"', "tokens.trial.pin.credential"),
        ('file = "softhsm/pin"', "prompt = false", "tokens.trial.pin.prompt"),
        ('module = "/usr', 'module = "usr', "tokens.trial.module: expected an absolute path"),
        ('token = "trial"', 'token = "other"', "no token 'other' is declared"),
        (
            'tokens = ["trial"]',
            'tokens = ["trial", "other"]',
            "organizations.test.created-services.tokens: no token 'other' is declared",
        ),
        (
            'tokens = ["trial"]',
            "tokens = []",
            "organizations.test.created-services.tokens: expected a declared token, since JWK keys are allowed",
        ),
        ('tenants = ["tenant1"]', "tenants = []", "declares no tenant 'tenant1'"),
        (f'[services."{KMS_PATH}', '[services."nobody.tenant1.kms1', "no organization 'nobody' is declared"),
        (f'kms = ["{KMS_PATH}"]', 'kms = ["test.tenant1.kms2"]', "test.tenant1.kms2 is not declared as such a service"),
        ('jwk-token = "trial"', "", "jwk-token: expected a declared token"),
        ("allow-jwk-signing-keys", "allow_jwk_signing_keys", "unknown key"),
        ("custody-minutes = 60", "custody-minutes = -1", "custody-minutes"),
        ("session-hours = 12.0", "session-hours = 0", "accounts.session-hours"),
        ("require-custody = false", 'require-custody = "no"', "require-custody"),
        ("allow-adopt = true", "allow-adopt = 2", "allow-adopt"),
        ("allow-import = true", "allow-import = 1", "created-services.allow-import: Input should be a valid boolean"),
        ("custody-minutes = 60", "custody-minutes = true", "custody-minutes: Input should be a valid integer"),
        ("iaca-requires-state = false", "iaca-requires-state = 0", "policy.iaca-requires-state"),
        ("blocked-keys = []", 'blocked-keys = ["xyz"]', "policy.blocked-keys"),
        ('type = "x509-store"', 'type = "x509-shop"', "x509-shop"),
        ("[server]", "[server", "is not TOML"),
        ("[server]", '[server]\ntrusted-proxies = ["*"]', "server.trusted-proxies.0: expected an IP address, or a"),
        ('key = "engine.audit.kms.', 'key = "engine.audit.kms2.', "audit.key: engine.audit.kms2 is not declared as a"),
        ('key = "engine.audit.kms.checkpoints"', 'key = "engine.audit.kms"', "audit.key"),
        ("events = 1000", "events = 0", "audit.events"),
        ("longest-seconds = 600.0", "longest-seconds = 60.0", "audit.longest-seconds: expected more than seconds, 60"),
        ('{ file = "audit-witness.jsonl" }', "{ }", "audit.witness: expected exactly one of file, url, found none"),
        ('file = "audit-witness.jsonl"', 'file = "w", url = "http://w/"', "exactly one of file, url, found both"),
        ('file = "audit-witness.jsonl"', 'url = "ftp://w/"', "audit.witness.url: expected http://HOST/PATH"),
        ('file = "audit-witness.jsonl"', 'url = "https://user:secret@w/"', "audit.witness.url: expected http"),
        ('file = "audit-witness.jsonl"', 'url = "https://w:99999/"', "audit.witness.url"),
    ],
)
def test_a_fault_is_refused_and_named(tmp_path: Path, before: str, after: str, sentence: str) -> None:
    assert before in VALID
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, VALID.replace(before, after, 1)))
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('environment = "HSM_PIN"', PinConfig(environment="HSM_PIN")),
        ('credential = "hsm-pin"', PinConfig(credential="hsm-pin")),
        ("prompt = true", PinConfig(prompt=True)),
    ],
)
def test_a_pin_comes_from_any_one_source(tmp_path: Path, source: str, expected: PinConfig) -> None:
    config = load_config(write(tmp_path, VALID.replace('file = "softhsm/pin"', source)))
    assert config.tokens["trial"].pin == expected


def test_a_pin_command_beside_the_file_is_found_there(tmp_path: Path) -> None:
    text = VALID.replace('file = "softhsm/pin"', 'command = ["./tell-pin", "--of", "trial"]')
    assert load_config(write(tmp_path, text)).tokens["trial"].pin.command == (f"{tmp_path}/tell-pin", "--of", "trial")


def test_a_pin_written_into_the_file_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    text = VALID.replace('pin = { file = "softhsm/pin" }', 'pin = "98765432"')
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert "98765432" not in repr(caught.value) + str(caught.value.details)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "engine.toml")


def test_as_many_threads_as_the_tokens_have_sessions_unless_a_number_is_set(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, VALID.replace("sessions = 8", "sessions = 24"))).threads() == 24
    assert load_config(write(tmp_path, VALID.replace("# threads = 8", "threads = 3"))).threads() == 3


@pytest.mark.parametrize(
    "section", ["organizations.test.created-services", f'services."{KMS_PATH}"', f'services."{SERVICE_PATH}"']
)
@pytest.mark.parametrize("value", ['"no"', '"false"', "0", "1", '"yes"'])
def test_a_switch_is_true_or_false_and_nothing_that_could_mean_it(tmp_path: Path, section: str, value: str) -> None:
    start = VALID.index(f"[{section}]")
    [switch, *_] = [line.split(" = ")[0] for line in VALID[start:].splitlines() if line.startswith("allow-")]
    text = VALID[:start] + VALID[start:].replace(f"{switch} = true", f"{switch} = {value}", 1)
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert caught.value.message.endswith(f"{section}.{switch}: Input should be a valid boolean.")


def test_an_engine_may_declare_no_service_at_all(tmp_path: Path) -> None:
    text = VALID[: VALID.index("# A KMS: the keys")]
    config = load_config(write(tmp_path, text))
    assert config.services == {}
    assert config.organizations["test"].created_services.tokens == ("trial",)


def test_without_a_table_of_its_own_nothing_is_allowed_to_created_services(tmp_path: Path) -> None:
    start, end = VALID.index("[organizations.test.created-services]"), VALID.index("# A KMS: the keys")
    config = load_config(write(tmp_path, VALID[:start] + VALID[end:]))
    assert asdict(config.organizations["test"].created_services) == {
        "tokens": (),
        "allow_adopt": False,
        "allow_import": False,
        "allow_delete_in_use": False,
        "allow_jwk_signing_keys": False,
        "require_custody": False,
        "custody_minutes": 60,
    }


def test_hosts_are_kept_in_the_spelling_that_is_compared(tmp_path: Path) -> None:
    aliases = 'host-aliases = ["Engine.Example.COM", "engine.localhost.", "[0:0:0:0:0:0:0:1]", "127.0.0.1"]'
    text = VALID.replace('# host-aliases = ["engine.example.com"]', aliases)
    text = text.replace('# base-domain = "example.com"', 'base-domain = "Example.org"')
    config = load_config(write(tmp_path, text))
    assert config.organizations["test"].host_aliases == ("engine.example.com", "engine.localhost", "[::1]", "127.0.0.1")
    assert config.server.base_domain == "example.org"


WITNESS = 'witness = { file = "audit-witness.jsonl" }'


@pytest.mark.parametrize(
    ("before", "after", "decides"),
    [
        ('module = "/usr/lib', 'module = "/opt/lib', True),
        ("pkcs11:token=engine-trial", "pkcs11:token=another", True),
        ("pkcs11:token=engine-trial", "pkcs11:token=engine-trial?pin-source=file:/pin", False),
        ('# trusted-proxies = ["10.0.0.0/8"]', 'trusted-proxies = ["10.0.0.0/8"]', True),
        ("allow-delete-in-use = false     # a caller", "allow-delete-in-use = true # a caller", True),
        ('stores = ["test.tenant1.x509-store-1"]', "stores = []", True),
        ("custody-minutes = 60\n\n# A KMS", "custody-minutes = 61\n\n# A KMS", True),
        ('tenants = ["tenant1"]', 'tenants = ["tenant1", "tenant2"]', True),
        ("iaca-requires-state = false", "iaca-requires-state = true", True),
        ("session-hours = 12.0", "session-hours = 13.0", True),
        ("longest-seconds = 600.0", "longest-seconds = 700.0", True),
        (WITNESS, 'witness = { url = "https://w.example.com/a?b" }', True),
        ("seconds = 60.0          # and", "seconds = 60.0 # and", False),
        ('pin = { file = "softhsm/pin" }', 'pin = { environment = "PIN" }', False),
        ("port = 8080", "port = 8081", False),
        ("queue = 512", "queue = 513", False),
    ],
)
def test_the_policy_is_what_decides_what_may_be_signed_and_who_is_believed(
    tmp_path: Path, before: str, after: str, decides: bool
) -> None:
    assert VALID.count(before) == 1
    usual = load_config(write(tmp_path, VALID))
    other = load_config(write(tmp_path, VALID.replace(before, after)))
    assert (policy_of(other) != policy_of(usual)) == decides
    assert (policy_sha256(other) != policy_sha256(usual)) == decides


def test_no_secret_is_in_the_policy(tmp_path: Path) -> None:
    text = VALID.replace(WITNESS, 'witness = { url = "https://w.example.com/a?key=hunter2" }')
    text = text.replace("token=engine-trial", "token=engine-trial?pin-source=file:/hunter2")
    text = text.replace('SOFTHSM2_CONF = "./softhsm/softhsm2.conf"', 'SECRET = "hunter2"')
    policy = policy_of(load_config(write(tmp_path, text)))
    assert "https://w.example.com/a?" in policy
    assert "hunter2" not in policy
    assert policy != policy_of(load_config(write(tmp_path, text.replace("key=hunter2", "key=hunter3"))))
