"""Measuring one case: its runs alternate, each a fresh process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cases.case_file import BUILD, Case
from stack import BENCHMARKS, Measured, Stack, measure


def prepare(case: Case, pythons: Mapping[str, str]) -> None:
    """Make what a case needs: images, models, bundles."""
    for python, arguments in case.prepare:
        print(f"{case.name}: {' '.join(Path(text).name for text in arguments)}", flush=True)
        measure(pythons[python], arguments)


def measure_case(
    case: Case, stacks: Mapping[str, Stack], threads: int, repeats: int
) -> dict[str, Any]:
    """Run a case's runs alternately; return raw seconds and megabytes, and the agreement.

    Without a run to warm up, the first of several repetitions also reads files into the cache.
    """
    repeats = min(repeats, case.repeats or repeats)
    outputs = {name: BUILD / "results" / f"{case.name}-{name}" for name in case.runs}
    rows: dict[str, Any] = {
        name: {
            "stack": run.stack,
            "variant": run.variant,
            "main": run.main,
            "arguments": [Path(text).name for text in run.arguments],
            "wall": [],
            "cpu": [],
            "peak_mb": [],
            "first_patch": [],
            "network_seconds": [],
            "seconds": {},
        }
        for name, run in case.runs.items()
    }
    for repeat in range(0 if case.warm_up else 1, repeats + 1):
        for name, run in case.runs.items():
            stack = stacks[run.stack]
            command = [stack.script, outputs[name], *case.images, *run.arguments]
            done = measure(stack.python, [*command, "--threads", str(threads)], threads)
            label = f"{repeat}/{repeats}" if repeat else "warm-up"
            print(
                f"{case.name} {name} {label}: {done.wall:.2f} s, {done.cpu:.2f} s of "
                f"processors, {done.peak_mb:.0f} MB",
                flush=True,
            )
            if repeat:
                record(rows[name], done)
    structures = json.dumps(case.structures)
    python, expected = stacks[case.runs[case.reference].stack].python, outputs[case.reference]
    script = BENCHMARKS / "agreement.py"
    return {
        "title": case.title,
        "reference": case.reference,
        "images": [Path(image).name for image in case.images],
        "flop_per_patch": next((r.pop("flop") for r in rows.values() if r.get("flop")), None),
        "runs": rows,
        "agreement": {
            name: measure(python, [script, expected, output, structures]).json()
            for name, output in outputs.items()
            if name != case.reference
        },
    }


def record(row: dict[str, Any], done: Measured) -> None:
    """Add one process to a run's figures.

    Two stages are seen from outside: ``start``, until the script's own first line, and ``other``,
    what no stage accounts for (exit included); where stages overlap it may be nothing. Of several
    cases, ``warm`` is the mean of the later ones: from the end of the first to the end of the last.
    """
    printed = done.json()
    row["wall"].append(round(done.wall, 3))
    row["cpu"].append(round(done.cpu, 3))
    row["peak_mb"].append(round(done.peak_mb, 1))
    row["first_patch"].append(round(printed["first_patch_at"] - done.started_at, 3))
    if printed["network_seconds"]:
        row["network_seconds"].append(round(printed["network_seconds"], 3))
    first, *later = printed["cases_ended_at"]
    if later:
        row.setdefault("warm", []).append(round((later[-1] - first) / len(later), 3))
    stages = {"start": printed["began_at"] - done.started_at, **printed["seconds"]}
    stages["other"] = max(0.0, done.wall - sum(stages.values()))
    for stage, seconds in stages.items():
        row["seconds"].setdefault(stage, []).append(round(seconds, 3))
    row |= {key: printed[key] for key in ("network_calls", "patches")}
    row["flop"] = printed.get("flop_per_patch")
    if "form" in printed:
        row["form"] = printed["form"]
