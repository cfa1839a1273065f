"""What an installation weighs: the distributions that a requirements file brings, with all theirs.

Runs in the interpreter of the stack that is measured; packaging comes with either.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """Return every distribution that requirements need in this environment, by name."""
    found: dict[tuple[str, str], Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            if (key := (wanted.name.lower().replace("_", "-"), extra)) in found:
                continue
            found[key] = dist = distribution(wanted.name)
            needs = [Requirement(text) for text in dist.requires or []]
            waiting += [r for r in needs if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name: dist for (name, _), dist in sorted(found.items())}


def size(dist: Distribution, sources: list[Path]) -> int:
    """Return the bytes of a distribution's files; of ``sources`` when it is installed editable."""
    files = [Path(dist.locate_file(file)) for file in dist.files or []]
    if '"editable": true' in (dist.read_text("direct_url.json") or ""):
        files = [file for folder in sources for file in folder.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def imported_by_environment(dists: Iterable[str]) -> list[str]:
    """Return which of the distributions a .pth file imports whenever Python starts."""
    loaded = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
    return sorted(loaded & {name.replace("-", "_") for name in dists} - {"packaging"})


def main() -> None:
    """Print a JSON object: megabytes, versions of all distributions, Python and its habits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("sources", type=Path, nargs="*", help="Folders of an editable install.")
    options = parser.parse_args()
    lines = (line.partition("#")[0].strip() for line in options.requirements.open())
    dists = closure([line for line in lines if line])
    report = {
        "python": platform.python_version(),
        "installed_mb": round(sum(size(d, options.sources) for d in dists.values()) / 1e6, 1),
        "versions": {name: dist.version for name, dist in dists.items()},
        "imported_by_environment": imported_by_environment(dists),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
