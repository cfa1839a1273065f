"""Images that are unlike those that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from deepseg_lite.bundles.bundle import Inputs
from deepseg_lite.notice import Notice, Warn
from deepseg_lite.volume import Spacing

UNUSUAL = (0.2, 8.0)
"""Ratios of an image's voxel sizes to those of a model's training beyond which it is told; thick
slices are usual."""


def check_spacing(spacing: Spacing, target: Sequence[float | None] | None, warn: Warn) -> None:
    """Tell of a voxel that is far larger or smaller than what an image is resampled to."""
    ratios = [size / new for size, new in zip(spacing, target or (), strict=False) if new]
    low, high = UNUSUAL
    if all(low <= ratio <= high for ratio in ratios):
        return
    said, wanted = (
        " x ".join("any" if size is None else f"{size:.3g}" for size in sizes)
        for sizes in (spacing, target or ())
    )
    text = (
        f"a voxel of {said} mm is resampled to {wanted} mm, far from what the model was trained "
        "on: the unit or the header may be wrong. Check the voxel size and the result."
    )
    warn(Notice("voxel-size-unusual", text, figures={"spacing": list(spacing), "ratios": ratios}))


def check_orientation(orientation: str, inputs: Inputs, warn: Warn, *, reorient: bool) -> None:
    """Tell of an image that is taken as it is stored, unlike those of the training."""
    trained = inputs.training_orientation
    if trained is None or reorient or orientation == trained:
        return
    text = (
        f"it is stored as {orientation}, the training images were as {trained}, and this model "
        "takes images as they are: it may find less. `reorient` brings it to theirs first."
    )
    warn(Notice("orientation", text, figures={"orientation": orientation, "trained": trained}))
