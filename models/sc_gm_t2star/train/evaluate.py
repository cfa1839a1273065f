"""Evaluate exported bundles with the runtime, at the images' own resolution.

    python evaluate.py persons --data DATA --bundles WORK      each person by the bundle without it
    python evaluate.py robustness --data DATA --bundles WORK   the same, on distorted images
    python evaluate.py low-contrast --data DATA --bundles WORK the same, on the low-contrast set
    python evaluate.py consistency --data DATA --bundles WORK  the same, on both runs of each scan
    python evaluate.py others --data DATA --bundle BUNDLE      other images; --pictures FOLDER
    python evaluate.py orientations --image IMAGE --bundle BUNDLE

WORK holds a bundle ``without_<person>/sc_gm_t2star`` for each person; ``--bundle`` in its place
takes one for all, and ``--persons`` only some of them. Tables have their worst line first.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from distortions import DISTORTIONS, Array, Case
from images import CHALLENGE, CORD_ONLY, GRAY_ONLY, PERSONS
from low_contrast import make_low_contrast
from measures import (
    axial_first,
    axial_spacing,
    dice,
    hole_voxels,
    lost_slices,
    read_mask,
    strays,
    worst_slice,
)
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from registration import back, register

import deepseg_lite

Segment = Callable[[nib.Nifti1Image], Array]

UNLABELLED = ("sct_tutorial/mt1", "sct_tutorial/t2_ms", "sct_tutorial/t2_lumbar")
PICTURE_SLICES = 8


def main() -> None:
    """Read the arguments and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tables = {"persons": persons, "robustness": robustness}
    tables |= {"low-contrast": low_contrast, "consistency": consistency}
    tables |= {"others": others, "orientations": orientations}
    parser.add_argument("table", choices=tables)
    for name in ("data", "bundles", "bundle", "image", "pictures"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--persons", nargs="+", choices=PERSONS, default=PERSONS)
    given = parser.parse_args()
    tables[given.table](given)


def persons(given: argparse.Namespace) -> None:
    """Print Dice and lost slices of every scan, segmented by a model that never saw the person."""
    rows, of_persons = [], {person: [] for person in given.persons}
    for scan, segment in scans(given):
        image, cord, gray = read_case(given.data, scan)
        labels = segment(image)
        row = dice(labels > 0, cord), dice(labels == 2, gray), lost_slices(labels > 0, cord)
        of_persons[CHALLENGE[scan]].append(row)
        rows.append((scan, *row))
    print_table(("scan", "cord", "gray matter", "slices without cord"), rows)
    means = [np.mean(scores, axis=0)[:2] for scores in of_persons.values()]
    for name, rule in (("worst person", np.min), ("mean of persons", np.mean)):
        print(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in rule(means, axis=0))} | |")


def robustness(given: argparse.Namespace) -> None:
    """Print mean and worst Dice over the scans for each distortion, as ``persons`` does."""
    rows = []
    for name, distort in DISTORTIONS.items():
        scores = []
        for scan, segment in scans(given):
            image, cord, gray = distort(*read_case(given.data, scan))
            labels = segment(image)
            scores.append((dice(labels > 0, cord), dice(labels == 2, gray)))
            scores[-1] += (lost_slices(labels > 0, cord),)
        table = np.array(scores)
        lost = int(table[:, 2].sum())
        rows.append((name, *table.min(axis=0)[:2], *table.mean(axis=0)[:2], lost))
    head = ("cord, worst", "gray, worst", "cord, mean", "gray, mean", "slices lost")
    print_table(("distortion", *head), rows)


def low_contrast(given: argparse.Namespace) -> None:
    """Print what is found where fluid is hardly brighter than the cord and slices are thick."""
    rows = []
    for scan, segment in scans(given):
        number = list(CHALLENGE).index(scan)
        image, cord, gray = make_low_contrast(*read_case(given.data, scan), number)
        labels = segment(image)
        found, (x_mm, y_mm) = labels > 0, image.header.get_zooms()[:2]
        scores = dice(found, cord), dice(labels == 2, gray), worst_slice(found, cord)
        rows.append((scan, *scores, strays(found, cord, (x_mm, y_mm)), hole_voxels(found)))
        if given.pictures:
            draw(image, labels, given.pictures / f"low_contrast_{scan}.png")
    head = ("cord", "gray matter", "cord, worst slice", "pieces outside", "voxels of holes")
    print_table(("scan", *head), rows)
    print(f"| mean | {np.mean([row[1] for row in rows]):.3f} | ", end="")
    print(f"{np.mean([row[2] for row in rows]):.3f} | | | |")


def consistency(given: argparse.Namespace) -> None:
    """Print the Dice of what is found in both runs of a scan, brought onto one another."""
    rows = []
    for scan, segment in scans(given):
        stem = given.data / "gm_challenge"
        runs = [
            nib.load(path)
            for path in (
                stem / f"{scan}_T2starw.nii.gz",
                stem / f"more/{scan}_run-2_T2starw.nii.gz",
            )
        ]
        signals = [axial_first(run, np.asarray(run.dataobj)) for run in runs]
        found = [axial_first(run, segment(run)) for run in runs]
        second = np.zeros_like(found[1])
        y_mm, x_mm = axial_spacing(runs[0])[1:]
        for z in np.flatnonzero((found[0] > 0).any(axis=(1, 2))):
            move = register(signals[0][z], signals[1][z], found[0][z] > 0, (y_mm, x_mm))
            cord, gray = (back(np.float32(found[1][z] >= value), move) >= 0.5 for value in (1, 2))
            second[z] = np.where(gray, 2, cord)
        pairs = [(labels > 0, labels == 2) for labels in (found[0], second)]
        rows.append((scan, *(dice(*pair) for pair in zip(*pairs, strict=True))))
    print_table(("scan", "cord", "gray matter"), rows)


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


def scans(given: argparse.Namespace) -> Iterator[tuple[str, Segment]]:
    """Yield the scans of the persons asked for, and the model that never saw each."""
    segments = {
        person: segmenter(given.bundle or given.bundles / f"without_{person}" / "sc_gm_t2star")
        for person in given.persons
    }
    for scan, person in CHALLENGE.items():
        if person in segments:
            yield scan, segments[person]


def print_table(head: Sequence[str], rows: Sequence[tuple[str | float, ...]]) -> None:
    """Print rows of a name and figures, the lowest first figure first."""
    lines = [
        [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in sorted(rows, key=lambda row: row[1])
    ]
    for line in (head, ["---"] * len(head), *lines):
        print(f"| {' | '.join(line)} |", flush=True)


def segmenter(bundle: Path) -> Segment:
    """Load a bundle once and return a function from an image to its labels."""
    segment = deepseg_lite.load(bundle, device="cpu")
    return lambda image: np.asarray(segment(image).dataobj)


def read_case(data: Path, scan: str) -> Case:
    """Read a scan of the challenge with its masks."""
    stem = f"{data}/gm_challenge/{scan}_T2starw"
    cord, gray = (read_mask(f"{stem}_{kind}-manual.nii.gz") for kind in ("seg", "gmseg"))
    return nib.load(f"{stem}.nii.gz"), cord, gray


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


if __name__ == "__main__":
    main()
