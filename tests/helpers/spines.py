"""Spines as the networks of TotalSpineSeg would paint them, from the label maps of PAM50.

PAM50 has the cord, the canal, the bones and one voxel per disc, from C1 to L2. The discs are the
gaps between the bodies of the vertebrae. Seen as ``lower`` the same shapes stand for a part of the
spine four levels further down, from C5 to the sacrum.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from helpers.nnunet_original import DATA
from helpers.spine import C1, SACRUM, paint_step1, paint_step2, perturb

PAM50 = DATA / "PAM50"
MARGIN = 12  # voxels on every side, room to move and turn
LOWER_BY = 4  # levels: disc 21 (L1-L2) becomes 25 (L5-S)
MAX_GAP_MM = 10.0  # height of the tallest disc


class Anatomy(NamedTuple):
    """Numbers of discs and vertebrae, and masks, all (X, Y, Z) in RAS+ at 1 mm."""

    disc: np.ndarray
    vertebra: np.ndarray
    unsure: np.ndarray
    canal: np.ndarray
    cord: np.ndarray


class RawSpine(NamedTuple):
    """Classes of one network (X, Y, Z), uint8, and the affine (4, 4)."""

    classes: np.ndarray
    affine: np.ndarray


VARIANTS: dict[str, dict] = {
    "whole": {},
    "lower": {"lower": True},
    "moved": {"move": (4, -6, 9)},
    "turned": {"turn": (6.0, -8.0, 5.0)},
    "lower_turned": {"lower": True, "turn": (-7.0, 4.0, 10.0)},
    "top_cut": {"crop": (0, 120)},
    "bottom_cut": {"crop": (260, 0)},
    "both_cut": {"crop": (150, 170)},
    "lower_top_cut": {"lower": True, "crop": (0, 260)},
    "neck": {"crop": (330, 0)},
    "through_a_disc": {"crop": (124, 0)},
    "missing_disc": {"missing": (10,)},
    "missing_landmark": {"missing": (8, 20)},
    "missing_top": {"missing": (3, 4)},
    "lower_missing": {"lower": True, "missing": (24, 12, 13)},
    "no_discs": {"missing": tuple(range(3, 26))},
    "no_canal": {"without": ("canal", "cord")},
    "no_cord": {"without": ("cord",)},
    "merged_discs": {"merged": (6, 14)},
    "merged_landmarks": {"merged": (7, 19)},
    "lower_merged": {"lower": True, "merged": (24, 9)},
    "false_components": {"blobs": 40},
    "noise": {"noise": 0.02, "blobs": 10, "holes": 10},
    "lower_noise": {"lower": True, "noise": 0.02, "blobs": 10, "holes": 10, "seed": 5},
    "turned_noise": {"turn": (5.0, 5.0, -5.0), "noise": 0.01, "holes": 30, "missing": (9,)},
}
QUICK = (
    "bottom_cut",
    "both_cut",
    "neck",
    "lower_top_cut",
    "missing_landmark",
    "lower_missing",
    "no_discs",
    "no_canal",
    "merged_landmarks",
    "turned_noise",
)
"""Variants for every run; the others take the original minutes."""
UNNUMBERED = ("both_cut", "missing_landmark", "no_discs", "no_canal")
"""Variants that the original gives up on in step 1: no landmark, no disc or no canal."""

LABELLING = {
    1: {
        "canal_labels": [8],
        "cord_labels": [9],
        "sacrum_labels": [6],
        "map_input_dict": {7: 11},
    },
    2: {
        "vertebrae_labels": [7, 8, 9],
        "vertebrae_landmark_output_labels": [13, 21, 41, 50],
        "vertebrae_extra_labels": [6],
        "canal_labels": [10],
        "cord_labels": [11],
        "sacrum_labels": [9],
    },
}
"""What the original's inference gives its ``iterative_label`` in each step, beside `COMMON`."""

