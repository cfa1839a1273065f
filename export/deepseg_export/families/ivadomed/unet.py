"""ivadomed's U-Net, in two or three dimensions, for inference.

Source: ivadomed 2.9.10, ``models.Unet``; checked by ``tests/parity/test_ivadomed.py``.
"""

from __future__ import annotations

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.weights import Weights
from deepseg_export.families.ivadomed.layers import activated, convolution

LAST = "decoder.last_conv.weight"
"""Name of the weights that say how many maps there are."""


def unet(layers: Layers, image: Maps, weights: Weights, *, depth: int, activation: str) -> Maps:
    """Return the classes' maps of an image, activated, background left out.

    Parameters
    ----------
    layers : Layers
        What computes them.
    image : maps
        (N, C, *P), of any size.
    weights : Weights
        Named as ivadomed names them.
    depth : int
        Number of times the image is halved.
    activation : str
        ``sigmoid``, ``softmax`` or ``relu``.
    """
    maps, skips = image, []
    for level in range(depth):
        skips.append(_block(layers, maps, weights, f"encoder.down_path.{3 * level}"))
        maps = layers.max_pool(skips[-1], 2)
    maps = _block(layers, maps, weights, "encoder.conv_bottom")
    for level in range(depth):
        skip = skips.pop()
        maps = layers.upsample(maps, like=skip, mode="linear", align_corners=True)
        maps = layers.concatenate([maps, skip])
        maps = _block(layers, maps, weights, f"decoder.up_path.{2 * level}.downconv")
    logits = convolution(layers, maps, weights, "decoder.last_conv")
    return activated(layers, logits, activation, classes_sum_to_one=True)


def _block(layers: Layers, maps: Maps, weights: Weights, prefix: str) -> Maps:
    """Return twice a convolution, ReLU and normalisation: recorded in 2-D, the image's in 3-D."""
    for name in ("conv1", "conv2"):
        maps = convolution(layers, maps, weights, f"{prefix}.{name}")
        maps = layers.activation(maps, "relu")
        if layers.axes == 3:
            maps = layers.instance_norm(maps)
            continue
        width = (layers.channels(maps),)
        scale, bias, mean, variance = (
            weights.take(f"{prefix}.{name}_bn.{part}", width)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        maps = layers.batch_norm(maps, mean, variance, scale, bias)
    return maps
