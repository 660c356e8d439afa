"""Writes the tables in both READMEs from differences.toml: `python -m tests.token.devices`."""

import re

from tests.token.devices.differences import PROJECT_README, README, render_matrix, render_summary

for path, render in ((README, render_matrix), (PROJECT_README, render_summary)):
    text = path.read_text(encoding="utf-8")
    between = "(?<=<!-- from differences.toml -->\n).*(?=<!-- until here -->\n)"
    path.write_text(re.sub(between, lambda _, render=render: render(), text, flags=re.DOTALL), encoding="utf-8")
