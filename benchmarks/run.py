"""Measure every case with every stack, a fresh process each, and write the raw figures.

python benchmarks/run.py --python nnunetv2=PATH --python deepseg_lite=PATH
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from machine import available_cores, describe_machine, slug, utc_now
from stack import BENCHMARKS, ROOT, Measured, Stack, measure, open_stacks, parse_pythons, tomllib
from startup import measure_startup

BUILD = ROOT / "build" / "benchmarks"
MEASURED_PARTS = ("deepseg_lite", "export", "models", "pyproject.toml", "benchmarks/stacks")


def main() -> None:
    """Run the benchmark and print its tables."""
    options = parse_arguments()
    pythons = parse_pythons(options.python)
    stacks = open_stacks(pythons)
    if unknown := set(pythons) - {*stacks, "export"}:
        raise SystemExit(f"no such stack: {', '.join(sorted(unknown))}; there are {list(stacks)}")
    document = load_cases()
    known = document["cases"]
    if unknown := set(options.cases) - set(known):
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}; there are {list(known)}")
    cases = {name: known[name] for name in options.cases or known}
    export_python = pythons.get("export", stacks[document["reference"]].python)
    BUILD.mkdir(parents=True, exist_ok=True)
    measured = {}
    for name, case in cases.items():
        if absent := missing_files(case, options.shared):
            print(f"{name}: left out, {', '.join(absent)} is not in --shared")
            continue
        if "export" in case:
            print(f"{name}: exporting")
            arguments = expand(case["export"]["arguments"], options.shared)
            measure(export_python, ["-m", "deepseg_export.cli", *arguments, "--force"])
        measured[name] = measure_case(name, case, document["reference"], stacks, options)
    if not measured:
        raise SystemExit("nothing was measured")
    result = {
        "schema": 1,
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "threads": options.threads,
        "repeats": options.repeats,
        "reference": document["reference"],
        "stacks": {name: {"title": s.title, **s.installed()} for name, s in stacks.items()},
        "startup": measure_startup(stacks, options.repeats),
        "cases": measured,
    }
    machine = options.machine or slug(result["machine"])
    folder = options.results / machine
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result['date'][:10]}-{result['commit']}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("\n".join(report.sections({machine: result}).values()))
    print(f"written: {file}")


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="Default: all of cases.toml.")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="STACK=PATH",
        help="Interpreter of a stack; 'export' is the one for deepseg-export (default: the "
        "reference's). Default: this one.",
    )
    parser.add_argument("--repeats", type=int, default=5, help="Default: %(default)s.")
    parser.add_argument("--threads", type=int, default=available_cores(), help="Of every stack.")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="Test data.")
    parser.add_argument("--machine", help="Name of the folder of results. Default: from the CPU.")
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


def load_cases() -> dict[str, Any]:
    """Return the content of cases.toml."""
    return tomllib.loads((BENCHMARKS / "cases.toml").read_text(encoding="utf-8"))


def expand(arguments: Sequence[str], shared: Path) -> list[str]:
    """Replace the placeholders of cases.toml."""
    return [argument.format(shared=shared, build=BUILD) for argument in arguments]


def missing_files(case: dict[str, Any], shared: Path) -> list[str]:
    """Return the optional files that a case needs and that are not here."""
    texts = [case["image"], *case.get("export", {}).get("arguments", [])]
    texts += [text for run in case["runs"].values() for text in run["arguments"]]
    wanted = sorted({text for text in texts if text.startswith("{shared}")})
    return [text for text in wanted if not Path(text.format(shared=shared)).exists()]


def measure_case(
    name: str,
    case: dict[str, Any],
    reference: str,
    stacks: dict[str, Stack],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Run a case's stacks alternately; return raw seconds and megabytes, and the agreement."""
    (image,) = expand([case["image"]], options.shared)
    outputs = {run: BUILD / f"{name}-{run}.nii.gz" for run in case["runs"]}
    runs: dict[str, Any] = {
        run: {
            "stack": entry.get("stack", run),
            "arguments": entry["arguments"],
            "wall": [],
            "peak_mb": [],
            "first_patch": [],
            "seconds": {},
        }
        for run, entry in case["runs"].items()
    }
    for repeat in range(options.repeats + 1):
        for run, row in runs.items():
            stack = stacks[row["stack"]]
            arguments = expand(row["arguments"], options.shared)
            command = [stack.directory / "run.py", image, outputs[run], *arguments]
            done = measure(
                stack.python, [*command, "--threads", str(options.threads)], options.threads
            )
            label = f"{repeat}/{options.repeats}" if repeat else "warm-up"
            print(f"{name} {run} {label}: {done.wall:.2f} s, {done.peak_mb:.0f} MB", flush=True)
            if repeat:
                record(row, done)
    values = json.dumps(case["structures"])
    agreement = {
        run: measure(
            stacks["deepseg_lite"].python,
            [BENCHMARKS / "agreement.py", outputs[reference], output, values],
        ).json()
        for run, output in outputs.items()
        if run != reference
    }
    return {
        "title": case["title"],
        "image": Path(image).name,
        "runs": runs,
        "agreement": agreement,
    }


def record(row: dict[str, Any], done: Measured) -> None:
    """Add one process to a run's figures.

    Two stages are seen from outside: ``start``, until the script's own first line, and ``other``,
    what no stage accounts for (exit included).
    """
    printed = done.json()
    row["wall"].append(round(done.wall, 3))
    row["peak_mb"].append(round(done.peak_mb, 1))
    row["first_patch"].append(round(printed["first_patch_at"] - done.started_at, 3))
    stages = {"start": printed["began_at"] - done.started_at, **printed["seconds"]}
    stages["other"] = done.wall - sum(stages.values())
    for stage, seconds in stages.items():
        row["seconds"].setdefault(stage, []).append(round(seconds, 3))
    row["network_calls"] = printed["network_calls"]


def commit() -> str:
    """Return the short commit, marked when what is measured differs from it."""

    def git(*arguments: str | Path) -> str:
        command = ["git", "-C", str(ROOT), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", *MEASURED_PARTS)
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")


if __name__ == "__main__":
    main()
