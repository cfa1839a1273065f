"""Benchmark runs: each configuration in a new process, and the files of results."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from deepseg_lite.api.phantom_files import write_phantom
from deepseg_lite.atomic import write_files
from deepseg_lite.engines.engine import choose_engine
from deepseg_lite.errors import DeepsegError, OptionError, OutputError
from deepseg_lite.leftovers import working_folder
from deepseg_lite.machine import describe_machine, gpu_memory
from deepseg_lite.performance.bench.figures import figures
from deepseg_lite.performance.bench.plot import draw_stages
from deepseg_lite.performance.bench.tables import wiki_table
from deepseg_lite.performance.processes import run_module
from deepseg_lite.store.tasks import find_bundle, installed_path, list_tasks
from deepseg_lite.watch import Progress

PHANTOM = "phantom"
FILES = ("bench.json", "stages.svg", "row.md")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configuration:
    """Model, device, precision and threads of one benchmark; see `deepseg_lite.load`."""

    model: str
    device: str
    precision: str
    threads: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.model} on {self.device}, {self.precision}, {threads}"


def models_here() -> list[str]:
    """Return the names of the tasks whose models are on this machine."""
    return [task.name for task in list_tasks() if installed_path(task) and not task.is_retired]


def combine(
    devices: Sequence[str], precisions: Sequence[str], threads: Sequence[int]
) -> list[tuple[str, str, int]]:
    """Return every combination, without the precisions that a device does not offer.

    Raises
    ------
    OptionError
        If none of the devices offers a precision, or a name is unknown.
    ProviderError
        If a device is not usable.
    """
    offered: list[tuple[str, str]] = []
    refused: dict[tuple[str, str], OptionError] = {}
    for device, precision in product(devices, precisions):
        try:
            choose_engine(device, precision)
        except OptionError as error:
            refused[device, precision] = error
        else:
            offered.append((device, precision))
    for (device, precision), problem in refused.items():
        if precision not in {known for _, known in offered}:
            raise problem
        _logger.warning("%s has no %s, which is left out for it.", device, precision)
    return [(device, precision, n) for device, precision in offered for n in threads]


def measure(
    configuration: Configuration,
    images: Sequence[Path] = (),
    repeat: int = 3,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure one configuration, in a process of its own.

    Parameters
    ----------
    configuration : Configuration
        What to measure.
    images : sequence of paths
        One case, an image per channel. Without any, every channel is the phantom.
    repeat : int
        Warm passes after the cold one.
    progress : callable, optional
        ``progress(done, total)``, in passes.

    Returns
    -------
    result : dict
        The configuration and its `deepseg_lite.performance.bench.figures.figures`. ``device`` is
        what ran.

    Raises
    ------
    DeepsegError
        Whatever is wrong; nothing is left behind.
    """
    bundle, _ = find_bundle(configuration.model)
    gpu_memory_before = gpu_memory()
    with working_folder(Path(tempfile.gettempdir())) as folder:
        request = {
            **asdict(configuration),
            "images": [str(image) for image in images]
            or [_phantom(folder)] * len(bundle.inputs.channel_names),
            "folder": str(folder / "results"),
            "repeat": repeat,
            "started_at": time.time(),  # after the phantom was made
        }
        report = run_module(
            "deepseg_lite.performance.bench.worker",
            json.dumps(request),
            blas_threads=1,
            on_line=lambda line: progress and progress(line["pass"], repeat + 1),
        )
    if "error" in report:
        raise DeepsegError(f"{configuration}: {report['error']}")
    if gpu_memory_before is not None and report["gpu_memory"] is not None:
        report["gpu_memory"] -= gpu_memory_before
    found = figures(report, gemm_speed(configuration.threads))
    return {**asdict(configuration), **found}


@cache
def gemm_speed(threads: int) -> float:
    """Return floating-point operations a second of numpy's float32 matrix products."""
    report = run_module("deepseg_lite.performance.bench.gemm", blas_threads=threads)
    return float(report["flop_per_s"])


def describe_benchmark(
    results: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    images: Sequence[Path],
    repeat: int,
) -> dict[str, Any]:
    """Return everything that was found, with the machine and the versions, for programs."""
    return {
        "version": version("deepseg-lite"),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": asdict(describe_machine()),
        "images": [image.name for image in images] or [PHANTOM],
        "repeat": repeat,
        "gemm_gflop_per_s": {
            str(threads): round(gemm_speed(threads) / 1e9, 1)
            for threads in sorted({result["threads"] for result in results})
        },
        "results": list(results),
        "errors": list(errors),
    }


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Make a folder for results; refuse one that has some, or cannot be made.

    Raises
    ------
    OptionError
        If there are results and they may not be replaced.
    OutputError
        If it cannot be made.
    """
    for name in FILES:
        if os.path.lexists(folder / name) and not overwrite:
            raise OptionError(
                f"{folder / name} exists; add `overwrite` or give another output folder."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); give an output folder you may write to."
        ) from error


def write_results(folder: Path, document: Mapping[str, Any]) -> None:
    """Write a benchmark with at least one result: for programs, as a plot, for SCT's wiki.

    Raises
    ------
    OutputError
        If a file cannot be written; none is left then.
    """
    texts = (json.dumps(document, indent=2) + "\n", draw_stages(document), wiki_table(document))
    contents = {
        folder / n: text.encode(errors="backslashreplace")
        for n, text in zip(FILES, texts, strict=True)
    }
    write_files(contents, overwrite=True)


def _phantom(folder: Path) -> str:
    """Write the phantom and return its file."""
    (path,) = write_phantom(folder / f"{PHANTOM}.nii.gz", seed=0)
    return str(path)
