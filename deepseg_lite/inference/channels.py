"""Telling the images of a case apart by their contrasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepseg_lite.bundles.bundle import Inputs
from deepseg_lite.errors import OptionError
from deepseg_lite.volume import Volume


def channel_order(inputs: Inputs, contrasts: Sequence[str]) -> list[int]:
    """Return which image is which channel.

    Parameters
    ----------
    inputs : Inputs
        The channels, and the contrasts that each may have.
    contrasts : sequence of str
        Contrast of each image, in the order the images are given; empty where nobody says.

    Returns
    -------
    order : list of int
        Per channel, the index of its image.

    Raises
    ------
    OptionError
        If the contrasts are not those of the model, or must be named and are not.
    """
    known = "; ".join(
        f"{name}: {' or '.join(options)}"
        for name, options in zip(inputs.channel_names, inputs.contrasts, strict=False)
    )
    if not contrasts:
        if inputs.invert:
            raise OptionError(
                f"the contrast of the image is not known, and this model multiplies "
                f"{', '.join(inputs.invert)} by -1; name it with `contrasts` ({known})."
            )
        return list(range(len(inputs.channel_names)))
    if not known:
        raise OptionError("this model does not tell contrasts apart; leave `contrasts` out.")
    left = list(range(len(contrasts)))
    order = []
    for options in inputs.contrasts:
        index = next((i for i in left if contrasts[i] in options), None)
        if index is not None:
            left.remove(index)
            order.append(index)
    if left or len(order) < len(inputs.contrasts):
        raise OptionError(
            f"{', '.join(contrasts)} was given as contrast; one for each image is needed: {known}."
        )
    return order


def arrange_channels(volume: Volume, inputs: Inputs, contrasts: Sequence[str]) -> Volume:
    """Return the images in the order of the model's channels, inverted where it wants that.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z), images in the order they were given.
    inputs, contrasts
        See `channel_order`.

    Notes
    -----
    Source: the Spinal Cord Toolbox 6.4, which multiplied PSIR by -1.
    """
    order = channel_order(inputs, contrasts)
    signs = [-1 if contrasts and contrasts[i] in inputs.invert else 1 for i in order]
    if order == list(range(len(order))) and set(signs) == {1}:
        return volume
    factors = np.array(signs, np.float32).reshape(-1, 1, 1, 1)
    return Volume(volume.data[order] * factors, volume.affine, volume.spacing)
