"""Measure a bundle against nnUNetPredictor on given images, and record it in the manifest.

    python tests/parity/measure.py MODEL BUNDLE IMAGE... [--folds all] [--record]

MODEL is the trained-model folder the bundle was made from. ``--record`` writes the ``parity`` entry
of the bundle's manifest, and its card anew.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from deepseg_export.writing.bundle import CARD_NAME
from deepseg_export.writing.card import write_card
from helpers.nnunet_original import dice, nnunet_predictor, nnunet_segment

from deepseg_lite.api.loader import load
from deepseg_lite.bundles.files import MANIFEST_NAME
from deepseg_lite.nifti.reading import read_volume


def main() -> None:
    """Compare image by image and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--folds", default="all")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    predictor = nnunet_predictor(arguments.model, tuple(arguments.folds.split(",")), mirror=False)
    segmenter = load(arguments.bundle, device="cpu")
    voxels = differing = 0
    worst = 1.0
    for path in arguments.images:
        image = nib.load(path)
        expected = nnunet_segment(predictor, [image])
        found = segmenter.segment(read_volume([image], [str(path)])).data
        count = int((found != expected).sum())
        scores = {
            label.name: dice(np.isin(found, label.values), np.isin(expected, label.values))
            for label in segmenter.bundle.outputs.labels
        }
        text = ", ".join(f"{name} {score:.5f}" for name, score in scores.items())
        print(f"{path.name}: {count} of {found.size} voxels differ; Dice {text}", flush=True)
        voxels, differing = voxels + found.size, differing + count
        worst = min(worst, *scores.values())
    record = {
        "reference": "nnunetv2 2.8.1 nnUNetPredictor",
        "images": len(arguments.images),
        "voxels": voxels,
        "differing_voxels": differing,
        "min_dice": round(worst, 6),
    }
    print(json.dumps(record))
    if arguments.record:
        file = arguments.bundle / MANIFEST_NAME
        manifest = json.loads(file.read_text(encoding="utf-8"))
        manifest["parity"] = record
        file.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (arguments.bundle / CARD_NAME).write_text(write_card(manifest), encoding="utf-8")


if __name__ == "__main__":
    main()
