"""Measure how long it takes to list and plan a large data set.

    python benchmarks/listing.py --python deepseg_lite=PATH

A BIDS tree of 100,000 files, all empty: two sessions a subject, five contrasts each with its
sidecar. ``deepseg-lite batch --status`` looks at one case of it, so that what is measured is the
list of files and the plan of all cases. The figures go to results/<machine>/listing/.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from batch import TASK
from machine import describe_machine, slug, utc_now
from run import write_result
from stack import BENCHMARKS, commit, measure, open_stacks, parse_pythons

CONTRASTS = ("T1w", "T2w", "T2starw", "PDw", "UNIT1")
SESSIONS = ("01", "02")


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="STACK=PATH")
    parser.add_argument("--subjects", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--machine", help="Name of the folder of results. Default: from the CPU.")
    options = parser.parse_args()
    stack = open_stacks(parse_pythons(options.python))["deepseg_lite"]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        files = make_tree(data, options.subjects)
        cases = options.subjects * len(SESSIONS)
        batch = ["batch", data, Path(folder, "out"), "--task", TASK, "--status"]
        command = ["-m", "deepseg_lite", *batch, "--part", f"1/{cases}"]
        runs = [measure(stack.python, command) for _ in range(options.repeats)]
    result = {
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "files": files,
        "cases": cases,
        "wall": [round(run.wall, 2) for run in runs],
        "cpu": [round(run.cpu, 2) for run in runs],
        "peak_mb": [round(run.peak_mb) for run in runs],
    }
    machine = options.machine or slug(result["machine"])
    file = write_result(result, BENCHMARKS / "results" / machine / "listing")
    wall, peak = (statistics.median(result[name]) for name in ("wall", "peak_mb"))
    print(f"{files} files, {cases} cases: {wall:.1f} s, {peak:.0f} MB\nwritten: {file}")


def make_tree(root: Path, subjects: int) -> int:
    """Make a BIDS data set of empty files; return how many."""
    root.mkdir()
    description = '{"Name": "empty files", "BIDSVersion": "1.10.0"}'
    (root / "dataset_description.json").write_text(description, encoding="utf-8")
    count = 0
    for subject in range(subjects):
        for session in SESSIONS:
            folder = root / f"sub-{subject:05d}" / f"ses-{session}" / "anat"
            folder.mkdir(parents=True)
            for contrast in CONTRASTS:
                for ending in ("nii.gz", "json"):
                    name = f"sub-{subject:05d}_ses-{session}_{contrast}.{ending}"
                    (folder / name).touch()
                    count += 1
    return count


if __name__ == "__main__":
    main()
