"""Bundles with reference cases whose labels are computed here, by numpy alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from helpers.bundles import make_affine, make_data, write_bundle, write_image

THRESHOLD, HIGH = 0.5, 0.7
"""Above them the networks ``threshold_3d`` and ``threshold_3d_high`` find something."""


def listed(path: Path, bundle: Path) -> dict[str, Any]:
    """Return what a manifest says of a file."""
    content = path.read_bytes()
    return {
        "path": path.relative_to(bundle).as_posix(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def add_reference(
    bundle: Path, image: np.ndarray, labels: np.ndarray, *, name: str = "case", **facts: Any
) -> None:
    """Put a reference case into a bundle directory; ``facts`` replace those of its entry."""
    folder = bundle / "reference"
    folder.mkdir(exist_ok=True)
    images = [write_image(folder / f"{name}.nii.gz", image, make_affine("LPS"))]
    path = write_image(folder / f"{name}_labels.nii.gz", labels, make_affine("LPS"))
    entry = {
        "name": name,
        "images": [listed(each, bundle) for each in images],
        "labels": listed(path, bundle),
        "software": "numpy",
        "versions": {"numpy": np.__version__},
        "date": "2026-11-27",
        "bounds": {"fp32": 0},
        "source": "the tests",
        "license": "CC0-1.0",
    }
    change_manifest(
        bundle, lambda manifest: manifest.setdefault("references", []).append(entry | facts)
    )


def change_manifest(bundle: Path, change: Any) -> None:
    """Change the manifest of a bundle directory in place."""
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    change(manifest)
    file.write_text(json.dumps(manifest), encoding="utf-8")


def write_reference_bundle(folder: Path, **facts: Any) -> Path:
    """Write a bundle of one label and one reference case, whose labels are a comparison's."""
    write_bundle(folder)
    data = make_data()
    add_reference(folder, data, (data > THRESHOLD).astype(np.uint8), **facts)
    return folder


def use_other_network(bundle: Path, other: Path) -> None:
    """Put another network in the place of a bundle's, as if its maker had shipped the wrong one."""

    def change(manifest: dict[str, Any]) -> None:
        (network,) = manifest["networks"]
        (bundle / network["path"]).write_bytes(other.read_bytes())
        network.update(listed(bundle / network["path"], bundle))

    change_manifest(bundle, change)
