"""Turn committed results into Markdown tables.

    python benchmarks/report.py                       print them
    python benchmarks/report.py --write README.md     replace what is between their markers
    python benchmarks/report.py --check README.md     exit code 1 when that would change the file

A file takes the tables whose markers it has: ``<!-- benchmark:start -->`` and
``<!-- benchmark:end -->``, and the same for the other names that `sections` returns.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
STAGES = (
    *("start", "import", "load", "read"),
    *("preprocess", "predict", "restore", "write", "other"),
)
SHOWN_VERSIONS = ("deepseg-lite", "nnunetv2", "torch", "onnxruntime", "numpy", "scipy")


def latest_results(folder: Path = RESULTS) -> dict[str, Any]:
    """Return the newest result of every machine, by machine."""
    newest: dict[str, Any] = {}
    for file in sorted(folder.glob("*/*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        machine = file.parent.name
        if machine not in newest or newest[machine]["date"] <= result["date"]:
            newest[machine] = result
    return newest


def sections(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables by marker name."""
    makers = {
        "benchmark": agreement_and_speed,
        "benchmark-stages": stages,
        "benchmark-startup": startup,
        "benchmark-machines": machines,
    }
    return {
        name: "\n\n".join(map(maker, results.values())) + "\n" if results else "No results yet.\n"
        for name, maker in makers.items()
    }


def agreement_and_speed(result: Mapping[str, Any]) -> str:
    """Return wall time, memory and agreement of every case and run."""
    reference = result["reference"]
    rows = []
    for case in result["cases"].values():
        base = case["runs"][reference]
        for name, run in case["runs"].items():
            agreement = case["agreement"].get(name)
            rows.append(
                (
                    case["title"],
                    _title(result, run),
                    f"{median(run['wall']):.2f} ({min(run['wall']):.2f})",
                    f"{ratio(run, base, 'wall'):.2f}",
                    f"{median(run['peak_mb']):.0f}",
                    f"{ratio(run, base, 'peak_mb'):.2f}",
                    f"{agreement['differing']} of {agreement['voxels']:,}" if agreement else "",
                    _dice(agreement["dice"]) if agreement else "",
                )
            )
    head = "case|implementation|wall, s|ratio|peak memory, MB|ratio|voxels that differ|Dice"
    return f"{table(head, rows)}\n\n{hardware_line(result)}"


def stages(result: Mapping[str, Any]) -> str:
    """Return the median seconds of every stage."""
    rows = []
    for case in result["cases"].values():
        for run in case["runs"].values():
            medians = [run["seconds"].get(stage) for stage in STAGES]
            cells = ["" if values is None else f"{median(values):.2f}" for values in medians]
            rows.append((case["title"], _title(result, run), *cells, str(run["network_calls"])))
    return table("|".join(("case|implementation", *STAGES, "network calls")), rows)


def startup(result: Mapping[str, Any]) -> str:
    """Return what each stack costs before it works."""
    rows = []
    for name, stack in result["stacks"].items():
        seconds = {key: median(values) for key, values in result["startup"][name].items()}
        first = [
            f"{median(run['first_patch']):.2f}"
            for case in result["cases"].values()
            for run in case["runs"].values()
            if run["stack"] == name
        ]
        times = [f"{seconds[key]:.2f}" for key in ("interpreter", "import", "help")]
        size = f"{stack['installed_mb']:.0f}"
        rows.append((stack["title"], *times, ", ".join(first), size, str(len(stack["versions"]))))
    head = "implementation|Python alone, s|imports, s|`-h`, s|start to first patch, s"
    return table(f"{head}|installed, MB|distributions", rows)


def machines(result: Mapping[str, Any]) -> str:
    """Return what was measured, when and with which versions."""
    rows = [("machine", hardware_line(result)), ("commit", f"`{result['commit']}`")]
    for stack in result["stacks"].values():
        versions = [f"{n} {stack['versions'][n]}" for n in SHOWN_VERSIONS if n in stack["versions"]]
        text = ", ".join([f"Python {stack['python']}", *versions])
        if early := stack["imported_by_environment"]:
            text += f"; its environment imports {', '.join(early)} whenever Python starts"
        rows.append((stack["title"], text))
    return table("|", rows)


def ratio(run: Mapping[str, Any], base: Mapping[str, Any], figure: str) -> float:
    """Return the ratio of two runs' medians."""
    return median(run[figure]) / median(base[figure])


def hardware_line(result: Mapping[str, Any]) -> str:
    """Return where, when and how often, in one line."""
    machine = result["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['os']}; "
        f"{result['threads']} threads, median (minimum) of {result['repeats']}, "
        f"{result['date'][:10]}."
    )


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; ``head`` has its columns separated by ``|``."""
    lines = [head.split("|"), ["---"] * (head.count("|") + 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _title(result: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    return result["stacks"][run["stack"]]["title"]


def _dice(scores: Mapping[str, float | None]) -> str:
    texts = ("absent in both" if v is None else f"{v:.5f}" for v in scores.values())
    return ", ".join(f"{name} {text}" for name, text in zip(scores, texts, strict=True))


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Return a file's text with the tables between their markers."""
    for name, content in tables.items():
        pattern = rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)"
        text = re.sub(pattern, lambda m, c=content: f"{m[1]}{c}{m[2]}", text, flags=re.DOTALL)
    return text


def main(arguments: list[str] | None = None) -> int:
    """Print, write or check the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--check", type=Path, action="append", default=[], metavar="FILE")
    options = parser.parse_args(arguments)
    tables = sections(latest_results(options.results))
    if not options.write and not options.check:
        print("\n".join(tables.values()), end="")
    for file in options.write:
        file.write_text(fill(file.read_text(encoding="utf-8"), tables), encoding="utf-8")
    code = 0
    for file in options.check:
        text = file.read_text(encoding="utf-8")
        if fill(text, tables) != text:
            print(f"{file} is out of date: run python benchmarks/report.py --write {file}")
            code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
