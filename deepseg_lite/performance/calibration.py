"""What a run costs on this machine: measured once, kept in the package's cache folder.

The file is ``<home>/calibration.json``: ``networks``, a list of rows, each a `Setup` and its
`Measurement`; and ``rates``, by machine and engine, each a `Rates`. Its loss costs a few seconds,
so a file that is damaged is begun anew, and of two processes that write at the same time one may
lose its row.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import write_files
from deepseg_lite.bundles.files import NetworkFile
from deepseg_lite.engines.engine import Engine
from deepseg_lite.errors import OutputError
from deepseg_lite.machine import machine
from deepseg_lite.store.cache import home

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
    open_seconds : float or None
        Wall time of opening the network; None where only the time of a patch was measured.
    """

    seconds: float
    voxels: int
    flop: int | None = None
    memory: NetworkMemory | None = None
    open_seconds: float | None = None


@dataclass(frozen=True)
class Rates:
    """Seconds of what is no network's work.

    Attributes
    ----------
    start : float
        From the start of a program until all that a run needs is imported.
    read, write, write_maps : float
        For each byte of an image as it is stored, of labels, and of maps, all in compressed files.
    prepare : float
        For each voxel of a channel, before and after a change of its grid.
    restore : float
        For each voxel of the image and each class.
    pull : float
        For each voxel of a new grid and each map, where resampling goes by the affine: in place of
        ``prepare`` there, on top of ``restore`` on the way back.
    """

    start: float
    read: float
    prepare: float
    restore: float
    pull: float
    write: float
    write_maps: float


def setup_of(engine: Engine, threads: int, network: NetworkFile) -> Setup:
    """Return what a measurement that is made now holds for."""
    return Setup(machine(), _engine_name(engine), engine.precision, threads, network.sha256)


def lookup(setup: Setup) -> Measurement | None:
    """Return what was measured for a setup, None where nothing was."""
    return _read().networks.get(setup)


def record(setup: Setup, measured: Measurement) -> None:
    """Keep a measurement; where it is of a patch's time alone, the rest of an older one stays.

    Raises
    ------
    OutputError
        If the cache folder cannot be written to.
    """
    kept = _read()
    before = kept.networks.get(setup)
    if measured.memory is None and before is not None and before.voxels == measured.voxels:
        measured = replace(before, seconds=measured.seconds, flop=measured.flop)
    kept.networks[setup] = measured
    _write(kept)


def lookup_rates(engine: Engine) -> Rates | None:
    """Return the rates of this machine with an engine, None where they were not measured."""
    return _read().rates.get(f"{machine()}, {_engine_name(engine)}")


def record_rates(engine: Engine, rates: Rates) -> None:
    """Keep rates.

    Raises
    ------
    OutputError
        As `record`.
    """
    kept = _read()
    kept.rates[f"{machine()}, {_engine_name(engine)}"] = rates
    _write(kept)


def _write(kept: _Kept) -> None:
    document = {
        "networks": [asdict(setup) | asdict(row) for setup, row in kept.networks.items()],
        "rates": {name: asdict(rates) for name, rates in kept.rates.items()},
    }
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path().parent} cannot be made ({error.strerror}); set DEEPSEG_LITE_HOME to a folder "
            "you may write."
        ) from error
    write_files({path(): (json.dumps(document, indent=1) + "\n").encode()})


def typical_rate(setup: Setup) -> float | None:
    """Return the median floating-point operations a second of other networks on this setup."""
    same = asdict(setup) | {"network": ""}
    rates = sorted(
        measured.flop / measured.seconds
        for other, measured in _read().networks.items()
        if measured.flop and asdict(other) | {"network": ""} == same
    )
    return rates[len(rates) // 2] if rates else None


def path() -> Path:
    """Return the file."""
    return home() / FILE_NAME


def _engine_name(engine: Engine) -> str:
    """Return provider, package and version: another version may be faster."""
    found = [engine.provider]
    for package in engine.packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return " ".join(found)


@dataclass(frozen=True)
class _Kept:
    """What the file has."""

    networks: dict[Setup, Measurement] = field(default_factory=dict)
    rates: dict[str, Rates] = field(default_factory=dict)


def _read() -> _Kept:
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
        rates = {name: Rates(**row) for name, row in document["rates"].items()}
        return _Kept(dict(map(_row, document["networks"])), rates)
    except FileNotFoundError:
        return _Kept()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.warning("%s is damaged (%s); all is measured again.", path(), error)
        return _Kept()


def _row(row: dict[str, Any]) -> tuple[Setup, Measurement]:
    setup = Setup(*(row.pop(name) for name in Setup.__dataclass_fields__))
    memory, seconds = row.pop("memory"), float(row.pop("seconds"))
    taken = None if memory is None else NetworkMemory(**memory)
    return setup, Measurement(seconds=seconds, memory=taken, **row)
