"""A network that needs no framework: an architecture and its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.weights import Weights


@dataclass(frozen=True)
class DirectNetwork:
    """A network that is written as ONNX directly.

    Attributes
    ----------
    name : str
        Of its class, for messages.
    compute : callable
        From layers, the image (N, C, *P) and weights to logits (N, K, *P).
    weights : Weights
        Everything that it computes with.
    patch : tuple of int
        Spatial shape *P of the small patch on which it is checked: the smallest that its strides
        allow, so that more than one voxel is left where its maps are smallest.
    """

    name: str
    compute: Callable[[Layers, Maps, Weights], Maps]
    weights: Weights
    patch: tuple[int, ...]

    def on(self, layers: Layers, image: Maps) -> Maps:
        """Return the logits of an image, in what the layers compute with.

        Raises
        ------
        CheckpointError
            If weights are missing, left over or of other shapes.
        """
        logits = self.compute(layers, image, self.weights)
        self.weights.check_all_used()
        return logits
