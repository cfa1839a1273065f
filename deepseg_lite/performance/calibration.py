"""Calibration file: the time and memory that networks and runs took on this machine.

The file is ``<home>/calibration.json``. ``networks`` is a list of rows, each a `Setup` and its
`Measurement`; ``runs`` is a list of rows, each a `Setup` and the `Pace` of one finished run. A file
that is damaged is begun anew. It is replaced whole, so of two processes that write at the same time
one may lose its rows, and the file stays readable.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.bundles.files import NetworkFile
from deepseg_lite.engines.engine import Engine
from deepseg_lite.errors import OutputError
from deepseg_lite.machine import machine
from deepseg_lite.store.cache import home

FILE_NAME = "calibration.json"
LAST_RUNS = 5
"""Runs of one setup and one kind of result that are kept; older ones are forgotten."""
_logger = logging.getLogger("deepseg_lite")


@dataclass(frozen=True)
class Setup:
    """Conditions under which a measurement holds.

    Attributes
    ----------
    machine : str
        Processor, and NVIDIA GPUs where there are any.
    engine : str
        Provider that runs the network, with the version of its package.
    precision : str
        Number format of the computation.
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
    """Memory of an open network, beyond that of the process that opened it.

    Attributes
    ----------
    process_bytes : int
        The process before, with all that a run imports.
    opening_bytes : int
        The peak while the network is opened.
    running_bytes : int
        The peak while it is given one patch.
    resident_bytes : int
        What stays when the patch is done.
    """

    process_bytes: int
    opening_bytes: int
    running_bytes: int
    resident_bytes: int


@dataclass(frozen=True)
class Measurement:
    """Cost of one patch.

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


@dataclass(frozen=True)
class Pace:
    """Seconds of one finished run for each unit of its planned work.

    Attributes
    ----------
    maps : bool
        Whether the run wrote maps; otherwise labels alone.
    patch_voxel_seconds : float
        Seconds of the network, for each voxel of each patch.
    voxel_seconds : float or None
        Seconds of all else but writing, for each voxel of the image and of the network's grid. None
        for the second network of a workflow, whose run is told by the first.
    byte_seconds : float or None
        Seconds of writing, for each byte of the results before compression. None as above.
    """

    maps: bool
    patch_voxel_seconds: float
    voxel_seconds: float | None = None
    byte_seconds: float | None = None


@dataclass(frozen=True)
class Calibration:
    """Content of the file.

    Attributes
    ----------
    networks : dict
        The measurement of each setup.
    runs : dict
        The last runs of each setup, the oldest first.
    """

    networks: dict[Setup, Measurement] = field(default_factory=dict)
    runs: dict[Setup, list[Pace]] = field(default_factory=dict)


def setup_of(engine: Engine, threads: int, network: NetworkFile) -> Setup:
    """Return the conditions of a measurement that is made now."""
    return Setup(machine(), _engine_name(engine), engine.precision, threads, network.sha256)


def lookup(setup: Setup) -> Measurement | None:
    """Return what was measured for a setup, None where nothing was."""
    return read().networks.get(setup)


def record(setup: Setup, measured: Measurement) -> None:
    """Keep a measurement; where it is of a patch's time alone, the memory of an older one stays.

    Raises
    ------
    OutputError
        If the cache folder cannot be written to.
    """
    known = read()
    before = known.networks.get(setup)
    if measured.memory is None and before is not None and before.voxels == measured.voxels:
        measured = replace(measured, memory=before.memory)
    known.networks[setup] = measured
    _write(known)


def record_run(paces: Mapping[Setup, Pace]) -> None:
    """Keep the pace of each network of one finished run.

    Raises
    ------
    OutputError
        As `record`.
    """
    known = read()
    for setup, pace in paces.items():
        runs = known.runs.setdefault(setup, [])
        alike = [index for index, other in enumerate(runs) if other.maps == pace.maps]
        if len(alike) >= LAST_RUNS:
            del runs[alike[0]]
        runs.append(pace)
    _write(known)


def path() -> Path:
    """Return the file."""
    return home() / FILE_NAME


def read() -> Calibration:
    """Return the content of the file; nothing where there is none or it is damaged."""
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
        networks = {_setup(row): _measurement(row) for row in document["networks"]}
        runs: dict[Setup, list[Pace]] = {}
        for row in document["runs"]:
            runs.setdefault(_setup(row), []).append(Pace(**row))
        return Calibration(networks, runs)
    except OSError:
        return Calibration()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.warning("%s is damaged (%s); all is measured again.", path(), error)
        return Calibration()


def _write(known: Calibration) -> None:
    document = {
        "networks": [asdict(setup) | asdict(row) for setup, row in known.networks.items()],
        "runs": [
            asdict(setup) | asdict(pace) for setup, paces in known.runs.items() for pace in paces
        ],
    }
    try:
        make_folder(path().parent)
        write_files({path(): (json.dumps(document, indent=1) + "\n").encode()})
    except OutputError as error:
        raise OutputError(
            f"{path()} cannot be written; set DEEPSEG_LITE_HOME to a folder you may write."
        ) from error


def _setup(row: dict[str, Any]) -> Setup:
    """Take the setup out of a row."""
    return Setup(*(row.pop(name) for name in Setup.__dataclass_fields__))


def _measurement(row: dict[str, Any]) -> Measurement:
    memory, seconds = row.pop("memory"), float(row.pop("seconds"))
    taken = None if memory is None else NetworkMemory(**memory)
    return Measurement(seconds=seconds, memory=taken, **row)


def _engine_name(engine: Engine) -> str:
    """Return provider, package and version: another version may be faster."""
    words = [engine.provider]
    for package in engine.packages:
        try:
            words.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return " ".join(words)
