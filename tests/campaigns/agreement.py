"""Agreement of mirrored passes on good images, and on images that nothing can be seen on.

python tests/campaigns/agreement.py --slices 3

The shipped model is run on real images of ``../shared/data``: as they are, with noise, and blurred.
The Dice to the manual mask tells which results are bad.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.paths import SHARED

import deepseg_lite
from deepseg_lite.api.images import read_images
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.notice import ignore
from deepseg_lite.qc.rules import LEAST_AGREEMENT
from deepseg_lite.watch import Watch

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]
IMAGES: Mapping[str, Spoil] = {
    "as it is": lambda data, rng: data,
    "noise": lambda data, rng: data + rng.normal(0, data.std(), data.shape),
    "three times the noise": lambda data, rng: data + rng.normal(0, 3 * data.std(), data.shape),
    "blurred": lambda data, rng: ndimage.gaussian_filter(data, (5, 5, 0)),
}


def main() -> None:
    """Print for each image the agreement and the Dice, and how many are told of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=3, help="Slices of each image.")
    given = parser.parse_args()
    model = deepseg_lite.load("sc_gm_t2star")
    rng = np.random.default_rng(0)
    told: dict[bool, list[bool]] = {True: [], False: []}
    for path in sorted((SHARED / "data" / "gm_challenge").glob("*_T2starw.nii.gz")):
        image = nib.load(path)
        manual = nib.load(str(path).replace(".nii.gz", "_seg-manual.nii.gz"))
        first = (image.shape[2] - given.slices) // 2
        part = np.s_[:, :, first : first + given.slices]
        truth = np.asanyarray(manual.dataobj)[part] > 0
        for name, spoil in IMAGES.items():
            data = spoil(image.get_fdata()[part], rng).astype(np.float32)
            watch = Watch(notify=ignore)
            watch.agreements = {}
            volume = read_images([nib.Nifti1Image(data, image.affine)], None, ignore).volume
            found = model.segment(volume, make_settings(tta=True), watch=watch).data > 0
            dice = 2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1)
            shares = watch.agreements["flips"]
            is_told = any(share < LEAST_AGREEMENT for share in shares.values())
            told[bool(dice > 0.8)].append(is_told)
            print(f"{path.name}, {name}: {shares}, Dice {dice:.2f}", flush=True)
    for is_good, those in told.items():
        print(f"{'good' if is_good else 'bad '} results: {sum(those)} of {len(those)} told of")


if __name__ == "__main__":
    main()
