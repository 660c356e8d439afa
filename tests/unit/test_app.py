"""What the configuration names is found when the engine is put together: here, the password of the database."""

from pathlib import Path

import pytest

from engine.app import store_password
from engine.config import StoreConfig, load_config
from engine.errors import ConfigError
from tests.unit.test_config import VALID, write


def store_config(folder: Path, password: str) -> StoreConfig:
    return load_config(write(folder, VALID.replace("[store]", f"[store]\n{password}"))).store


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    file.chmod(0o600)
    return file


def test_a_database_without_a_password_has_none(tmp_path: Path) -> None:
    assert store_password(store_config(tmp_path, "")) is None


def test_the_password_is_read_where_the_configuration_says_and_does_not_show(
    tmp_path: Path, password_file: Path
) -> None:
    password = store_password(store_config(tmp_path, 'password = { file = "password" }'))
    assert password is not None
    assert password.reveal() == b"correct horse"
    assert "horse" not in f"{password!r} {password}"


def test_a_password_file_that_others_may_read_is_refused_by_its_name(tmp_path: Path, password_file: Path) -> None:
    password_file.chmod(0o644)
    config = store_config(tmp_path, 'password = { file = "password" }')
    with pytest.raises(ConfigError, match=f"The password file {password_file} must be open to its owner") as refusal:
        store_password(config)
    assert "horse" not in refusal.value.message


def test_a_variable_that_is_not_set_is_missed_as_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINE_TEST_PASSWORD", raising=False)
    config = store_config(tmp_path, 'password = { environment = "ENGINE_TEST_PASSWORD" }')
    with pytest.raises(ConfigError, match="ENGINE_TEST_PASSWORD, which should hold the password, is not set"):
        store_password(config)