COMMON = {
    "selected_disc_landmarks": [2, 5, 3, 4],
    "disc_labels": [1, 2, 3, 4, 5],
    "disc_landmark_labels": [2, 3, 4, 5],
    "disc_landmark_output_labels": [63, 71, 91, 100],
    "canal_output_label": 2,
    "cord_output_label": 1,
    "sacrum_output_label": 50,
}


def raw_spine(
    step: int,
    *,
    lower: bool = False,
    missing: tuple[int, ...] = (),
    merged: tuple[int, ...] = (),
    without: tuple[str, ...] = (),
    move: tuple[int, int, int] = (0, 0, 0),
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    crop: tuple[int, int] = (0, 0),
    noise: float = 0.0,
    blobs: int = 0,
    holes: int = 0,
    seed: int = 0,
) -> RawSpine:
    """Return the classes of network 1 or 2; skip the test where PAM50 is not here.

    ``missing`` and ``merged`` are numbers of discs (merged: joined to the next below), ``move`` is
    in voxels (what leaves the volume is lost), ``turn`` in degrees about x, y and z, ``crop`` in
    voxels off the bottom and the top, ``noise``, ``blobs`` and ``holes`` as `perturb` has them.
    """
    anatomy = copy.copy(_lower(_anatomy()) if lower else _anatomy())
    disc = np.where(np.isin(anatomy.disc, missing), 0, anatomy.disc).astype(np.uint8)
    vertebra = anatomy.vertebra.copy()
    for number in merged:
        bridge = _bridge(disc, number)
        disc[bridge] = number
        vertebra[bridge] = 0
    parts = anatomy._replace(disc=disc, vertebra=vertebra)
    parts = parts._replace(**{name: np.zeros(disc.shape, bool) for name in without})
    if step == 1:
        classes = paint_step1(parts.disc, parts.vertebra, parts.canal, parts.cord)
    else:
        classes = paint_step2(*parts)
    classes = _turn(np.roll(_clear(classes, move), move, (0, 1, 2)), turn)
    classes = perturb(classes, seed, noise=noise, blobs=blobs, holes=holes)
    bottom, top = crop
    classes = np.ascontiguousarray(classes[:, :, bottom : classes.shape[2] - top])
    affine = _affine()
    affine[2, 3] += bottom
    return RawSpine(classes, affine)


def params(names: Iterable[str]) -> list[Any]:
    """Return names of variants for a parametrised test, those that take long marked as slow."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def variant(name: str, step: int) -> RawSpine:
    """Return the named variant of `VARIANTS`."""
    return raw_spine(step, **VARIANTS[name])


def label_by_original(raw: RawSpine, step: int) -> np.ndarray:
    """Return what the original makes of raw classes: largest part, then labels; ValueError."""
    from totalspineseg.utils.iterative_label import iterative_label
    from totalspineseg.utils.largest_component import largest_component

    main = largest_component(nib.Nifti1Image(*raw), binarize=True, dilate=5)
    return np.asanyarray(iterative_label(main, **COMMON, **LABELLING[step]).dataobj)


@cache
def labelled_variant(name: str, step: int) -> np.ndarray:
    """Return the named variant as the original labels it, before the canal is filled."""
    labels = label_by_original(variant(name, step), step)
    labels.setflags(write=False)
    return labels


@cache
def _load(name: str) -> np.ndarray:
    """Return one PAM50 label map in RAS+ at 1 mm, with the margin."""
    path = PAM50 / f"PAM50_{name}.nii.gz"
    if not path.exists():
        pytest.skip("PAM50 is not here")
    data = np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    return np.pad(data[::2, ::2, ::2], MARGIN)


@cache
def _disc_heights() -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return numbers of discs, the highest first, and the z index of each at 1 mm."""
    path = PAM50 / "PAM50_label_disc.nii.gz"
    data = np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    points = np.argwhere((data > 0) & (data < 60))
    heights = {int(data[tuple(p)]): float(p[2]) / 2 + MARGIN for p in points}
    return tuple(sorted(heights)), tuple(heights[n] for n in sorted(heights))


