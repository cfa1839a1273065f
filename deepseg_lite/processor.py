"""The name of this machine's processor."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path


def processor_name() -> str:
    """Return the name people know the processor by."""
    lines: list[str] = []
    if sys.platform == "darwin":
        sysctl = ["sysctl", "machdep.cpu.brand_string"]
        lines = subprocess.run(sysctl, capture_output=True, text=True).stdout.splitlines()
    elif Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    for line in lines:
        key, _, name = line.partition(":")
        if key.strip() in ("model name", "machdep.cpu.brand_string"):
            return name.strip()
    return platform.processor() or platform.machine()
