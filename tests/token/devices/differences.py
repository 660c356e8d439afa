"""differences.toml: what each device lacks, with the reason."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.token.mechanisms import KEY_PAIR_KINDS, SIGNATURE_MECHANISMS

README = Path(__file__).with_name("README.md")
PROJECT_README = Path(__file__).parents[3] / "README.md"


@dataclass(frozen=True)
class Differences:
    """One device. `lacks`: feature to reason, in which the mechanism is named where it is for want of one."""

    title: str
    reached: str
    key_type: str
    rate: int
    lacks: Mapping[str, str]
    remarks: tuple[str, ...]


def _load() -> dict[str, Differences]:
    rows = tomllib.loads(Path(__file__).with_name("differences.toml").read_text(encoding="utf-8"))
    return {
        name: Differences(
            row["title"], row["reached"], row["key-type"], row["rate"], row.get("lacks", {}), tuple(row["remarks"])
        )
        for name, row in rows.items()
    }


DIFFERENCES = _load()


def has(row: Differences, features: Mapping[str, object]) -> str:
    return " ".join(feature for feature in features if feature not in row.lacks)


def render_summary() -> str:
    """The short table, for users, as Markdown."""
    lines = ["| module and version | key types | what differs |", "|---|---|---|"]
    lines += [f"| {row.title} | {has(row, KEY_PAIR_KINDS)} | {' '.join(row.remarks)} |" for row in DIFFERENCES.values()]
    return "\n".join(lines) + "\n"


def render_matrix() -> str:
    """The table as Markdown."""

    head = (
        "device",
        "module and version",
        "reached through",
        "key types",
        "signature algorithms",
        "private JWKs",
        "rate",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in DIFFERENCES.items():
        jwks = "no" if "importing private keys" in row.lacks else "yes"
        rate = f"{row.rate} {row.key_type}"
        key_types, algorithms = has(row, KEY_PAIR_KINDS), has(row, SIGNATURE_MECHANISMS)
        lines.append("| " + " | ".join((f"`{name}`", row.title, row.reached, key_types, algorithms, jwks, rate)) + " |")
    lines += ["", "| device | lacks | because |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {feature} | {reason} |"
        for name, row in DIFFERENCES.items()
        for feature, reason in row.lacks.items()
    ]
    lines.append("")
    lines += [f"- `{name}`: {remark}" for name, row in DIFFERENCES.items() for remark in row.remarks]
    return "\n".join(lines) + "\n"
