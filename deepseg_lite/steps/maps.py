"""Score maps that stay maps: activations, and the steps that turn them into masks and labels.

Every function takes and returns an array of shape (K, X, Y, Z), float32; a label map is one map of
whole numbers. Source: MONAI 1.6.1, ``transforms/post/array.py``; checked by
``tests/parity/test_monai.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy

from deepseg_lite.steps import components
from deepseg_lite.volume import AnyArray, FloatArray, Spacing


def softmax(scores: FloatArray) -> FloatArray:
    """Return exponentials that add up to 1 over the maps."""
    exponentials = np.exp(scores - scores.max(axis=0))
    result: FloatArray = exponentials / exponentials.sum(axis=0)
    return result


def sigmoid(scores: FloatArray) -> FloatArray:
    """Return the logistic function of each value."""
    result: FloatArray = 1 / (1 + np.exp(-np.clip(scores, -80, 80)))
    return result


def relu(scores: FloatArray) -> FloatArray:
    """Set negative values to 0."""
    positive: FloatArray = np.maximum(scores, np.float32(0))
    return positive


def relu_scaled(scores: FloatArray) -> FloatArray:
    """Set negative values to 0 and divide by the largest value of all maps, when it is above 0.

    Source: the Spinal Cord Toolbox 6.2 to 6.5, on its contrast-agnostic model.
    """
    positive: FloatArray = relu(scores)
    largest = positive.max()
    return positive / largest if largest > 0 else positive


def unchanged(scores: FloatArray) -> FloatArray:
    """Return the scores themselves."""
    return scores


ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "relu": relu,
    "relu_scaled": relu_scaled,
    "none": unchanged,
}
"""Names a manifest may use for what follows the network."""


def argmax(maps: FloatArray) -> FloatArray:
    """Return the index of the largest map at every voxel, the first on ties, as one map."""
    largest = maps[0].copy()
    indices: FloatArray = np.zeros((1, *largest.shape), np.float32)
    for index, values in enumerate(maps[1:], 1):
        np.copyto(indices[0], index, where=values > largest)
        np.maximum(largest, values, out=largest)
    return indices


def one_hot(maps: FloatArray, count: int) -> FloatArray:
    """Return one mask for each of the values 0 to ``count - 1`` of a label map."""
    values = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
    hot: FloatArray = (maps == values).astype(np.float32)
    return hot


def binarize(maps: FloatArray, threshold: float, inclusive: bool) -> FloatArray:
    """Return 1 where a value is above the threshold, or equal to it if ``inclusive``."""
    level = np.float32(threshold)
    return (maps >= level if inclusive else maps > level).astype(np.float32)


def whole_numbers(maps: FloatArray) -> AnyArray:
    """Return values as uint8, what is behind the point cut off.

    What `deepseg_lite.steps.resize.resize` does to whole numbers is undone with rounding.
    """
    whole: AnyArray = maps.astype(np.uint8)
    return whole


def limit(maps: FloatArray, floor: float, ceiling: float | None) -> FloatArray:
    """Set values up to the floor to 0, and from the ceiling on, if there is one, to 1.

    Source: the Spinal Cord Toolbox 6.4 and 6.5, on its contrast-agnostic model; without a ceiling
    ivadomed 2.9.10, ``threshold_predictions``.
    """
    limited = np.where(maps <= floor, 0, maps)
    if ceiling is not None:
        limited = np.where(limited >= ceiling, 1, limited)
    return limited.astype(np.float32)


def keep_components(
    maps: FloatArray,
    labels: Sequence[int] | None,
    one_hot: bool | None,
    independent: bool,
    connectivity: int,
    count: int,
) -> FloatArray:
    """Keep the largest connected components.

    Parameters
    ----------
    maps : array of shape (K, X, Y, Z)
        Masks, or one label map.
    labels : sequence of int or None
        Maps, or values of the label map, that are looked at; None for all but 0.
    one_hot : bool or None
        Whether these are masks; None: if there are several maps.
    independent : bool
        Each label by itself, rather than all of them together.
    connectivity : int
        1: voxels that share a face connect; 2: or an edge; 3: or a corner.
    count : int
        How many components stay.

    Notes
    -----
    Source: ``KeepLargestConnectedComponent``.
    """
    masks = len(maps) > 1 if one_hot is None else one_hot
    if labels is None:
        present = np.flatnonzero(maps.any(axis=(1, 2, 3))) if masks else np.unique(maps)
        labels = [int(label) for label in present if label != 0]
    result = maps.copy()
    if independent:
        for label in labels:
            k = label if masks else 0
            foreground = maps[k] > 0 if masks else maps[0] == label
            result[k][foreground & ~_largest(foreground, connectivity, count)] = 0
        return result
    foreground = (maps[list(labels)] == 1).any(axis=0) if masks else np.isin(maps[0], labels)
    dropped = foreground & ~_largest(foreground, connectivity, count)
    for k in labels if masks else (0,):
        result[k][dropped] = 0
    return result


def _largest(mask: AnyArray, connectivity: int, count: int) -> AnyArray:
    """Return the largest components of a mask; of equal ones, those that come last."""
    structure = scipy.ndimage.generate_binary_structure(3, connectivity)
    boxes = scipy.ndimage.find_objects(mask.view(np.uint8))
    box = boxes[0] if boxes else ()  # what is outside it need not be looked through
    parts, found = scipy.ndimage.label(mask[box], structure)
    if found <= count:
        return mask
    sizes = components.count_values(parts)
    sizes[0] = 0
    keep = np.zeros(len(sizes), bool)
    keep[np.argsort(sizes)[::-1][:count]] = True
    kept: AnyArray = np.zeros_like(mask)
    kept[box] = keep[parts]
    return kept


HALF = 0.5


def binarize_maximum(maps: AnyArray) -> AnyArray:
    """Return 1 where a class has the largest value, uint8, for maps of shape (L, X, Y, Z).

    Background takes part with 1 minus the sum of all classes; it wins ties, then the first class.
    """
    background = np.ones(maps.shape[1:])
    for each in maps:
        background -= each
    winner = np.concatenate([background[None], maps]).argmax(axis=0)
    classes = np.arange(1, len(maps) + 1).reshape(-1, 1, 1, 1)
    largest: AnyArray = winner == classes
    return largest.astype(np.uint8)


def keep_largest(maps: AnyArray) -> AnyArray:
    """Keep the largest object of all maps (L, X, Y, Z) together; values stay.

    Neighbours share a face, or are the same voxel in neighbouring classes. Values below 0.001 do
    not connect and become 0; ties go to what comes first in the order of X, Y, Z, L.
    """
    return np.moveaxis(components.keep_largest(np.moveaxis(maps, 0, -1)), -1, 0)


def fill_holes(maps: AnyArray) -> AnyArray:
    """Binarise maps (L, X, Y, Z) at 0.5 and fill the holes of each; uint8."""
    return np.stack([components.fill_holes(mask.astype(np.uint8)) for mask in maps >= HALF])


def remove_small(
    maps: AnyArray, minimum: Sequence[int], unit: str, *, image_spacing: Spacing
) -> AnyArray:
    """Set objects that are too small to 0, class by class; faces and edges connect.

    Parameters
    ----------
    maps : array of shape (L, X, Y, Z)
        Anything but 0 is foreground.
    minimum : sequence of int
        Smallest object that stays, per class, or one number for all.
    unit : {"vox", "mm3"}
        Of ``minimum``; mm3 are rounded to whole voxels, ties to even.
    image_spacing : tuple of 3 floats
        Voxel size in mm.

    Returns
    -------
    kept : array of shape (L, X, Y, Z)
    """
    voxel = float(np.prod(image_spacing)) if unit == "mm3" else 1.0
    sizes = [round(size / voxel) for size in minimum] * (len(maps) if len(minimum) == 1 else 1)
    pairs = zip(maps, sizes, strict=True)
    return np.stack([components.remove_small(each, size) for each, size in pairs])


def remove_spots(maps: AnyArray, share: float, independent: bool, connectivity: int) -> AnyArray:
    """Set objects to 0 that are small beside the largest one, wherever they are in the volume.

    Parameters
    ----------
    maps : array of shape (L, X, Y, Z)
        Masks, or one label map.
    share : float
        From 0 to 1: what part of the voxels of the largest object is the least that stays.
    independent : bool
        Each mask, or each value of the label map, by itself; otherwise all that is not 0 together,
        so that an object goes with all its labels or stays with them.
    connectivity : int
        1: voxels that share a face connect; 2: or an edge; 3: or a corner.

    Returns
    -------
    kept : array of shape (L, X, Y, Z)
        The largest object stays, so nothing that has an object becomes empty.
    """
    kept = maps.copy()
    if not independent:
        kept[:, components.spots(np.any(maps, axis=0), share, connectivity)] = 0
    elif len(maps) > 1:
        for mask in kept:
            mask[components.spots(mask, share, connectivity)] = 0
    else:
        for value in np.unique(maps[maps != 0]):
            kept[0][components.spots(maps[0] == value, share, connectivity)] = 0
    return kept
