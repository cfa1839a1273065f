"""Measure a batch of images against one process for each image, ours and nnU-Net's.

python benchmarks/batch.py --python nnunetv2=PATH --python deepseg_lite=PATH --model FOLDER

``deepseg-lite batch`` with one and with two processes, a shell loop of ``deepseg-lite run``, and a
loop of nnUNetPredictor, as the Spinal Cord Toolbox calls it, take turns on the same phantoms.
FOLDER is the trained-model folder that the shipped model was exported from. The raw seconds go to
results/<machine>/batch/.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from cases.case_file import BUILD
from machine import describe_machine, slug, utc_now
from run import write_result
from stack import BENCHMARKS, Stack, commit, measure, open_stacks, parse_pythons

TASK = "sc_gm_t2star"
FOLDER = BUILD / "batch"


def main() -> None:
    """Make images, measure every way in turn, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="STACK=PATH")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--machine", help="Name of the folder of results. Default: from the CPU.")
    options = parser.parse_args()
    stacks = open_stacks(parse_pythons(options.python))
    lite, original = stacks["deepseg_lite"], stacks.get("nnunetv2")
    images = make_images(lite, options.images)
    ways = {
        "batch": lambda: batch(lite, options.threads, "1"),
        "batch, two processes": lambda: batch(lite, options.threads, "2"),
        "loop of run": lambda: sum(run(lite, image, options.threads) for image in images),
    }
    if original is not None and options.model is not None:
        ways["loop of nnUNetPredictor"] = lambda: sum(
            predict(original, image, options.model, options.threads) for image in images
        )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats):
        for name, way in ways.items():
            shutil.rmtree(FOLDER / "out", ignore_errors=True)
            seconds[name].append(round(way(), 2))
            print(f"{repeat + 1}/{options.repeats} {name}: {seconds[name][-1]} s", flush=True)
    for name, walls in seconds.items():
        ratio = median(a / b for a, b in zip(seconds["batch"], walls, strict=True))
        print(f"{name}: {median(walls):.1f} s; batch takes {ratio:.3f} of it")
    result: dict[str, Any] = {
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "images": options.images,
        "task": TASK,
        "threads": options.threads,
        "seconds": seconds,
    }
    machine = options.machine or slug(result["machine"])
    print(f"written: {write_result(result, BENCHMARKS / 'results' / machine / 'batch')}")


def make_images(stack: Stack, count: int) -> list[Path]:
    """Write phantoms."""
    paths = [FOLDER / "images" / f"{index:03}.nii.gz" for index in range(count)]
    for index, path in enumerate(paths):
        words = ["-m", "deepseg_lite", "phantom", path, "--seed", str(index), "--overwrite"]
        measure(stack.python, words)
    return paths


def batch(stack: Stack, threads: int, jobs: str) -> float:
    """Return the seconds of a batch; its threads are shared by its processes."""
    words = ["batch", FOLDER / "images", FOLDER / "out", "--task", TASK, "--device", "cpu"]
    each = max(1, threads // int(jobs))
    command = ["-m", "deepseg_lite", *words, "--quiet", "--jobs", jobs, "--threads", str(each)]
    return measure(stack.python, command).wall


def run(stack: Stack, image: Path, threads: int) -> float:
    """Return the seconds of one command for one image."""
    words = ["run", TASK, "-i", image, "-o", FOLDER / "out", "--device", "cpu", "--quiet"]
    return measure(stack.python, ["-m", "deepseg_lite", *words, "--threads", str(threads)]).wall


def predict(stack: Stack, image: Path, model: Path, threads: int) -> float:
    """Return the seconds of nnUNetPredictor in a process of its own."""
    words = [stack.script, FOLDER / "out" / image.name, image, "--model", model, "--folds", "all"]
    return measure(stack.python, [*words, "--threads", str(threads)], threads).wall


if __name__ == "__main__":
    main()
