"""Measure batches of images against the bare API and against one process for each image.

python benchmarks/batch.py --python nnunetv2=PATH --python deepseg_lite=PATH --model FOLDER

Of phantoms of each number of slices, ``deepseg-lite batch`` with one and with two processes, a loop
around ``segment(...)`` in Python, a shell loop of ``deepseg-lite run``, and a loop of
nnUNetPredictor as the Spinal Cord Toolbox calls it, take turns. FOLDER is a trained-model folder of
a 2-D network. Seconds of wall and of processors (user and system, of all processes) go to
results/<machine>/batch/. On a machine that others use, those of processors are to be looked at.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cases.case_file import BUILD
from machine import describe_machine, slug, utc_now
from run import write_result
from stack import BENCHMARKS, Measured, Stack, commit, measure, open_stacks, parse_pythons

TASK = "sc_gm_t2star"
FOLDER = BUILD / "batch"
Way = Callable[[Sequence[Path]], list[Measured]]
BATCH, BARE, LOOP, ORIGINAL = "batch", "bare API", "loop of run", "loop of nnUNetPredictor"
WAYS = (BATCH, "batch --jobs 2", BARE, LOOP, ORIGINAL)
PHANTOMS = """\
import sys
from pathlib import Path
import nibabel
import deepseg_lite
folder, count, slices = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
for seed in range(count):
    made = deepseg_lite.make_phantom(seed, shape=(256, 256, slices))
    nibabel.save(nibabel.Nifti1Image(made.image, made.affine), folder / f"{seed:03}.nii.gz")
"""
BARE_API = """\
import sys
from pathlib import Path
import nibabel
import deepseg_lite
from deepseg_lite.machine import share_one_heap
share_one_heap()
task, out, threads, *images = sys.argv[1:]
Path(out).mkdir(parents=True)
segment = deepseg_lite.load(task, device="cpu", threads=int(threads), spinning=False)
for image in images:
    nibabel.save(segment(image), Path(out, Path(image).name))
"""


def main() -> None:
    """Make images, measure every way in turn, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="STACK=PATH")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--slices", type=int, nargs="+", default=[3, 12])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--alone", type=int, help="images of the loops; default: all")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--machine", help="Name of the folder of results. Default: from the CPU.")
    options = parser.parse_args()
    stacks = open_stacks(parse_pythons(options.python))
    sizes = {}
    for slices in options.slices:
        images = make_images(stacks["deepseg_lite"], options.images, slices)
        alone = images[: options.alone or len(images)]
        counts = {name: alone if name.startswith("loop") else images for name in WAYS}
        ways = ways_of(stacks, options.model, options.threads)
        chosen = {name: way for name, way in ways.items() if name in options.ways}
        sizes[f"{slices}"] = measure_ways(chosen, counts, options.repeats)
    result: dict[str, Any] = {
        "date": utc_now(),
        "commit": commit(),
        "machine": describe_machine(),
        "task": TASK,
        "threads": options.threads,
        "images": options.images,
        "slices": sizes,
    }
    for slices, rows in sizes.items():
        tell(slices, rows, options.images)
    machine = options.machine or slug(result["machine"])
    print(f"written: {write_result(result, BENCHMARKS / 'results' / machine / 'batch')}")


def make_images(stack: Stack, count: int, slices: int) -> list[Path]:
    """Write phantoms."""
    folder = FOLDER / f"images-{slices}"
    shutil.rmtree(folder, ignore_errors=True)
    measure(stack.python, ["-c", PHANTOMS, folder, str(count), str(slices)])
    return sorted(folder.glob("*.nii.gz"))


def ways_of(stacks: dict[str, Stack], model: Path | None, threads: int) -> dict[str, Way]:
    """Return what segments some images, by its name."""
    lite, out = stacks["deepseg_lite"].python, FOLDER / "out"
    device = ["--device", "cpu", "--quiet"]

    def batch(images: Sequence[Path], jobs: int) -> list[Measured]:
        (FOLDER / "list.txt").write_text("".join(f"{image}\n" for image in images))
        words = ["batch", FOLDER / "list.txt", out, "--task", TASK, *device]
        each = max(1, threads // jobs)
        words += ["--jobs", str(jobs), "--threads", str(each)]
        return [measure(lite, ["-m", "deepseg_lite", *words])]

    def run(image: Path) -> Measured:
        words = ["run", TASK, "-i", image, "-o", out, *device, "--threads", str(threads)]
        return measure(lite, ["-m", "deepseg_lite", *words])

    ways: dict[str, Way] = {
        BATCH: lambda images: batch(images, 1),
        "batch --jobs 2": lambda images: batch(images, 2),
        BARE: lambda images: [measure(lite, ["-c", BARE_API, TASK, out, str(threads), *images], 1)],
        LOOP: lambda images: [run(image) for image in images],
    }
    if "nnunetv2" in stacks and model is not None:
        original = stacks["nnunetv2"]
        more = ["--model", model, "--folds", "all", "--threads", str(threads)]
        ways[ORIGINAL] = lambda images: [
            measure(original.python, [original.script, out / i.name, i, *more], threads)
            for i in images
        ]
    return ways


def measure_ways(
    ways: dict[str, Way], counts: dict[str, Sequence[Path]], repeats: int
) -> dict[str, dict[str, Any]]:
    """Return raw seconds of every way, which take turns.

    Ways that keep a model are also measured on one image; ``first`` has wall and processors.
    """
    rows: dict[str, dict[str, Any]] = {
        name: {"images": len(counts[name]), "wall": [], "cpu": [], "load": [], "first": []}
        for name in ways
    }
    for repeat in range(1, repeats + 1):
        for name, way in ways.items():
            row = rows[name]
            starts = [] if name.startswith("loop") else [counts[name][:1]]
            for images in (*starts, counts[name]):
                shutil.rmtree(FOLDER / "out", ignore_errors=True)
                done = way(images)
                wall, cpu = (round(sum(getattr(d, k) for d in done), 3) for k in ("wall", "cpu"))
                if images is counts[name]:
                    row["wall"].append(wall)
                    row["cpu"].append(cpu)
                    row["load"].append(round(os.getloadavg()[0], 1))
                else:
                    row["first"].append([wall, cpu])
            print(f"{repeat}/{repeats} {name}: {row['wall'][-1]} s, {row['cpu'][-1]} s of CPU")
    return rows


def tell(slices: str, rows: dict[str, dict[str, Any]], images: int) -> None:
    """Print seconds a case, what of others a batch takes, and what it adds to the bare API."""
    print(f"{slices} slices, {images} images")
    for name, row in rows.items():
        line = [f"{name}:"]
        for kind in ("wall", "cpu"):
            mine = [seconds / rows[BATCH]["images"] for seconds in rows[BATCH][kind]]
            theirs = [seconds / row["images"] for seconds in row[kind]]
            ratio = median(a / b for a, b in zip(mine, theirs, strict=True))
            line.append(f"{median(theirs):.3f} s of {kind} a case, batch {ratio:.3f} of it;")
        print(" ".join(line))
    if BARE in rows:
        print(f"batch adds {overhead_ms(rows):.1f} ms of CPU a case to the bare API")


def overhead_ms(rows: dict[str, dict[str, Any]]) -> float:
    """Return what a later case of a batch takes of processors beyond one of the bare API."""

    def later(row: dict[str, Any]) -> float:
        firsts = [cpu for _, cpu in row["first"]]
        return min(row["cpu"]) - min(firsts)

    return 1e3 * (later(rows[BATCH]) - later(rows[BARE])) / max(1, rows[BATCH]["images"] - 1)


if __name__ == "__main__":
    main()
