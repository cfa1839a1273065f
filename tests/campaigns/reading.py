"""Checkpoints changed at random are read, each in a process of its own with little memory.

Right is: content or one `CheckpointError` of one line; nothing is imported, called, opened for
writing or made; ten seconds of a processor at most, for four readers; and no more memory than
`MEMORY`. Torch is not needed.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from campaigns.mutations import bases, fixed, mutated

SECONDS = 10
MEMORY = 512 << 20
"""Bytes by which a process may grow; it gets no more than twice of them."""
_HARMLESS = {"mmap.__new__", "object.__getattr__", "gc.get_referrers"}


class Ended(NamedTuple):
    """What became of one file."""

    outcome: str
    problem: str
    seconds: float
    grown: int


def read(path: Path) -> str:
    """Read a file as every family does, use what it gives, and return what became of it."""
    from deepseg_export.errors import CheckpointError
    from deepseg_export.families.ivadomed.pickled import read_pickle
    from deepseg_export.families.monai.weights import read_weights
    from deepseg_export.families.nnunet.trained import read_trained
    from deepseg_export.reading.checkpoint import read_saved

    taken = 0
    for reader in (
        lambda: _used(read_saved(path)),
        lambda: _used(read_weights(path)),
        lambda: _used(dict(read_trained(path, "a__b__2d").weights)),
        lambda: _used(dict(read_pickle(path).weights)),
    ):
        try:
            reader()
            taken += 1
        except CheckpointError as error:
            if not 0 < len(str(error)) < 1000 or "\n" in str(error):
                raise ValueError(f"an error of another form: {str(error)!r:.200}") from error
    return "read" if taken else "refused"


def _used(value: Any) -> None:
    """Touch every number of every array that can be reached without following records."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, np.ndarray):
            repr(item.dtype), item.copy()
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, (list, tuple, set)):
            left += item
        else:
            repr(item)


def attempt(data: bytes, folder: Path) -> Ended:
    """Read a file in a fork that has few rights, and return what became of it."""
    path = folder / "checkpoint.pth"
    path.write_bytes(data)
    answer, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(answer)
        try:
            text = _restricted(path)
        except BaseException:  # whatever it is, it is told
            text = "problem: " + traceback.format_exc()[-1500:]
        os.write(told, text.encode("utf-8", "backslashreplace"))
        os._exit(0)
    os.close(told)
    with os.fdopen(answer, "rb") as file:
        text = file.read().decode()
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    outcome, _, rest = text.partition(": ")
    if status:
        number = os.WTERMSIG(status)
        killed = "a hang" if number == signal.SIGALRM else signal.Signals(number).name
        return Ended("killed", killed, seconds, 0)
    left = sorted(item.name for item in folder.iterdir() if item != path)
    if left:
        return Ended("problem", f"it left {left}", seconds, 0)
    if outcome == "problem":
        return Ended(outcome, rest, seconds, 0)
    grown = int(rest)
    problem = f"took {seconds:.1f} s" if seconds > SECONDS else ""
    problem = f"took {grown >> 20} MB" if grown > MEMORY else problem
    return Ended(outcome, problem, seconds, grown)


def _restricted(path: Path) -> str:
    """Read a file with an alarm, with limits, and without anything but reading being allowed."""
    os.chdir(path.parent)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(6 * SECONDS)  # others may work on this machine, too
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    seen: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching or event in _HARMLESS:
            return
        if event == "open" and arguments[0] == str(path) and arguments[1] in ("r", "rb"):
            return
        seen.append(f"{event} {arguments!r:.100}")

    sys.addaudithook(watch)
    outcome = read(path)
    watching = False
    grown = _status("VmHWM") - before
    return f"problem: it did {seen[:5]}" if seen else f"{outcome}: {grown}"


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def cases(seed: int, count: int, genuine: Path | None) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield bad files: a third, at most, of those that are the same each time, and changed ones."""
    good = bases(genuine)
    same = list(fixed())
    same = random.Random(seed).sample(same, min(len(same), count // 3))
    for name, data in same:
        yield name, lambda data=data: data
    for number in range(count - len(same)):
        name, data = mutated(random.Random(f"{seed}-{number}"), good)
        yield f"{number} {name}", lambda data=data: data


def run(seed: int, count: int, genuine: Path | None) -> tuple[Counter[str], list[str], list[Ended]]:
    """Read so many bad files; return how many ended how, problems, and all that ended."""
    counts: Counter[str] = Counter()
    problems, all_ended = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for _, data in bases(genuine):  # what is imported at first use is imported here
            (folder / "checkpoint.pth").write_bytes(data)
            assert read(folder / "checkpoint.pth") == "read"
        for title, make in cases(seed, count, genuine):
            ended = attempt(make(), folder)
            counts[ended.outcome] += 1
            all_ended.append(ended)
            if ended.problem:
                problems.append(f"{title}: {ended.problem}")
            for item in folder.iterdir():
                item.rmdir() if item.is_dir() else item.unlink()
    return counts, problems, all_ended


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--genuine", type=Path, help="folder with genuine checkpoints")
    given = parser.parse_args()
    started = time.monotonic()
    counts, problems, ended = run(given.seed, given.count, given.genuine)
    for problem in problems:
        print(problem)
    for outcome, number in counts.items():
        print(f"{outcome}: {number}")
    longest = max(ended, key=lambda one: one.seconds)
    print(f"longest: {longest.seconds:.1f} s of a processor")
    print(f"most memory: {max(one.grown for one in ended) / 2**20:.0f} MB more than before")
    seconds = time.monotonic() - started
    print(f"all: {len(ended)} checkpoints, {len(problems)} problems, {seconds:.0f} s")
    sys.exit(bool(problems))


if __name__ == "__main__":
    _main()
