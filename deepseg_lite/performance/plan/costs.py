"""What a run costs on this machine: looked up, measured now, or else estimated."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from deepseg_lite.api.model import Part
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.engines.engine import Engine
from deepseg_lite.errors import OutputError
from deepseg_lite.performance.calibration import (
    Measurement,
    NetworkMemory,
    Rates,
    lookup,
    lookup_rates,
    record,
    record_rates,
    setup_of,
    typical_rate,
)
from deepseg_lite.performance.measuring import measure_network
from deepseg_lite.performance.rates import measure_rates

_logger = logging.getLogger("deepseg_lite")
MIB = 2**20
VALUES_PER_VOXEL = 128
"""Values a U-Net of 32 features holds at a time, at most, for each voxel of a patch."""


@dataclass(frozen=True)
class Cost:
    """What one patch costs.

    Attributes
    ----------
    seconds : float or None
        None where it is not known.
    memory : NetworkMemory
        Of a network that was not measured, an estimate.
    source : {"measured", "estimated", "unknown"}
        Where ``seconds`` are from.
    open_seconds : float
        Of opening the network; 0 where they are not known.
    """

    seconds: float | None
    memory: NetworkMemory
    source: str
    open_seconds: float = 0.0


@dataclass(eq=False)
class Costs:
    """What runs cost on one engine.

    Attributes
    ----------
    engine : Engine
        What runs them.
    threads : int
        CPU threads.
    calibrate : bool
        Whether what was never measured here is measured now.
    around : bool
        Whether the seconds of the work around networks are wanted, too.
    """

    engine: Engine
    threads: int
    calibrate: bool = True
    around: bool = True
    _found: dict[tuple[str, tuple[int, ...]], Cost] = field(default_factory=dict)

    @cached_property
    def rates(self) -> Rates | None:
        """What the work around networks takes; None where that is not known, or not wanted."""
        if not self.around:
            return None
        rates = lookup_rates(self.engine)
        if rates is None and self.calibrate:
            _logger.warning("Measuring this machine with a phantom; the figures are kept.")
            rates = measure_rates(self.engine)
            _keep(partial(record_rates, self.engine, rates))
        return rates

    def of(self, part: Part, patch: Sequence[int]) -> Cost:
        """Return what a patch costs any of a part's networks: all have the same layers.

        Parameters
        ----------
        part : Part
            A bundle and networks of it.
        patch : sequence of 3 ints
            Voxels of a patch.
        """
        key = (part.networks[0].sha256, tuple(patch))
        if key not in self._found:
            self._found[key] = self._find(part, patch)
        return self._found[key]

    def _find(self, part: Part, patch: Sequence[int]) -> Cost:
        voxels = math.prod(patch)
        known = [lookup(setup_of(self.engine, self.threads, each)) for each in part.networks]
        fitting = [each for each in known if each is not None and each.voxels == voxels]
        best = max(fitting, key=lambda each: each.memory is not None, default=None)
        if self.calibrate and (best is None or best.memory is None):
            best = self._measure(part, patch)
        if best is not None:
            guess = _estimated_memory(part.bundle, voxels)
            opening = best.open_seconds or 0.0
            return Cost(best.seconds, best.memory or guess, "measured", opening)
        network = part.networks[0]
        rate = typical_rate(setup_of(self.engine, self.threads, network))
        seconds = network.flop / rate if network.flop and rate else None
        source = "unknown" if seconds is None else "estimated"
        return Cost(seconds, _estimated_memory(part.bundle, voxels), source)

    def _measure(self, part: Part, patch: Sequence[int]) -> Measurement:
        network = part.networks[0]
        _logger.warning(
            "Measuring %s on this machine with two patches; the figures are kept.", part.bundle.name
        )
        measured = measure_network(part.bundle, network, self.engine, self.threads, patch)
        _keep(partial(record, setup_of(self.engine, self.threads, network), measured))
        return measured


def _keep(recording: Callable[[], None]) -> None:
    try:
        recording()
    except OutputError as error:
        _logger.warning("The figures are not kept: %s", error)


def _estimated_memory(bundle: Bundle, voxels: int) -> NetworkMemory:
    """Return a rough upper bound for a network that was not measured, from its file and patch."""
    weights = max(network.size for network in bundle.networks)
    kept = 4 * weights + 48 * MIB
    running = kept + voxels * VALUES_PER_VOXEL * 4
    return NetworkMemory(process=96 * MIB, opening=kept, running=running, kept=kept)
