"""Data sets of small images, for batches."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.bundles import make_affine, make_data, write_image


def make_dataset(root: Path, *names: str) -> Path:
    """Write a BIDS data set of images such as ``sub-01/anat/sub-01_T2w``, all different."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "Small images", "BIDSVersion": "1.9.0"})
    )
    for seed, name in enumerate(names):
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, make_data(seed=seed), make_affine("LPS"))
    return root


def files_of(root: Path) -> list[str]:
    """Return the files below a folder, relative to it, in their order."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
