"""Usual areas of cord and gray matter, from the masks of the training scans.

    python ranges.py --data DATA

Prints the mean area across cord and gray matter in each mask, the ranges that ``task.toml`` has,
how far each person lies within the ranges of the other three, and masks that no training saw.
A volume would depend on how much of a cord a scan shows, a mean area does not. The second runs
have the masks of the first ones, so they add nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from images import CHALLENGE, CORD_ONLY, GRAY_ONLY, PERSONS
from nibabel.affines import voxel_sizes

from deepseg_lite.qc.measures import measure
from deepseg_lite.qc.view import Shown, make_view

SPARE = 0.25
"""What is added to either end, as a share: four persons are few."""
KINDS = {"sc": "seg", "gm": "gmseg"}
Range = tuple[float, float]


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    folder = data / "gm_challenge"
    for name, kind in KINDS.items():
        areas = {
            scan: mean_area(folder / f"{scan}_T2starw_{kind}-manual.nii.gz") for scan in CHALLENGE
        }
        print(f"{name}: {_said(areas)}")
        for person in PERSONS:
            own = {scan: area for scan, area in areas.items() if CHALLENGE[scan] == person}
            low, high = usual({scan: areas[scan] for scan in areas.keys() - own.keys()})
            told = [scan for scan, area in own.items() if not low <= area <= high]
            print(f"  without {person}: {low:.3g} to {high:.3g}, told of: {told or 'none'}")
        low, high = usual(areas)
        print(f"  {name} = {{ mm2 = [{low:.3g}, {high:.3g}] }}")
        more = sorted((folder / "more").glob(f"*_{kind}-manual.nii.gz"))
        others = {"sc": CORD_ONLY, "gm": GRAY_ONLY}[name].values()
        for path in (*more, *(data / f"{other}.nii.gz" for other in others)):
            area = mean_area(path)
            print(f"  {path.name}: {area:.1f}{'' if low <= area <= high else ', told of'}")


def usual(areas: Mapping[str, float]) -> Range:
    """Return the range of some areas, with something to spare."""
    return (1 - SPARE) * min(areas.values()), (1 + SPARE) * max(areas.values())


def mean_area(path: Path) -> float:
    """Return the mean area in mm2 across what a mask shows, as the runtime's verdict has it."""
    image = nib.load(path)
    mask = (np.asanyarray(image.dataobj) > 0).astype(np.uint8)
    voxel_mm3 = float(np.prod(voxel_sizes(image.affine)))
    view = make_view([mask], [Shown(mask, {path.name: (1,)})], image.affine, voxel_mm3)
    (structure,) = view.structures
    return measure(structure.part, view.spacing, voxel_mm3).mean_area_mm2


def _said(areas: Mapping[str, float]) -> str:
    return ", ".join(f"{scan} {area:.1f}" for scan, area in areas.items())


if __name__ == "__main__":
    main()
