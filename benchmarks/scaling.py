"""Measure how time and memory grow with volume, classes, folds and threads.

python benchmarks/scaling.py --python nnunetv2=PATH --python deepseg_lite=PATH

One thing is changed at a time, from a small 3-D network, 120 x 120 x 60 voxels, 2 classes, 1 fold
and 1 thread. The figures go to results/<machine>/scaling/, for scaling_report.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cases.case_file import BUILD
from machine import describe_machine, slug, utc_now
from run import write_result
from stack import BENCHMARKS, Stack, commit, measure, open_stacks, parse_pythons

FOLDER = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@dataclass(frozen=True)
class Point:
    """What is measured: voxels of the volume (at 0.8 mm, the network has 1 mm), and the rest."""

    shape: tuple[int, int, int] = (120, 120, 60)
    classes: int = 2
    folds: int = 1
    threads: int = 1

    @property
    def image(self) -> Path:
        """Return the file of its image."""
        return BUILD / "scaling" / f"{'x'.join(map(str, self.shape))}.nii.gz"

    @property
    def model(self) -> Path:
        """Return the folder of its models."""
        return BUILD / "scaling" / f"{self.classes}-classes-{self.folds}-folds"


START = Point()
STUDIES = {
    "volume": [
        START,
        *(replace(START, shape=s) for s in ((150, 150, 75), (190, 190, 94), (240, 240, 118))),
    ],
    "classes": [START, replace(START, classes=10), replace(START, classes=40)],
    "folds": [START, replace(START, folds=5)],
    "threads": [START, replace(START, threads=2)],
}


def main() -> None:
    """Make models and images, measure every point, write the figures."""
    options = parse_arguments()
    pythons = parse_pythons(options.python)
    stacks = open_stacks(pythons)
    if unknown := set(options.studies) - set(STUDIES):
        raise SystemExit(f"no such study: {', '.join(sorted(unknown))}; there are {list(STUDIES)}")
    if absent := {"nnunetv2", "deepseg_lite"} - set(stacks):
        raise SystemExit(f"no --python for {', '.join(sorted(absent))}; both stacks are compared.")
    studies = {name: STUDIES[name] for name in options.studies or STUDIES}
    points = list(dict.fromkeys(point for listed in studies.values() for point in listed))
    make(points, pythons.get("export", pythons["nnunetv2"]))
    rows = measure_points(points, stacks, options.repeats)
    result = {
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "repeats": options.repeats,
        "stacks": {name: stack.title for name, stack in stacks.items()},
        "studies": {
            name: [rows[points.index(point)] for point in listed]
            for name, listed in studies.items()
        },
    }
    machine = options.machine or slug(result["machine"])
    print(f"written: {write_result(result, options.results / machine / 'scaling')}")


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("studies", nargs="*", metavar="STUDY", help=f"Of {', '.join(STUDIES)}; default: all.")
    add("--python", action="append", default=[], metavar="STACK=PATH", help="As for run.py.")
    add("--repeats", type=int, default=3, help="Default: %(default)s.")
    add("--machine", help="Name of the folder of results. Default: from the CPU.")
    add("--results", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


def make(points: list[Point], python: str) -> None:
    """Make the images, the models and their bundles."""
    for image, shape in {point.image: point.shape for point in points}.items():
        sizes = map(str, shape)
        measure(
            python, ["benchmarks/cases/make_image.py", image, "--spacing", "0.8", "--shape", *sizes]
        )
    for folder, point in {point.model: point for point in points}.items():
        model, bundle = folder / FOLDER, folder / "bundle"
        print(f"making {folder.name}", flush=True)
        counts = ["--classes", str(point.classes), "--folds", str(point.folds)]
        measure(python, ["benchmarks/cases/make_models.py", "scaling", model, *counts])
        measure(python, ["-m", "deepseg_export", "nnunet", model, "--output", bundle, "--force"])


def measure_points(
    points: list[Point], stacks: Mapping[str, Stack], repeats: int
) -> list[dict[str, Any]]:
    """Return raw seconds and megabytes of every point; stacks and points take turns."""
    rows = [
        {
            **{key: getattr(point, key) for key in ("shape", "classes", "folds", "threads")},
            "runs": {name: {"wall": [], "peak_mb": []} for name in stacks},
        }
        for point in points
    ]
    for repeat in range(repeats):
        for point, row in zip(points, rows, strict=True):
            for name, stack in stacks.items():
                done = measure(stack.python, arguments(stack, point), point.threads)
                row["runs"][name]["wall"].append(round(done.wall, 3))
                row["runs"][name]["peak_mb"].append(round(done.peak_mb, 1))
                print(f"{repeat + 1}/{repeats} {point} {name}: {done.wall:.2f} s", flush=True)
    return rows


def arguments(stack: Stack, point: Point) -> list[str | Path]:
    """Return the arguments that segment a point's image with a stack."""
    command = [stack.script, BUILD / "scaling" / stack.name, point.image]
    command += ["--threads", str(point.threads), "--model"]
    if stack.name != "nnunetv2":
        return [*command, point.model / "bundle"]
    return [*command, point.model / FOLDER, "--folds", *map(str, range(point.folds))]


if __name__ == "__main__":
    main()
