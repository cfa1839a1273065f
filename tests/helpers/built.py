"""Distributions built from this checkout, for tests marked ``wheel``."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import ZipFile

import pytest

from helpers.paths import ROOT


@dataclass(frozen=True)
class Built:
    """An sdist, and the wheel that was built from it."""

    sdist: Path
    wheel: Path

    @cached_property
    def metadata(self) -> str:
        with ZipFile(self.wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            return archive.read(name).decode("utf-8")


def build(source: Path, folder: Path, *, umask: int = 0o022, date: int | None = None) -> Built:
    """Build both from a source tree; the tests are skipped where that cannot be done."""
    for package in ("build", "hatchling"):
        pytest.importorskip(package, reason=f"building the wheel needs {package}")
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    if date is not None:
        environment["SOURCE_DATE_EPOCH"] = str(date)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, umask=umask
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def build_here(folder: Path) -> Built:
    """Build both from this checkout."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("this is not a checkout")
    return build(ROOT, folder)
