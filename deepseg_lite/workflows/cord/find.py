"""Box of the spinal cord, found as sc-crop does: arrays in, a box out.

The volume is resampled to slices across the body. A detector looks for the cord in each slice, a
classifier says below which slice the cord has surely begun, and the box around all detections is
taken back to the volume's own voxels.

sc-crop 0.12.1 is followed where it surprises, too: the classifier's search starts at the lowest
slice, although it is meant to start at the highest; the detector sees its three slices in the
opposite order of the classifier; the box does not include the highest slice with a detection; and
a volume that is in LAS at the right spacing already gets the box mirrored from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

import numpy as np
import scipy
from nibabel.spaces import vox2out_vox

from deepseg_lite.bundles.detector import DetectorSettings
from deepseg_lite.steps.box import Box
from deepseg_lite.steps.frame import to_frame
from deepseg_lite.volume import FloatArray, Volume
from deepseg_lite.workflows.cord.faces import header_spacing
from deepseg_lite.workflows.cord.letterbox import (
    Picture,
    letterbox,
    letterbox_centred,
    to_batch,
    undo_letterbox,
)

Network = Callable[[FloatArray], FloatArray]
"""Pictures (1, 3, H, W), 0 to 1, to boxes (1, N, 6) or, for the classifier, classes (1, 2)."""

Detection = tuple[float, float, float, float]
"""Centre and size of a box in fractions of a picture's sides: x, y, width, height."""

Detections = Mapping[int, Detection]
"""By slice, 0 the lowest."""

STRIDE = 32
"""Sides of the detector's pictures are multiples of this."""

_SPACING_TOLERANCE_MM = 0.01
_CORD_CLASS = 1


def find_cord(
    volume: Volume, detector: Network, classifier: Network, settings: DetectorSettings
) -> Box | None:
    """Return the box of the cord before padding; None when no cord was found.

    Parameters
    ----------
    volume : Volume
        One image, data of shape (1, X, Y, Z), **in the type it is stored in**, with the header's
        spacing: integers are resampled to integers, and that can decide a pixel.
    detector : callable
        Pictures (1, 3, H, W), float32 from 0 to 1, to (1, N, 6): x1, y1, x2, y2 in pixels,
        confidence, class.
    classifier : callable
        Pictures (1, 3, size, size) to the probabilities (1, 2) of no cord and cord.
    settings : DetectorSettings
        Of the bundle that holds the two.

    Returns
    -------
    box : Box or None
        In the axis order of ``volume``. It may lack voxels (see `Box.is_empty`) until it is padded.

    Notes
    -----
    Source: sc-crop 0.12.1, ``detect``; checked by ``tests/parity/test_cord_crop.py``. Where that
    ends in an exception (no detection, boxes that are no numbers), this returns None.
    """
    las, frame = to_frame(Volume(volume.data, volume.affine, header_spacing(volume)), "LAS", "xyz")
    grid = (settings.in_plane_spacing_mm,) * 2 + (settings.slice_spacing_mm,)
    pictures = slice_pictures(resample_to_world(las, grid), settings.percentiles)
    found = detect(pictures, detector, settings)
    if settings.regularization == "cls":
        found = keep_above_first_cord(found, pictures, classifier, settings)
    elif settings.regularization == "graphtrim":
        found = trim_jumps(found, pictures.shape[1:3], grid)
    if not found or not all(isfinite(value) for box in found.values() for value in box):
        return None
    start, stop = np.array(around(found, las, settings.slice_spacing_mm)).T
    flipped = np.array(frame.flipped)
    low = np.where(flipped, las.shape - stop, start)
    high = np.where(flipped, las.shape - start, stop)
    x, y, z = (frame.source.index(axis) for axis in range(3))
    return Box((int(low[x]), int(low[y]), int(low[z])), (int(high[x]), int(high[y]), int(high[z])))


def resample_to_world(las: Volume, grid: tuple[float, ...]) -> FloatArray:
    """Resample one image to a grid along the axes of space.

    Parameters
    ----------
    las : Volume
        Data of shape (1, X, Y, Z) in LAS.
    grid : tuple of 3 floats
        Spacing in mm.

    Returns
    -------
    resampled : array of shape (X', Y', Z')
        float32; to the right, anterior and superior, however the image lies; or the image as it
        is, in LAS, when its spacing is that of the grid.

    Notes
    -----
    Source: nibabel 5.4, ``processing.resample_to_output``, as sc-crop 0.12.1 calls it; checked by
    ``tests/parity/test_cord_crop.py``.
    """
    data = las.data[0]
    if all(abs(a - b) < _SPACING_TOLERANCE_MM for a, b in zip(las.spacing, grid, strict=True)):
        return np.asarray(data, np.float32)
    shape, affine = vox2out_vox((las.shape, las.affine), grid)
    to_image = np.linalg.inv(las.affine) @ affine
    resampled = scipy.ndimage.affine_transform(
        data, to_image[:3, :3], to_image[:3, 3], shape, order=1
    )
    return np.asarray(resampled, np.float32)


