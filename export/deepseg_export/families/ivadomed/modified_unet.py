"""ivadomed's 3-D U-Net with residual blocks and deep supervision, for inference.

Source: ivadomed 2.9.10, ``models.Modified3DUNet``, in older files ``UNet3D``; checked by
``tests/parity/test_ivadomed.py``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from deepseg_export.families.ivadomed.layers import Weights, activated, convolution

_LEVELS = (2, 3, 4, 5)


def _names() -> dict[str, str]:
    """Return what each convolution is called here and in ivadomed's files."""
    names = {"c1_1": "conv3d_c1_1", "c1_2": "conv3d_c1_2", "c1": "lrelu_conv_c1.1"}
    for level in _LEVELS:
        names[f"down{level}"] = f"conv3d_c{level}"
        names[f"c{level}"] = f"norm_lrelu_conv_c{level}.2"
    for level in range(5):
        names[f"l{level}"] = f"conv3d_l{level}"
        if level < 4:
            names[f"up{level}"] = f"norm_lrelu_upscale_conv_norm_lrelu_l{level}.3"
        if level > 0:
            names[f"join{level}"] = f"conv_norm_lrelu_l{level}.0"
    return names | {"ds2": "ds2_1x1_conv3d", "ds3": "ds3_1x1_conv3d"}


class Modified3DUNet(nn.Module):  # type: ignore[misc]
    """The network, built from its weights: (N, C, *P) to one channel per class, activated.

    Parameters
    ----------
    weights : Weights
        Named as ivadomed names them; what is used is taken out.
    activation : str
        ``sigmoid``, ``softmax`` or ``relu``.
    """

    def __init__(self, weights: Weights, activation: str) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict(
            {
                name: convolution(weights, source, stride=2 if name.startswith("down") else 1)
                for name, source in _names().items()
            }
        )
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the classes' maps, background left out."""
        layer = self.convolutions
        x = layer["c1_1"](x)
        x = _relu(x + layer["c1"](_relu(layer["c1_2"](_relu(x)))))
        skips = [x]
        x = _normalized(x)
        for level in _LEVELS:
            start = layer[f"down{level}"](x)
            x = layer[f"c{level}"](_normalized(start))
            x = layer[f"c{level}"](_normalized(x)) + start
            if level < _LEVELS[-1]:
                x = _normalized(x)
                skips.append(x)
        x = _normalized(layer["l0"](self._up(x, 0)))
        supervised = {}
        for level in (1, 2, 3):
            x = _normalized(layer[f"join{level}"](torch.cat([x, skips.pop()], dim=1)))
            supervised[level] = x
            x = self._up(layer[f"l{level}"](x), level)
        x = _normalized(layer["join4"](torch.cat([skips.pop(), x], dim=1)))
        coarse = _doubled(layer["ds2"](supervised[2])) + layer["ds3"](supervised[3])
        logits = layer["l4"](x) + _doubled(coarse)
        return activated(logits, self.activation, classes_sum_to_one=False)

    def _up(self, x: torch.Tensor, level: int) -> torch.Tensor:
        return _normalized(self.convolutions[f"up{level}"](_doubled(_normalized(x))))


def _relu(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.01)


def _normalized(x: torch.Tensor) -> torch.Tensor:
    return _relu(functional.instance_norm(x))


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
