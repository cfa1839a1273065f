"""Networks that segment patches, whichever engine opened them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.networks import Network
from deepseg_lite.engines.engine import Engine, OpenNetwork
from deepseg_lite.errors import BundleError
from deepseg_lite.volume import FloatArray


class PatchPredictor:
    """Network that segments: patches (N, C, *P) to logits (N, K, *P), float32.

    Parameters
    ----------
    opened : OpenNetwork
        Network as an engine opened it.
    bundle : Bundle
        Bundle that it was opened from.
    network : Network
        Row of the bundle's manifest that it was opened from.

    Attributes
    ----------
    network : Network
        Row of the bundle's manifest.
    calls_at_once : int
        Largest number of calls at the same time, each from a thread of its own, that saves time.

    Raises
    ------
    BundleError
        If the network's channels contradict the manifest.
    """

    def __init__(self, opened: OpenNetwork, bundle: Bundle, network: Network) -> None:
        _check(opened, bundle, network)
        self.network = network
        self.calls_at_once: int = getattr(opened, "calls_at_once", 1)
        self._opened = opened
        self._is_2d = len(opened.input_shape) == 4

    def __call__(self, patches: FloatArray) -> FloatArray:
        """Return the logits of a batch of patches."""
        if self._is_2d:
            return self._opened(patches[:, :, 0])[:, :, None]
        return self._opened(patches)


def _check(opened: OpenNetwork, bundle: Bundle, network: Network) -> None:
    axes = len(opened.input_shape)
    if axes not in (4, 5):
        raise BundleError(
            f"{bundle.network_path(network)} takes arrays of {axes} axes; "
            "4 for a 2-D or 5 for a 3-D network are needed. Export it again."
        )
    if len(opened.output_shape) != axes:
        raise BundleError(
            f"{bundle.network_path(network)} takes arrays of {axes} axes and gives "
            f"{len(opened.output_shape)}; a network that segments has as many. Export it again."
        )
    found = (opened.input_shape[1], opened.output_shape[1])
    expected = (len(bundle.inputs.channel_names), bundle.outputs.channel_count)
    if any(isinstance(f, int) and f != e for f, e in zip(found, expected, strict=True)):
        raise BundleError(
            f"{bundle.network_path(network)} has {found[0]} input and {found[1]} output "
            f"channels, the manifest says {expected[0]} and {expected[1]}; export it again."
        )
    if axes == 4 and bundle.sliding_window.patch_size[0] != 1:
        raise BundleError(
            f"{bundle.network_path(network)} is a 2-D network, but the manifest's patch is "
            f"{bundle.sliding_window.patch_size}; export it again."
        )


@dataclass(eq=False)
class WarmNetworks:
    """Folds of a bundle that are in use, on one engine.

    Networks stay in memory if ``keep`` says so, or if there is just one; otherwise each is opened
    when its turn comes.

    Attributes
    ----------
    bundle : Bundle
        Bundle of the networks.
    networks : tuple of Network
        Folds that are in use.
    engine : Engine
        Engine that opens them.
    threads : int
        CPU threads of one operator.
    keep : bool
        Whether several networks stay in memory.
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
