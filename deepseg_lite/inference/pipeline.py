"""The straight line from a volume to its labels: arrays only, no files, no sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.inference.agreement import comparison
from deepseg_lite.inference.background import find_background
from deepseg_lite.inference.decoding import average, majority
from deepseg_lite.inference.patches import plan_windows
from deepseg_lite.inference.preparing import prepare
from deepseg_lite.inference.restore import decodes_rows, finish, restore, restore_asked
from deepseg_lite.inference.settings import Settings, ensemble_of, make_settings
from deepseg_lite.inference.sliding_window import (
    Predictor,
    mirrored,
    per_patch,
    predict_rows,
    predict_sliding_window,
)
from deepseg_lite.steps.box import Box
from deepseg_lite.steps.intensity import normalize_instance
from deepseg_lite.steps.table import Record
from deepseg_lite.volume import AnyArray, FloatArray, Spacing, Volume
from deepseg_lite.watch import Watch

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Result on the grid of the input.

    Attributes
    ----------
    data : array
        Labels (X, Y, Z), or for soft runs and models whose result is maps (L, X, Y, Z), in the
        order of the bundle's labels.
    probabilities : array of shape (L, X, Y, Z) or None
        Of the labels that were asked for in addition to ``data``.
    box, crop : Box, dict, or None
        The box around the cord and the record of it, for models of cropped images.
    center : tuple of 3 floats or None
        Point in mm that was looked around, where it is not the middle of the image.
    """

    data: AnyArray
    probabilities: FloatArray | None = None
    box: Box | None = None
    crop: Mapping[str, Any] | None = None
    center: Sequence[float] | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """Output of the networks of one volume.

    Attributes
    ----------
    scores : array of shape (K, X', Y', Z') or None
        Blended logits on the networks' grid; None where they are decoded already.
    data, probabilities : array or None
        The result on the image's grid, where it was decoded fold by fold or row by row.
    is_finished : bool
        Whether the bundle's last steps were applied to ``data``.
    """

    scores: FloatArray | None
    data: AnyArray | None = None
    probabilities: FloatArray | None = None
    is_finished: bool = False


