"""What a result was measured on, without names or paths that identify the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """Return GPU (None without), CPU, cores this process may use, memory and operating system."""
    return {
        "gpu": _gpu_name(),
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "memory_gb": round(_memory_bytes() / 2**30),
        "os": _os_name(),
        "arch": platform.machine(),
    }


def available_cores() -> int:
    """Return how many CPUs this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def slug(machine: dict[str, Any]) -> str:
    """Return a folder name for a machine: its GPU if any, its CPU and cores."""
    names = " ".join(name.lower() for name in (machine.get("gpu"), machine["cpu"]) if name)
    names = re.sub(r"\((?:r|tm)\)", "", names)
    return re.sub(r"[^a-z0-9]+", "-", f"{names} {machine['cores']} cores").strip("-")


def utc_now() -> str:
    """Return the time of a measurement."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _gpu_name() -> str | None:
    """Return the name of the first NVIDIA GPU, as its driver's tool says it."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(iter(done.stdout.splitlines()), None)


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
