"""Check that the version is the same wherever it stands, and that of a tag if one is given."""

import re
import sys
from pathlib import Path

STANDS = {
    "pyproject.toml": r'^version = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "recipe/recipe.yaml": r"^  version: (\d.+)$",
    "Containerfile": r"^ARG VERSION=(.+)$",
}
found = {
    file: re.findall(pattern, Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    for file, pattern in STANDS.items()
}
if len(sys.argv) > 1:
    found["the tag"] = [sys.argv[1].removeprefix("v")]
    log = Path("CHANGELOG.md").read_text(encoding="utf-8")
    found["CHANGELOG.md"] = re.findall(r"^## \[(\d.*?)\]", log, re.MULTILINE)[:1]
if len({tuple(versions) for versions in found.values()}) > 1:
    sys.exit("\n".join(f"{file}: {', '.join(versions)}" for file, versions in found.items()))