def slice_pictures(data: FloatArray, percentiles: tuple[float, float]) -> Picture:
    """Turn slices into pictures: each with the ones above and below it as colours.

    Parameters
    ----------
    data : array of shape (X, Y, Z)
        Resampled image.
    percentiles : tuple of 2 floats
        Of all pixels of a slice; what becomes 0 and 255.

    Returns
    -------
    pictures : array of shape (Z, Y, X, 3)
        uint8; the last voxel of X and Y first. Zeros stand in for slices beyond the ends.

    Notes
    -----
    Source: sc-crop 0.12.1, ``build_slices``, under NumPy 2; checked by
    ``tests/parity/test_cord_crop.py``.
    """
    gray = np.zeros((data.shape[2] + 2, data.shape[1], data.shape[0]), np.uint8)
    for z in range(data.shape[2]):
        pixels = data[:, :, z].T[::-1, ::-1]
        low, high = np.percentile(pixels, percentiles)
        if high > low:
            pixels = np.clip(pixels.astype(np.float64), low, high)
            gray[z + 1] = ((pixels - low) / (high - low) * 255).astype(np.uint8)
    return np.stack([gray[2:], gray[1:-1], gray[:-2]], axis=-1)


def detect(pictures: Picture, detector: Network, settings: DetectorSettings) -> Detections:
    """Return the most confident detection of each slice that has one.

    Notes
    -----
    Source: sc-crop 0.12.1, ``infer_slices``, with Ultralytics 8.4.190; checked by
    ``tests/parity/test_cord_crop.py``. The detector gets colours in reverse: Ultralytics takes
    pictures for BGR. Slices go one by one, so that no batch is in memory.
    """
    found = {}
    height, width = size = pictures.shape[1:3]
    stride = STRIDE if settings.letterbox == "minimum_rectangle" else None
    for z, picture in enumerate(pictures):
        padded = letterbox(picture[..., ::-1], settings.image_size, stride)
        boxes = detector(to_batch(padded))[0]
        boxes = boxes[boxes[:, 4] > np.float32(settings.confidence)]
        if len(boxes):
            best = boxes[np.argmax(boxes[:, 4])]
            x1, y1, x2, y2 = undo_letterbox(best[:4], size, padded.shape[:2])
            sides = np.array([width, height] * 2, np.float32)
            centre_and_size = np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
            x, y, w, h = (centre_and_size / sides).tolist()
            found[z] = (x, y, w, h)
    return found


def keep_above_first_cord(
    found: Detections, pictures: Picture, classifier: Network, settings: DetectorSettings
) -> Detections:
    """Drop the runs of slices below the first that has a slice the classifier calls cord.

    When there is no such slice, all detections stay.

    Notes
    -----
    Source: sc-crop 0.12.1, ``cls_comp_filter``; checked by ``tests/parity/test_cord_crop.py``.
    """
    first = 0
    for z in sorted(found):
        if z - 1 not in found:
            first = z
        picture = letterbox_centred(pictures[z], settings.image_size)
        if classifier(to_batch(picture))[0, _CORD_CLASS] >= settings.classifier_threshold:
            return {z: box for z, box in found.items() if z >= first}
    return found


def trim_jumps(found: Detections, size: tuple[int, ...], grid: tuple[float, ...]) -> Detections:
    """Drop the lowest detections when one of the two lowest steps from slice to slice is a jump.

    Notes
    -----
    Source: sc-crop 0.12.1, ``graphtrim_superior_filter``; checked by
    ``tests/parity/test_cord_crop.py``.
    """
    lowest = sorted(found)[:3]
    if len(lowest) < 3:
        return found
    for low, high in ((lowest[1], lowest[2]), (lowest[0], lowest[1])):
        if _is_jump(found[low], found[high], high - low, size, grid):
            return {z: box for z, box in found.items() if z >= high}
    return found


def _is_jump(
    a: Detection, b: Detection, hop: int, size: tuple[int, ...], grid: tuple[float, ...]
) -> bool:
    """Return whether 40 mm lie between two slices, or a side moves too far for their distance."""
    if hop * grid[2] >= 40:
        return True
    for centre, side, length, limit_mm in (
        (0, 2, size[1] * grid[0], 15.0),
        (1, 3, size[0] * grid[1], 25.0),
    ):
        for sign in (-1, 1):
            moved = (b[centre] + sign * b[side] / 2) - (a[centre] + sign * a[side] / 2)
            if abs(moved) * length > limit_mm * hop:
                return True
    return False


def around(found: Detections, las: Volume, slice_spacing_mm: float) -> list[tuple[int, int]]:
    """Return the range of voxels, in LAS, that holds all detections; stops are not inside.

    Notes
    -----
    Source: sc-crop 0.12.1, ``aggregate_bbox_3d``; checked by ``tests/parity/test_cord_crop.py``.
    The last slice is left out, as there.
    """
    x_size, y_size, z_size = las.shape
    step = las.spacing[2] / slice_spacing_mm
    heights = [min(z_size - 1, round(z / step)) for z in found]
    sides = [
        (
            *_side(x * x_size, w / 2 * x_size, x_size),
            *_side((1 - y) * y_size, h / 2 * y_size, y_size),
        )
        for x, y, w, h in found.values()
    ]
    x1, x2, y1, y2 = zip(*sides, strict=True)
    return [(min(x1), max(x2)), (min(y1), max(y2)), (min(heights), max(heights))]


def _side(centre: float, half: float, size: int) -> tuple[int, int]:
    return max(0, int(centre - half)), min(size, int(centre + half))
