"""Cutouts: the box around a structure and what is in it, for a whole image would be slow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from deepseg_lite.volume import AnyArray, Slices


@dataclass(frozen=True, eq=False)
class Cutout:
    """Structure in its box.

    Attributes
    ----------
    mask : boolean array of shape (s, a, l)
        What is in the box.
    box : tuple of 3 slices
        The box, on the axes of a view.
    shape : tuple of 3 ints
        Shape of the view (S, A, L).
    """

    mask: AnyArray
    box: Slices
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: AnyArray) -> Cutout:
        """Return the cutout of a mask (S, A, L); its box is empty where nothing is in the mask."""
        found = scipy.ndimage.find_objects(mask.astype(np.uint8))
        box = found[0] if found else (slice(0, 0),) * 3
        return cls(mask[box], box, mask.shape)

    @property
    def corner(self) -> tuple[int, int, int]:
        """Return the first voxel of the box."""
        s, a, side = (int(part.start) for part in self.box)
        return s, a, side
