"""differences.toml: what each device lacks or does otherwise, with the reason."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("differences.toml")


@dataclass(frozen=True)
class Difference:
    """An attribute of a generated private key that reads otherwise than on most tokens."""

    value: object
    reason: str


@dataclass(frozen=True)
class Differences:
    """One device. `lacks`: feature to reason, a mechanism where it is for want of one."""

    title: str
    setting_up: str
    key_type: str
    algorithm: str
    notes: tuple[str, ...]
    lacks: Mapping[str, str]
    custody: Mapping[str, Difference]


def _load() -> dict[str, Differences]:
    return {
        name: Differences(
            title=row["title"],
            setting_up=row["setting-up"],
            key_type=row["key-type"],
            algorithm=row["algorithm"],
            notes=tuple(row["notes"]),
            lacks=row.get("lacks", {}),
            custody={attribute: Difference(**said) for attribute, said in row.get("custody", {}).items()},
        )
        for name, row in tomllib.loads(DATA.read_text(encoding="utf-8")).items()
    }


DIFFERENCES = _load()
