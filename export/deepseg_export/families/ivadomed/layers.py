"""Layers of ivadomed's networks, made of their weights, and activations of outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.weights import to_tensor

ACTIVATIONS = ("sigmoid", "softmax", "relu")


class Weights:
    """Named arrays that are taken out one by one, so that none is missing or left over."""

    def __init__(self, weights: Mapping[str, Any], where: str) -> None:
        self._left = dict(weights)
        self._where = where

    def take(self, name: str) -> Any:
        """Return one as a tensor and cross it off."""
        try:
            return to_tensor(self._left.pop(name)).float()
        except KeyError:
            raise CheckpointError(
                f"{self._where} has no weights {name}; a whole network is needed. Get it again."
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def check_all_taken(self) -> None:
        """Refuse a network with parts that would be left out."""
        if self._left:
            raise CheckpointError(
                f"{self._where} has weights that its class has no place for: "
                f"{', '.join(sorted(self._left)[:5])}; it cannot be rebuilt."
            )


def convolution(weights: Weights, prefix: str, stride: int = 1) -> nn.Module:
    """Return the convolution that keeps sizes, or halves them, with the weights of that name."""
    weight = weights.take(f"{prefix}.weight")
    kinds = {4: nn.Conv2d, 5: nn.Conv3d}
    if weight.ndim not in kinds:
        raise CheckpointError(f"{prefix} has weights of {weight.ndim} axes; 4 or 5 are needed.")
    outputs, inputs, size = weight.shape[:3]
    if set(weight.shape[2:]) != {size}:
        raise CheckpointError(f"{prefix} has weights of {tuple(weight.shape)}; a cube is needed.")
    has_bias = f"{prefix}.bias" in weights
    layer = kinds[weight.ndim](inputs, outputs, size, stride, padding=size // 2, bias=has_bias)
    layer.weight.data = weight
    if layer.bias is not None:
        layer.bias.data = weights.take(f"{prefix}.bias")
    return layer


def activated(logits: torch.Tensor, kind: str, *, classes_sum_to_one: bool) -> torch.Tensor:
    """Return the classes' maps of (N, K, *P): activated, and without background where K > 1.

    ``relu`` divides by the largest value of the whole batch. Where several classes are then made to
    sum to 1 that division cancels, and is left out, so that a batch's items stay independent.
    """
    several = logits.shape[1] > 1
    if kind == "softmax":
        maps = logits.softmax(dim=1)
    elif kind == "relu":
        maps = logits.relu()
        divisor = maps.sum(dim=1, keepdim=True) if several and classes_sum_to_one else maps.max()
        maps = maps / torch.where(divisor == 0, torch.ones_like(divisor), divisor)
    else:
        maps = logits.sigmoid()
    return maps[:, 1:] if several else maps
