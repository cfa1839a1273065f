"""Stacks: implementations that are measured, each with an interpreter of its own.

A stack is a directory of ``stacks/`` with ``run.py OUT IMAGE...``, which prints a JSON object as
its last line, ``stack.toml`` and ``requirements.txt``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
MEASURED_PARTS = ("deepseg_lite", "export", "models", "pyproject.toml", "benchmarks/stacks")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Stack:
    """One implementation: its interpreter, and what ``stack.toml`` says of it.

    ``imports`` and ``entry_point`` are what it imports and its command line's function, where they
    are measured. ``run`` is its script, and ``sources`` hold what an editable install would copy.
    """

    name: str
    python: str
    title: str
    imports: str | None = None
    entry_point: str | None = None
    sources: tuple[str, ...] = ()
    run: str = "run.py"

    @property
    def directory(self) -> Path:
        """Return where its files are."""
        return BENCHMARKS / "stacks" / self.name

    @property
    def script(self) -> Path:
        """Return what segments."""
        return self.directory / self.run

    def installed(self) -> dict[str, Any]:
        """Return what its interpreter has: megabytes, versions, Python."""
        sources = [ROOT / source for source in self.sources]
        script = BENCHMARKS / "installed.py"
        return measure(self.python, [script, self.directory / "requirements.txt", *sources]).json()


@dataclass(frozen=True)
class Measured:
    """One finished process: when it started (epoch), its wall time and peak memory.

    ``cpu`` are the seconds of processors, user and system, with those of the processes it started.
    """

    started_at: float
    wall: float
    cpu: float
    peak_mb: float
    output: str

    def json(self) -> dict[str, Any]:
        """Return the last line of its output, which is JSON."""
        return json.loads(self.output.strip().splitlines()[-1])


def open_stacks(pythons: Mapping[str, str]) -> dict[str, Stack]:
    """Return the stacks that have an interpreter, by name."""
    files = {file.parent.name: file for file in sorted(BENCHMARKS.glob("stacks/*/stack.toml"))}
    if unknown := set(pythons) - {*files, "export"}:
        raise SystemExit(f"no such stack: {', '.join(sorted(unknown))}; there are {list(files)}")
    return {
        name: Stack(
            name=name,
            python=pythons[name],
            **tomllib.loads(file.read_text(encoding="utf-8")),
        )
        for name, file in files.items()
        if name in pythons
    }


def measure(python: str, arguments: Sequence[str | Path], threads: int | None = None) -> Measured:
    """Run one Python process to its end and measure it.

    A process inherits the peak memory of the one that starts it, so this package imports nothing
    heavy itself.
    """
    limits = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started_at, started = time.time(), time.perf_counter()
    process = subprocess.Popen(
        [python, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment, **limits},
    )
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        command = " ".join(map(str, arguments))
        raise SystemExit(f"exit code {process.returncode}: {command}\n{output}".rstrip())
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, kB elsewhere
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(started_at, wall, cpu, usage.ru_maxrss * unit / 1e6, output)


def parse_pythons(values: Sequence[str]) -> dict[str, str]:
    """Return the interpreters of ``NAME=PATH`` options."""
    pairs = [value.partition("=") for value in values]
    if wrong := [name for name, equals, path in pairs if not (name and equals and path)]:
        raise SystemExit(f"--python takes STACK=PATH, not {', '.join(wrong)}")
    return {name: path for name, _, path in pairs}


def commit() -> str:
    """Return the short commit, marked when what is measured differs from it."""

    def git(*arguments: str | Path) -> str:
        command = ["git", "-C", str(ROOT), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", *MEASURED_PARTS)
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")
