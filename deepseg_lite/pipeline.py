"""The straight line from a volume to its labels: arrays only, no files, no sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from deepseg_lite.box import Box
from deepseg_lite.bundle import Bundle, Outputs
from deepseg_lite.contrasts import arrange_channels
from deepseg_lite.decoding import (
    label_dtype,
    label_probabilities,
    majority,
    paint_labels,
    winning_probabilities,
)
from deepseg_lite.errors import Cancelled
from deepseg_lite.geometry import Resampled, to_frame
from deepseg_lite.settings import Settings
from deepseg_lite.sliding_window import (
    Predictor,
    count_patches,
    importance_map,
    mirrored,
    predict_sliding_window,
)
from deepseg_lite.steps import POSTPROCESSING, PREPROCESSING, Record, apply_step
from deepseg_lite.volume import AnyArray, Array, FloatArray, Volume

Progress = Callable[[int, int], None]
"""Called with patches done and patches in all."""

Cancel = Callable[[], bool]
"""Asked after every batch of patches; True stops the run."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Result on the grid of the input.

    Attributes
    ----------
    data : array
        Labels (X, Y, Z), or probabilities (L, X, Y, Z) for soft runs, in the order of the
        bundle's labels.
    timings : dict
        Seconds per stage.
    box, crop : Box, dict, or None
        The box around the cord and the record of it, for models of cropped images.
    """

    data: Array
    timings: Mapping[str, float] = field(default_factory=dict)
    box: Box | None = None
    crop: Mapping[str, Any] | None = None


def segment(
    volume: Volume,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings | None = None,
    *,
    fold_count: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Segmentation:
    """Segment one volume.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z), one channel per input of the bundle.
    bundle : Bundle
        What the network expects and what its output means.
    predictors : iterable of callables
        One per fold, ``(N, C, *P) -> (N, K, *P)``. Each is used up before the next is asked for,
        so a lazy iterable needs one network in memory at a time.
    settings : Settings
        What differs from the bundle's own behaviour.
    fold_count : int
        Number of predictors, for ``progress``.
    progress, cancel : callable
        Hooks for programs that embed this.

    Returns
    -------
    segmentation : Segmentation
        On the grid of ``volume``.

    Raises
    ------
    Cancelled
        If ``cancel`` returned True.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``nnUNetPredictor.predict_single_npy_array``; checked by
    ``tests/parity/test_end_to_end.py``.
    """
    settings = settings or Settings()
    clock = [perf_counter()]
    volume = arrange_channels(volume, bundle.inputs, settings.contrasts)
    framed, frame = to_frame(volume, bundle.inputs.orientation, bundle.inputs.axes)
    prepared, trail = preprocess(framed, bundle.preprocessing)
    clock.append(perf_counter())
    folds = fold_scores(prepared.data, bundle, predictors, settings, fold_count, progress, cancel)
    result: AnyArray
    votes = (settings.ensemble or bundle.ensemble) == "majority"
    decode = decoder(bundle.outputs, soft=settings.soft, wins=votes)
    if votes:  # every fold is decoded on its own, so its restoring counts as predicting
        maps: Iterator[Any] = (restore(scores, trail, decode) for scores in folds)
        result = average(maps) if settings.soft else majority(list(maps))
        clock.append(perf_counter())
    else:
        scores = average(folds)
        clock.append(perf_counter())
        result = restore(scores, trail, decode)
    result = frame.undo(result)
    if not settings.soft:
        for step in bundle.postprocessing:
            result = apply_step(POSTPROCESSING, step, result)
    clock.append(perf_counter())
    seconds = np.diff(clock).round(4).tolist()
    return Segmentation(
        result, dict(zip(("preprocess", "predict", "restore"), seconds, strict=True))
    )


def preprocess(volume: Volume, steps: Sequence[Mapping[str, Any]]) -> tuple[Volume, list[Record]]:
    """Apply the listed steps in order; return the volume and what undoes them."""
    trail: list[Record] = []
    for step in steps:
        volume, record = apply_step(PREPROCESSING, step, volume)
        if record is not None:
            trail.append(record)
    return volume, trail


def fold_scores(
    data: FloatArray,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings,
    fold_count: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Iterator[FloatArray]:
    """Yield each fold's blended logits, shape (K, X, Y, Z)."""
    window = bundle.sliding_window
    step = 1 - window.overlap if settings.step is None else settings.step
    importance = importance_map(window.patch_size, window.importance_map)
    total = fold_count * count_patches(data.shape[1:], window.patch_size, step)
    done = 0

    def on_patches(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller; nothing was written.")

    for predict in predictors:
        yield predict_sliding_window(
            data,
            mirrored(predict, bundle.mirror_axes) if settings.mirror else predict,
            window.patch_size,
            step=step,
            importance=importance,
            accumulator=np.float16 if settings.half_precision_sums else np.float32,
            batch_size=settings.batch_size,
            on_patches=on_patches,
        )
        del predict  # so that it can go before the next one is opened


def average(arrays: Iterable[FloatArray]) -> FloatArray:
    """Return the mean of arrays that need not exist at the same time; the first is overwritten."""
    sums: FloatArray | None = None
    count = 0
    for array in arrays:
        sums = array if sums is None else np.add(sums, array, out=sums)
        count += 1
    assert sums is not None
    return sums if count == 1 else np.divide(sums, sums.dtype.type(count), out=sums)


def decoder(outputs: Outputs, *, soft: bool, wins: bool) -> Callable[[FloatArray], Array]:
    """Return what turns scores (K, ...) into labels (...) or probabilities (L, ...).

    ``wins`` leaves only the probabilities of labels that win their voxel.
    """
    if soft:
        probabilities = winning_probabilities if wins else label_probabilities
        return lambda scores: probabilities(scores, outputs.activation)
    dtype = label_dtype(outputs.max_value)
    return lambda scores: paint_labels(scores, outputs.regions_class_order, dtype)


def restore(
    scores: FloatArray,
    trail: Sequence[Record],
    decode: Callable[[FloatArray], Array],
) -> Array:
    """Undo the preprocessing: on scores through the resampling, on decoded values after it."""
    resampled = [record for record in trail if isinstance(record, Resampled)]
    last = trail.index(resampled[-1]) if resampled else len(trail)
    for record in reversed(trail[last + 1 :]):
        scores = record.undo(scores)
    slabs = resampled[-1].undo_slabs(scores) if resampled else [scores]
    result: Array = np.concatenate([decode(slab) for slab in slabs], axis=-3)
    for record in reversed(trail[:last]):
        result = record.undo(result)
    return result
