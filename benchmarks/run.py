"""Measure every case with every stack, a fresh process each, and write the raw figures.

python benchmarks/run.py --python nnunetv2=PATH --python deepseg_lite=PATH

A stack without an interpreter is left out, and a case without its reference or its files.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cases.case_file import BUILD, Case, load_cases
from machine import describe_machine, slug, utc_now
from measuring import measure_case, prepare
from reports import report
from stack import BENCHMARKS, ROOT, Stack, commit, measure, open_stacks, parse_pythons
from startup import measure_startup

from deepseg_lite.machine import available_threads


def main() -> None:
    """Run the benchmark and print its tables."""
    options = parse_arguments()
    pythons = parse_pythons(options.python)
    stacks = open_stacks(pythons)
    known = load_cases(options.cases_file, shared=options.shared, device=options.device)
    if unknown := set(options.cases) - set(known):
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}; there are {list(known)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    chosen = [usable(known[name], stacks, options.skip) for name in options.cases or known]
    measured, failed = {}, []
    for case in filter(None, chosen):
        reference = stacks[case.runs[case.reference].stack].python
        try:
            prepare(case, {"export": pythons.get("nnunetv2", reference), **pythons})
            measured[case.name] = measure_case(case, stacks, options.threads, options.repeats)
        except SystemExit as failure:  # what other cases took is not lost to it
            print(f"{case.name}: {failure}", flush=True)
            failed.append(case.name)
    if not measured:
        raise SystemExit("nothing was measured")
    result = {
        "schema": 2,
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "device": options.device,
        "threads": options.threads,
        "repeats": options.repeats,
        "stacks": {name: {"title": s.title, **s.installed()} for name, s in stacks.items()},
        "startup": measure_startup(stacks, options.repeats),
        "gemm": measure_gemm(stacks, options),
        "cases": measured,
    }
    machine = options.machine or slug(result["machine"])
    file = write_result(result, options.results / machine)
    print("\n".join(report.sections({machine: result}).values()))
    print(f"written: {file}")
    if failed:
        raise SystemExit(f"failed, and not in the result: {', '.join(failed)}")


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help="Default: all of the file.")
    add(
        "--python",
        action="append",
        default=[],
        metavar="STACK=PATH",
        help="Interpreter of a stack; 'export' is the one for deepseg-export (default: that of "
        "nnunetv2, else of the case's reference).",
    )
    add(
        "--cases-file",
        type=Path,
        default=BENCHMARKS / "cases" / "cases.toml",
        help="Default: cases.toml.",
    )
    add("--skip", action="append", default=[], metavar="CASE.RUN", help="Leave a run out.")
    add("--device", default="cpu", help="What {device} in the file of cases stands for.")
    add("--repeats", type=int, default=5, help="At most; default: %(default)s.")
    add("--threads", type=int, default=available_threads(), help="Of every stack.")
    add("--shared", type=Path, default=ROOT.parent / "shared", help="Optional test data.")
    add("--machine", help="Name of the folder of results. Default: from the CPU.")
    add("--results", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


def usable(case: Case, stacks: Mapping[str, Stack], skip: list[str]) -> Case | None:
    """Return a case with the runs that can be made; say what is left out."""
    runs = {}
    for name, run in case.runs.items():
        if run.stack not in stacks:
            print(f"{case.name}.{name}: left out, no --python {run.stack}=PATH")
        elif f"{case.name}.{name}" in skip:
            print(f"{case.name}.{name}: left out, as asked")
        else:
            runs[name] = run
    if case.reference not in runs:
        print(f"{case.name}: left out, nothing to compare with")
        return None
    case = replace(case, runs=runs)
    if absent := case.missing():
        print(f"{case.name}: left out, not here: {', '.join(absent)}")
        return None
    return case


def measure_gemm(stacks: Mapping[str, Stack], options: argparse.Namespace) -> dict[str, Any]:
    """Return GFLOP/s of a matrix product in every stack, by type; the best of some processes."""
    command = [BENCHMARKS / "gemm.py", "--threads", str(options.threads), "--device"]
    found: dict[str, Any] = {}
    for _ in range(min(options.repeats, 2)):
        for name, stack in stacks.items():
            printed = measure(stack.python, [*command, options.device], options.threads).json()
            best = found.get(name, printed)
            found[name] = {key: max(best[key], value) for key, value in printed.items()}
    return {name: speeds for name, speeds in found.items() if speeds}


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write a result under its date and commit; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result['date'][:10]}-{result['commit']}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    main()
