"""The README's examples run, and what it points to exists."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from engine.config import load_config
from engine.directory import ROLES
from tests.page.live import init, live_engine, run_shell

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    return text


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_commands(title: str, folder: Path, scratch: Path) -> str:
    """What the commands of a section print; all of them succeed."""
    commands = "\n".join(blocks(section(title), "sh"))
    command = shlex.join([sys.executable, "-m", "engine"])
    commands = re.sub(r"(^|\$\()signing-engine ", rf"\1{command} ", commands, flags=re.MULTILINE)
    commands = re.sub(r"^python3 ", f"{shlex.quote(sys.executable)} ", commands, flags=re.MULTILINE)
    return run_shell(f"cd '{ROOT}'\n{commands}".replace(".engine/", f"{folder}/"), scratch).text


def test_every_example_runs_as_it_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    init(folder)
    assert "x509-store test.tenant1.x509-store-1" in run_commands("Configuration", folder, tmp_path)

    examples = blocks(section("The API by example"), "sh")
    assert len(examples) >= 7
    text = "\n".join(examples)
    with live_engine(folder) as live:
        here = text.replace("http://127.0.0.1:8080", live.base_url).replace(".engine/", f"{folder}/")
        answer = run_shell(here, tmp_path)
        paths = json.loads(run_shell(f"curl -sS {live.base_url}/openapi.json", tmp_path).text)["paths"]
    assert set(answer.statuses) == {200}, answer.text
    assert len(answer.statuses) == text.count("curl ") + text.count("post ") - 1  # post's own body holds one curl
    for word in ("CN = Example Leaf", "CN = Example CA", '"serialNumber"', '"_id"', "CN = My IACA", '"ready"'):
        assert word in answer.text
    audited = run_commands("Audit", folder, tmp_path).splitlines()
    assert audited.count("verified") == 3  # by the command, and by the script that stands alone: trail and evidence

    calls = [path.removeprefix("/v1/{target}/") for path in paths if path.startswith("/v1/")]
    table = section("The API by example")
    assert [one for one in calls if one not in table and f"…/{one.rpartition('/')[2]}" not in table] == []


def test_token_and_database_of_the_readme_are_a_valid_configuration(tmp_path: Path) -> None:
    token, store = blocks(section("Configuration"), "toml")
    (audit,) = blocks(section("Audit"), "toml")
    file = tmp_path / "engine.toml"
    kms = '[organizations.engine]\ntenants = ["audit"]\n'
    kms += '[services."engine.audit.kms"]\ntype = "kms"\ntoken = "production"\n'
    file.write_text(f"{store}{kms}{token}{audit}")
    config = load_config(file)
    assert config.tokens["production"].uri == "pkcs11:token=production;serial=1234"
    assert config.store.url.startswith("postgresql://")
    assert config.store.password is not None
    assert config.audit.witness is not None


def test_the_roles_of_the_readme_are_those_there_are() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| yes \| (.*?) ?\|$", section("Configuration"), re.MULTILINE)
    assert [name for name, _ in rows] == list(ROLES)


def test_scripts_the_readme_names_exist_and_are_executable() -> None:
    for name in set(re.findall(r"\bscripts/([a-z]+)\b(?!/)", README)):
        assert (ROOT / "scripts" / name).stat().st_mode & 0o111, name


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_files_the_readme_links_exist(target: str) -> None:
    assert (ROOT / target).exists()
