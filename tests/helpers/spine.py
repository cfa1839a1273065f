"""Small synthetic spines: what the networks of TotalSpineSeg would paint, from formulas alone.

Axes are RAS+ at 1 mm: x to the right, y to the front, z up. Vertebrae have the numbers of spinal
levels: 1 is C1, 7 C7, 8 T1, 19 T12, 20 L1, 24 L5, 25 the sacrum; a disc has the number of the
vertebra below it, from 3 (C2-C3) to 25 (L5-S).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

C1, SACRUM = 1, 25
LANDMARKS = {3: 2, 8: 3, 20: 4, 25: 5}  # discs with a class of their own, in both steps
STEP1 = {"vertebrae": 6, "c1": 7, "canal": 8, "cord": 9}
STEP2 = {"vertebrae": 6, "odd": 7, "even": 8, "sacrum": 9, "canal": 10, "cord": 11}
DISC_VALUES = dict(
    zip(range(3, 26), [*range(63, 68), *range(71, 83), *range(91, 96), 100], strict=True)
)
CANAL_MM, CORD_MM, DISC_MM = (8.0, 6.5), (5.0, 3.5), (9.0, 7.5, 2.6)  # half-axes
BODY_Y = 16.0  # from the middle of the canal to that of the bodies


@dataclass(frozen=True)
class Spine:
    """The classes of one spine, for both networks.

    Attributes
    ----------
    step1, step2 : ndarray
        Classes 1 to 9 and 1 to 11, shape (X, Y, Z), uint8.
    labels : ndarray
        The first step's right answer before the canal is filled: 1 cord, 2 canal, 11 C1, 50 other
        vertebrae, 63 to 100 discs; shape (X, Y, Z), uint8.
    affine : ndarray
        Voxel indices to mm, shape (4, 4), float64, RAS+ at 1 mm.
    discs : tuple of ints
        Numbers of the discs that were drawn, from the top.
    """

    step1: np.ndarray
    step2: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    discs: tuple[int, ...]


def make_spine(
    first: int = 1,
    last: int = 25,
    *,
    pitch: float = 13.0,
    size: float = 1.0,
    sway: float = 4.0,
    missing: tuple[int, ...] = (),
    merged: tuple[int, ...] = (),
    missing_vertebrae: tuple[int, ...] = (),
    cord_end: float = 20.5,
    seed: int = 0,
) -> Spine:
    """Draw vertebrae ``first`` to ``last`` with the discs between them, canal and cord.

    Parameters
    ----------
    first, last : int
        Highest and lowest vertebra; what lies beyond is out of view.
    pitch : float
        Mean distance from one disc to the next in mm.
    size : float
        Factor of all half-widths of discs, bodies, canal and cord.
    sway : float
        How far the spine bends forwards and sideways, in mm.
    missing, missing_vertebrae : tuple of ints
        Discs and vertebrae to leave out.
    merged : tuple of ints
        Discs that are joined to the next one below by a bridge in front of the vertebra.
    cord_end : float
        Number of the vertebra where the cord ends, with its fraction; the canal goes on.
    seed : int
        Seed of the anatomy: sizes and places of single discs.

    Returns
    -------
    spine : Spine
        Arrays of about (47, 63, pitch * vertebrae) voxels.
    """
    rng = np.random.default_rng(seed)
    heights = pitch * rng.uniform(0.9, 1.1, last - first + 1)
    heights[-1] *= 1.6 if last == SACRUM else 1.0
    edges = np.concatenate([[0.0], np.cumsum(heights)])  # mm below the top
    depth = int(edges[-1])
    x, y, z = np.ogrid[-23:24, -28:35, 0:depth]
    down = depth - 1.0 - z
    dx = x - sway * 0.5 * np.sin(down / 90.0)
    dy = y - sway * np.cos(down / 60.0)

    tilt = 0.15 * np.sin(down / 50.0)
    tilted = np.clip(down + tilt * (dy - BODY_Y) + 0 * dx, 0.0, depth - 1e-6)
    level = first + np.interp(tilted, edges, np.arange(len(edges)))
    vertebra = level.astype(int)
    fraction = level - vertebra  # 0 at the disc above, 1 at the disc below

    canal = np.broadcast_to(_ellipse(dx, dy, CANAL_MM, size), level.shape)
    cord = _ellipse(dx, dy, CORD_MM, size) & (level < cord_end)
    dens = (vertebra == C1) & (fraction > 0.35)
    dens &= _ellipse(dx, dy - BODY_Y + 2, (4.0, 4.0), size)
    bone = (_bone(dx, dy, vertebra, fraction, size) | dens) & ~canal
    vertebra[dens] = C1 + 1
    bone &= ~np.isin(vertebra, missing_vertebrae)

    drawn = tuple(n for n in range(max(first + 1, 3), last + 1) if n not in missing)
    disc = np.zeros(level.shape, np.uint8)  # the number of the disc
    for number in drawn:
        half = size * np.array(DISC_MM) * rng.uniform(0.9, 1.1, 3)
        high = tilted - edges[number - first]
        near = (dx / half[0]) ** 2 + ((dy - BODY_Y) / half[1]) ** 2 + (high / half[2]) ** 2 < 1
        disc[near & ~canal] = number
    for number in merged:
        between = (level > number) & (level < number + 1)
        bridge = between & (np.abs(dx) < 4) & (np.abs(dy - BODY_Y - 4 * size) < 2)
        disc[bridge] = number
        bone &= ~bridge
    bone &= disc == 0

    affine = np.eye(4)
    affine[:3, 3] = -23.0, -28.0, -0.5 * depth
    arch = bone & (dy < 0) & ((fraction < 0.4) | (fraction > 0.75))
    vertebra = np.where(bone, vertebra, 0)
    step1 = paint_step1(disc, vertebra, canal, cord)
    step2 = paint_step2(disc, vertebra, arch, canal, cord)
    return Spine(step1, step2, _label(step1, disc), affine, drawn)


def make_leaning_neck(step: int, c2_c3_y: int, bone_y: int) -> np.ndarray:
    """Return labels of a neck so bent that the levels of C1 leave the image.

    The canal moves one voxel forwards (``step`` 1) or backwards (-1) per slice; C2-C3 and the bone
    below C1 begin at the given y. Shape (20, 60, 40), uint8.
    """
    labels = np.zeros((20, 60, 40), np.uint8)
    for z in range(40):
        middle = 30 + step * (z - 10)
        labels[8:12, max(middle - 1, 0) : middle + 2, z] = 2
    labels[9, c2_c3_y, 10] = DISC_VALUES[3]
    labels[9:11, bone_y : bone_y + 4, 20:38] = 50
    labels[:6, 10:30, 34:39] = 11
    return labels


def paint_step1(disc, vertebra, canal, cord) -> np.ndarray:
    """Turn numbers of discs and vertebrae, and masks, into the classes of the first network."""
    classes = _paint_discs(disc)
    classes[vertebra > 0] = STEP1["vertebrae"]
    classes[vertebra == C1] = STEP1["c1"]
    classes[canal] = STEP1["canal"]
    classes[cord] = STEP1["cord"]
    return classes


def paint_step2(disc, vertebra, unsure, canal, cord) -> np.ndarray:
    """Turn numbers and masks into the classes of the second network; unsure bone is class 6."""
    classes = _paint_discs(disc)
    classes[vertebra % 2 == 1] = STEP2["odd"]
    classes[(vertebra > 0) & (vertebra % 2 == 0)] = STEP2["even"]
    classes[vertebra == SACRUM] = STEP2["sacrum"]
    classes[unsure & (vertebra > 0)] = STEP2["vertebrae"]
    classes[canal] = STEP2["canal"]
    classes[cord] = STEP2["cord"]
    return classes


def perturb(
    classes: np.ndarray, seed: int, *, noise: float = 0.0, blobs: int = 0, holes: int = 0
) -> np.ndarray:
    """Return classes with random faults, as a network makes them.

    Parameters
    ----------
    classes : ndarray
        Classes or labels, shape (X, Y, Z).
    seed : int
        Seed of the faults.
    noise : float
        Fraction of voxels inside the spine that get the class of another one.
    blobs : int
        Boxes of one class, 2 to 9 voxels wide, that are added anywhere.
    holes : int
        Boxes that are removed where something was.

    Returns
    -------
    perturbed : ndarray
        A copy of the same shape and type.
    """
    rng = np.random.default_rng(seed)
    faulty = classes.copy()
    values = np.unique(classes[classes > 0])
    inside = np.argwhere(classes > 0)
    if not len(inside):
        return faulty
    some = inside[rng.random(len(inside)) < noise]
    faulty[tuple(some.T)] = rng.choice(values, len(some))
    for _ in range(blobs):
        corner = rng.integers(0, classes.shape)
        faulty[_box(corner, rng.integers(2, 10, 3))] = rng.choice(values)
    for _ in range(holes):
        faulty[_box(rng.choice(inside), rng.integers(2, 10, 3))] = 0
    return faulty


def _box(corner, lengths) -> tuple[slice, ...]:
    """Return the slices of a box; it may end outside the array."""
    return tuple(
        slice(int(start), int(start + length))
        for start, length in zip(corner, lengths, strict=True)
    )


def _paint_discs(disc) -> np.ndarray:
    """Return class 1 for discs, and the classes of those that are landmarks."""
    classes = (disc > 0).astype(np.uint8)
    for number, value in LANDMARKS.items():
        classes[disc == number] = value
    return classes


def _label(step1, disc) -> np.ndarray:
    """Return the labels that the classes of the first network stand for."""
    values = np.zeros(26, np.uint8)
    values[list(DISC_VALUES)] = list(DISC_VALUES.values())
    labels = values[disc]
    for name, value in (("vertebrae", 50), ("c1", 11), ("canal", 2), ("cord", 1)):
        labels[step1 == STEP1[name]] = value
    return labels


def _ellipse(dx, dy, half, size):
    """Return the inside of a vertical cylinder."""
    return (dx / (half[0] * size)) ** 2 + (dy / (half[1] * size)) ** 2 < 1


def _bone(dx, dy, vertebra, fraction, size):
    """Return the vertebrae: blocks in front, rings and processes behind; C1 is a ring alone."""
    ring = _ellipse(dx, dy, (13.0, 11.0), size) & (np.abs(fraction - 0.5) < 0.25)
    process = (np.abs(dx) < 2.6) & (dy < -7) & (dy > -24) & (np.abs(fraction - 0.6) < 0.25)
    wide = np.abs(dx) < np.where(vertebra == SACRUM, 14.0, 9.0) * size
    tall = (np.abs(fraction - 0.5) < 0.34) | ((vertebra == 2) & (fraction < 0.5))
    body = wide & (np.abs(dy - BODY_Y) < 8 * size) & tall
    atlas = _ellipse(dx, dy - 6, (17.0, 18.0), size) & ~_ellipse(dx, dy - 6, (11.0, 13.0), size)
    atlas &= np.abs(fraction - 0.5) < 0.3
    return np.where(vertebra == C1, atlas, ring | process | body)
