"""Bundles of the tiny networks in ``tests/data``, and images whose segmentation is known."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from deepseg_lite.bundles.bundle import Bundle, parse_manifest
from helpers.paths import DATA

CORD = {"name": "cord", "values": [1]}
KINDS: dict[str, dict[str, Any]] = {
    "threshold": {"files": ["threshold_3d.onnx"]},
    "folds": {"files": ["threshold_3d.onnx", "threshold_3d_high.onnx"]},
    "regions": {
        "files": ["regions_2d.onnx"],
        "patch_size": [1, 8, 8],
        "mirror_axes": [1, 2],
        "outputs": {
            "activation": "sigmoid",
            "labels": [{"name": "cord", "values": [1, 2]}, {"name": "gray/matter", "values": [2]}],
            "regions_class_order": [1, 2],
        },
    },
    "channels": {"files": ["two_channels_3d.onnx"], "channels": ["t1", "t2"]},
}
ORIENTATIONS = sorted(
    "".join(letters)
    for pairs in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*pairs)
)


def make_manifest(kind: str = "threshold") -> dict[str, Any]:
    """Return a valid manifest document of one of `KINDS`."""
    made = KINDS[kind]
    channels = made.get("channels", ["t2"])
    folds = [str(fold) for fold in range(len(made["files"]))]
    contents = [(DATA / file).read_bytes() for file in made["files"]]
    return {
        "schema": 1,
        "name": f"tiny_{kind}",
        "version": "1.0",
        "inputs": {"channel_names": channels, "orientation": "LAS", "axes": "zyx"},
        "preprocessing": [
            {"step": "crop_to_nonzero"},
            {"step": "normalize", "channels": [{"scheme": "none"} for _ in channels]},
        ],
        "sliding_window": {
            "patch_size": made.get("patch_size", [8, 8, 8]),
            "overlap": 0.5,
            "placement": "spread",
            "importance_map": "gaussian_filter",
        },
        "networks": [
            {
                "fold": fold,
                "path": file,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
            }
            for fold, file, content in zip(folds, made["files"], contents, strict=True)
        ],
        "ensemble": "mean_logits",
        "mirror_axes": made.get("mirror_axes", [0, 1, 2]),
        "outputs": made.get(
            "outputs",
            {"activation": "softmax", "labels": [CORD], "regions_class_order": None},
        ),
        "postprocessing": [],
        "source": {"family": "nnunet", "license": "MIT", "citation": "The tests", "files": {}},
        "export": {
            "versions": {"onnx": "0"},
            "opset": 18,
            "checks": [{"fold": f, "max_abs_error": 0, "max_rel_error": 0} for f in folds],
        },
    }


def make_bundle(kind: str = "threshold", **changes: Any) -> Bundle:
    """Return a bundle that exists in memory only; ``changes`` replace top-level keys."""
    return parse_manifest({**make_manifest(kind), **changes}, Path("memory"))


def write_bundle(folder: Path, kind: str = "threshold", **changes: Any) -> Path:
    """Write a bundle directory; ``changes`` replace top-level keys of the manifest."""
    folder.mkdir(parents=True)
    for file in KINDS[kind]["files"]:
        (folder / file).write_bytes((DATA / file).read_bytes())
    manifest = {**make_manifest(kind), **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def make_affine(
    orientation: str = "RAS",
    spacing: tuple[float, float, float] = (0.7, 1.1, 2.5),
    degrees: tuple[float, float, float] = (8.0, -12.0, 20.0),
) -> np.ndarray:
    """Return an affine whose axes point nearest to ``orientation``, turned about all three axes."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    affine = np.eye(4)
    for column, code in enumerate(orientation):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        sign = 1 if code in "RAS" else -1
        affine[:3, column] = turned[:, row] * sign * spacing[column]
    affine[:3, 3] = (-31.0, 12.5, 40.25)
    return affine


def make_data(shape: tuple[int, int, int] = (20, 18, 12), seed: int = 0) -> np.ndarray:
    """Return float32 voxels, 0.05 to 0.95, no two equal, none near a threshold; rim of zeros."""
    count = int(np.prod(shape))
    values = np.linspace(0.05, 0.95, count)
    for threshold in (0.25, 0.5, 0.6, 0.7, 0.75):
        values[np.abs(values - threshold) < 1e-3] += 2e-3
    data = np.random.default_rng(seed).permutation(values).reshape(shape).astype(np.float32)
    if min(shape) > 4:
        data[:2] = 0
        data[:, -1:] = 0
    return data


def write_image(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write voxels as NIfTI-1 with scanner coordinates."""
    affine = make_affine() if affine is None else affine
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def voxels(path: Path | str) -> np.ndarray:
    """Return a file's voxels in their stored type."""
    return np.asarray(nib.load(path).dataobj)
