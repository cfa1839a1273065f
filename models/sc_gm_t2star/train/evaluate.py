"""Evaluate exported bundles with the runtime, at the images' own resolution.

    python evaluate.py persons --data DATA --bundles WORK      each person by the bundle without it
    python evaluate.py robustness --data DATA --bundles WORK   the same, on distorted images
    python evaluate.py others --data DATA --bundle BUNDLE      other images; --pictures FOLDER
    python evaluate.py orientations --image IMAGE --bundle BUNDLE

WORK holds a bundle ``without_<person>`` for each person. Tables have their worst line first.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from images import CHALLENGE, CORD_ONLY, GRAY_ONLY
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

import deepseg_lite

Array = npt.NDArray[Any]
Case = tuple[nib.Nifti1Image, Array, Array]  # image, cord, gray matter
Segment = Callable[[nib.Nifti1Image], Array]

UNLABELLED = ("sct_tutorial/mt1", "sct_tutorial/t2_ms", "sct_tutorial/t2_lumbar")
CROP_MM = 20.0  # what the cropped field of view leaves around the cord
NOISE = 0.15  # standard deviation as a share of the cord's mean signal
DARKEST = 0.4  # of the receive field, at one side; 1 at the other
PICTURE_SLICES = 8


def main() -> None:
    """Read the arguments and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tables = {"persons": persons, "robustness": robustness}
    tables |= {"others": others, "orientations": orientations}
    parser.add_argument("table", choices=tables)
    for name in ("data", "bundles", "bundle", "image", "pictures"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    tables[given.table](given)


def persons(given: argparse.Namespace) -> None:
    """Print Dice and lost slices of every scan, segmented by a model that never saw the person."""
    rows = []
    for scan, person in CHALLENGE.items():
        image, cord, gray = read_case(given.data, scan)
        labels = segmenter(given.bundles / f"without_{person}")(image)
        rows.append((scan, person, dice(labels > 0, cord), dice(labels == 2, gray)))
        rows[-1] += (lost_slices(labels > 0, cord),)
    rows.sort(key=lambda row: row[2])
    print("| scan | cord | gray matter | slices without cord |\n| --- | --- | --- | --- |")
    for scan, _, cord_dice, gray_dice, lost in rows:
        print(f"| {scan} | {cord_dice:.3f} | {gray_dice:.3f} | {lost} |")
    of_persons = {
        person: np.mean([row[2:4] for row in rows if row[1] == person], axis=0)
        for person in dict.fromkeys(CHALLENGE.values())
    }
    worst, mean = (rule(list(of_persons.values()), axis=0) for rule in (np.min, np.mean))
    print(f"| worst person | {worst[0]:.3f} | {worst[1]:.3f} | |")
    print(f"| mean of persons | {mean[0]:.3f} | {mean[1]:.3f} | {sum(row[4] for row in rows)} |")


def robustness(given: argparse.Namespace) -> None:
    """Print mean and worst Dice over the scans for each distortion, as ``persons`` does."""
    rows = []
    for name, distort in DISTORTIONS.items():
        scores = []
        for scan, person in CHALLENGE.items():
            image, cord, gray = distort(*read_case(given.data, scan))
            labels = segmenter(given.bundles / f"without_{person}")(image)
            scores.append((dice(labels > 0, cord), dice(labels == 2, gray)))
            scores[-1] += (lost_slices(labels > 0, cord),)
        table = np.array(scores)
        rows.append((name, *table.min(axis=0)[:2], *table.mean(axis=0)[:2], table[:, 2].sum()))
    print("| distortion | cord, worst | gray, worst | cord, mean | gray, mean | slices lost |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, *figures, lost in sorted(rows, key=lambda row: row[1]):
        print(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} | {lost:.0f} |")


def others(given: argparse.Namespace) -> None:
    """Print what is found on images of other origins, and draw it."""
    segment = segmenter(given.bundle)
    masks: dict[str, str | None] = {**CORD_ONLY, **GRAY_ONLY, **dict.fromkeys(UNLABELLED)}
    print("| image | cord | gray matter | slices without cord | cord mm2, median |")
    print("| --- | --- | --- | --- | --- |")
    for name, mask in masks.items():
        image = nib.load(given.data / f"{name}.nii.gz")
        labels = segment(image)
        figures = ["", "", ""]
        if mask:
            manual = read_mask(given.data / f"{mask}.nii.gz")
            found = labels == 2 if name in GRAY_ONLY else labels > 0
            figures[int(name in GRAY_ONLY)] = f"{dice(found, manual):.3f}"
            axial, found = (axial_first(image, array) for array in (manual, labels > 0))
            figures[2] = str(lost_slices(found.T, axial.T))
        cord = axial_first(image, labels > 0)
        areas = cord.sum(axis=(1, 2)) * np.prod(axial_spacing(image)[1:])
        figures[2] = figures[2] or f"{int((areas == 0).sum())} of {len(areas)}"
        area = np.median(areas[areas > 0]) if areas.any() else 0
        print(f"| {name} | {' | '.join(figures)} | {area:.0f} |", flush=True)
        if given.pictures:
            draw(image, labels, given.pictures / f"{name.replace('/', '_')}.png")


def orientations(given: argparse.Namespace) -> None:
    """Print how many of the 48 orientations of an image give other voxels than its own."""
    segment, image = segmenter(given.bundle), nib.load(given.image)
    expected, own = segment(image), io_orientation(image.affine)
    differing = []
    for order in itertools.permutations(("LR", "PA", "IS")):
        for codes in itertools.product(*order):
            turned = image.as_reoriented(ornt_transform(own, axcodes2ornt(codes)))
            found = nib.Nifti1Image(segment(turned), turned.affine)
            back = found.as_reoriented(ornt_transform(axcodes2ornt(codes), own))
            if (np.asarray(back.dataobj) != expected).any():
                differing.append("".join(codes))
    print(f"{48 - len(differing)} of 48 orientations give the same voxels; others: {differing}")


def segmenter(bundle: Path) -> Segment:
    """Load a bundle once and return a function from an image to its labels."""
    segment = deepseg_lite.load(bundle, device="cpu")
    return lambda image: np.asarray(segment(image).dataobj)


def read_case(data: Path, scan: str) -> Case:
    """Read a scan of the challenge with its masks."""
    stem = f"{data}/gm_challenge/{scan}_T2starw"
    cord, gray = (read_mask(f"{stem}_{kind}-manual.nii.gz") for kind in ("seg", "gmseg"))
    return nib.load(f"{stem}.nii.gz"), cord, gray


def read_mask(path: str | Path) -> Array:
    """Read a mask."""
    return np.asarray(nib.load(path).dataobj) > 0


def dice(first: Array, second: Array) -> float:
    """Return the Dice of two masks."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def lost_slices(found: Array, manual: Array) -> int:
    """Count the slices (last axis) where a mask is marked and nothing was found."""
    return int((manual.any(axis=(0, 1)) & ~found.any(axis=(0, 1))).sum())


def axial_first(image: nib.Nifti1Image, array: Array) -> Array:
    """Turn an array so that its axes are z, y, x."""
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("SAL"))
    return nib.apply_orientation(array.astype(np.float32), turn)


def axial_spacing(image: nib.Nifti1Image) -> Array:
    """Return the voxel size along z, y and x."""
    axes = io_orientation(image.affine)[:, 0].argsort()[::-1]
    return np.array(image.header.get_zooms())[axes]


def draw(image: nib.Nifti1Image, labels: Array, path: Path) -> None:
    """Draw slices, and below each what was found."""
    from PIL import Image

    planes, marked = axial_first(image, np.asarray(image.dataobj)), axial_first(image, labels)
    scaled = np.clip(planes / np.percentile(planes, 99.5), 0, 1)
    chosen = np.linspace(0, len(planes) - 1, PICTURE_SLICES).round().astype(int)
    gray = np.repeat(scaled[chosen][..., None], 3, axis=-1)
    painted = gray.copy()
    for value, colour in ((1, (0.2, 0.5, 1.0)), (2, (1.0, 0.6, 0.1))):
        where = marked[chosen] == value
        painted[where] = 0.5 * painted[where] + 0.5 * np.array(colour)
    strip = np.concatenate(
        [np.concatenate(list(x[:, ::-1, ::-1]), axis=1) for x in (gray, painted)]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * strip).astype(np.uint8)).save(path)


def _like(image: nib.Nifti1Image, array: Array) -> nib.Nifti1Image:
    """Return an image with other voxels on the same grid."""
    return nib.Nifti1Image(array.astype(np.float32), image.affine)


def _unchanged(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Leave the case as it is."""
    return image, cord, gray


def _noisy(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Add Rician noise."""
    signal = np.asarray(image.dataobj, np.float64)
    sigma = NOISE * signal[cord].mean()
    real, imaginary = sigma * np.random.default_rng(0).standard_normal((2, *signal.shape))
    return _like(image, np.hypot(signal + real, imaginary)), cord, gray


def _shaded(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Multiply by a field that falls from back to front and from left to right."""
    x, y = (np.linspace(1, DARKEST, n) for n in image.shape[:2])
    return _like(image, np.asarray(image.dataobj) * x[:, None, None] * y[:, None]), cord, gray


def _coarse(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Average 2 x 2 pixels of the image, and of the masks by the majority."""
    x, y, z = image.shape[0] // 2, image.shape[1] // 2, image.shape[2]

    def average(array: Array) -> Array:
        return array[: 2 * x, : 2 * y].reshape(x, 2, y, 2, z).mean(axis=(1, 3))

    affine = image.affine @ np.diag((2, 2, 1, 1))
    affine[:3, 3] += image.affine[:3, :2].sum(axis=1) / 2
    coarse = nib.Nifti1Image(average(np.asarray(image.dataobj)).astype(np.float32), affine)
    return coarse, average(cord) >= 0.5, average(gray) >= 0.5


def _cropped(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Cut out a box around the cord."""
    box = []
    for axis in (0, 1):
        marked = np.flatnonzero(cord.any(axis=(1 - axis, 2)))
        margin = round(CROP_MM / image.header.get_zooms()[axis])
        box.append(slice(max(marked[0] - margin, 0), marked[-1] + margin + 1))
    return image.slicer[box[0], box[1]], cord[box[0], box[1]], gray[box[0], box[1]]


def _flipped(image: nib.Nifti1Image, cord: Array, gray: Array) -> Case:
    """Swap left and right."""
    return _like(image, np.asarray(image.dataobj)[::-1]), cord[::-1], gray[::-1]


DISTORTIONS = {
    "none": _unchanged,
    "noise, 15 % of the cord's signal": _noisy,
    "receive field, 1 to 0.4 along x and y": _shaded,
    "down-sampled by 2 in plane": _coarse,
    "field of view cropped to 20 mm around the cord": _cropped,
    "left and right swapped": _flipped,
}

if __name__ == "__main__":
    main()
