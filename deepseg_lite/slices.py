"""Slices of 2-D networks that hold nothing to segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepseg_lite.errors import ImageError
from deepseg_lite.volume import AnyArray, Volume


@dataclass(frozen=True)
class Kept:
    """Record of `drop_constant_slices`: indices that stayed, and how many slices there were."""

    indices: tuple[int, ...]
    count: int

    def undo(self, array: AnyArray) -> AnyArray:
        """Return (..., x, Y, Z) as (..., X, Y, Z), zeros in the slices that were dropped."""
        full = np.zeros((*array.shape[:-3], self.count, *array.shape[-2:]), array.dtype)
        full[..., list(self.indices), :, :] = array
        return full


def drop_constant_slices(volume: Volume) -> tuple[Volume, Kept]:
    """Leave out slices, along the first axis, in which some channel has one value throughout.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z), slices along X.

    Returns
    -------
    kept : Volume
        Data of shape (C, x, Y, Z). The affine is that of the first slice before; distances along X
        no longer mean anything.
    record : Kept
        ``record.undo`` gives the dropped slices zeros.

    Raises
    ------
    ImageError
        If no slice is left.

    Notes
    -----
    Source: ivadomed 2.9.10, ``loader/slice_filter.py``, ``filter_empty_input``; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    indices = [
        index
        for index in range(volume.shape[0])
        if all(np.ascontiguousarray(channel[index]).std() > 0 for channel in volume.data)
    ]
    if not indices:
        raise ImageError(
            "Every slice of the image has one value throughout; slices with contrast are needed. "
            "Check the image, and that its affine names the right axes."
        )
    kept = volume.data if len(indices) == volume.shape[0] else volume.data[:, indices]
    return Volume(kept, volume.affine, volume.spacing), Kept(tuple(indices), volume.shape[0])