def _affine() -> np.ndarray:
    """Return the affine of the padded 1 mm grid."""
    image = nib.as_closest_canonical(nib.load(PAM50 / "PAM50_spine.nii.gz"))
    affine = np.eye(4)
    affine[:3, 3] = image.affine[:3, 3] - MARGIN
    return affine


@cache
def _anatomy() -> Anatomy:
    """Return the spine from C1 to L2."""
    bone, canal = _load("spine") > 0, (_load("csf") > 0) | (_load("cord") > 0)
    cord = _load("cord") > 0
    bone &= ~canal
    numbers, heights = _disc_heights()
    x, y, z = np.ogrid[tuple(slice(n) for n in bone.shape)]

    front = bone & (y > MARGIN + 37)
    below = np.maximum.accumulate(np.where(front, z, -999), axis=2)
    above = np.minimum.accumulate(np.where(front, z, 999)[:, :, ::-1], axis=2)[:, :, ::-1]
    gap = ~front & ~canal & (above - below <= MAX_GAP_MM)
    gap &= (y > MARGIN + 39) & (np.abs(x - bone.shape[0] // 2) < 12)
    disc = np.zeros(bone.shape, np.uint8)
    for number, height in zip(numbers, heights, strict=True):
        if number < 3:
            continue
        here = gap & (np.abs(z - height) < 7)
        parts, count = ndimage.label(here)
        if count:
            disc[parts == np.bincount(parts.ravel())[1:].argmax() + 1] = number

    # A process hangs below the body it belongs to: behind the canal levels are read further up.
    hang = np.clip(0.5 * (MARGIN + 36 - y), 0, 12)
    level = np.interp(-(z + hang) + 0 * x, -np.array(heights), np.array(numbers, float))
    vertebra = np.where(bone, level.astype(int), 0)
    dens = (vertebra == C1) & (y > MARGIN + 40) & (np.abs(x - bone.shape[0] // 2) < 8)
    vertebra[dens] = C1 + 1
    fraction = level % 1
    unsure = bone & (y < MARGIN + 36) & ((fraction < 0.2) | (fraction > 0.8))
    return Anatomy(disc, vertebra.astype(np.uint8), unsure, canal, cord)


def _lower(anatomy: Anatomy) -> Anatomy:
    """Return the same shapes four levels further down; what was C1 and the dens is left out."""
    disc = np.where(anatomy.disc > 0, anatomy.disc + LOWER_BY, 0).astype(np.uint8)
    vertebra = np.where(anatomy.vertebra > C1, anatomy.vertebra + LOWER_BY, 0)
    return anatomy._replace(disc=disc, vertebra=np.minimum(vertebra, SACRUM).astype(np.uint8))


def _bridge(disc: np.ndarray, number: int) -> np.ndarray:
    """Return a rod from one disc to the next below, at their common middle."""
    upper, lower = np.argwhere(disc == number), np.argwhere(disc == number + 1)
    bridge = np.zeros(disc.shape, bool)
    if len(upper) and len(lower):
        x, y = (upper.mean(axis=0) + lower.mean(axis=0))[:2].astype(int) // 2
        z0, z1 = int(lower[:, 2].mean()), int(upper[:, 2].mean())
        bridge[x - 2 : x + 3, y - 2 : y + 3, z0:z1] = True
    return bridge & (disc == 0)


def _clear(classes: np.ndarray, move: tuple[int, int, int]) -> np.ndarray:
    """Return a copy without what would wrap around when it is rolled."""
    kept = classes.copy()
    for axis, by in enumerate(move):
        lost = [slice(None)] * 3
        lost[axis] = slice(-by, None) if by > 0 else slice(0, -by)
        if by:
            kept[tuple(lost)] = 0
    return kept


def _turn(classes: np.ndarray, degrees: tuple[float, float, float]) -> np.ndarray:
    """Return the classes turned about the axes through the middle, nearest voxel."""
    for angle, plane in zip(degrees, ((1, 2), (0, 2), (0, 1)), strict=True):
        if angle:
            classes = ndimage.rotate(classes, angle, plane, reshape=False, order=0)
    return classes
