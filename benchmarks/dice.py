"""Dice of a label map with manual masks: the figures of a model card.

python benchmarks/dice.py LABELS.nii.gz sc=1,2:MASK.nii.gz gm=2:MASK.nii.gz
"""

from __future__ import annotations

import argparse

import nibabel as nib
import numpy as np


def main() -> None:
    """Print one line per structure: its Dice, and how many slices of the mask are left empty."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels")
    parser.add_argument("structures", nargs="+", metavar="NAME=VALUES:MASK")
    arguments = parser.parse_args()
    labels = np.asarray(nib.load(arguments.labels).dataobj)
    for structure in arguments.structures:
        name, _, rest = structure.partition("=")
        values, _, mask = rest.partition(":")
        found = np.isin(labels, [int(value) for value in values.split(",")])
        manual = np.asarray(nib.load(mask).dataobj) > 0
        dice = 2 * (found & manual).sum() / (found.sum() + manual.sum())
        lost = (manual.any(axis=(0, 1)) & ~found.any(axis=(0, 1))).sum()
        print(f"{name}: Dice {dice:.3f}, {lost} slices lost")


if __name__ == "__main__":
    main()
