"""In-plane registration of two runs of a scan around the cord, slice by slice.

Between two runs of a session a person moves by a few tenths of a millimetre. Each slice gets a
shift and a turn of its own, found by maximising the correlation within a box around the cord.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

Plane = npt.NDArray[np.float32]

BOX_MM = 14.0  # around the cord, each way
SMOOTH_MM = 0.5  # of both images before they are compared
MAX_SHIFT_MM, MAX_TURN_DEGREES = 4.0, 8.0


class Move(NamedTuple):
    """How structures of the first run moved until the second.

    ``shift`` is in mm along y and x, ``middle`` the pixel of the first run that the turn is about,
    ``spacing`` the pixel size in mm, ``correlation`` what the smoothed slices have after it.
    """

    shift: tuple[float, float]
    degrees: float
    middle: tuple[float, float]
    spacing: tuple[float, float]
    correlation: float = 0.0


def register(
    first: Plane, second: Plane, cord: npt.NDArray[np.bool_], spacing: tuple[float, float]
) -> Move:
    """Find the movement from one slice to its repetition.

    Parameters
    ----------
    first, second : ndarray
        The slice in both runs, on the same grid, shape (Y, X).
    cord : ndarray
        Cord in the first, not empty.
    spacing : tuple of 2 floats
        Pixel size in mm.

    Returns
    -------
    move : Move
        From the first to the second.
    """
    size, places = np.array(spacing), np.argwhere(cord)
    y, x = places.mean(axis=0)
    margin = np.ceil(BOX_MM / size).astype(int)
    low = np.maximum(places.min(axis=0) - margin, 0)
    high = np.minimum(places.max(axis=0) + margin + 1, first.shape)
    grid = np.mgrid[low[0] : high[0], low[1] : high[1]]
    fixed, moved = (ndimage.gaussian_filter(plane, SMOOTH_MM / size) for plane in (first, second))
    still = Move((0.0, 0.0), 0.0, (float(y), float(x)), spacing)
    fixed = _sample(fixed, grid, still)

    def move_of(values: npt.NDArray[np.float64]) -> Move:
        return still._replace(shift=(values[0], values[1]), degrees=values[2])

    def mismatch(values: npt.NDArray[np.float64]) -> float:
        return -_correlation(fixed, _sample(moved, grid, move_of(values)))

    bounds = [(-MAX_SHIFT_MM, MAX_SHIFT_MM)] * 2 + [(-MAX_TURN_DEGREES, MAX_TURN_DEGREES)]
    options = {"xtol": 0.02, "ftol": 1e-4}
    found = optimize.minimize(
        mismatch, np.zeros(3), method="Powell", bounds=bounds, options=options
    )
    return move_of(found.x)._replace(correlation=float(-found.fun))


def back(plane: Plane, move: Move) -> Plane:
    """Bring a slice or a mask of the second run to where it is in the first, linearly."""
    return _sample(plane, np.mgrid[: plane.shape[0], : plane.shape[1]], move)


def forth(plane: Plane, move: Move) -> Plane:
    """Bring a slice or a mask of the first run to where it is in the second, linearly."""
    pairs = zip(move.middle, move.shift, move.spacing, strict=True)
    y, x = (middle + shift / size for middle, shift, size in pairs)
    shift = (-move.shift[0], -move.shift[1])
    inverse = move._replace(shift=shift, degrees=-move.degrees, middle=(y, x))
    return _sample(plane, np.mgrid[: plane.shape[0], : plane.shape[1]], inverse)


def _sample(plane: Plane, grid: npt.NDArray[np.int_], move: Move) -> Plane:
    """Read a plane where pixels of a grid are after the movement."""
    size, middle = (np.array(pair)[:, None, None] for pair in (move.spacing, move.middle))
    angle = np.deg2rad(move.degrees)
    turn = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    turned = np.tensordot(turn, (grid - middle) * size, 1) + np.array(move.shift)[:, None, None]
    places = turned / size + middle
    return np.asarray(ndimage.map_coordinates(plane, places, np.float32, 1, mode="nearest"))


def _correlation(first: Plane, second: Plane) -> float:
    """Return Pearson's correlation; 0 where one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale else 0.0
