"""What it costs before any work: import, help and installed size of every stack.

python benchmarks/startup.py --python nnunetv2=PATH --python deepseg_lite=PATH
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from stack import Stack, measure, open_stacks, parse_pythons


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
    options = parser.parse_args()
    stacks = open_stacks(parse_pythons(options.python))
    seconds = measure_startup(stacks, options.repeats)
    rows = {name: {**stack.installed(), "seconds": seconds[name]} for name, stack in stacks.items()}
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
