"""Patches that hold nothing but background, and what stands in for the network there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepseg_lite.volume import FloatArray

CERTAIN = 10.0
"""Logit of what is taken for granted: a probability within 0.0001 of 0 or 1."""


@dataclass(frozen=True, eq=False)
class Background:
    """Background: the patches of nothing else, and their scores without the network.

    Attributes
    ----------
    levels : array of shape (C,)
        A patch is background where no voxel of any channel is above its level.
    scores : array of shape (K,)
        What is written where every patch is background.
    """

    levels: FloatArray
    scores: FloatArray

    def fills(self, patch: FloatArray) -> bool:
        """Return whether a patch (C, *P) is nothing else."""
        return not (patch.max(axis=(1, 2, 3)) > self.levels).any()


def find_background(data: FloatArray, activation: str, channel_count: int) -> Background:
    """Return what is background in an image.

    The level of each channel is its mean. Air and its noise are below it, and a patch with anatomy
    in it has brighter voxels as well as darker ones.

    Parameters
    ----------
    data : array of shape (C, X, Y, Z)
        What patches are cut from.
    activation : str
        ``"softmax"`` (channel 0 is background) or ``"sigmoid"``.
    channel_count : int
        K, output channels of the network.
    """
    scores = np.full(channel_count, -CERTAIN, np.float32)
    if activation == "softmax":
        scores[0] = CERTAIN
    return Background(data.mean(axis=(1, 2, 3), dtype=np.float64), scores)
