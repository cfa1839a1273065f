"""Views as raters get them, of phantoms in real size: a cord with lesions, rootlets, a spine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from deepseg_lite.qc.view import View
from helpers.views import view_of

AIR, MUSCLE, BONE, FAT, CORD, LIQUOR, RIM = 0.02, 0.22, 0.38, 0.7, 0.42, 1.0, 0.08
"""Signals of a T2-weighted image."""


@dataclass(frozen=True, eq=False)
class Place:
    """Voxels of a phantom: mm downwards, to posterior and to the right of the line of the canal."""

    down: np.ndarray
    back: np.ndarray
    side: np.ndarray
    spacing: tuple[float, float, float]


def place(shape: Sequence[int], spacing: tuple[float, float, float], bend: float = 9.0) -> Place:
    """Return the voxels of an image around a canal that bends like that of a neck and a back."""
    down, back, side = (
        np.arange(n, dtype=np.float32) * s for n, s in zip(shape, spacing, strict=True)
    )
    height = down[-1]
    line = 0.56 * back[-1] + bend * np.sin(2 * np.pi * (down / height - 0.1))
    lean = 0.5 * side[-1] + 2.5 * np.sin(2 * np.pi * down / height + 1)
    return Place(
        down[:, None, None],
        back[None, :, None] - line[:, None, None],
        side[None, None, :] - lean[:, None, None],
        spacing,
    )


def oval(at: Place, back: float | np.ndarray, side: float | np.ndarray, middle: float = 0.0):
    """Return the voxels within an ellipse around the canal, of such half axes in mm."""
    return ((at.back - middle) / back) ** 2 + (at.side / side) ** 2 <= 1


def neck(at: Place) -> np.ndarray:
    """Return the signal of a neck without its spine."""
    signal = np.where(oval(at, 58, 75, -8), FAT, AIR).astype(np.float32)
    signal[oval(at, 54, 71, -8)] = MUSCLE
    signal[oval(at, 9, 8, -48) & (at.down > 30)] = AIR  # the throat
    return signal


def vertebrae(at: Place, first: float, heights: Sequence[float], gap: float = 0.24):
    """Return the number of the vertebra, and of the disc below it, of each voxel; 0 for none."""
    bones = np.zeros(np.broadcast_shapes(at.down.shape, at.back.shape, at.side.shape), np.uint8)
    discs = np.zeros_like(bones)
    top = first
    for number, height in enumerate(heights, 1):
        depth, width = 6 + 0.22 * height, 9 + 0.24 * height
        middle = -(7.5 + depth)
        bone = top + height * (1 - gap)
        waist = 1 - 0.12 * np.sin(np.pi * np.clip((at.down - top) / (bone - top), 0, 1))
        inside = oval(at, depth * waist, width * waist, middle)
        bones[inside & (at.down >= top) & (at.down < bone)] = number
        thin = oval(at, 0.95 * depth, 0.95 * width, middle)
        discs[thin & (at.down >= bone) & (at.down < top + height)] = number
        tilted = at.down - 0.45 * (at.back - 12)
        spine = (np.abs(at.side) < 3.2) & (at.back > 11) & (at.back < 30)
        bones[spine & (tilted > top + 0.3 * height) & (tilted < bone - 0.12 * height)] = number
        top += height
    return bones, discs


def scanned(signal: np.ndarray, at: Place, seed: int = 0, noise: float = 0.035) -> np.ndarray:
    """Return a signal as a scanner gives it: smoothed, shaded, with noise."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(signal, [0.55 / s for s in at.spacing])
    image *= 0.75 + 0.25 * np.exp(-(((at.back - 20) / 70) ** 2))
    image = np.hypot(image + rng.normal(0, noise, image.shape), rng.normal(0, noise, image.shape))
    return (800 * image).astype(np.int16)


def _with_spine(at: Place, bones: np.ndarray, discs: np.ndarray) -> np.ndarray:
    signal = neck(at)
    solid = (bones > 0) | (discs > 0)
    signal[ndimage.binary_dilation(solid, iterations=2)] = RIM
    signal[bones > 0] = BONE
    signal[discs > 0] = 0.55
    signal[oval(at, 7.6, 9.6)] = RIM
    signal[oval(at, 6.8, 8.8)] = LIQUOR
    signal[oval(at, 3.6, 5.6)] = CORD
    return signal


def spine(names: Mapping[str, Sequence[int]], shape: Sequence[int] = (320, 320, 60)) -> View:
    """Return a spine from C2 down, with labels whose names are those of TotalSpineSeg."""
    at = place(shape, (1.0, 0.625, 1.1), bend=12.0)
    heights = [18 + 0.75 * n for n in range(14)]
    bones, discs = vertebrae(at, 14, heights)
    levels = [(f"C{n}", 10 + n) for n in range(2, 8)] + [(f"T{n}", 20 + n) for n in range(1, 9)]
    below = [*levels[1:], ("T9", 29)]
    labels = np.zeros(bones.shape, np.uint8)
    labels[oval(at, 6.8, 8.8)] = 2
    labels[oval(at, 3.6, 5.6)] = 1
    for number, ((upper, value), (lower, _)) in enumerate(zip(levels, below, strict=True), 1):
        labels[bones == number] = value
        labels[discs == number] = names[f"disc_{upper}_{lower}"][0]
    image = scanned(_with_spine(at, bones, discs), at)
    found = {name: values for name, values in names.items() if (labels == values[0]).any()}
    return view_of(labels, found, at.spacing, image)


def rootlets(shape: Sequence[int] = (320, 320, 60)) -> View:
    """Return a neck with dorsal rootlets of eight levels."""
    at = place(shape, (0.5, 0.5, 0.5), bend=3.0)
    bones, discs = vertebrae(at, -4, [20.0] * 9)
    signal = _with_spine(at, bones, discs)
    labels = np.zeros(signal.shape, np.uint8)
    for level in range(2, 10):
        top, length = 6.0 + 18.5 * (level - 2), 13.0
        along = (at.down - top) / length
        for sign in (-1, 1):
            for strand in (0.0, 0.3, 0.6):
                share = np.clip((along - strand) / 0.4, 0, 1)
                back = at.back - (3.0 + 1.0 * share)
                side = at.side - sign * (3.2 + 3.6 * share)
                near = back**2 + side**2 <= 0.75**2
                labels[near & (along >= strand) & (along < strand + 0.4)] = level
    signal[labels > 0] = 0.5
    names = {f"lvl{level}": (level,) for level in range(2, 12)}
    return view_of(labels, names, at.spacing, scanned(signal, at, 1, 0.03))


def lesions(shape: Sequence[int] = (48, 256, 256)) -> View:
    """Return an axial image of a cord with three lesions."""
    at = place(shape, (3.0, 0.5, 0.5), bend=8.0)
    bones, discs = vertebrae(at, -6, [21.0] * 8)
    signal = _with_spine(at, bones, discs)
    cord = oval(at, 3.6, 5.6)
    lesion = np.zeros_like(cord)
    for down, back, side, length in ((28, 1.6, 0.4, 13), (76, -0.3, -3.4, 10), (103, 1.0, 3.0, 7)):
        square = ((at.down - down) / length) ** 2
        lesion |= square + ((at.back - back) / 1.7) ** 2 + ((at.side - side) / 1.8) ** 2 <= 1
    lesion &= cord
    signal[lesion] = 0.72
    labels = cord.astype(np.uint8) + lesion
    structures = {"sc": (1, 2), "lesion": (2,)}
    return view_of(labels, structures, at.spacing, scanned(signal, at, 2, 0.03))
