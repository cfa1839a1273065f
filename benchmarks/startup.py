"""What it costs before any work: import, help and installed size of every stack.

    python benchmarks/startup.py --python nnunetv2=PATH --python deepseg_lite=PATH

With a bundle and an image: what it takes to begin with the first patch, in both forms of a network.

    python benchmarks/startup.py --python deepseg_lite=PATH --bundle BUNDLE --image IMAGE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from stack import Stack, measure, open_stacks, parse_pythons

FORMS = ("canonical", "auto")


def measure_startup(stacks: dict[str, Stack], repeats: int) -> dict[str, Any]:
    """Return raw seconds of whole processes, alternating between stacks after one warm-up.

    ``interpreter`` does nothing, ``import`` imports what a run needs, ``help`` prints the command
    line's help.
    """
    programs = {name: _programs(stack) for name, stack in stacks.items()}
    seconds: dict[str, dict[str, list[float]]] = {
        name: {program: [] for program in known} for name, known in programs.items()
    }
    for repeat in range(repeats + 1):
        for name, known in programs.items():
            for program, arguments in known.items():
                wall = measure(stacks[name].python, arguments).wall
                if repeat:  # the first one only fills the file cache
                    seconds[name][program].append(round(wall, 3))
    return seconds


def measure_first_patch(
    stack: Stack, bundle: Path, image: Path, threads: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Return medians of processes that end where the first patch would begin, forms in turn.

    ``wall`` and ``cpu`` are seconds from the start of the process; ``opening_wall`` and
    ``opening_cpu`` those of the thread that opens the network while the image is prepared.
    """
    rows: dict[str, dict[str, list[float]]] = {form: {} for form in FORMS}
    out = image.parent / "results"  # nothing is written
    for repeat in range(repeats + 1):
        for form, row in rows.items():
            command = [stack.script, out, image, "--model", bundle, "--form", form]
            more = ["--threads", str(threads), "--to-first-patch"]
            done = measure(stack.python, [*command, *more], threads)
            noted = done.json()
            found = {"wall": noted["first_patch_at"] - done.started_at, "cpu": noted["cpu"]}
            found |= {f"opening_{name}": value for name, value in noted["opening"].items()}
            for name, value in found.items():
                if repeat:  # the first one only fills the file cache
                    row.setdefault(name, []).append(value)
    return {
        form: {name: round(median(values), 3) for name, values in row.items()}
        for form, row in rows.items()
    }


def _programs(stack: Stack) -> dict[str, list[str]]:
    """Return arguments of an interpreter, by what they do."""
    programs = {"interpreter": ["-c", "pass"]}
    if stack.imports:
        programs["import"] = ["-c", f"import {stack.imports}"]
    if stack.entry_point:
        module, _, function = stack.entry_point.partition(":")
        programs["help"] = ["-c", f"from {module} import {function} as main; main()", "-h"]
    return programs


def main() -> None:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="STACK=PATH")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    stacks = open_stacks(parse_pythons(options.python))
    if options.bundle:
        if not options.image or "deepseg_lite" not in stacks:
            parser.error("--bundle needs --image, and --python deepseg_lite=PATH")
        given = (options.bundle.absolute(), options.image.absolute())
        rows = measure_first_patch(stacks["deepseg_lite"], *given, options.threads, options.repeats)
        print(json.dumps(rows, indent=2))
        return
    seconds = measure_startup(stacks, options.repeats)
    rows = {name: {**stack.installed(), "seconds": seconds[name]} for name, stack in stacks.items()}
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
