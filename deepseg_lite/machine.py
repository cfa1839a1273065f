"""Description of the machine: processor, memory, GPUs and system, never its name.

The CPUs and the memory of this process are counted here, too.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MIB = 2**20
_PATIENCE_S = 20


@dataclass(frozen=True)
class Machine:
    """Hardware and system that something runs on.

    Attributes
    ----------
    cpu : str
        Name of the processor.
    cores : int
        CPUs that this process may use.
    memory : int
        Bytes of main memory; 0 where the system does not say.
    system : str
        Operating system, and the kind of processor it runs on.
    gpus : tuple of str
        Names of NVIDIA GPUs, each with its memory.
    """

    cpu: str
    cores: int
    memory: int
    system: str
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        cpu, *gpus = specifications(self)
        return ", ".join((cpu, *gpus, self.system))


def describe_machine() -> Machine:
    """Return this machine."""
    return Machine(processor_name(), available_threads(), _memory(), _system(), _gpus())


@cache
def machine() -> str:
    """Return the processor and the NVIDIA GPUs of this machine in a line, asked once."""
    return ", ".join((processor_name(), *_gpus()))


def specifications(machine: Machine) -> tuple[str, ...]:
    """Return the processor and then each GPU as SCT's maintainers write them."""
    memory = f", {machine.memory / 2**30:.0f}GB RAM" if machine.memory else ""
    return (f"{machine.cpu} ({machine.cores} core{memory})", *machine.gpus)


def gpu_memory() -> int | None:
    """Return how many bytes of the NVIDIA GPUs' memory are used by anyone; None without a GPU."""
    used = _ask_nvidia("memory.used")
    return sum(int(value) * MIB for value in used) if used else None


def _gpus() -> tuple[str, ...]:
    rows = (row.rsplit(", ", 1) for row in _ask_nvidia("name,memory.total"))
    return tuple(f"{name} ({int(total) / 2**10:.0f}GB)" for name, total in rows)


def _ask_nvidia(question: str) -> list[str]:
    """Return NVIDIA's own answer for each GPU; nothing where it cannot be asked."""
    rows = _output("nvidia-smi", f"--query-gpu={question}", "--format=csv,noheader,nounits")
    return [row for row in rows if row.rsplit(", ", 1)[-1].isdigit()]  # "[N/A]" is an answer, too


def _output(program: str, *arguments: str) -> list[str]:
    """Return the lines a program prints; nothing where it is not installed, fails or hangs."""
    found = shutil.which(program)
    if found is None:
        return []
    try:
        done = subprocess.run(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _system() -> str:
    name = f"{platform.system()} {platform.release()}"
    with suppress(OSError, ValueError, KeyError):  # only Linux has it
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{name}, {platform.machine()}"


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory() -> int:
    """Return the most bytes this process had in memory.

    On Linux that is since the last `restart_peak`, and never what a parent had: ``ru_maxrss`` of a
    process begins with the peak of the one that started it.
    """
    if (peak := _status("VmHWM")) is not None:
        return peak
    if sys.platform == "win32":
        return _windows_memory()[0]
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return how many bytes this process has in memory; elsewhere than on Linux and Windows had."""
    if (resident := _status("VmRSS")) is not None:
        return resident
    return _windows_memory()[1] if sys.platform == "win32" else peak_memory()


def restart_peak() -> None:
    """Forget the peak until now, where the system can: on Linux."""
    with suppress(OSError):
        _CLEAR.write_text("5")


def _status(name: str) -> int | None:
    """Return an entry of Linux's account of this process in bytes; None where there is none."""
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 2**10
    return None


def _windows_memory() -> tuple[int, int]:
    """Return peak and present working set."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = [
            ("cb", ctypes.c_ulong),
            ("PageFaultCount", ctypes.c_ulong),
            *(
                (name, ctypes.c_size_t)
                for name in (
                    "PeakWorkingSetSize",
                    "WorkingSetSize",
                    "QuotaPeakPagedPoolUsage",
                    "QuotaPagedPoolUsage",
                    "QuotaPeakNonPagedPoolUsage",
                    "QuotaNonPagedPoolUsage",
                    "PagefileUsage",
                    "PeakPagefileUsage",
                )
            ),
        ]

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    api = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    api.GetCurrentProcess.restype = ctypes.c_void_p
    api.K32GetProcessMemoryInfo(
        ctypes.c_void_p(api.GetCurrentProcess()), ctypes.byref(counters), counters.cb
    )
    return int(counters.PeakWorkingSetSize), int(counters.WorkingSetSize)


def processor_name() -> str:
    """Return the name people know the processor by."""
    lines: list[str] = []
    if sys.platform == "darwin":
        lines = _output("sysctl", "machdep.cpu.brand_string")
    with suppress(OSError):
        lines += Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        key, _, name = line.partition(":")
        if key.strip() in ("model name", "machdep.cpu.brand_string"):
            return name.strip()
    return platform.processor() or platform.machine()


_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def share_one_heap() -> None:
    """Have all threads allocate from one heap, where the C library is glibc; call it at the start.

    By default each thread has a heap of its own, and the others cannot use what is freed there: a
    network that is opened in a second thread leaves some 150 MB behind.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Return what was freed to the system, where the C library is glibc, which keeps some of it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def available_threads() -> int:
    """Return how many CPUs this process may use: affinity mask and cgroup quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, *cgroup_cpus()))


def cgroup_cpus(root: Path = Path("/sys/fs/cgroup")) -> Sequence[int]:
    """Return the CPU quotas that cgroups v2 and v1 set, rounded up."""
    quotas = []
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join(
                (root / name).read_text(encoding="ascii") for name in names
            ).split()
            if quota != "max" and int(quota) > 0:
                quotas.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):
            continue
    return quotas or [1_000_000]
