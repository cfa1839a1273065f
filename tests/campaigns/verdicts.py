"""Verdicts on masks that were spoilt in a known way, and on good ones.

python tests/campaigns/verdicts.py --count 300 --seed 1

Masks are manual ones of ``../shared/data`` where they are, and of phantoms. Each kind of damage is
one that a rater would send back.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.paths import SHARED

from deepseg_lite.bundles.review import Expected, Review
from deepseg_lite.notice import Notice
from deepseg_lite.qc.findings import Verdict
from deepseg_lite.qc.rules import judge
from deepseg_lite.qc.view import ORIENTATION, Shown, make_view
from deepseg_lite.steps.box import Box
from deepseg_lite.store.tasks import find_task
from deepseg_lite.workflows.cord.crop import CordBox, describe_crop

CORD = Expected(pieces=1, continuous=True, solid=True)
LEVELS = Review(ordered=("lvl",))


@dataclass(frozen=True, eq=False)
class Good:
    """Mask that is good, on the axes of a view: slices, rows, columns."""

    name: str
    labels: np.ndarray
    spacing: tuple[float, float, float]
    review: Review
    structures: Mapping[str, tuple[int, ...]]

    def verdict(self, labels: np.ndarray | None = None, box: Box | None = None) -> Verdict:
        """Return the verdict on it, or on what became of it; cropped to a box, if one is given."""
        notices: list[Notice] = []
        labels = self.labels if labels is None else labels
        signs = np.array([-1, -1, 1])  # to inferior, posterior, right
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]] = signs * self.spacing
        affine[3, 3] = 1
        assert "".join(nib.aff2axcodes(affine)) == ORIENTATION
        files = [Shown(labels, self.structures)]
        view = make_view([labels], files, affine, float(np.prod(self.spacing)))
        if box is not None:
            describe_crop(CordBox(box, True, ()), labels, notices.append)
        return judge(view, self.review, notices)


def box_around(labels: np.ndarray, spare: int) -> Box:
    """Return the box of a structure with so many voxels to spare, as far as the image goes."""
    axes = list(zip(np.nonzero(labels), labels.shape, strict=True))
    start = tuple(max(int(axis.min()) - spare, 0) for axis, _ in axes)
    return Box(start, tuple(min(int(axis.max()) + 1 + spare, count) for axis, count in axes))


def good_masks() -> list[Good]:
    """Return all good masks that there are: real ones, and those of phantoms."""
    return [*_real(), *phantoms()]


def _real() -> list[Good]:
    shipped = find_task("sc_gm_t2star").review  # with usual areas: these scans are cervical
    cord, gray = (
        Review(structures={name: shipped.structures[name]}, ranges=shipped.ranges)
        for name in ("sc", "gm")
    )
    template = Review(structures={"sc": CORD})
    levels = {f"lvl{value}": (value,) for value in range(1, 12)}
    kinds = (
        ("gm_challenge/**/*_seg-manual.nii.gz", cord, {"sc": (1,)}),
        ("sct_testing/*_seg-manual.nii.gz", cord, {"sc": (1,)}),
        ("gm_challenge/**/*_gmseg-manual.nii.gz", gray, {"gm": (1,)}),
        ("PAM50/PAM50_cord.nii.gz", template, {"sc": (1,)}),
        ("PAM50/PAM50_rootlets.nii.gz", LEVELS, levels),
        ("sct_testing/t2_seg-deepseg_rootlets-manual.nii.gz", LEVELS, levels),
    )
    return [
        _read(path, review, structures)
        for pattern, review, structures in kinds
        for path in sorted((SHARED / "data").glob(pattern))
    ]


def _read(path: Path, review: Review, structures: Mapping[str, tuple[int, ...]]) -> Good:
    image = nib.load(path)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(ORIENTATION)
    )
    data = np.round(np.asanyarray(image.dataobj)).astype(np.uint8)
    labels = nib.apply_orientation(data, turn)
    order = np.argsort(turn[:, 0])
    sizes = tuple(float(voxel_sizes(image.affine)[int(axis)]) for axis in order)
    return Good(path.name, labels, sizes, review, structures)


def phantoms() -> list[Good]:
    """Return cords and levels as tubes, along lines like those of necks."""
    found = []
    for number in range(8):
        rng = np.random.default_rng(number)
        slices, size = (40, 60) if number % 2 else (15, 96)
        spacing = (1.0, 0.8, 0.8) if number % 2 else (5.0, 0.5, 0.5)
        height = np.arange(slices) * spacing[0]
        middle = size * spacing[1] / 2 + np.stack(
            [8 * np.sin(height / 60 + number), 2 * np.sin(height / 80)], axis=1
        )
        radius = 4.5 + 1.0 * np.exp(-(((height - height.mean()) / 25) ** 2))
        y, x = np.ogrid[:size, :size]
        labels = np.zeros((slices, size, size), np.uint8)
        for index in range(slices):
            dy = (y * spacing[1] - middle[index, 0] - rng.normal(0, 0.1)) / radius[index]
            dx = (x * spacing[2] - middle[index, 1] - rng.normal(0, 0.1)) / (1.3 * radius[index])
            labels[index][dy**2 + dx**2 < 1] = 1
        mm3 = float(labels.sum() * np.prod(spacing))
        known = Review(structures={"sc": replace(CORD, mm3=(0.8 * mm3, 1.25 * mm3))})
        found.append(Good(f"tube{number}", labels, spacing, known, {"sc": (1,)}))
        levels = np.minimum(1 + np.arange(slices) * 6 // slices, 6)[:, None, None]
        names = {f"lvl{value}": (value,) for value in range(1, 7)}
        found.append(
            Good(f"levels{number}", (labels * levels).astype(np.uint8), spacing, LEVELS, names)
        )
    return found


Damage = Callable[[np.ndarray, Good, np.random.Generator], np.ndarray]


def _inner_slices(labels: np.ndarray) -> np.ndarray:
    """Return slices with a structure, without those near its ends."""
    there = np.flatnonzero(labels.any(axis=(1, 2)))
    return there[2:-2] if len(there) > 6 else there[1:-1]


def cut(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Leave slices out in the middle."""
    inner = _inner_slices(labels)
    first = int(rng.choice(inner))
    count = int(rng.integers(1, 4))
    labels[first : min(first + count, inner[-1] + 1)] = 0
    return labels


