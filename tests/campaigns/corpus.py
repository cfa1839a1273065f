"""Every bad input of `bad_inputs` given to ``deepseg-lite run``, and what is wrong with the answer.

Right is: exit code 1 or 2, one line below 300 characters without control characters, no traceback,
less than ten seconds, memory in proportion to the file, and nothing written. An input that can be
used after all gives exit code 0 and whole files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns.bad_inputs import Bad, all_inputs, write_good
from campaigns.commands import Command, Ended, prepared

SECONDS = 10
MEMORY = 96 << 20
"""Bytes a process may take more than it had, beside ten times what its files hold."""


def answer(bad: Bad, folder: Path, main: Callable[[], None]) -> list[str]:
    """Give an input to a command in a fork, and return what is wrong with what it does."""
    write_good(folder)
    image, bundle = bad.make(folder)
    before = _listing(folder)
    size = sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    out = folder / "out"
    peak = folder.with_suffix(".peak")
    words = ["run", bundle, "-i", image, "-o", out, "--device", "cpu", "--threads", "1"]
    started = time.monotonic()
    ended = Command(words, folder.with_suffix(".log"), _measured(main, peak)).wait()
    seconds = time.monotonic() - started
    problems = _problems(bad, ended, str(folder))
    if seconds > SECONDS:
        problems.append(f"took {seconds:.1f} s")
    grown = int(peak.read_text()) if peak.exists() else 0
    if grown > MEMORY + 10 * size:
        problems.append(f"took {grown >> 20} MB for {size} bytes")
    after = _listing(folder)
    if ended.code == 0:
        after = [path for path in after if not path.startswith("out")]
    if after != before:
        problems.append(f"left {sorted(set(after) ^ set(before))[:3]}")
    return problems


def _problems(bad: Bad, ended: Ended, folder: str) -> list[str]:
    text = ended.err.replace(folder, "")
    if ended.code == 0:
        return ["was taken"] if bad.must_fail else []
    if ended.code not in (1, 2):
        return [f"ended with {ended.code}: {text[-200:]!r}"]
    problems = []
    lines = text.splitlines()
    if len(lines) != 1 or not text.endswith("\n"):
        problems.append(f"gave {len(lines)} lines: {text[-300:]!r}")
    elif not lines[0].isprintable():
        problems.append(f"control characters: {text!r}")
    elif len(lines[0]) >= 300:
        problems.append(f"{len(lines[0])} characters: {text!r}")
    if "Traceback" in text or "fault of" in text:
        problems.append(f"a traceback: {text[-200:]!r}")
    return problems


def _listing(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in folders + files]
    return sorted(found)


def _measured(main: Callable[[], None], peak: Path) -> Callable[[], None]:
    """Wrap a command: afterwards the bytes by which its process grew stand in a file."""

    def run() -> None:
        start = _reset_peak()
        try:
            main()
        finally:
            if start is not None:
                peak.write_text(str(_status("VmHWM") - start))

    return run


def _reset_peak() -> int | None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:  # no Linux
        return None


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def run(seed: int, share: int, kinds: list[str]) -> tuple[Counter[str], list[str]]:
    """Run every ``share``-th input; return how many of each kind, and all problems."""
    counts: Counter[str] = Counter()
    problems = []
    with tempfile.TemporaryDirectory() as name, prepared(Path(name)):
        from deepseg_lite.cli.group import main

        for number, (kind, bad) in enumerate(all_inputs(seed)):
            if number % share or (kinds and kind not in kinds):
                continue
            folder = Path(name) / "case"
            folder.mkdir()
            found = answer(bad, folder, main)
            counts[kind] += 1
            problems += [f"{kind}: {bad.name}: {problem}" for problem in found]
            shutil.rmtree(folder)
            for path in Path(name).glob("case.*"):
                path.unlink()
    return counts, problems


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=int, default=1, help="only every so manieth input")
    parser.add_argument("kinds", nargs="*", help="only these kinds")
    given = parser.parse_args()
    started = time.monotonic()
    counts, problems = run(given.seed, given.share, given.kinds)
    for problem in problems:
        print(problem)
    for kind, count in counts.items():
        print(f"{kind}: {count}")
    seconds = time.monotonic() - started
    print(f"all: {counts.total()} inputs, {len(problems)} problems, {seconds:.0f} s")
    sys.exit(bool(problems))


if __name__ == "__main__":
    _main()
