"""Conformance kit: the arrays of one run at each step, for implementations in other languages.

``docs/developers/format.md`` says what happens between one array and the next.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.images import read_images
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.bundles.bundle import Bundle, Outputs
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.decoding import average, label_dtype, paint_labels
from deepseg_lite.inference.patches import plan_windows
from deepseg_lite.inference.pipeline import fold_scores
from deepseg_lite.inference.preparing import prepare
from deepseg_lite.inference.restore import finish, steps_before_undo
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.inference.sliding_window import predict_sliding_window
from deepseg_lite.notice import Warn, log
from deepseg_lite.steps.intensity import normalize_instance
from deepseg_lite.steps.maps import ACTIVATIONS
from deepseg_lite.steps.pad import pad_to_patch
from deepseg_lite.steps.resample import Resampled
from deepseg_lite.steps.table import MAP_STEPS, Record, apply_step
from deepseg_lite.volume import AnyArray, Volume
from deepseg_lite.watch import Watch

KIT_NAME = "kit.json"
Array = tuple[str, str, AnyArray]
"""Name, meaning, and the array."""


def check_conformance(bundle: Bundle) -> None:
    """Refuse models whose runs are more than the steps of one manifest.

    Raises
    ------
    OptionError
        Saying what it is.
    """
    parts = {
        "a crop around the cord": bundle.cord_crop,
        "a workflow": bundle.workflow,
        "folds that are not averaged": bundle.ensemble != "mean_logits" or None,
    }
    if found := [name for name, part in parts.items() if part is not None]:
        raise OptionError(
            f"{bundle.name} has {' and '.join(found)}, which a conformance kit does not show; give "
            "a bundle whose manifest alone says what happens."
        )


def make_kit(
    model: Segmenter, images: Sequence[SpatialImage], warn: Warn = log
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Run a model on an image, and keep what each step gives.

    Parameters
    ----------
    model : Segmenter
        Of the engine that computes the networks; see `check_conformance`.
    images : sequence of nibabel images
        One per channel.
    warn : callable
        Told of what is doubtful.

    Returns
    -------
    files : dict of str to bytes
        ``.npy`` files by their names, which sort in the order of the steps.
    document : dict
        What ``kit.json`` says: the bundle, the grid, and each file's meaning, shape and type.
    """
    check_conformance(model.bundle)
    volume = read_images(images, warn=warn).volume
    files, listed = {}, []
    for number, (name, meaning, array) in enumerate(_arrays(model, volume, warn)):
        stream, file = io.BytesIO(), f"{number:02d}_{name}.npy"
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
        files[file] = stream.getvalue()
        shape = list(array.shape)
        listed.append({"file": file, "what": meaning, "shape": shape, "dtype": str(array.dtype)})
    bundle = model.bundle
    document = {
        "bundle": {"name": bundle.name, "version": bundle.version},
        "networks": [model.engine.file(bundle, each).path for each in model.networks],
        "affine": volume.affine.tolist(),
        "spacing": list(volume.spacing),
        "arrays": listed,
    }
    return files, document


def _arrays(model: Segmenter, volume: Volume, warn: Warn) -> Iterator[Array]:
    bundle, settings = model.bundle, make_settings()
    yield "image", "as read, float32: channel, x, y, z", volume.data
    prior = None
    if bundle.prior is not None:
        prior = model.find_prior(volume, settings, Watch(notify=warn))
        yield "prior", f"what {bundle.prior.bundle} found, on the grid of the image", prior
    for count in range(len(bundle.preprocessing) + 1):
        first = replace(bundle, preprocessing=bundle.preprocessing[:count])
        # The last of them warns of everything.
        told = warn if count == len(bundle.preprocessing) else lambda _: None
        prepared, trail = prepare(volume, first, prior, told)
        name = "oriented" if count == 0 else str(bundle.preprocessing[count - 1]["step"])
        meaning = "oriented, axes in the network's order" if count == 0 else f"after {name}"
        yield name, meaning, prepared.data
    yield from _tiles(model, prepared)
    folds = fold_scores(
        prepared.data,
        bundle,
        model.predictors(),
        settings,
        len(model.networks),
        predict_window=predict_sliding_window,
    )
    logits = average(folds)
    yield "logits", "blended, and averaged over folds: output, axes of the network", logits
    yield from _results(logits, trail, bundle, settings, volume)


def _tiles(model: Segmenter, prepared: Volume) -> Iterator[Array]:
    window = model.bundle.sliding_window
    x, y, z = prepared.data.shape[1:]
    plan = plan_windows(window, (x, y, z))
    padded, inside = pad_to_patch(prepared.data, plan.patch_size, *plan.padding)
    yield "padded", "padded to the patch, where it was smaller", padded
    offset = np.array([part.start for part in inside], np.int32)
    yield "offset", "first voxel of the volume in the padded one", offset
    starts = np.array(list(itertools.product(*plan.starts)), np.int32)
    yield "starts", "first voxel of each tile in the padded volume, in their order", starts
    yield "importance", "weight of each voxel of a tile", plan.importance
    box = tuple(slice(a, a + n) for a, n in zip(starts[0], plan.patch_size, strict=True))
    tile = padded[(slice(None), *box)]
    if window.patch_normalization == "instance":
        tile = normalize_instance(tile)
    flat = "; a 2-D network has no third axis" if plan.patch_size[0] == 1 else ""
    yield "input", f"first tile as the network gets it: batch, channel, axes{flat}", tile[None]
    for network, predict in zip(model.networks, model.predictors(), strict=True):
        name = "output" if len(model.networks) == 1 else f"output_{network.fold}"
        yield (
            name,
            f"what the network gives for that: batch, output, axes{flat}",
            predict(tile[None]),
        )


def _results(
    logits: AnyArray, trail: Sequence[Record], bundle: Bundle, settings: Settings, volume: Volume
) -> Iterator[Array]:
    """Yield the way back; the last array is the result."""
    records, result = list(trail), logits
    if bundle.outputs.values is None:
        while any(isinstance(record, Resampled) for record in records):
            record = records.pop()
            result = record.undo(result)
            yield f"{_name(record)}_undone", "logits on the grid before that step", result
        result = _labels(result, bundle.outputs)
        yield "labels", "logits decided, axes of the network", result
    else:
        result = ACTIVATIONS[bundle.outputs.activation](result)
        yield "activated", f"after {bundle.outputs.activation}", result
        for step in steps_before_undo(bundle.outputs, settings):
            result = apply_step(MAP_STEPS, step, result)
            yield str(step["step"]), f"after {step['step']}", result
    for record in reversed(records):
        result = record.undo(result)
        yield f"{_name(record)}_undone", "result on the grid before that step", result
    result = finish(result, volume.spacing, bundle, settings)
    yield "result", "on the image's grid, after the last steps", result


def _labels(logits: AnyArray, outputs: Outputs) -> AnyArray:
    return paint_labels(logits, outputs.regions_class_order, label_dtype(outputs.max_value))


def _name(record: Record) -> str:
    return type(record).__name__.lower()
