"""The machine that figures were taken on, without names or paths that identify it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deepseg_lite.processor import processor_name
from deepseg_lite.session import available_threads

MIB = 2**20


@dataclass(frozen=True)
class Machine:
    """A machine.

    Attributes
    ----------
    cpu : str
        Name of the processor.
    cores : int
        CPUs that this process may use.
    memory : int
        Bytes; 0 where the system does not say.
    system : str
        Operating system, and the kind of processor it runs on.
    gpus : tuple of str
        NVIDIA GPUs, each with its memory.
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
    """Return the lines a program prints; nothing where it is not installed or fails."""
    found = shutil.which(program)
    if found is None:
        return []
    done = subprocess.run([found, *arguments], capture_output=True, text=True)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _system() -> str:
    name = f"{platform.system()} {platform.release()}"
    if Path("/etc/os-release").exists():
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{name}, {platform.machine()}"
