"""Images that are unlike those that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import Inputs
from deepseg_lite.notice import Notice, Warn
from deepseg_lite.volume import FloatArray, Spacing

UNUSUAL = (0.2, 8.0)
"""Ratios of an image's voxel sizes to those of a model's training beyond which it is told; thick
slices are usual."""

BEYOND = 1.5
"""Factor by which a voxel may be smaller or larger than any of the training, before it is told."""

LEAST_WITHIN = 0.01
"""Share of an image's voxels that must lie within the intensities that a model knows."""


def check_spacing(
    spacing: Spacing,
    target: Sequence[float | None] | None,
    trained: Sequence[tuple[float, float]] | None,
    warn: Warn,
) -> None:
    """Tell of a voxel that is far larger or smaller than those of the training.

    Parameters
    ----------
    spacing : tuple of 3 floats
        Voxel size in mm, in the order of the network.
    target : sequence of 3 floats or None
        Size that images are resampled to; it stands for the training where that is not known.
    trained : sequence of 3 pairs of floats, or None
        Smallest and largest size of the training images.
    warn : callable
        Told of it.
    """
    if trained is None:
        _check_target(spacing, target, warn)
    elif not all(
        low / BEYOND <= size <= high * BEYOND
        for size, (low, high) in zip(spacing, trained, strict=True)
    ):
        said = " x ".join(f"{size:.3g}" for size in spacing)
        usual = " x ".join(
            f"{low:.3g}" if low == high else f"({low:.3g} to {high:.3g})" for low, high in trained
        )
        text = (
            f"a voxel has {said} mm, those of the training images had {usual} mm: the unit or the "
            "header may be wrong, or the model was not made for it. Check the voxel size and the "
            "result."
        )
        figures = {"spacing": list(spacing), "trained": [list(each) for each in trained]}
        warn(Notice("voxel-size-unusual", text, figures=figures))


def _check_target(spacing: Spacing, target: Sequence[float | None] | None, warn: Warn) -> None:
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


def check_intensity(data: FloatArray, step: Mapping[str, Any], warn: Warn) -> None:
    """Tell of channels with almost nothing in the range of intensities that a step knows.

    Steps that know none, such as those that take the image's own mean, tell of nothing.

    Parameters
    ----------
    data : array of shape (C, X, Y, Z)
        Intensities before the step; voxels of 0 are not looked at.
    step : mapping
        Step of a manifest.
    warn : callable
        Told of each such channel.
    """
    for channel, limits in enumerate(_known_intensities(step, len(data))):
        if limits is None:
            continue
        values = data[channel]
        within = (values >= limits[0]) & (values <= limits[1]) & (values != 0)
        if np.count_nonzero(within) < LEAST_WITHIN * np.count_nonzero(values):
            low, high = (float(end) for end in np.percentile(values[values != 0], (1, 99)))
            text = (
                f"its intensities, {low:.4g} to {high:.4g}, are not those that the model was "
                f"trained on, {limits[0]:.4g} to {limits[1]:.4g}: the scale or the contrast may be "
                "another. Check the image and the result."
            )
            figures = {"channel": channel, "found": [low, high], "trained": list(limits)}
            warn(Notice("intensity-unusual", text, figures=figures))


def _known_intensities(step: Mapping[str, Any], count: int) -> Sequence[tuple[float, float] | None]:
    """Return for each channel the lowest and highest intensity that a step knows, or None."""
    if step["step"] == "scale_range":
        low, high = step["source"]
        return [(low, high)] * count
    if step["step"] == "normalize":
        return [
            (each["lower"], each["upper"]) if each["scheme"] == "clip_zscore" else None
            for each in step["channels"]
        ]
    return [None] * count
