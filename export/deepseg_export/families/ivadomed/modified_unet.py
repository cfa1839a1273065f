"""ivadomed's 3-D U-Net with residual blocks and deep supervision, for inference.

Source: ivadomed 2.9.10, ``models.Modified3DUNet``, in older files ``UNet3D``; checked by
``tests/parity/test_ivadomed.py``.
"""

from __future__ import annotations

from functools import partial

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.weights import Weights
from deepseg_export.families.ivadomed.layers import activated, convolution

DEPTH = 4
"""Number of times the image is halved."""
LAST = "conv3d_l4.weight"
"""Name of the weights that say how many maps there are."""


def modified_unet(layers: Layers, image: Maps, weights: Weights, *, activation: str) -> Maps:
    """Return the classes' maps of an image, activated, background left out.

    Parameters
    ----------
    layers : Layers
        What computes them.
    image : maps
        (N, C, *P), of sizes that can be halved four times.
    weights : Weights
        Named as ivadomed names them.
    activation : str
        ``sigmoid``, ``softmax`` or ``relu``.
    """
    convolved = partial(convolution, layers, weights=weights)

    def relu(maps: Maps) -> Maps:
        return layers.activation(maps, "leaky_relu", slope=0.01)

    def normalized(maps: Maps) -> Maps:
        return relu(layers.instance_norm(maps))

    def doubled(maps: Maps) -> Maps:
        return layers.upsample(maps, factor=2)

    def up(maps: Maps, level: int) -> Maps:
        name = f"norm_lrelu_upscale_conv_norm_lrelu_l{level}.3"
        return normalized(convolved(doubled(normalized(maps)), prefix=name))

    start = convolved(image, prefix="conv3d_c1_1")
    maps = relu(convolved(relu(start), prefix="conv3d_c1_2"))
    maps = relu(layers.add(start, convolved(maps, prefix="lrelu_conv_c1.1")))
    skips = [maps]
    maps = normalized(maps)
    for level in range(2, DEPTH + 2):
        start = convolved(maps, prefix=f"conv3d_c{level}", stride=2)
        maps = convolved(normalized(start), prefix=f"norm_lrelu_conv_c{level}.2")
        maps = convolved(normalized(maps), prefix=f"norm_lrelu_conv_c{level}.2")
        maps = layers.add(maps, start)
        if level <= DEPTH:
            maps = normalized(maps)
            skips.append(maps)
    maps = normalized(convolved(up(maps, 0), prefix="conv3d_l0"))
    supervised = {}
    for level in range(1, DEPTH):
        maps = layers.concatenate([maps, skips.pop()])
        maps = normalized(convolved(maps, prefix=f"conv_norm_lrelu_l{level}.0"))
        supervised[level] = maps
        maps = up(convolved(maps, prefix=f"conv3d_l{level}"), level)
    maps = layers.concatenate([skips.pop(), maps])
    maps = normalized(convolved(maps, prefix=f"conv_norm_lrelu_l{DEPTH}.0"))
    coarse = layers.add(
        doubled(convolved(supervised[2], prefix="ds2_1x1_conv3d")),
        convolved(supervised[3], prefix="ds3_1x1_conv3d"),
    )
    logits = layers.add(convolved(maps, prefix=f"conv3d_l{DEPTH}"), doubled(coarse))
    return activated(layers, logits, activation, classes_sum_to_one=False)
