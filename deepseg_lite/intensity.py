"""Intensity normalisation of one channel.

Each function takes one image (X, Y, Z) and returns a float32 array of that shape.
Source: nnunetv2 2.8.1, ``preprocessing/normalization/default_normalization_schemes.py``; checked by
``tests/parity/test_parts.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseg_lite.volume import FloatArray

EPSILON = 1e-8


def zscore(image: FloatArray, *, mask: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """Subtract the mean and divide by the standard deviation, inside ``mask`` only if given.

    Source: ``ZScoreNormalization``. Voxels outside the mask keep their value.
    """
    values = image if mask is None else image[mask]
    normalized: FloatArray = (values - values.mean()) / max(values.std(), EPSILON)
    if mask is None:
        return normalized
    result = image.astype(np.float32)
    result[mask] = normalized
    return result


def clip_zscore(
    image: FloatArray, *, lower: float, upper: float, mean: float, std: float
) -> FloatArray:
    """Clip to fixed bounds, then standardise with fixed statistics. Source: ``CTNormalization``."""
    result: FloatArray = np.clip(image, np.float32(lower), np.float32(upper))
    result -= np.float32(mean)
    result /= np.float32(max(std, EPSILON))
    return result


def rescale(image: FloatArray) -> FloatArray:
    """Map the image's range to 0..1. Source: ``RescaleTo01Normalization``."""
    shifted = image - image.min()
    result: FloatArray = shifted / np.clip(shifted.max(), a_min=EPSILON, a_max=None)
    return result


def divide(image: FloatArray, *, by: float) -> FloatArray:
    """Divide by a constant. Source: ``RGBTo01Normalization`` (by 255)."""
    result: FloatArray = image / np.float32(by)
    return result


def none(image: FloatArray) -> FloatArray:
    """Leave the image as it is. Source: ``NoNormalization``."""
    return image


SCHEMES: dict[str, Callable[..., Any]] = {
    "zscore": zscore,
    "clip_zscore": clip_zscore,
    "rescale": rescale,
    "divide": divide,
    "none": none,
}
"""Names a manifest may use in ``normalize``."""
