"""A network that segments, whichever engine opened it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deepseg_lite.bundle import Bundle, Network
from deepseg_lite.errors import BundleError
from deepseg_lite.volume import FloatArray


class OpenNetwork(Protocol):
    """A network as an engine opens it: an array in, its first output out.

    Sizes of axes that are free are anything but an int.
    """

    @property
    def input_shape(self) -> Sequence[object]:
        """Size of each axis of the input, the batch first."""
        ...

    @property
    def output_shape(self) -> Sequence[object]:
        """Size of each axis of the first output, the batch first."""
        ...

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return the first output for an input."""
        ...


class PatchPredictor:
    """A network that segments: patches (N, C, *P) to logits (N, K, *P), float32.

    Parameters
    ----------
    opened : OpenNetwork
        What computes.
    bundle, network : Bundle, Network
        What it was opened from.

    Attributes
    ----------
    network : Network
        As given.
    calls_at_once : int
        Calls that may be on their way, each from a thread of its own; more than that gain nothing.

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
