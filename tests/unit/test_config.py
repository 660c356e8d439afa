"""The configuration file: strict keys, references that must resolve, dotted paths in errors."""

from pathlib import Path

import pytest

from engine.config import KmsConfig, X509ServiceConfig, load_config
from engine.errors import ConfigError
from engine.quickstart import CONFIGURATION, KMS_PATH, SERVICE_PATH

VALID = CONFIGURATION.replace("@MODULE@", "/usr/lib/softhsm/libsofthsm2.so")


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
        ('uri = "pkcs11:token=engine-trial"', "", "tokens.trial.uri: missing"),
        ('pin = { file = "softhsm/pin" }', 'pin = { value = "1234" }', "tokens.trial.pin.value: unknown key"),
        ('pin = { file = "softhsm/pin" }', "pin = { }", "expected exactly one of file and environment"),
        ('module = "/usr', 'module = "usr', "tokens.trial.module: expected an absolute path"),
        ('token = "trial"', 'token = "other"', "no token 'other' is declared"),
        ('tenants = ["tenant1"]', "tenants = []", "declares no tenant 'tenant1'"),
        ("[organizations.test]", "[organizations.other]", "no organization 'test' is declared"),
        (f'kms = ["{KMS_PATH}"]', 'kms = ["test.tenant1.kms2"]', "test.tenant1.kms2 is not declared as such a service"),
        ('jwk-token = "trial"', "", "jwk-token: expected a declared token"),
        ("allow-jwk-signing-keys", "allow_jwk_signing_keys", "unknown key"),
        ("blocked-keys = []", 'blocked-keys = ["xyz"]', "policy.blocked-keys"),
        ('type = "x509-store"', 'type = "x509-shop"', "x509-shop"),
        ("[server]", "[server", "is not TOML"),
    ],
)
def test_a_fault_is_refused_and_named(tmp_path: Path, before: str, after: str, sentence: str) -> None:
    assert before in VALID
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, VALID.replace(before, after, 1)))
    assert sentence in caught.value.message


def test_a_pin_written_into_the_file_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    text = VALID.replace('pin = { file = "softhsm/pin" }', 'pin = "98765432"')
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert "98765432" not in repr(caught.value) + str(caught.value.details)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "engine.toml")
