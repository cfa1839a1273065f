"""Turn committed results into Markdown tables.

    python benchmarks/reports/report.py                     print them
    python benchmarks/reports/report.py --write README.md   replace what is between their markers
    python benchmarks/reports/report.py --check README.md   exit code 1 when the file would change

A file takes the tables whose markers it has: ``<!-- benchmark:start -->`` and
``<!-- benchmark:end -->``, and the same for the other names that `sections` returns.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reports import tables

RESULTS = Path(__file__).resolve().parents[1] / "results"


def latest_results(folder: Path = RESULTS, pattern: str = "*/*.json") -> dict[str, Any]:
    """Return the newest result of every machine, by machine: the first folder of its path."""
    newest: dict[str, Any] = {}
    for file in sorted(folder.glob(pattern)):
        result = json.loads(file.read_text(encoding="utf-8"))
        machine = file.relative_to(folder).parts[0]
        if machine not in newest or newest[machine]["date"] <= result["date"]:
            newest[machine] = result
    return newest


def sections(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables by marker name."""
    makers = {
        "benchmark": tables.main_runs,
        "benchmark-all": tables.all_runs,
        "benchmark-networks": tables.networks,
        "benchmark-stages": tables.stages,
        "benchmark-startup": tables.startup,
        "benchmark-machines": tables.machines,
    }
    return {
        name: "\n\n".join(map(maker, results.values())) + "\n" if results else "No results yet.\n"
        for name, maker in makers.items()
    }


def fill(text: str, contents: Mapping[str, str]) -> str:
    """Return a file's text with the tables between their markers."""
    for name, content in contents.items():
        pattern = rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)"
        text = re.sub(pattern, lambda m, c=content: f"{m[1]}{c}{m[2]}", text, flags=re.DOTALL)
    return text


def write(files: Sequence[Path], contents: Mapping[str, str]) -> None:
    """Fill the tables of files."""
    for file in files:
        file.write_text(fill(file.read_text(encoding="utf-8"), contents), encoding="utf-8")


def out_of_date(files: Sequence[Path], contents: Mapping[str, str]) -> list[Path]:
    """Return the files whose tables are not these."""
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    return [file for file, text in texts.items() if fill(text, contents) != text]


def main(arguments: list[str] | None = None) -> int:
    """Print, write or check the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--check", type=Path, action="append", default=[], metavar="FILE")
    options = parser.parse_args(arguments)
    contents = sections(latest_results(options.results))
    if not options.write and not options.check:
        print("\n".join(contents.values()), end="")
    write(options.write, contents)
    stale = out_of_date(options.check, contents)
    for file in stale:
        print(f"{file} is out of date: run python benchmarks/reports/report.py --write {file}")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
