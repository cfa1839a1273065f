"""Two tiny networks that read a synthetic spine's classes off its image, and their bundles.

The image of a spine has one intensity for each pair of classes, so that each network can tell its
own: a pair that is the i-th of `PAIRS` has the intensity `STEP` * i.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from deepseg_lite.bundles.task_file import read_task
from helpers.bundles import make_manifest
from helpers.paths import DATA, MODELS
from helpers.spine import Spine

STEP = 10.0
PAIRS = (
    (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (6, 7), (6, 8), (6, 9), (7, 7),
    (7, 6), (8, 10), (9, 11),
)  # fmt: skip
MODEL = MODELS / "totalspineseg"
NAMES = ("totalspineseg", "totalspineseg.step2")
PATCH = [32, 32, 32]


def image_of(spine: Spine, dtype: type = np.int16) -> nib.Nifti1Image:
    """Return the image that the networks read ``spine`` off: RAS at 1 mm, one grid with it."""
    data = np.full(spine.step1.shape, -1.0)
    for index, (first, second) in enumerate(PAIRS):
        data[(spine.step1 == first) & (spine.step2 == second)] = STEP * index
    assert data.min() >= 0, "a pair of classes that has no intensity"
    return nib.Nifti1Image(data.astype(dtype), spine.affine)


def regions(step: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and classes of each region of a step's network."""
    release = read_task(MODEL).releases[0]
    return [(label.name, label.values) for label in release.stages[step - 1].labels]


def hinges(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (regions, hinges) and biases of a network that reads a step's classes.

    Hinge k is how far the intensity, in units of `STEP`, is above k. A region's logit is 1 at the
    intensities of its classes, -1 at the others, and straight between.
    """
    values = [
        [1.0 if pair[step - 1] in classes else -1.0 for pair in PAIRS]
        for _, classes in regions(step)
    ]
    slopes = np.diff(values, axis=1, append=np.array(values)[:, -1:])
    return np.diff(slopes, axis=1, prepend=0.0), np.array(values)[:, 0]


def write_bundles(folder: Path, **workflow: Any) -> Path:
    """Write the bundles of both steps into a folder; ``workflow`` replaces keys of that field."""
    release = read_task(MODEL).releases[0]
    field = {
        **release.workflow,
        "second": NAMES[1],
        "rules": dict(release.rules),
        **workflow,
    }
    for step, name in enumerate(NAMES, 1):
        channels = ["MRI", "discs"][:step]
        network = (DATA / f"spine_step{step}.onnx").read_bytes()
        labels = [{"name": name, "values": list(values)} for name, values in regions(step)]
        manifest = {
            **make_manifest(),
            "name": name,
            "version": "r1",
            "inputs": {"channel_names": channels, "orientation": "RAS", "axes": "zyx"},
            "preprocessing": [
                {"step": "crop_to_nonzero"},
                {"step": "normalize", "channels": [{"scheme": "none"} for _ in channels]},
            ],
            "networks": [
                {
                    "fold": "0",
                    "path": "model.onnx",
                    "sha256": hashlib.sha256(network).hexdigest(),
                    "size": len(network),
                }
            ],
            "outputs": {
                "activation": "sigmoid",
                "labels": labels,
                "regions_class_order": list(range(1, len(labels) + 1)),
            },
            "mirror_axes": [],
        }
        manifest["sliding_window"] = {**manifest["sliding_window"], "patch_size": PATCH}
        if step == 1:
            manifest["workflow"] = field
        (folder / name).mkdir(parents=True)
        (folder / name / "model.onnx").write_bytes(network)
        (folder / name / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder / NAMES[0]
