"""A data set of small phantoms, segmented by two workers of which some are killed at random.

    python tests/campaigns/datasets.py --cases 2000 --kills 20 --seed 1

Every case must have one record, whole files and the right voxels at the end, whatever was killed,
and the memory of processes must not grow once they are warm. Cases whose process was killed twice
have failed, as they should; a second command tries them again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from helpers.bundles import make_affine, make_data, voxels, write_bundle, write_image

SHAPES = ((20, 18, 12), (26, 20, 10), (16, 24, 14))
LOOK_S = 0.2
WARM_S = 3.0
"""Seconds of a processor until a process is warm; its start takes less, however long it waits."""
LONG_S = 1.5
"""Seconds of a processor that a warm process must have taken for its growth to count."""
MOST_GROWTH = 0.1
"""Growth that is a problem."""
Weights = list[tuple[float, float]]
"""Of one process at several times: seconds of a processor that it has had, and megabytes."""


@dataclass
class Watched:
    """A batch that runs: what it said, whom it started, what they weighed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    weights: dict[int, Weights] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def workers(self) -> list[int]:
        """The processes it has started that are there."""
        text = ""
        with suppress(OSError):
            pid = self.process.pid
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split()]

    def weigh(self) -> None:
        """Note the megabytes of all processes."""
        for pid in (self.process.pid, *self.workers):
            with suppress(OSError):
                found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                if found:
                    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                    seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
                    self.weights.setdefault(pid, []).append((seconds, int(found[1]) / 1024))


def make_data_set(folder: Path, count: int) -> None:
    """Write a BIDS data set of small images, no two of the same voxels."""
    folder.mkdir()
    description = {"Name": "phantoms", "BIDSVersion": "1.10.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    for index in range(count):
        anat = folder / f"sub-{index:05}" / "anat"
        anat.mkdir(parents=True)
        data = make_data(SHAPES[index % 3], seed=index)
        write_image(anat / f"sub-{index:05}_T2w.nii.gz", data, make_affine("LPS"))


def start(words: list[object], home: Path) -> Watched:
    """Start a batch."""
    environment = {**os.environ, "DEEPSEG_LITE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "deepseg_lite", "batch", *map(str, words)]
    return Watched(
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
    )


def records(out: Path) -> list[Path]:
    """Return the records of cases."""
    return sorted(out.glob("sub-*/anat/*.json"))


def run_with_kills(
    words: list[object], folder: Path, count: int, kills: int, rng: random.Random
) -> tuple[Watched, int, float]:
    """Run a batch, and kill one of its workers now and then; return it, kills and seconds."""
    began, done = time.monotonic(), 0
    batch = start(words, folder / "home")
    moments = sorted(rng.uniform(0.02, 0.7) * count for _ in range(kills))
    while batch.process.poll() is None:
        time.sleep(LOOK_S * rng.random())
        batch.weigh()
        workers = batch.workers
        if done < kills and len(batch.lines) >= moments[done] and workers:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                done += 1
    batch.process.wait()
    return batch, done, time.monotonic() - began


def check(folder: Path, out: Path, count: int, told: list[str]) -> dict[str, int]:
    """Return what is wrong, in numbers; all should be 0.

    ``told`` are the lines of the commands, one of each case that was done; not of those that were
    complete when their process was killed.
    """
    found = [json.loads(path.read_bytes()) for path in records(out)]
    cases = [record["Case"] for record in found]
    wrong = 0
    for record in records(out):
        name = record.name.split("_")[0]
        image = voxels(folder / name / "anat" / f"{name}_T2w.nii.gz")
        labels = voxels(record.with_suffix("").with_suffix(".nii.gz"))
        wrong += not np.array_equal(labels > 0, image > 0.5)
    hidden = [path for path in out.rglob(".*") if path.name != ".bidsignore"]
    done = Counter(line.split(":")[0] for line in told if ": done in " in line)
    rows = (out / "cases.tsv").read_text().splitlines()[1:]
    return {
        "lost": count - len(set(cases)),
        "double": len(cases) - len(set(cases)),
        "done twice": sum(number - 1 for number in done.values()),
        "rows of the table that lack or are too many": abs(count - len(rows)),
        "wrong voxels": wrong,
        "working files left": len(hidden),
    }


def growth(weights: Weights) -> float | None:
    """Return by how much a warm process grew, as a fraction; None where it did not live long.

    That is the median of the last third of its warm time, over that of the first third.
    """
    last = weights[-1][0]
    if last < WARM_S + LONG_S:
        return None
    third = (last - WARM_S) / 3
    early = [megabytes for had, megabytes in weights if WARM_S <= had <= WARM_S + third]
    late = [megabytes for had, megabytes in weights if had >= last - third]
    return median(late) / median(early) - 1 if early else None


def tell_memory(batch: Watched) -> int:
    """Print what the processes of a batch weighed, and return the problems."""
    own = batch.weights.pop(batch.process.pid)
    found = {"the command": [own], f"{len(batch.weights)} workers": [*batch.weights.values()]}
    problems = 0
    for name, processes in found.items():
        most = max(megabytes for weights in processes for _, megabytes in weights)
        grown = [grew for weights in processes if (grew := growth(weights)) is not None]
        told = f"{min(grown):+.1%} to {max(grown):+.1%}" if grown else "none lived long enough"
        print(f"memory of {name}: {most:.0f} MB at most; growth of {len(grown)} when warm: {told}")
        problems += sum(grew > MOST_GROWTH for grew in grown)
    return problems


def main() -> int:
    """Run the campaign; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, out, bundle = folder / "data", folder / "out", write_bundle(folder / "tiny")
        make_data_set(data, options.cases)
        words = [data, out, "--task", bundle, "--device", "cpu", "--jobs", options.jobs]
        batch, kills, seconds = run_with_kills(words, folder, options.cases, options.kills, rng)
        code = batch.process.returncode
        print(f"{options.cases} cases, {kills} kills: exit code {code}, {seconds:.0f} s")
        failed = options.cases - len(records(out))
        print(f"failed after a second death: {failed}")
        told = batch.lines
        if failed:
            again = start([*words, "--retry-failed"], folder / "home")
            print(f"tried again: exit code {again.process.wait()}")
            told += again.lines
        found = check(data, out, options.cases, told)
        for what, number in found.items():
            print(f"{what}: {number}")
        grown = tell_memory(batch)
        problems = sum(found.values()) + grown + (kills == 0) + (code not in (0, 1))
        print(f"all: {problems} problems")
        return int(problems > 0)


if __name__ == "__main__":
    raise SystemExit(main())
