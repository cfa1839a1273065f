"""The machine of a result, without names or paths that identify it."""

from __future__ import annotations

import platform
import re
from datetime import datetime, timezone
from typing import Any

from deepseg_lite.machine import describe_machine as describe


def describe_machine() -> dict[str, Any]:
    """Return GPU (None without), CPU, cores this process may use, memory and operating system."""
    machine = describe()
    system, _, arch = machine.system.rpartition(", ")
    return {
        "gpu": next(iter(machine.gpus), None),
        "cpu": machine.cpu,
        "cores": machine.cores,
        "memory_gb": round(machine.memory / 2**30),
        "os": system,
        "arch": arch or platform.machine(),
    }


def slug(machine: dict[str, Any]) -> str:
    """Return a folder name for a machine: its GPU if any, its CPU and cores."""
    gpu = re.sub(r" \(\d+GB\)$", "", machine.get("gpu") or "")
    names = " ".join(name.lower() for name in (gpu, machine["cpu"]) if name)
    names = re.sub(r"\((?:r|tm)\)", "", names)
    return re.sub(r"[^a-z0-9]+", "-", f"{names} {machine['cores']} cores").strip("-")


def utc_now() -> str:
    """Return the time of a measurement."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
