"""Calibration file: the time and memory that networks and runs took on this machine.

The file is ``<home>/calibration.json``, an object with the `Known` of each network and the
conditions that it ran under, see `setup_of`. A file that is damaged is begun anew. It is replaced
whole, so of two processes that write at the same time one may lose its figures, and the file stays
readable.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.bundles.files import NetworkFile
from deepseg_lite.engines.engine import Engine
from deepseg_lite.errors import OutputError
from deepseg_lite.leftovers import locked
from deepseg_lite.machine import machine
from deepseg_lite.store.cache import home

FILE_NAME = "calibration.json"
LAST_RUNS = 5
"""Runs of one setup and one kind of result that are kept; older ones are forgotten."""
_logger = logging.getLogger("deepseg_lite")


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
class Known:
    """Figures of one network under one setup.

    Attributes
    ----------
    measured : Measurement or None
        Of one patch; None where it was never measured.
    runs : sequence of Pace
        The last runs, the oldest first.
    """

    measured: Measurement | None = None
    runs: Sequence[Pace] = ()


def setup_of(engine: Engine, threads: int, network: NetworkFile) -> str:
    """Return the conditions of a measurement that is made now.

    They are the processor, the graphics cards, the engine and its version, the precision, the
    number of threads and the SHA-256 of the network, or of its form for the device.
    """
    words = (engine.precision, f"{threads} threads", engine.form_of(network).sha256)
    return " | ".join((machine(), _engine_name(engine), *words))


def lookup(setup: str) -> Measurement | None:
    """Return what was measured for a setup, None where nothing was."""
    return read().get(setup, Known()).measured


def record(setup: str, measured: Measurement) -> None:
    """Keep a measurement; where it is of a patch's time alone, the memory of an older one stays.

    Raises
    ------
    OutputError
        If the cache folder cannot be written to.
    """
    with _changed() as everything:
        known = everything.get(setup, Known())
        before = known.measured
        if measured.memory is None and before is not None and before.voxels == measured.voxels:
            measured = replace(measured, memory=before.memory)
        everything[setup] = replace(known, measured=measured)


def record_run(paces: Mapping[str, Pace]) -> None:
    """Keep the pace of each network of one finished run, by its setup.

    Raises
    ------
    OutputError
        As `record`.
    """
    with _changed() as everything:
        for setup, pace in paces.items():
            known = everything.get(setup, Known())
            alike = [run for run in known.runs if run.maps == pace.maps]
            others = [run for run in known.runs if run.maps != pace.maps]
            runs = [*others, *alike[1 - LAST_RUNS :], pace]
            everything[setup] = replace(known, runs=runs)


def path() -> Path:
    """Return the file."""
    return home() / FILE_NAME


def read() -> dict[str, Known]:
    """Return what is known for each setup; nothing where there is no file or it is damaged."""
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
        return {setup: _known(**row) for setup, row in document.items()}
    except OSError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.warning("%s is damaged (%s); all is measured again.", path(), error)
        return {}


def _known(measured: dict[str, Any] | None, runs: list[dict[str, Any]]) -> Known:
    paces = [Pace(**run) for run in runs]
    if measured is None:
        return Known(None, paces)
    memory = measured.pop("memory")
    memory = None if memory is None else NetworkMemory(**memory)
    return Known(Measurement(**measured, memory=memory), paces)


@contextmanager
def _changed() -> Iterator[dict[str, Known]]:
    """Give what is known, to be changed and kept; nobody else changes it meanwhile."""
    try:
        make_folder(path().parent)
        with locked(path().parent):
            everything = read()
            yield everything
            document = {setup: asdict(known) for setup, known in everything.items()}
            text = json.dumps(document, indent=1) + "\n"
            write_files({path(): text.encode()}, overwrite=True, synced=False)
    except OutputError as error:
        raise OutputError(
            f"{path()} cannot be written; set DEEPSEG_LITE_HOME to a folder you may write."
        ) from error


def _engine_name(engine: Engine) -> str:
    """Return provider, package and version: another version may be faster."""
    words = [engine.provider]
    for package in engine.packages:
        try:
            words.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return " ".join(words)
