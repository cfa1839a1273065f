"""What an installation weighs: the distributions that a requirements file brings, with all theirs.

Runs in the interpreter of the stack that is measured; packaging comes with either.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement


def closure(requirements: list[str]) -> tuple[dict[str, Distribution], list[str]]:
    """Return the distributions that requirements need here, by name, and which are absent."""
    found: dict[tuple[str, str], Distribution | None] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            if (key := (wanted.name.lower().replace("_", "-"), extra)) in found:
                continue
            try:
                found[key] = dist = distribution(wanted.name)
            except PackageNotFoundError:
                found[key] = None
                continue
            if extra and extra not in (dist.metadata.get_all("Provides-Extra") or []):
                found[f"{key[0]}[{extra}]", ""] = None
            needs = [Requirement(text) for text in dist.requires or []]
            waiting += [r for r in needs if not r.marker or r.marker.evaluate({"extra": extra})]
    here = {name: dist for (name, _), dist in sorted(found.items()) if dist is not None}
    return here, sorted({name for name, _ in found} - set(here))


def sizes(dist: Distribution, sources: list[Path]) -> tuple[int, int]:
    """Return the bytes of a distribution's files, and those of the byte code of its modules.

    ``sources`` are its folders when it is installed editable. Byte code is what Python has cached,
    whether pip compiled it or the first import did.
    """
    files = [Path(str(dist.locate_file(file))) for file in dist.files or []]
    if '"editable": true' in (dist.read_text("direct_url.json") or ""):
        files = [file for folder in sources for file in folder.rglob("*")]
    files = [file for file in files if file.suffix != ".pyc"]
    cached = [Path(cache_from_source(str(file))) for file in files if file.suffix == ".py"]
    return _bytes(files), _bytes(cached)


def _bytes(files: Iterable[Path]) -> int:
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
    dists, absent = closure([line for line in lines if line])
    counted = [sizes(dist, options.sources) for dist in dists.values()]
    files_mb, byte_code_mb = (sum(column) / 1e6 for column in zip(*counted, strict=True))
    report = {
        "python": platform.python_version(),
        "installed_mb": round(files_mb + byte_code_mb, 1),
        "without_byte_code_mb": round(files_mb, 1),
        "absent": absent,
        "versions": {name: dist.version for name, dist in dists.items()},
        "imported_by_environment": imported_by_environment(dists),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
