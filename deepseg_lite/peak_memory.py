"""How much memory this process takes, and took at most."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory() -> int:
    """Return the most bytes this process had in memory.

    On Linux that is since the last `restart_peak`, and never what a parent had: ``ru_maxrss`` of a
    process begins with the peak of the one that started it.
    """
    if _STATUS.exists():
        return _status("VmHWM")
    if sys.platform == "win32":
        return _windows_memory()[0]
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return how many bytes this process has in memory; elsewhere than on Linux and Windows had."""
    if _STATUS.exists():
        return _status("VmRSS")
    return _windows_memory()[1] if sys.platform == "win32" else peak_memory()


def restart_peak() -> None:
    """Forget the peak until now, where the system can: on Linux."""
    with suppress(OSError):
        _CLEAR.write_text("5")


def _status(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 2**10
    raise LookupError(name)


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
