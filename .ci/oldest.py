"""Print the oldest versions that pyproject.toml allows of what is needed, as pip's constraints."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXTRAS = "cpu", "hub", "test"
project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
needed = [*project["dependencies"]]
for extra in EXTRAS:
    needed += project["optional-dependencies"][extra]
for requirement in dict.fromkeys(needed):
    name, version = re.match(r"([\w.-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={version}")
