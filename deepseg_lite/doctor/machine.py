"""Machine: processor, threads and memory, as far as this process may use them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.doctor.finding import Finding, note, ok, problem, size
from deepseg_lite.machine import available_threads, cgroup_cpus, describe_machine

_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
_SETS = ("avx", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
         "asimd", "asimddp", "sve")  # fmt: skip
NEEDED_BYTES = 512 * 2**20
"""What the smallest run takes: `docs/users/memory.md`."""
WANTED_BYTES = 2 * 2**30
"""What a 3-D model takes on a usual image."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def check_hardware(cpuinfo: Path = _CPUINFO) -> Iterator[Finding]:
    """Say what the hardware and the system are."""
    found = describe_machine()
    yield ok("system", found.system)
    sets = ", ".join(_instruction_sets(cpuinfo))
    yield ok("processor", f"{found.cpu}{f' ({sets})' if sets else ''}")
    yield ok("GPUs", ", ".join(found.gpus) or "none of NVIDIA's")


def _instruction_sets(cpuinfo: Path) -> list[str]:
    """Return the instruction sets that matter for networks, as Linux tells of them."""
    with suppress(OSError):
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return [name for name in _SETS if name in value.split()]
    return []


def check_threads(
    environment: Mapping[str, str] = os.environ, cgroups: Path = _CGROUPS
) -> Iterator[Finding]:
    """Say how many CPUs a run uses, and what keeps it from more."""
    there, usable = os.cpu_count() or 1, available_threads()
    quota = min(cgroup_cpus(cgroups), default=there)
    limits = [f"{usable} of {there} CPUs"]
    if quota < there:
        limits.append(f"the control group allows {quota}")
    if hasattr(os, "sched_getaffinity") and (mine := len(os.sched_getaffinity(0))) < there:
        limits.append(f"the affinity mask has {mine}")
    yield ok("threads", "; ".join(limits))
    for name in _THREADS:
        value = environment.get(name, "")
        if value.isdigit() and int(value) > usable:
            yield note(
                "threads",
                f"{name}={value} is more than the {usable} CPUs that this process may use",
                f"Unset {name}; runs choose for themselves.",
            )


def check_memory(
    groups: Groups | None = None, meminfo: Path = _MEMINFO, own_limit: int | None = None
) -> Iterator[Finding]:
    """Check how much memory a run may take: the machine's, the control group's, the session's.

    Parameters
    ----------
    groups : Groups, optional
        Control groups; default this process' own.
    meminfo : Path
        Linux' account of the machine's memory.
    own_limit : int, optional
        Bytes of addresses that the session allows; default what the system says.
    """
    free = _of_machine(meminfo)
    total = describe_machine().memory
    if total or free:
        known = f", {size(free)} free" if free is not None else ""
        yield _judged("memory", free, f"{size(total)}{known}", "Close other programs.")
    allowed = (groups or Groups()).free_memory()
    if allowed is not None:
        yield _judged(
            "control group",
            allowed,
            f"allows {size(allowed)} more",
            "Ask the container or the queue for more memory (docker -m, sbatch --mem).",
        )
    limit = _address_limit() if own_limit is None else own_limit
    if limit is not None:
        yield _judged(
            "address space",
            limit,
            f"this session is limited to {size(limit)}",
            "Run ulimit -v unlimited, or ask for a session without that limit.",
        )


def _judged(name: str, free: int | None, text: str, cure: str) -> Finding:
    if free is not None and free < NEEDED_BYTES:
        return problem(name, f"{text}; the smallest run needs {size(NEEDED_BYTES)}", cure)
    if free is not None and free < WANTED_BYTES:
        return note(name, f"{text}; runs of 3-D models may need {size(WANTED_BYTES)}", cure)
    return ok(name, text)


def _of_machine(meminfo: Path) -> int | None:
    """Return the bytes that are free, as Linux tells; None elsewhere."""
    with suppress(OSError, ValueError, IndexError):
        words = meminfo.read_text(encoding="ascii", errors="replace").split()
        return int(words[words.index("MemAvailable:") + 1]) * 2**10
    return None


def _address_limit() -> int | None:
    """Return the bytes of addresses that this session allows; None without a limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit
