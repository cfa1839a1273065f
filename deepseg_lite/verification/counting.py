"""Voxels that differ between two results of one image, in all and label by label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepseg_lite.bundles.bundle import Outputs
from deepseg_lite.volume import AnyArray

MAP_TOLERANCE = 1e-3
"""Values of maps, which are probabilities, that differ by no more count as equal."""


@dataclass(frozen=True)
class LabelCount:
    """Voxels of one label: of the original, of the result here, and those of only one of them."""

    label: str
    original: int
    here: int
    differing: int

    @property
    def dice(self) -> float:
        """Dice coefficient of the two; 1 where neither has the label."""
        total = self.original + self.here
        return 1.0 if total == 0 else (total - self.differing) / total


@dataclass(frozen=True)
class Count:
    """Voxels of an image, those whose result differs, and those of each label."""

    voxels: int
    differing: int
    labels: tuple[LabelCount, ...]


def count_differing(found: AnyArray, original: AnyArray, outputs: Outputs) -> Count:
    """Count the voxels that differ.

    Parameters
    ----------
    found, original : array of shape (X, Y, Z) or (X, Y, Z, L)
        Label maps; or where the bundle's result is maps, one for each label, which differ where
        one is further from the other's than `MAP_TOLERANCE`. A map has its label where it is
        above 0.5.
    outputs : Outputs
        What values mean.
    """
    if outputs.are_maps:
        grid = (*found.shape[:3], len(outputs.labels))
        found, original = found.reshape(grid), original.reshape(grid)
        unequal = (np.abs(found.astype(float) - original) > MAP_TOLERANCE).any(axis=-1)
        masks = [(found[..., i] > 0.5, original[..., i] > 0.5) for i in range(grid[-1])]
    else:
        unequal = found != original
        masks = [
            (np.isin(found, label.values), np.isin(original, label.values))
            for label in outputs.labels
        ]
    labels = tuple(
        LabelCount(label.name, int(there.sum()), int(here.sum()), int((here != there).sum()))
        for label, (here, there) in zip(outputs.labels, masks, strict=True)
    )
    return Count(unequal.size, int(unequal.sum()), labels)
