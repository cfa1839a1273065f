"""Turn the newest scaling study of every machine into docs/developers/scaling.md and its plots.

python benchmarks/reports/scaling_report.py            write them
python benchmarks/reports/scaling_report.py --check    exit code 1 when that would change a file
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reports import report, tables
from reports.plots import Panel, draw

PAGE = report.RESULTS.parents[1] / "docs" / "developers" / "scaling.md"
AXES = {
    "volume": "voxels, millions",
    "classes": "classes",
    "folds": "folds",
    "threads": "threads",
}
FIGURES = {"wall": ("wall time", "s"), "peak_mb": ("peak memory", "MB")}


def amount(study: str, point: Mapping[str, Any]) -> float:
    """Return what a study varies."""
    return prod(point["shape"]) / 1e6 if study == "volume" else point[study]


def table(result: Mapping[str, Any]) -> str:
    """Return every point of a result, a row each."""
    names = result["stacks"]
    rows = []
    for study, points in result["studies"].items():
        for point in points:
            figures = [
                f"{median(point['runs'][name][figure]):{form}}"
                for figure, form in (("wall", ".2f"), ("peak_mb", ".0f"))
                for name in names
            ]
            rows.append((AXES[study], f"{amount(study, point):.3g}", *figures))
    head = [f"{title}, {unit}" for _, unit in FIGURES.values() for title in names.values()]
    line = tables.machine_line(result["machine"])
    return (
        f"{tables.table('|'.join(['what grows', 'to', *head]), rows)}\n\n"
        f"{line}; median of {result['repeats']}, {result['date'][:10]}, `{result['commit']}`."
    )


def plots(result: Mapping[str, Any]) -> str:
    """Return time and memory of every study as SVG."""
    panels = [
        Panel(
            title,
            AXES[study],
            unit,
            {
                name: [(amount(study, p), median(p["runs"][key][figure])) for p in points]
                for key, name in result["stacks"].items()
            },
        )
        for figure, (title, unit) in FIGURES.items()
        for study, points in result["studies"].items()
    ]
    return draw(panels, len(result["studies"]))


def files(results: Mapping[str, Any], page: Path) -> dict[Path, str]:
    """Return the texts of the page and of its plots, one for each machine."""
    parts, made = [], {}
    for machine, result in results.items():
        plot = page.with_name(f"scaling-{machine}.svg")
        made[plot] = plots(result)
        parts.append(f"![Time and memory as cost grows]({plot.name})\n\n{table(result)}\n")
    content = "\n".join(parts) or "No results yet.\n"
    made[page] = report.fill(page.read_text(encoding="utf-8"), {"scaling": content})
    return made


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    made = files(report.latest_results(options.results, "*/scaling/*.json"), options.page)
    changed = [f for f, text in made.items() if not f.is_file() or f.read_text("utf-8") != text]
    for file in changed:
        if options.check:
            print(f"{file} is out of date: run python benchmarks/reports/scaling_report.py")
        else:
            file.write_text(made[file], encoding="utf-8")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
