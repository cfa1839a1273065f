"""Intensity steps on whole volumes, where all channels may share one statistic.

Each takes a volume of shape (C, X, Y, Z) and returns it with other values, float32, and no record.
Source: MONAI 1.6.1, ``transforms/intensity/array.py``; checked by ``tests/parity/test_monai.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseg_lite.volume import FloatArray, Volume

Result = tuple[Volume, None]


def scale_range(
    volume: Volume, source: Sequence[float], target: Sequence[float | None], clip: bool
) -> Result:
    """Map one range of intensities to another. Source: ``ScaleIntensityRange``.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    source, target : sequence of 2
        Ranges. Where the target lacks an end, values are only mapped to 0..1.
    clip : bool
        Clip to the ends that the target has.
    """
    low, high = (np.float32(end) for end in source)
    data = (volume.data - low) / (high - low)
    bottom, top = target
    if bottom is not None and top is not None:
        data = data * np.float32(top - bottom) + np.float32(bottom)
    if clip:
        data = np.clip(data, bottom, top)
    return _replaced(volume, data)


def scale_to_range(volume: Volume, target: Sequence[float], per_channel: bool) -> Result:
    """Map the range that the values have to another. Source: ``ScaleIntensity``.

    A volume of one value is multiplied by the lower end.
    """
    bottom, top = (np.float32(end) for end in target)

    def scale(values: FloatArray) -> FloatArray:
        low, high = values.min(), values.max()
        if low == high:
            return values * bottom
        scaled: FloatArray = (values - low) / (high - low) * (top - bottom) + bottom
        return scaled

    return _replaced(volume, _apply(scale, volume.data, per_channel))


def multiply(volume: Volume, by: float) -> Result:
    """Multiply by a number. Source: ``ScaleIntensity`` with a factor (minus 1)."""
    return _replaced(volume, volume.data * np.float32(by))


def standardize(
    volume: Volume,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    nonzero: bool,
    per_channel: bool,
) -> Result:
    """Subtract a mean and divide by a standard deviation. Source: ``NormalizeIntensity``.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    mean, std : sequence of C floats, of one, or None
        None: that of the values themselves. A deviation of 0 counts as 1.
    nonzero : bool
        Statistics and change for values other than 0 alone.
    per_channel : bool
        Each channel by itself.
    """
    groups = list(volume.data) if per_channel else [volume.data]
    changed = []
    for c, group in enumerate(groups):
        mask = group != 0 if nonzero else np.ones(group.shape, bool)
        values = group[mask].astype(np.float64) if nonzero else group.astype(np.float64)
        if values.size:
            center = values.mean() if mean is None else mean[c]
            scale = (values.std() if std is None else std[c]) or 1.0
            values = (values - np.float32(center)) / np.float32(scale)
        result = group.astype(np.float32)
        result[mask] = values.ravel()
        changed.append(result)
    return _replaced(volume, np.stack(changed) if per_channel else changed[0])


def threshold(volume: Volume, at: float, keep_above: bool, value: float) -> Result:
    """Replace what is not above (or not below) a threshold. Source: ``ThresholdIntensity``."""
    keep = volume.data > at if keep_above else volume.data < at
    return _replaced(volume, np.where(keep, volume.data, np.float32(value)))


def _apply(
    function: Callable[[FloatArray], FloatArray], data: FloatArray, per_channel: bool
) -> FloatArray:
    return np.stack([function(image) for image in data]) if per_channel else function(data)


def _replaced(volume: Volume, data: FloatArray) -> Result:
    return Volume(data.astype(np.float32, copy=False), volume.affine, volume.spacing), None


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

MINIMUM_STD = 1e-5
"""Patches that vary less are only shifted to a mean of 0."""


def normalize_instance(patch: FloatArray) -> FloatArray:
    """Subtract each channel's mean and divide by its standard deviation, if that is at least 1e-5.

    Parameters
    ----------
    patch : array of shape (C, *P)
        Padding counts. A view is best left a view: the order of its sums is the original's.

    Returns
    -------
    normalized : array of shape (C, *P)
        float32.

    Notes
    -----
    Source: ivadomed 2.9.10, ``transforms.NormalizeInstance``; checked by
    ``tests/parity/test_ivadomed.py``.
    """
    result = np.empty(patch.shape, np.float32)
    for channel, out in zip(patch, result, strict=True):
        std = channel.std()
        np.subtract(channel, channel.mean(), out=out)
        if std >= MINIMUM_STD:
            out /= std
    return result
