"""Cleaning label maps by connected components."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from deepseg_lite.volume import LabelArray


def keep_largest(labels: LabelArray) -> LabelArray:
    """Keep the largest face-connected component of all foreground; values stay as they are.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Any non-zero value is foreground; labels are not treated apart.

    Returns
    -------
    kept : array of shape (X, Y, Z)
        Ties go to the component that comes first in array order.

    Notes
    -----
    Source: Spinal Cord Toolbox, ``-largest 1``.
    """
    components, count = ndimage.label(labels)
    if count < 2:
        return labels
    sizes = np.bincount(components.ravel())[1:]
    return np.where(components == sizes.argmax() + 1, labels, 0).astype(labels.dtype)
