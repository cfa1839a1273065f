"""Agreement of folds and of mirrored passes on good images, and on images that show little.

    python tests/campaigns/agreement.py
    python tests/campaigns/agreement.py --model BUNDLE --folds

A model of cord and gray matter, by default the shipped one with mirrored passes, is run on real
images of ``../shared/data``: as they are, with noise, blurred, and on their low-contrast copies
(``models/sc_gm_t2star/train/low_contrast.py``). The Dice to the manual masks tells which results
are bad. The last lines have what other limits than that of the rule would tell of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.paths import ROOT, SHARED

sys.path.insert(0, str(ROOT / "models" / "sc_gm_t2star" / "train"))

from low_contrast import make_low_contrast
from measures import dice

import deepseg_lite
from deepseg_lite.api.images import read_images
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.notice import ignore
from deepseg_lite.qc.rules import LEAST_AGREEMENT
from deepseg_lite.watch import Watch

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Case = tuple[str, nib.Nifti1Image, np.ndarray, np.ndarray]
SPOILT: Mapping[str, Spoil] = {
    "as it is": lambda data, rng: data,
    "noise": lambda data, rng: data + rng.normal(0, data.std(), data.shape),
    "three times the noise": lambda data, rng: data + rng.normal(0, 3 * data.std(), data.shape),
    "blurred": lambda data, rng: ndimage.gaussian_filter(data, (5, 5, 0)),
}
GOOD, BAD = 0.8, 0.5
"""Dice from which a structure is good, and below which it is bad; what lies between is neither."""


def cases(slices: int) -> Iterator[Case]:
    """Yield images with what was done to them, and the masks of cord and gray matter."""
    rng = np.random.default_rng(0)
    paths = sorted((SHARED / "data" / "gm_challenge").glob("*_T2starw.nii.gz"))
    for number, path in enumerate(paths):
        image = nib.load(path)
        cord, gray = (
            np.asanyarray(nib.load(str(path).replace(".nii.gz", f"_{kind}-manual.nii.gz")).dataobj)
            > 0
            for kind in ("seg", "gmseg")
        )
        faint, *masks = make_low_contrast(image, cord, gray, number)
        yield (f"{path.name}, low contrast", *_middle(slices, faint, *masks))
        for name, spoil in SPOILT.items():
            part, *masks = _middle(slices, image, cord, gray)
            data = spoil(part.get_fdata(), rng).astype(np.float32)
            yield (f"{path.name}, {name}", nib.Nifti1Image(data, image.affine), *masks)


def _middle(slices: int, image: nib.Nifti1Image, *masks: np.ndarray) -> tuple[Any, ...]:
    first = (image.shape[2] - slices) // 2
    part = np.s_[:, :, first : first + slices]
    data = np.asarray(image.dataobj)[part]
    return (nib.Nifti1Image(data, image.affine), *(mask[part] for mask in masks))


def main() -> None:
    """Print for each image the agreement and the Dice, and how many are told of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=3, help="Slices of each image.")
    parser.add_argument("--model", default="sc_gm_t2star", help="Another bundle.")
    parser.add_argument("--folds", action="store_true", help="Compare folds, without mirroring.")
    given = parser.parse_args()
    model = deepseg_lite.load(given.model)
    settings = make_settings(tta=not given.folds)
    found: list[tuple[float, float]] = []
    for name, image, cord, gray in cases(given.slices):
        watch = Watch(notify=ignore)
        watch.agreements = {}
        volume = read_images([image], None, ignore).volume
        labels = model.segment(volume, settings, watch=watch).data
        shares = watch.agreements["folds" if given.folds else "flips"]
        scores = {"sc": dice(labels > 0, cord), "gm": dice(labels == 2, gray)}
        print(
            name, *(f"{part} {shares.get(part, 1):.2f} Dice {scores[part]:.2f}" for part in scores)
        )
        found += [(shares[part], scores[part]) for part in scores if part in shares]
    for limit in (0.1, 0.2, LEAST_AGREEMENT, 0.4, 0.5):
        told = [(share < limit, score) for share, score in found]
        good = [is_told for is_told, score in told if score >= GOOD]
        fair = [is_told for is_told, score in told if BAD <= score < GOOD]
        bad = [is_told for is_told, score in told if score < BAD]
        print(
            f"below {limit}: {sum(good)} of {len(good)} good structures, {sum(fair)} of "
            f"{len(fair)} between, {sum(bad)} of {len(bad)} bad ones"
        )


if __name__ == "__main__":
    main()