def shift(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Move slices to the side, by 5 to 10 mm."""
    first = int(rng.choice(_inner_slices(labels)))
    count = int(rng.integers(1, 4))
    axis = int(rng.integers(1, 3))
    step = round(float(rng.uniform(5, 10)) / good.spacing[axis]) * int(rng.choice([-1, 1]))
    for index in range(first, min(first + count, len(labels))):
        labels[index] = _moved(labels[index], step, axis - 1)
    return labels


def _moved(plane: np.ndarray, step: int, axis: int) -> np.ndarray:
    """Return a slice moved, towards the side where it stays in the image."""
    places = np.nonzero(plane.any(axis=1 - axis))[0]
    if len(places) and not 0 <= places[0] + step <= places[-1] + step < plane.shape[axis]:
        step = -step
    return np.roll(plane, step, axis)


def blob(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Add a ball of 4 mm radius away from the structure."""
    distance = ndimage.distance_transform_edt(labels == 0, sampling=good.spacing)
    inside = [
        np.minimum(np.arange(n), np.arange(n)[::-1]) * s
        for n, s in zip(labels.shape, good.spacing, strict=True)
    ]
    room = np.minimum(inside[1][:, None], inside[2][None, :])[None]
    far = np.argwhere((distance > 7) & (room > 5))
    if not len(far):
        far = np.argwhere(distance > 0.7 * distance.max())
    centre = far[rng.integers(len(far))]
    grids = np.ogrid[tuple(slice(n) for n in labels.shape)]
    square = sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, good.spacing, strict=True))
    value = int(labels[labels > 0].min())
    labels[(square <= 16) & (labels == 0)] = value
    return labels


