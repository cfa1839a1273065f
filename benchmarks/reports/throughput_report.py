"""Turn the newest figures of ``throughput.py`` into what many machines do: docs/users/clusters.md.

python benchmarks/reports/throughput_report.py            write the table and the plot
python benchmarks/reports/throughput_report.py --check    exit code 1 when that would change a file

The model: a set of cases is dealt out to machines, one process to a core. It takes the longest of
three: what a core has to do, its start included; what the file server has to give, images and a
model for each process; and the operations that the server has to answer, where each job of an array
lists all cases. Servers are assumed, and said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reports import report, tables
from reports.plots import Panel, draw

PAGE = report.RESULTS.parents[1] / "docs" / "users" / "clusters.md"
CASES, CORES = 20_000, 16
SERVER_MB_S, SERVER_OPERATIONS_S = 100.0, 2000.0
NODES = (1, 2, 4, 8, 16, 32, 64)
LONGER = (1, 10, 50)
"""How many times longer a case of each panel is than the measured one."""
LIMITS, TOGETHER = ("cores", "reading", "metadata"), "all together"


def hours(figures: Mapping[str, Any], nodes: int, longer: float = 1) -> dict[str, float]:
    """Return how long each of what may limit has to work.

    Parameters
    ----------
    figures : mapping
        From ``throughput.py``.
    nodes : int
        Machines of `CORES` cores, each a job of an array.
    longer : float
        Times that a case takes longer than the measured one.
    """
    workers = nodes * CORES
    cases = ceil(CASES / workers)
    megabytes = CASES * (figures["image_mb"] + figures["written_mb"])
    megabytes += workers * figures["model_mb"]
    operations = CASES * (figures["case_operations"] + nodes * figures["listing_operations"])
    operations += workers * figures["start_operations"]
    return {
        "cores": (figures["start_s"] + cases * figures["case_s"] * longer) / 3600,
        "reading": megabytes / SERVER_MB_S / 3600,
        "metadata": operations / SERVER_OPERATIONS_S / 3600,
    }


def table(figures: Mapping[str, Any]) -> str:
    """Return hours and what limits for numbers of machines."""
    rows = []
    for nodes in NODES:
        row = [str(nodes)]
        for longer in LONGER:
            found = hours(figures, nodes, longer)
            limit = max(found, key=lambda name: found[name])
            row += [f"{found[limit]:.2f}", limit]
        rows.append(tuple(row))
    heads = [f"{figures['case_s'] * longer:.1f} s a case: hours|what limits" for longer in LONGER]
    head = "|".join(["machines", *heads])
    image = " x ".join(map(str, figures["image"]))
    facts = (
        f"{CASES:,} cases on machines of {CORES} cores with a process for each, behind a file "
        f"server that is assumed to give {SERVER_MB_S:g} MB and to answer "
        f"{SERVER_OPERATIONS_S:,.0f} operations a second. Measured: a case of the shipped model on "
        f"{image} voxels takes {figures['case_s']:.2f} s of one core, reads "
        f"{figures['image_mb']:.2f} MB, writes {figures['written_mb']:.3f} MB and asks for "
        f"{figures['case_operations']:.0f} operations; each job asks "
        f"{figures['listing_operations']:.1f} for every case of the whole set; a process starts "
        f"in {figures['start_s']:.1f} s, with {figures['model_mb']:.1f} MB of model and "
        f"{figures['start_operations']:,} operations. Operations are all that name a file, as if "
        "no machine remembered any answer and programs lay on the server, too. Other cases are "
        f"{LONGER[1]} and {LONGER[2]} times longer, as those of large 3-D networks are."
    )
    line = tables.machine_line(figures["machine"])
    return (
        f"{facts}\n\n{tables.table(head, rows)}\n\n"
        f"{line}; {figures['date'][:10]}, `{figures['commit']}`."
    )


def plot(figures: Mapping[str, Any]) -> str:
    """Return thousands of cases an hour by machines, and what each of the limits would allow."""
    panels = []
    for longer in LONGER:
        lines: dict[str, list[tuple[float, float]]] = {name: [] for name in (*LIMITS, TOGETHER)}
        for nodes in NODES:
            found = hours(figures, nodes, longer)
            for name in LIMITS:
                lines[name].append((nodes, CASES / found[name] / 1000))
            lines[TOGETHER].append((nodes, CASES / max(found.values()) / 1000))
        shown = {name: points for name, points in lines.items() if _matters(name, lines)}
        panels.append(
            Panel(f"{figures['case_s'] * longer:.1f} s a case", "machines", "1000/h", shown)
        )
    return draw(panels, len(panels))


def _matters(name: str, lines: Mapping[str, list[tuple[float, float]]]) -> bool:
    """Return whether a limit is near enough to be drawn."""
    top = max(y for _, y in lines["cores"])
    return name in (TOGETHER, "cores") or min(y for _, y in lines[name]) < 1.5 * top


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    parts, made = [], {}
    for machine, figures in report.latest_results(options.results, "*/throughput/*.json").items():
        file = options.page.with_name(f"throughput-{machine}.svg")
        made[file] = plot(figures)
        parts.append(
            f"![Thousands of cases an hour by machines]({file.name})\n\n{table(figures)}\n"
        )
    content = "\n".join(parts) or "No figures yet.\n"
    made[options.page] = report.fill(
        options.page.read_text(encoding="utf-8"), {"throughput": content}
    )
    changed = [f for f, text in made.items() if not f.is_file() or f.read_text("utf-8") != text]
    for file in changed:
        if options.check:
            print(f"{file} is out of date: run python benchmarks/reports/throughput_report.py")
        else:
            file.write_text(made[file], encoding="utf-8")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
