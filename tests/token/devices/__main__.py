"""Writes the table in the README from differences.toml: `python -m tests.token.devices`."""

import re

from tests.token.devices.differences import README, render_matrix

text = README.read_text(encoding="utf-8")
between = "(?<=<!-- from differences.toml -->\n).*(?=<!-- until here -->\n)"
README.write_text(re.sub(between, lambda _: render_matrix(), text, flags=re.DOTALL), encoding="utf-8")
