"""How label maps in two folders differ. Runs in an interpreter that has nibabel."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def compare(reference: Path, other: Path, structures: dict[str, list[int]] | None) -> dict:
    """Return differing voxels of all cases, and Dice per structure (None where no map has it).

    Without ``structures`` every value of the reference is one.
    """
    import nibabel as nib
    import numpy as np

    files = sorted(reference.glob("*.nii.gz"))
    flat = [
        np.concatenate(
            [np.asanyarray(nib.load(place / file.name).dataobj).ravel() for file in files]
        )
        for place in (reference, other)
    ]
    a, b = flat
    if structures is None:
        structures = {str(value): [value] for value in np.unique(a).tolist() if value}
    dice = {}
    for name, values in structures.items():
        x, y = np.isin(a, values), np.isin(b, values)
        total = int(x.sum()) + int(y.sum())
        dice[name] = 2 * int((x & y).sum()) / total if total else None
    return {"voxels": a.size, "differing": int((a != b).sum()), "dice": dice}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("structures", type=json.loads)
    print(json.dumps(compare(**vars(parser.parse_args()))))
