"""The networks of a model, opened as they are needed and kept where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from deepseg_lite.bundle import Bundle, Network
from deepseg_lite.engines import Engine
from deepseg_lite.predictor import PatchPredictor


@dataclass(eq=False)
class WarmNetworks:
    """The folds of a bundle that are in use, on one engine.

    Networks stay in memory if ``keep`` says so, or if there is just one; otherwise each is opened
    when its turn comes.
    """

    bundle: Bundle
    networks: tuple[Network, ...]
    engine: Engine
    threads: int
    keep: bool
    _open: dict[str, PatchPredictor] = field(default_factory=dict)

    @property
    def stay(self) -> bool:
        """Whether networks stay in memory between calls."""
        return self.keep or len(self.networks) == 1

    def predictors(self) -> Iterator[PatchPredictor]:
        """Yield one predictor per fold, opening networks as they are needed."""
        for network in self.networks:
            predictor = self._open.get(network.fold)
            if predictor is None:
                opened = self.engine.open(self.bundle, network, self.threads)
                predictor = PatchPredictor(opened, self.bundle, network)
                del opened
            if self.stay:
                self._open[network.fold] = predictor
            yield predictor
            del predictor  # so that only one fold's weights are in memory when the next is opened
