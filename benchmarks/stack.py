"""Stacks: implementations that are measured, each with an interpreter of its own.

A stack is a directory of ``stacks/`` with ``run.py IMAGE OUT ...``, which prints a JSON object as
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
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Stack:
    """One implementation: its interpreter, and what ``stack.toml`` says of it."""

    name: str
    python: str
    title: str
    imports: str
    entry_point: str
    sources: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """Return where its files are."""
        return BENCHMARKS / "stacks" / self.name

    def installed(self) -> dict[str, Any]:
        """Return what its interpreter has: megabytes, versions, Python."""
        sources = [ROOT / source for source in self.sources]
        script = BENCHMARKS / "installed.py"
        return measure(self.python, [script, self.directory / "requirements.txt", *sources]).json()


@dataclass(frozen=True)
class Measured:
    """One finished process: when it started (epoch), its wall time and peak memory."""

    started_at: float
    wall: float
    peak_mb: float
    output: str

    def json(self) -> dict[str, Any]:
        """Return the last line of its output, which is JSON."""
        return json.loads(self.output.strip().splitlines()[-1])


def open_stacks(pythons: Mapping[str, str]) -> dict[str, Stack]:
    """Return all stacks by name; those without an interpreter take this one."""
    return {
        file.parent.name: Stack(
            name=file.parent.name,
            python=pythons.get(file.parent.name, sys.executable),
            **tomllib.loads(file.read_text(encoding="utf-8")),
        )
        for file in sorted((BENCHMARKS / "stacks").glob("*/stack.toml"))
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
    return Measured(started_at, wall, usage.ru_maxrss * unit / 1e6, output)


def parse_pythons(values: Sequence[str]) -> dict[str, str]:
    """Return the interpreters of ``NAME=PATH`` options."""
    pairs = [value.partition("=") for value in values]
    if wrong := [name for name, equals, path in pairs if not (name and equals and path)]:
        raise SystemExit(f"--python takes STACK=PATH, not {', '.join(wrong)}")
    return {name: path for name, _, path in pairs}
