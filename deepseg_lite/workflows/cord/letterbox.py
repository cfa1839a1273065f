"""Pictures for 2-D detectors: uint8 resizing bit for bit as OpenCV does it, and letterboxes.

A picture is uint8 of shape (H, W, C). Boxes are x1, y1, x2, y2 in pixels, x along W.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepseg_lite.volume import FloatArray

Picture = npt.NDArray[np.uint8]

PAD_VALUE = 114
_ONE = 2048
"""Weights are fixed-point numbers of 11 bits."""


def resize_bilinear(picture: Picture, height: int, width: int) -> Picture:
    """Return a picture (H, W, C) at another size, (height, width, C).

    Notes
    -----
    Source: OpenCV, ``resize`` with ``INTER_LINEAR`` on uint8; checked by
    ``tests/parity/test_cord_crop.py``. Rows and columns beyond the rim are treated differently, as
    there: columns take the rim's pixel alone, rows weigh it with itself, which rounds differently.
    """
    rows, below = _positions(picture.shape[0], height)
    columns, right = _positions(picture.shape[1], width)
    right[(columns < 0) | (columns >= picture.shape[1] - 1)] = 0
    first, second = _neighbours(columns, picture.shape[1])
    pixels = picture.astype(np.int32)
    a, b = (weight[:, None] for weight in _weights(right))
    across = (pixels[:, first] * a + pixels[:, second] * b) >> 4
    first, second = _neighbours(rows, picture.shape[0])
    a, b = (weight[:, None, None] for weight in _weights(below))
    down = ((across[first] * a) >> 16) + ((across[second] * b) >> 16)
    resized: Picture = np.clip((down + 2) >> 2, 0, 255).astype(np.uint8)
    return resized


def _positions(size: int, new_size: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return where each new pixel lies on the old grid: whole part and fraction, in float32."""
    scale = 1 / (new_size / size)
    at = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
    whole = np.floor(at)
    return whole.astype(np.intp), at - whole


def _neighbours(
    whole: npt.NDArray[np.intp], size: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.clip(whole, 0, size - 1), np.clip(whole + 1, 0, size - 1)


def _weights(fraction: FloatArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    one = np.float32(1)
    first, second = (np.rint(part * _ONE).astype(np.int32) for part in (one - fraction, fraction))
    return first, second


def letterbox(picture: Picture, size: int, stride: int | None) -> Picture:
    """Scale a picture so that its longer side is ``size``, and pad it about its centre.

    Parameters
    ----------
    picture : array of shape (H, W, C)
        uint8.
    size : int
        Pixels of the longer side.
    stride : int or None
        Pad each side to the next multiple of this; None pads to ``size`` x ``size``.

    Returns
    -------
    padded : array of shape (H', W', C)
        uint8, `PAD_VALUE` around the picture.

    Notes
    -----
    Source: what Ultralytics 8.4.190 gives its networks for dynamic (a stride of 32) and static
    input; checked by ``tests/parity/test_cord_crop.py``.
    """
    height, width = picture.shape[:2]
    ratio = min(size / height, size / width)
    height, width = _scaled(height, ratio), _scaled(width, ratio)
    spare = [
        size - length if stride is None else (size - length) % stride for length in (height, width)
    ]
    return _padded(picture, (height, width), tuple(_before(pixels) for pixels in spare), spare)


def letterbox_centred(picture: Picture, size: int) -> Picture:
    """Scale a picture so that its longer side is ``size``, and pad it to ``size`` x ``size``.

    An odd pixel goes to the end, as it does in `letterbox`.

    Notes
    -----
    Source: sc-crop 0.12.1, what its slice classifier gets; checked by
    ``tests/parity/test_cord_crop.py``.
    """
    ratio = size / max(picture.shape[:2])
    height, width = (_scaled(length, ratio) for length in picture.shape[:2])
    spare = [size - height, size - width]
    return _padded(picture, (height, width), tuple(pixels // 2 for pixels in spare), spare)


def undo_letterbox(
    boxes: FloatArray, picture: tuple[int, int], padded: tuple[int, int]
) -> FloatArray:
    """Return boxes in the pixels of the picture that `letterbox` padded, clipped to it.

    Parameters
    ----------
    boxes : array of shape (..., 4)
        float32, pixels of the padded picture.
    picture, padded : tuple of 2 ints
        (H, W) before and after.

    Notes
    -----
    Source: what Ultralytics 8.4.190 makes of a detector's boxes; checked by
    ``tests/parity/test_cord_crop.py``. Each axis has its own scale, that of the rounded size.
    """
    ratio = min(padded[0] / picture[0], padded[1] / picture[1])
    undone = boxes.copy()
    for axis in (0, 1):  # x runs along the second axis of the picture
        length, whole = picture[1 - axis], padded[1 - axis]
        scaled = _scaled(length, ratio)
        sides = undone[..., axis::2]
        sides -= np.float32(_before(whole - scaled))
        sides /= np.float32(scaled / length)
        np.clip(sides, 0, length, out=sides)
    return undone


def to_batch(picture: Picture) -> FloatArray:
    """Return a picture (H, W, C) as a network's input, (1, C, H, W), float32 from 0 to 1."""
    batch: FloatArray = picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    return batch


def _scaled(length: int, ratio: float) -> int:
    return max(round(length * ratio), 1)


def _before(spare: int) -> int:
    """Return how much of the padding comes first: half of it, rounded down."""
    return round(spare / 2 - 0.1)


def _padded(
    picture: Picture, shape: tuple[int, int], start: tuple[int, ...], spare: list[int]
) -> Picture:
    """Resize a picture where its shape changes, and put it into grey."""
    if picture.shape[:2] != shape:
        picture = resize_bilinear(picture, *shape)
    full = np.full((shape[0] + spare[0], shape[1] + spare[1], picture.shape[2]), PAD_VALUE)
    full[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]] = picture
    return full.astype(np.uint8)
