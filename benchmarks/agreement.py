"""How two label maps differ. Runs in an interpreter that has nibabel."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def compare(reference: Path, other: Path, structures: dict[str, list[int]]) -> dict:
    """Return differing voxels, and Dice per structure (None where neither map has it)."""
    import nibabel as nib
    import numpy as np

    a, b = (np.asanyarray(nib.load(path).dataobj) for path in (reference, other))
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
