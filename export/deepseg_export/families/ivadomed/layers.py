"""Layers that ivadomed's networks share, and the activations they end in."""

from __future__ import annotations

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import CheckpointError

ACTIVATIONS = ("sigmoid", "softmax", "relu")


def convolution(
    layers: Layers, maps: Maps, weights: Weights, prefix: str, *, stride: int = 1
) -> Maps:
    """Return maps after the convolution of a name, which keeps their sizes, or halves them.

    Raises
    ------
    CheckpointError
        If it is not there, or its kernel is no cube for these maps.
    """
    weight = weights.take(f"{prefix}.weight", (None, layers.channels(maps), *[None] * layers.axes))
    size = weight.shape[-1]
    if set(weight.shape[2:]) != {size} or size % 2 == 0:
        raise CheckpointError(
            f"{prefix} has a kernel of {weight.shape[2:]}; a cube of odd size is needed."
        )
    name = f"{prefix}.bias"
    bias = weights.take(name, (len(weight),)) if name in weights else None
    return layers.convolution(maps, weight, bias, stride=stride, padding=size // 2)


def activated(layers: Layers, logits: Maps, kind: str, *, classes_sum_to_one: bool) -> Maps:
    """Return the classes' maps of (N, K, *P): activated, and without background where K > 1.

    ``relu`` divides by the largest value of the whole batch. Where several classes are then made to
    sum to 1 that division cancels, and is left out, so that a batch's items stay independent.
    """
    count = layers.channels(logits)
    if kind == "softmax":
        maps = layers.softmax(logits)
    elif kind == "relu":
        maps = layers.activation(logits, "relu")
        if count > 1 and classes_sum_to_one:
            divisor = layers.reduced(maps, "sum", [1])
        else:
            divisor = layers.reduced(maps, "max", range(layers.axes + 2))
        maps = layers.divide(maps, layers.without_zeros(divisor))
    else:
        maps = layers.activation(logits, "sigmoid")
    return layers.take_channels(maps, 1, count) if count > 1 else maps