def segment(
    volume: Volume,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings | None = None,
    *,
    prior: AnyArray | None = None,
    center: Sequence[float] | None = None,
    soft_labels: Sequence[int] = (),
    fold_count: int = 1,
    watch: Watch | None = None,
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
        What differs from the bundle's own behaviour; from `make_settings`.
    prior : array of shape (X, Y, Z), optional
        Result of an earlier model on the same grid, for models that crop to it.
    center : sequence of 3 floats, optional
        Point in mm around which a model looks that looks around the image's middle otherwise.
    soft_labels : sequence of int
        Labels, by their index, whose probabilities are wanted in addition to the label map; for
        models whose result is one and whose folds are averaged.
    fold_count : int
        Number of predictors, for the watch.
    watch : Watch, optional
        Takes the time of the stages, is told the progress, and may stop the run.

    Returns
    -------
    segmentation : Segmentation
        On the grid of ``volume``.

    Raises
    ------
    Cancelled
        If the watch stopped the run.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``nnUNetPredictor.predict_single_npy_array``; checked by
    ``tests/parity/test_end_to_end.py``.
    """
    settings, watch, spacing = settings or make_settings(), watch or Watch(), volume.spacing
    with watch.stage("preprocess"):
        prepared, trail = prepare(
            volume, bundle, prior, watch.warn, reorient=settings["reorient"], center=center
        )
    del volume
    predicted = predict(
        prepared.data,
        trail,
        bundle,
        predictors,
        settings,
        spacing=spacing,
        soft_labels=soft_labels,
        fold_count=fold_count,
        watch=watch,
    )
    del prepared
    return complete(
        predicted, trail, bundle, settings, spacing=spacing, soft_labels=soft_labels, watch=watch
    )


def predict(
    data: FloatArray,
    trail: Sequence[Record],
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings,
    *,
    spacing: Spacing,
    soft_labels: Sequence[int] = (),
    fold_count: int = 1,
    watch: Watch,
) -> Prediction:
    """Run the networks on what `prepare` gave: the second step of `segment`."""
    with watch.stage("predict"):
        folds = partial(fold_scores, data, bundle, predictors, settings, fold_count, watch)
        if settings["in_rows"] and fold_count == 1 and decodes_rows(bundle, settings):
            for rows in folds(predict_window=predict_rows):
                result, probabilities = restore_asked(
                    rows, trail, bundle.outputs, settings, soft_labels
                )
            return Prediction(None, result, probabilities)
        each = folds(predict_window=predict_sliding_window)
        if fold_count > 1:
            each = comparison("folds", bundle.outputs, watch)(each)
        if ensemble_of(settings, bundle) == "mean_logits":
            return Prediction(average(each))
        # Every fold is decoded on its own, so its restoring counts as predicting.
        return Prediction(
            None, _decode_each(each, trail, bundle, settings, spacing), is_finished=True
        )


def complete(
    predicted: Prediction,
    trail: Sequence[Record],
    bundle: Bundle,
    settings: Settings,
    *,
    spacing: Spacing,
    soft_labels: Sequence[int] = (),
    watch: Watch,
) -> Segmentation:
    """Bring a prediction to the image's grid: the last step of `segment`."""
    data, probabilities = predicted.data, predicted.probabilities
    if predicted.scores is not None:
        with watch.stage("restore"):
            data, probabilities = restore_asked(
                [predicted.scores], trail, bundle.outputs, settings, soft_labels
            )
    assert data is not None
    with watch.stage("postprocess"):
        if not predicted.is_finished:
            data = finish(data, spacing, bundle, settings)
    return Segmentation(data, probabilities)


def _decode_each(
    folds: Iterable[FloatArray],
    trail: Sequence[Record],
    bundle: Bundle,
    settings: Settings,
    spacing: Spacing,
) -> AnyArray:
    """Decode folds one by one and combine what they became."""
    wins = ensemble_of(settings, bundle) == "majority"
    maps = (restore([scores], trail, bundle.outputs, settings, wins=wins) for scores in folds)
    if wins and not settings["soft"]:
        return finish(majority(list(maps)), spacing, bundle, settings)
    finished = (finish(each, spacing, bundle, settings) for each in maps)
    return average(each.astype(np.float32, copy=False) for each in finished)


def fold_scores(
    data: FloatArray,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings,
    fold_count: int = 1,
    watch: Watch | None = None,
    *,
    predict_window: Callable[..., T],
) -> Iterator[T]:
    """Yield each fold's blended logits, as a function such as `predict_sliding_window` has them."""
    window, watch = bundle.sliding_window, watch or Watch()
    x, y, z = data.shape[1:]
    plan = plan_windows(window, (x, y, z), settings["step"])
    background = None
    if settings["skip_empty"]:
        outputs = bundle.outputs
        background = find_background(data, outputs.activation, outputs.channel_count)
    on_patches = watch.count_patches(fold_count * plan.count)
    compare = comparison("flips", bundle.outputs, watch, axis=1, weights=plan.importance)
    for opened in watch.opened(predictors):
        calls_at_once = getattr(opened, "calls_at_once", 1)
        predict = watch.called(opened)
        del opened  # so that it can go before the next one is opened
        if window.patch_normalization == "instance":
            predict = per_patch(predict, normalize_instance)
        yield predict_window(
            data,
            mirrored(predict, bundle.mirror_axes, compare) if settings["tta"] else predict,
            plan.patch_size,
            starts=plan.starts,
            importance=plan.importance,
            padding=plan.padding,
            accumulator=settings["accumulator"],
            batch_size=window.batch_size,
            background=background,
            calls_at_once=calls_at_once,
            on_patches=on_patches,
        )
        del predict
