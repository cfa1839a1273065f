"""The straight line of a manifest with class maps, from a volume to maps on its own grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deepseg_lite import class_maps
from deepseg_lite.cropping import center_crop, crop_to_prior
from deepseg_lite.geometry import to_frame
from deepseg_lite.placement import normalize_instance, stride_starts
from deepseg_lite.slices import drop_constant_slices
from deepseg_lite.volume import FloatArray, Volume
from deepseg_lite.zooming import reoriented_spacing, zoom

Network = Callable[[FloatArray], FloatArray]


def prepare(
    manifest: Mapping[str, Any], volume: Volume, prior: Volume | None = None
) -> tuple[Volume, list[Any]]:
    """Return the volume that patches are cut from, and what undoes each step."""
    inputs, window = manifest["inputs"], manifest["sliding_window"]
    volume = reoriented_spacing(volume, inputs["orientation"])
    if prior is not None:  # it is on the grid of the image, whatever its own header says
        prior = Volume(prior.data, volume.affine, volume.spacing)
    volume, frame = to_frame(volume, inputs["orientation"], inputs["axes"])
    trail: list[Any] = [frame]
    for step in manifest["preprocessing"]:
        if step["step"] == "drop_constant_slices":
            volume, record = drop_constant_slices(volume)
        elif step["step"] == "zoom":
            volume, record = zoom(volume, step["spacing"])
        elif step["step"] == "center_crop":
            volume, record = center_crop(volume, step["size"])
        else:
            assert prior is not None
            volume, record = crop_to_prior(
                volume,
                to_frame(prior, inputs["orientation"], inputs["axes"])[0],
                safety_factor=step["safety_factor"],
                patch_size=window["patch_size"],
                stride=window["stride"],
            )
        trail.append(record)
    return volume, trail


def patches(window: Mapping[str, Any], volume: Volume) -> tuple[FloatArray, list[Any]]:
    """Return all patches (N, C, *P), normalised, and where they are."""
    shape = volume.shape
    size = [
        old if new is None else new for old, new in zip(shape, window["patch_size"], strict=True)
    ]
    stride = [old if new is None else new for old, new in zip(shape, window["stride"], strict=True)]
    clamp = window["placement"] == "clamped_stride"
    axes = zip(shape, size, stride, strict=True)
    starts = [stride_starts(n, patch, step, clamp=clamp) for n, patch, step in axes]
    found = [
        tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
        for corner in itertools.product(*starts)
    ]
    cut = [volume.data[(slice(None), *box)] for box in found]
    if window["patch_normalization"] == "instance":
        cut = [normalize_instance(patch) for patch in cut]
    return np.stack(cut), found


def predict(manifest: Mapping[str, Any], network: Network, volume: Volume) -> FloatArray:
    """Return the plain average of what a network gives for all patches, (L, X, Y, Z)."""
    window = manifest["sliding_window"]
    inputs, found = patches(window, volume)
    is_2d = inputs.shape[2] == 1
    batch = window.get("batch_size", 1)
    outputs = []
    for first in range(0, len(inputs), batch):
        part = inputs[first : first + batch]
        outputs.append(network(part[:, :, 0])[:, :, None] if is_2d else network(part))
    joined = np.concatenate(outputs)
    total = np.zeros((joined.shape[1], *volume.shape), np.float32)
    count = np.zeros(volume.shape, np.float32)
    for box, patch in zip(found, joined, strict=True):
        total[(slice(None), *box)] += patch
        count[box] += 1
    return total / count


def postprocess(steps: list[Mapping[str, Any]], maps: Any, spacing: Any) -> Any:
    """Apply the steps to maps (L, X, Y, Z)."""
    for step in steps:
        keywords = {key: value for key, value in step.items() if key != "step"}
        if step["step"] == "remove_small":
            keywords["spacing"] = spacing
        maps = getattr(class_maps, step["step"])(maps, **keywords)
    return maps


def segment(
    manifest: Mapping[str, Any], network: Network, volume: Volume, prior: Volume | None = None
) -> Any:
    """Return the maps of a volume on its own grid, (L, X, Y, Z)."""
    prepared, trail = prepare(manifest, volume, prior)
    maps = predict(manifest, network, prepared)
    for record in reversed(trail):
        maps = record.undo(maps)
    return postprocess(manifest["postprocessing"], maps, volume.spacing)
