"""ivadomed's U-Net, in two or three dimensions, for inference.

Source: ivadomed 2.9.10, ``models.Unet``; checked by ``tests/parity/test_ivadomed.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from deepseg_export.families.ivadomed.layers import Weights, activated, convolution


class Block(nn.Module):  # type: ignore[misc]
    """Twice a convolution, ReLU and normalisation: of the batch in 2-D, of the image in 3-D."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for name in ("conv1", "conv2"):
            layers += [convolution(weights, f"{prefix}.{name}"), nn.ReLU()]
            layers.append(_normalization(weights, f"{prefix}.{name}_bn", layers[-2]))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same size."""
        return self.layers(x)


def _normalization(weights: Weights, prefix: str, before: Any) -> nn.Module:
    if isinstance(before, nn.Conv3d):
        return nn.InstanceNorm3d(before.out_channels)
    layer = nn.BatchNorm2d(before.out_channels)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(layer, name).data = weights.take(f"{prefix}.{name}")
    return layer


class Unet(nn.Module):  # type: ignore[misc]
    """The network, built from its weights: (N, C, *P) to one channel per class, activated.

    Parameters
    ----------
    weights : Weights
        Named as ivadomed names them; what is used is taken out.
    depth : int
        Number of times the image is halved.
    activation : str
        ``sigmoid``, ``softmax`` or ``relu``.
    """

    def __init__(self, weights: Weights, depth: int, activation: str) -> None:
        super().__init__()
        down = [f"encoder.down_path.{3 * i}" for i in range(depth)]
        up = [f"decoder.up_path.{2 * i}.downconv" for i in range(depth)]
        self.down = nn.ModuleList(Block(weights, name) for name in down)
        self.bottom = Block(weights, "encoder.conv_bottom")
        self.up = nn.ModuleList(Block(weights, name) for name in up)
        self.last = convolution(weights, "decoder.last_conv")
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the classes' maps, background left out."""
        is_2d = x.ndim == 4
        pool = functional.max_pool2d if is_2d else functional.max_pool3d
        skips = []
        for block in self.down:
            skips.append(block(x))
            x = pool(skips[-1], 2)
        x = self.bottom(x)
        mode = "bilinear" if is_2d else "trilinear"
        for block in self.up:
            skip = skips.pop()
            x = functional.interpolate(x, size=skip.shape[2:], mode=mode, align_corners=True)
            x = block(torch.cat([x, skip], dim=1))
        return activated(self.last(x), self.activation, classes_sum_to_one=True)
