"""A network that needs no framework: an architecture and its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.weights import Weights

_VOXELS = 4096


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
    has_free_batch : bool
        Whether every item of a batch gives what it gives alone.
    original : callable, optional
        Builds the ``torch.nn.Module`` that it is compared with as well.
    """

    name: str
    compute: Callable[[Layers, Maps, Weights], Maps]
    weights: Weights
    patch: tuple[int, ...]
    has_free_batch: bool = True
    original: Callable[[], Any] | None = None

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


def small_patch(divisors: Sequence[int]) -> tuple[int, ...]:
    """Return the spatial shape of a small patch that can be divided by these.

    More than one voxel is left after the division, and axes that are hardly divided are a little
    longer than a kernel.
    """
    sizes = list(divisors)
    while sizes == list(divisors) or math.prod(sizes) < _VOXELS:
        sizes[sizes.index(min(sizes))] *= 2
    return tuple(sizes)
