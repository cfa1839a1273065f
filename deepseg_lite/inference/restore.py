"""From blended scores back to the image's grid, and what is done to the result there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import Bundle, Outputs
from deepseg_lite.inference.cleaning import Cleaning, joined_steps, thresholded_steps
from deepseg_lite.inference.decoding import (
    chosen_probabilities,
    label_dtype,
    label_probabilities,
    paint_labels,
    winning_probabilities,
)
from deepseg_lite.inference.settings import Settings, ensemble_of
from deepseg_lite.inference.winners import label_slabs
from deepseg_lite.steps.maps import ACTIVATIONS
from deepseg_lite.steps.resample import Resampled
from deepseg_lite.steps.table import (
    MAP_STEPS,
    PREPROCESSING,
    Record,
    apply_step,
    decides,
    soft_steps,
)
from deepseg_lite.volume import AnyArray, Array, FloatArray, Spacing

Rows = Iterable[FloatArray]
"""Consecutive rows (K, x, Y, Z) of scores."""

SlabDecoder = Callable[[Resampled, FloatArray], Iterable[Array]]
"""Makes slabs of labels (x, Y, Z) or of maps (L, x, Y, Z) of scores that are still resampled."""


def restore(
    scores: Rows,
    trail: Sequence[Record],
    outputs: Outputs,
    settings: Settings,
    *,
    wins: bool = False,
) -> AnyArray:
    """Return labels (X, Y, Z), or probabilities or maps (L, X, Y, Z), on the image's grid.

    nnU-Net's scores are decoded when the resampling is undone, slab by slab, and the rest is undone
    on what they became. Maps are undone as they are.

    Parameters
    ----------
    scores : iterable of arrays of shape (K, x', Y', Z')
        Blended output of the network, in consecutive rows of its first axis. More than one where
        `decodes_rows` says so.
    trail : sequence of Record
        As `prepare` left it.
    outputs : Outputs
        What the channels mean.
    settings : Settings
        Whether probabilities are wanted.
    wins : bool
        Leave only the probabilities of labels that win their voxel.
    """
    if outputs.values is None:
        return decode_on_undo(scores, trail, decoder(outputs, soft=settings["soft"], wins=wins))
    (whole,) = scores
    maps: AnyArray = ACTIVATIONS[outputs.activation](whole)
    for step in steps_before_undo(outputs, settings):
        maps = apply_step(MAP_STEPS, step, maps)
    for record in reversed(trail):
        maps = record.undo(maps)
    return maps


def steps_before_undo(outputs: Outputs, settings: Settings) -> Sequence[Mapping[str, Any]]:
    """Return the steps on maps before the preprocessing is undone, with the user's threshold."""
    steps = outputs.before_undo
    if settings["soft"]:
        return soft_steps(steps)
    threshold = settings["threshold"] if outputs.threshold_at else None
    return steps if threshold is None else thresholded_steps(steps, threshold)


def decodes_rows(bundle: Bundle, settings: Settings) -> bool:
    """Return whether rows of one network's scores become labels while others are still missing.

    They do where nothing but their own grid is undone before they are decoded.
    """
    changes = [PREPROCESSING[step["step"]].changes for step in bundle.preprocessing]
    moves = [change for change in changes if change != "values"]
    last = "resampling" not in moves or moves[-1] == "resampling"
    averaging = ensemble_of(settings, bundle) == "mean_logits"
    return averaging and bundle.outputs.values is None and last


def restore_both(
    scores: Rows, trail: Sequence[Record], outputs: Outputs, soft_labels: Sequence[int]
) -> tuple[AnyArray, FloatArray]:
    """Return labels (X, Y, Z) and probabilities (L, X, Y, Z) of some labels, by their index.

    One pass over the scores gives both: of a network with many channels there is room for one
    copy. For outputs without ``values``.
    """
    dtype = label_dtype(outputs.max_value)

    def decode(slab: FloatArray) -> FloatArray:
        maps = chosen_probabilities(slab, outputs.activation, soft_labels)
        labels = paint_labels(slab, outputs.regions_class_order, dtype)
        return np.concatenate([labels[None].astype(np.float32), maps])

    both = decode_on_undo(scores, trail, after_resampling(decode))
    return both[0].astype(dtype), both[1:]


def finish(result: AnyArray, spacing: Spacing, bundle: Bundle, settings: Settings) -> AnyArray:
    """Apply the steps that act on a result: the bundle's, and on maps the user's, too.

    ``spacing`` is the voxel size of the image, in mm.
    """
    outputs, steps = bundle.outputs, list(bundle.postprocessing)
    if outputs.values is None:
        if settings["soft"]:
            return result
        for step in steps:
            (result,) = apply_step(MAP_STEPS, step, result[None], image_spacing=spacing)
        return result
    if outputs.are_maps:
        cleaning = Cleaning.of(settings)
        if outputs.threshold_at and cleaning.threshold:  # it took effect before
            cleaning = replace(cleaning, threshold=None)
        steps = joined_steps(steps, cleaning)
    for step in soft_steps(steps) if settings["soft"] else steps:
        result = apply_step(MAP_STEPS, step, result, image_spacing=spacing)
    if outputs.are_maps:
        hard = not settings["soft"] and decides(steps)
        return result.astype(np.uint8 if hard else np.float32, copy=False)
    if settings["soft"]:
        return result[[label.values[0] for label in outputs.labels]]
    labels: AnyArray = result[0].astype(label_dtype(outputs.max_value))
    return labels


def decoder(outputs: Outputs, *, soft: bool, wins: bool) -> SlabDecoder:
    """Return what turns scores (K, ...) into labels (...) or probabilities (L, ...)."""
    if soft:
        probabilities = winning_probabilities if wins else label_probabilities
        return after_resampling(lambda scores: probabilities(scores, outputs.activation))
    order, dtype = outputs.regions_class_order, label_dtype(outputs.max_value)
    return lambda resampled, scores: label_slabs(scores, resampled, order, dtype)


def after_resampling(decode: Callable[[FloatArray], Array]) -> SlabDecoder:
    """Return a decoder of scores that decodes each slab of them on the image's grid."""
    return lambda resampled, scores: map(decode, resampled.undo_slabs(scores))


def decode_on_undo(scores: Rows, trail: Sequence[Record], decode_slabs: SlabDecoder) -> AnyArray:
    """Undo the preprocessing: on scores through the resampling, on decoded values after it."""
    resampled = [record for record in trail if isinstance(record, Resampled)]
    last = trail.index(resampled[-1]) if resampled else len(trail)
    for record in reversed(trail[last + 1 :]):
        (whole,) = scores
        scores = [record.undo(whole)]
    resampling = resampled[-1] if resampled else Resampled(None)
    slabs = [slab for part, rows in resampling.parts(scores) for slab in decode_slabs(part, rows)]
    result: AnyArray = np.concatenate(slabs, axis=-3)
    del slabs  # before the rest copies what they became
    for record in reversed(trail[:last]):
        result = record.undo(result)
    return result


def restore_asked(
    scores: Rows,
    trail: Sequence[Record],
    outputs: Outputs,
    settings: Settings,
    soft_labels: Sequence[int],
) -> tuple[AnyArray, FloatArray | None]:
    """Return what a run gives (X, Y, Z), and with ``soft_labels`` their probabilities (L, X, Y, Z).

    See `restore` and `restore_both`.
    """
    if soft_labels:
        return restore_both(scores, trail, outputs, soft_labels)
    return restore(scores, trail, outputs, settings), None
