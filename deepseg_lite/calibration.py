"""What networks cost on this machine: measured once, kept in the package's cache folder.

The file is ``<home>/calibration.json``: a list of rows, each a `Setup` and its `Measurement`. Its
loss costs a few seconds, so a file that is damaged is begun anew, and of two processes that write
at the same time one may lose its row.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from deepseg_lite.bundle_files import NetworkFile
from deepseg_lite.engines import Engine
from deepseg_lite.errors import OutputError
from deepseg_lite.nifti import write_files
from deepseg_lite.processor import processor_name
from deepseg_lite.store import home

FILE_NAME = "calibration.json"
_logger = logging.getLogger("deepseg_lite")


@dataclass(frozen=True)
class Setup:
    """What a measurement holds for.

    Attributes
    ----------
    machine : str
        Its processor, and NVIDIA GPUs where there are any.
    engine : str
        What runs the network, with its version.
    precision : str
        What is computed in.
    threads : int
        CPU threads.
    network : str
        SHA-256 of the network.
    """

    machine: str
    engine: str
    precision: str
    threads: int
    network: str


@dataclass(frozen=True)
class NetworkMemory:
    """Bytes that an open network takes, beyond those of the process that opened it.

    Attributes
    ----------
    process : int
        The process before, with all that a run imports.
    opening : int
        The peak while the network is opened.
    running : int
        The peak while it is given one patch.
    kept : int
        What stays when the patch is done.
    """

    process: int
    opening: int
    running: int
    kept: int


@dataclass(frozen=True)
class Measurement:
    """What one patch costs.

    Attributes
    ----------
    seconds : float
        Wall time of a warm call with one patch.
    voxels : int
        Voxels of that patch.
    flop : int or None
        Floating-point operations of that patch, where the manifest says.
    memory : NetworkMemory or None
        None where only the time was measured.
    """

    seconds: float
    voxels: int
    flop: int | None = None
    memory: NetworkMemory | None = None


def setup_of(engine: Engine, threads: int, network: NetworkFile) -> Setup:
    """Return what a measurement that is made now holds for."""
    return Setup(machine(), _engine_name(engine), engine.precision, threads, network.sha256)


def lookup(setup: Setup) -> Measurement | None:
    """Return what was measured for a setup, None where nothing was."""
    return _read().get(setup)


def record(setup: Setup, measured: Measurement) -> None:
    """Keep a measurement; where it is of time alone, memory that was measured before stays.

    Raises
    ------
    OutputError
        If the cache folder cannot be written to.
    """
    rows = _read()
    before = rows.get(setup)
    if measured.memory is None and before is not None and before.voxels == measured.voxels:
        measured = replace(measured, memory=before.memory)
    rows[setup] = measured
    text = json.dumps([asdict(s) | asdict(m) for s, m in rows.items()], indent=1)
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path().parent} cannot be made ({error.strerror}); set DEEPSEG_LITE_HOME to a folder "
            "you may write."
        ) from error
    write_files({path(): (text + "\n").encode()})


def typical_rate(setup: Setup) -> float | None:
    """Return the median floating-point operations a second of other networks on this setup."""
    same = asdict(setup) | {"network": ""}
    rates = sorted(
        measured.flop / measured.seconds
        for other, measured in _read().items()
        if measured.flop and asdict(other) | {"network": ""} == same
    )
    return rates[len(rates) // 2] if rates else None


def path() -> Path:
    """Return the file."""
    return home() / FILE_NAME


def machine() -> str:
    """Return the name of this machine's processor, and of its NVIDIA GPUs."""
    return ", ".join([processor_name(), *_graphics()])


def _graphics() -> Iterator[str]:
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("Model:"):
                yield line.partition(":")[2].strip()


def _engine_name(engine: Engine) -> str:
    """Return provider, package and version: another version may be faster."""
    found = [engine.provider]
    for package in engine.packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return " ".join(found)


def _read() -> dict[Setup, Measurement]:
    try:
        return dict(map(_row, json.loads(path().read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        _logger.warning("%s is damaged (%s); networks are measured again.", path(), error)
        return {}


def _row(row: dict[str, Any]) -> tuple[Setup, Measurement]:
    memory = row["memory"]
    return (
        Setup(*(row[name] for name in Setup.__dataclass_fields__)),
        Measurement(
            float(row["seconds"]),
            int(row["voxels"]),
            row["flop"],
            None if memory is None else NetworkMemory(**memory),
        ),
    )
