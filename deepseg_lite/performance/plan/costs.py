"""Costs of a run on this machine: those of its last runs, measured now, or not known."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from deepseg_lite.api.calibration import (
    Known,
    Measurement,
    NetworkMemory,
    Pace,
    read,
    record,
    setup_of,
)
from deepseg_lite.api.model import Part
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.engines.engine import Engine
from deepseg_lite.errors import OutputError
from deepseg_lite.performance.measuring import measure_network

_logger = logging.getLogger("deepseg_lite")
MIB = 2**20
VALUES_PER_VOXEL = 128
"""Values a U-Net of 32 features holds at a time, at most, for each voxel of a patch."""


@dataclass(frozen=True)
class Cost:
    """Cost of one patch.

    Attributes
    ----------
    patch_seconds : float or None
        None where it is not known.
    source : {"runs", "measured", "unknown"}
        Origin of ``patch_seconds``: the last runs here, or a measurement of the network.
    memory : NetworkMemory
        Of a network that was not measured, an estimate.
    """

    patch_seconds: float | None
    source: str
    memory: NetworkMemory


@dataclass(eq=False)
class Costs:
    """Costs of runs on one engine.

    Attributes
    ----------
    engine : Engine
        Engine of the networks.
    threads : int
        CPU threads.
    calibrate : bool
        Whether networks that were never measured here are measured now.
    known : dict
        Earlier measurements and runs by their setup; by default those of this machine.
    """

    engine: Engine
    threads: int
    calibrate: bool = True
    known: dict[str, Known] = field(default_factory=read)
    _patches: dict[tuple[str, int], Cost] = field(default_factory=dict)

    def setup(self, part: Part) -> str:
        """Return what the runs of a part's networks are kept under, however many folds there are.

        All networks of a bundle have the same layers, so the first stands for them.
        """
        return setup_of(self.engine, self.threads, part.bundle.networks[0])

    def of(self, part: Part, patch: Sequence[int]) -> Cost:
        """Return the cost of one patch for any network of a part.

        Parameters
        ----------
        part : Part
            A bundle and networks of it.
        patch : sequence of 3 ints
            Voxels of a patch.
        """
        key = (part.networks[0].sha256, math.prod(patch))
        if key not in self._patches:
            self._patches[key] = self._find(part, patch)
        return self._patches[key]

    def rest_seconds(
        self, part: Part, *, maps: bool, voxels: int, result_bytes: int
    ) -> float | None:
        """Return the seconds of all that is no network's work; None where no run like it is kept.

        Parameters
        ----------
        part : Part
            The model's own bundle.
        maps : bool
            Whether maps are written; otherwise labels alone.
        voxels : int
            Voxels of the image and of the networks' grids.
        result_bytes : int
            Bytes of the results before compression.
        """
        seconds = [
            pace.voxel_seconds * voxels + pace.byte_seconds * result_bytes
            for pace in self._runs(part)
            if pace.maps == maps
            and pace.voxel_seconds is not None
            and pace.byte_seconds is not None
        ]
        return median(seconds) if seconds else None

    def _runs(self, part: Part) -> Sequence[Pace]:
        return self.known.get(self.setup(part), Known()).runs

    def _find(self, part: Part, patch: Sequence[int]) -> Cost:
        voxels = math.prod(patch)
        setups = [setup_of(self.engine, self.threads, network) for network in part.networks]
        known = [self.known.get(setup, Known()).measured for setup in setups]
        fitting = [each for each in known if each is not None and each.voxels == voxels]
        best = max(fitting, key=lambda each: each.memory is not None, default=None)
        if self.calibrate and (best is None or best.memory is None):
            best = self._measure(part, setups[0], patch)
        memory = best.memory if best and best.memory else _estimated_memory(part.bundle, voxels)
        if runs := [pace.patch_voxel_seconds for pace in self._runs(part)]:
            return Cost(median(runs) * voxels, "runs", memory)
        if best is not None:
            return Cost(best.seconds, "measured", memory)
        return Cost(None, "unknown", memory)

    def _measure(self, part: Part, setup: str, patch: Sequence[int]) -> Measurement:
        _logger.warning(
            "Measuring %s on this machine with two patches; the figures are kept.", part.bundle.name
        )
        measured = measure_network(part.bundle, part.networks[0], self.engine, self.threads, patch)
        try:
            record(setup, measured)
        except OutputError as error:
            _logger.warning("The figures are not kept: %s", error)
        return measured


def _estimated_memory(bundle: Bundle, voxels: int) -> NetworkMemory:
    """Return a rough upper bound for a network that was not measured, from its file and patch."""
    weights = max(network.size for network in bundle.networks)
    resident = 4 * weights + 48 * MIB
    running = resident + voxels * VALUES_PER_VOXEL * 4
    return NetworkMemory(96 * MIB, resident, running, resident)