def holes(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Cut a hole into a third of the slices."""
    for index in rng.choice(_inner_slices(labels), max(1, len(labels) // 3)):
        depth = ndimage.distance_transform_edt(labels[index] > 0, sampling=good.spacing[1:])
        if depth.max() <= 0:
            continue
        labels[index][depth > 0.55 * depth.max()] = 0
    return labels


def shrink(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Leave a third of the area of one or two slices."""
    inner = _inner_slices(labels)
    first = int(rng.choice(inner))
    for index in range(first, min(first + int(rng.integers(1, 3)), inner[-1] + 1)):
        depth = ndimage.distance_transform_edt(labels[index] > 0, sampling=good.spacing[1:])
        outer_first = np.argsort(np.where(depth > 0, depth, np.inf), axis=None, kind="stable")
        labels[index].ravel()[outer_first[: int(0.67 * (depth > 0).sum())]] = 0
    return labels


def grow(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Make one or two slices three times as large."""
    inner = _inner_slices(labels)
    first = int(rng.choice(inner))
    for index in range(first, min(first + int(rng.integers(1, 3)), inner[-1] + 1)):
        outside = ndimage.distance_transform_edt(labels[index] == 0, sampling=good.spacing[1:])
        area = int((labels[index] > 0).sum())
        limit = np.sort(outside.ravel())[min(3 * area, outside.size - 1)]
        labels[index][outside <= limit] = labels[index].max()
    return labels


def swap(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Exchange two levels."""
    one, other = rng.choice(np.unique(labels[labels > 0]), 2, replace=False)
    swapped = labels.copy()
    swapped[labels == one], swapped[labels == other] = other, one
    return swapped


def leave_out(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Take a level away that is neither the first nor the last."""
    labels[labels == rng.choice(np.unique(labels[labels > 0])[1:-1])] = 0
    return labels


def double(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Give most of a level the value of the one after the next."""
    values = np.unique(labels[labels > 0])
    first = int(rng.integers(len(values) - 2))
    one, other = values[[first, first + 2]]
    places = np.flatnonzero((labels == one).any(axis=(1, 2)))
    upper = labels[: places[0] + max(1, round(0.7 * len(places)))]
    upper[upper == one] = other
    return labels


def crop(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Leave the half that lies on one side of a face of the box that the image is cropped to."""
    axis = int(rng.integers(3))
    places = np.nonzero(labels)[axis]
    middle = int(places.min() + places.max() + 1) // 2
    half = slice(0, middle) if rng.integers(2) else slice(middle, None)
    labels[(slice(None),) * axis + (half,)] = 0
    return labels


def swell(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Outline it 2 mm too wide in every slice."""
    for index in np.flatnonzero(labels.any(axis=(1, 2))):
        outside = ndimage.distance_transform_edt(labels[index] == 0, sampling=good.spacing[1:])
        labels[index][outside <= 2.0] = labels[index].max()
    return labels


def waste(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Leave the inner half of every slice."""
    for index in np.flatnonzero(labels.any(axis=(1, 2))):
        depth = ndimage.distance_transform_edt(labels[index] > 0, sampling=good.spacing[1:])
        outer_first = np.argsort(np.where(depth > 0, depth, np.inf), axis=None, kind="stable")
        labels[index].ravel()[outer_first[: (depth > 0).sum() // 2]] = 0
    return labels


def nothing(labels: np.ndarray, good: Good, rng: np.random.Generator) -> np.ndarray:
    """Leave nothing."""
    return np.zeros_like(labels)


DAMAGES: Mapping[str, Damage] = {
    "cut": cut,
    "shift": shift,
    "blob": blob,
    "holes": holes,
    "shrink": shrink,
    "grow": grow,
    "swap": swap,
    "leave out": leave_out,
    "double": double,
    "crop": crop,
    "swell": swell,
    "waste": waste,
    "empty": nothing,
}
RULES = {
    "cut": ("gap",),
    "shift": ("jump", "pieces"),
    "blob": ("pieces", "jump", "area"),
    "holes": ("holes",),
    "shrink": ("area",),
    "grow": ("area", "edge"),
    "swap": ("order",),
    "leave out": ("level-missing",),
    "double": ("level-doubled", "order"),
    "crop": ("cut-off",),
    "swell": ("volume",),
    "waste": ("volume",),
    "empty": ("empty",),
}
"""Rules that may find each damage."""


def fits(damage: str, good: Good) -> bool:
    """Return whether a damage is one to this mask."""
    is_levels = bool(good.review.ordered)
    expected = next(iter(good.review.structures.values()), Expected())
    count = int(good.labels.any(axis=(1, 2)).sum())
    if damage in ("swap", "leave out", "double"):
        return is_levels
    if damage in ("empty", "crop"):
        return True
    if damage in ("swell", "waste"):
        return expected.mm3 is not None or expected.mm2 is not None
    if damage == "holes":
        return expected.solid
    if damage == "blob":
        return expected.pieces == 1
    return expected.continuous and count >= (8 if damage in ("shrink", "grow") else 5)


def spoil(
    count: int, seed: int, masks: Sequence[Good]
) -> tuple[Counter[str], Counter[str], list[str]]:
    """Judge so many spoilt masks.

    Returns
    -------
    found, tried : Counter
        By damage: of how many one of its rules told, and of how many in all.
    missed : list of str
        The others.
    """
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    missed = []
    for number in range(count):
        damage = list(DAMAGES)[number % len(DAMAGES)]
        fitting = [mask for mask in masks if fits(damage, mask)]
        good = fitting[rng.integers(len(fitting))]
        spoilt = DAMAGES[damage](good.labels.copy(), good, rng)
        verdict = good.verdict(spoilt, box_around(spoilt, 0) if damage == "crop" else None)
        tried[damage] += 1
        if any(each.rule in RULES[damage] for each in verdict.findings):
            found[damage] += 1
        else:
            missed.append(f"{damage} of {good.name}: {[each.rule for each in verdict.findings]}")
    return found, tried, missed


def main() -> None:
    """Print the share of each damage that was found, and of good masks that were not passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    masks = good_masks()
    found, tried, missed = spoil(given.count, given.seed, masks)
    for damage in DAMAGES:
        print(f"{damage:9} {found[damage]} of {tried[damage]}")
    for line in missed:
        print("missed:", line)
    alarms = [(mask.name, mask.verdict(box=box_around(mask.labels, 3))) for mask in masks]
    wrong = [(name, verdict) for name, verdict in alarms if verdict.findings]
    print(f"good      {len(wrong)} of {len(masks)} told of")
    for name, verdict in wrong:
        print("alarm:", name, *(each.text for each in verdict.findings))


if __name__ == "__main__":
    main()
