"""Sizing: how many processes share a machine, by its cores and by the memory that a plan tells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from deepseg_lite.api import loader
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.dataset.job import Job
from deepseg_lite.engines.engine import device_of
from deepseg_lite.errors import ImageError
from deepseg_lite.inference.fitting import fit_settings
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.machine import available_threads
from deepseg_lite.performance.plan.case import CasePlan, memory_of, plan_case
from deepseg_lite.performance.plan.costs import Costs

SHARE = 0.8
"""Part of the free memory that processes are planned to take."""
LOOKED_AT = 8
"""Cases of a task whose headers are looked at: those of the largest files."""
SUPERVISOR_BYTES = 80 << 20
"""Memory of the process that watches over several workers."""
_CORES = ("SLURM_CPUS_PER_TASK", "PBS_NCPUS", "NCPUS", "LSB_DJOB_NUMPROC", "NSLOTS")
_MIB = 2**20


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return the CPUs this process may use: affinity, control groups, and what a queue gave it."""
    given = [int(environment[name]) for name in _CORES if environment.get(name, "").isdigit()]
    return max(1, min(available_threads(), *given)) if given else available_threads()


def free_memory(
    environment: Mapping[str, str] = os.environ,
    groups: Groups | None = None,
    system: Path = Path("/proc/meminfo"),
) -> int | None:
    """Return the bytes that processes may still take; None where nobody says."""
    free = [(groups or Groups()).free_memory()]
    with suppress(OSError, ValueError):
        words = system.read_text(encoding="ascii", errors="replace").split()
        free.append(int(words[words.index("MemAvailable:") + 1]) * 2**10)
    given = environment.get("SLURM_MEM_PER_NODE", "")
    per_core = environment.get("SLURM_MEM_PER_CPU", "")
    if given.isdigit() and int(given):  # 0 is all there is
        free.append(int(given) * _MIB)
    elif per_core.isdigit() and int(per_core):
        free.append(int(per_core) * _MIB * cores(environment))
    return min((each for each in free if each is not None), default=None)


def choose_workers(jobs: Sequence[Job]) -> int:
    """Return how many processes are best for some jobs on this machine.

    One for each core, unless there are fewer cases, or no memory for so many, or a GPU does the
    work.

    Raises
    ------
    DeepsegError
        If a model cannot be loaded, or measured where it never was.
    """
    most = min(cores(), len({job.images for job in jobs}))
    if most <= 1:
        return 1
    memory, on_gpu = memory_of_worker(jobs, max(1, cores() // most))
    free = free_memory()
    if on_gpu or free is None:
        return 1
    return max(1, min(most, int(SHARE * free / memory)))


def memory_to_ask_for(jobs: Iterable[Job], workers: int, threads: int) -> int:
    """Return the bytes that a queue is asked for: what is planned is `SHARE` of them.

    A queue kills what takes more, and a plan is not exact.
    """
    memory, _ = memory_of_worker(jobs, threads)
    watching = SUPERVISOR_BYTES if workers > 1 else 0
    return int((workers * memory + watching) / SHARE)


def memory_of_worker(
    jobs: Iterable[Job], threads: int, *, calibrate: bool = True
) -> tuple[int, bool]:
    """Return the bytes that a process with all models of some jobs takes, and if a GPU is used.

    The largest files stand for all. Images that cannot be read count nothing.
    """
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        alike.setdefault(repr((job.task, job.load, job.settings)), []).append(job)
    peaks, kept, on_gpu = [0], [0], False
    for same in alike.values():
        first = same[0]
        options = {"threads": threads, **first.load, "open_networks": False}
        model = loader.load(first.task, **cast("LoadOptions", options))
        settings = fit_settings(make_settings(**cast("Settings", first.settings)), model.bundle)
        costs = Costs(model.engine, model.threads, calibrate)
        plans: list[CasePlan] = []
        for job in sorted(same, key=_bytes, reverse=True)[:LOOKED_AT]:
            with suppress(ImageError):
                plans.append(plan_case(model, [Path(i) for i in job.images], settings, costs))
        on_gpu |= device_of(model.engine) == "cuda"
        if plans:
            peaks.append(memory_of(plans, settings))
            kept.append(sum(part.resident_bytes for part in plans[0].parts))
    return max(1, max(peaks) + sum(kept) - max(kept)), on_gpu


def _bytes(job: Job) -> int:
    size = 0
    for image in job.images:
        with suppress(OSError):
            size += os.path.getsize(image)
    return size
