"""Measure what a case of a batch asks of processors and of a file system.

    python benchmarks/throughput.py --python deepseg_lite=PATH

Batches of one and of several phantoms, with one thread: what the second adds is what a case takes.
Operations of the file system are counted by strace, which is needed. The figures go to
results/<machine>/throughput/, and ``reports/throughput_report.py`` makes of them what many
machines can do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch import FOLDER, TASK, make_images
from cases.case_file import BUILD
from machine import describe_machine, slug, utc_now
from run import write_result
from stack import BENCHMARKS, ROOT, commit, measure, open_stacks, parse_pythons

CALLS = "%file,getdents64,fsync,fdatasync,ftruncate"
COUNTS = BUILD / "batch" / "strace.txt"


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="STACK=PATH")
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--machine", help="Name of the folder of results. Default: from the CPU.")
    options = parser.parse_args()
    stack = open_stacks(parse_pythons(options.python))["deepseg_lite"]
    images = make_images(stack, options.images, options.slices)
    more = len(images) - 1
    one, all_ = (seconds(stack.python, chosen) for chosen in (images[:1], images))
    alone, listed, whole = (
        operations(stack.python, *given)
        for given in ((images[:1], 1), (images, len(images)), (images, 1))
    )
    written = sum(file.stat().st_size for file in (FOLDER / "out").rglob("*") if file.is_file())
    manifest = json.loads((ROOT / "models" / TASK / "bundle" / "manifest.json").read_text("utf-8"))
    listing = (listed - alone) / more
    result: dict[str, Any] = {
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "task": TASK,
        "image": [256, 256, options.slices],
        "case_s": round((all_ - one) / more, 3),
        "start_s": round(one - (all_ - one) / more, 3),
        "image_mb": round(sum(image.stat().st_size for image in images) / len(images) / 1e6, 3),
        "written_mb": round(written / len(images) / 1e6, 4),
        "model_mb": round(sum(n["size"] for n in manifest["networks"]) / 1e6, 1),
        "case_operations": round((whole - alone) / more - listing, 1),
        "listing_operations": round(listing, 2),
        "start_operations": round(2 * alone - (alone + (whole - alone) / more)),
    }
    print(json.dumps(result, indent=1))
    machine = options.machine or slug(result["machine"])
    print(f"written: {write_result(result, BENCHMARKS / 'results' / machine / 'throughput')}")


def command_of(images: Sequence[Path], parts: int) -> list[str]:
    """Return the words of a batch of the first of some equal parts of a BIDS data set."""
    data, out = FOLDER / "data", FOLDER / "out"
    for folder in (data, out):
        shutil.rmtree(folder, ignore_errors=True)
    for image in images:
        subject = f"sub-{image.name.partition('.')[0]}"
        (data / subject / "anat").mkdir(parents=True)
        os.link(image, data / subject / "anat" / f"{subject}_T2starw.nii.gz")
    words = ["-m", "deepseg_lite", "batch", data, out, "--task", TASK]
    words += ["--device", "cpu", "--threads", "1", "--part", f"1/{parts}", "--quiet"]
    return list(map(str, words))


def seconds(python: str, images: Sequence[Path]) -> float:
    """Return the seconds of processors that a batch takes."""
    return measure(python, command_of(images, 1)).cpu


def operations(python: str, images: Sequence[Path], parts: int) -> int:
    """Return how often a batch asks the file system for more than bytes of an open file."""
    words = ["strace", "-f", "-qq", "-c", "-o", str(COUNTS), "-e", f"trace={CALLS}", python]
    done = subprocess.DEVNULL
    subprocess.run([*words, *command_of(images, parts)], check=True, cwd=ROOT, stdout=done)
    total = COUNTS.read_text("utf-8").strip().splitlines()[-1].split()
    return int(total[3])


if __name__ == "__main__":
    main()
