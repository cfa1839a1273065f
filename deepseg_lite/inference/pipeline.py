"""The straight line from a volume to its labels: arrays only, no files, no sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import Cancelled
from deepseg_lite.inference.background import find_background
from deepseg_lite.inference.decoding import average, majority
from deepseg_lite.inference.overlap import Stages, run_through, timed
from deepseg_lite.inference.patches import plan_windows
from deepseg_lite.inference.restore import Rows, decodes_rows, finish, restore, restore_both
from deepseg_lite.inference.settings import Settings
from deepseg_lite.inference.sliding_window import (
    Predictor,
    mirrored,
    per_patch,
    predict_rows,
    predict_sliding_window,
)
from deepseg_lite.steps.box import Box
from deepseg_lite.steps.frame import reoriented_spacing, to_frame
from deepseg_lite.steps.intensity import normalize_instance
from deepseg_lite.steps.table import PREPROCESSING, Record, apply_step
from deepseg_lite.volume import AnyArray, FloatArray, Spacing, Volume

T = TypeVar("T")
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
        Labels (X, Y, Z), or for soft runs and models whose result is maps (L, X, Y, Z), in the
        order of the bundle's labels.
    timings : dict
        Seconds per stage.
    box, crop : Box, dict, or None
        The box around the cord and the record of it, for models of cropped images.
    probabilities : array of shape (L, X, Y, Z) or None
        Of the labels that were asked for beside ``data``.
    """

    data: AnyArray
    timings: Mapping[str, float] = field(default_factory=dict)
    box: Box | None = None
    crop: Mapping[str, Any] | None = None
    probabilities: FloatArray | None = None


def segment(
    volume: Volume,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings | None = None,
    *,
    prior: AnyArray | None = None,
    soft_labels: Sequence[int] = (),
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
    prior : array of shape (X, Y, Z), optional
        What an earlier model found on the same grid, for models that crop to it.
    soft_labels : sequence of int
        Labels, by their index, whose probabilities are wanted beside the label map; for models
        whose result is one and whose folds are averaged.
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
    return run_through(
        segment_in_stages(
            volume,
            bundle,
            predictors,
            settings or Settings(),
            prior=None if prior is None else lambda: prior,
            soft_labels=soft_labels,
            fold_count=fold_count,
            progress=progress,
            cancel=cancel,
        )
    )


def segment_in_stages(
    volume: Volume,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings,
    *,
    prior: Callable[[], AnyArray] | None = None,
    soft_labels: Sequence[int] = (),
    fold_count: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Stages[Segmentation]:
    """Segment one volume in stages; see `segment`.

    ``prior`` runs a network, so it has to wait for the second stage, and what follows it does, too.
    """
    seconds: dict[str, float] = {}
    spacing, mask = volume.spacing, None
    if prior is not None:
        yield
        mask = prior()
    with timed(seconds, "preprocess"):
        prepared, trail = prepare(volume, bundle, mask)
    del volume, mask
    if prior is None:
        yield

    def back(scores: Rows) -> tuple[AnyArray, FloatArray | None]:
        if soft_labels:
            return restore_both(scores, trail, bundle.outputs, soft_labels)
        return restore(scores, trail, bundle.outputs, settings), None

    scores: FloatArray | None = None
    probabilities: FloatArray | None = None
    averaging = (settings.ensemble or bundle.ensemble) == "mean_logits"
    with timed(seconds, "predict"):
        folds = partial(
            fold_scores, prepared.data, bundle, predictors, settings, fold_count, progress, cancel
        )
        if settings.in_rows and fold_count == 1 and decodes_rows(bundle, settings):
            for rows in folds(predict_window=predict_rows):
                result, probabilities = back(rows)
        elif averaging:
            scores = average(folds(predict_window=predict_sliding_window))
        else:  # every fold is decoded on its own, so its restoring counts as predicting
            each = folds(predict_window=predict_sliding_window)
            result = _decode_each(each, trail, bundle, settings, spacing)
            del each
    del folds, prepared
    yield

    with timed(seconds, "restore"):
        if scores is not None:
            result, probabilities = back([scores])
        if averaging:
            result = finish(result, spacing, bundle, settings)
    return Segmentation(result, seconds, probabilities=probabilities)


def _decode_each(
    folds: Iterable[FloatArray],
    trail: Sequence[Record],
    bundle: Bundle,
    settings: Settings,
    spacing: Spacing,
) -> AnyArray:
    """Decode folds one by one and combine what they became."""
    wins = (settings.ensemble or bundle.ensemble) == "majority"
    maps = (restore([scores], trail, bundle.outputs, settings, wins=wins) for scores in folds)
    if wins and not settings.soft:
        return finish(majority(list(maps)), spacing, bundle, settings)
    finished = (finish(each, spacing, bundle, settings) for each in maps)
    return average(each.astype(np.float32, copy=False) for each in finished)


def prepare(
    volume: Volume, bundle: Bundle, prior: AnyArray | None = None
) -> tuple[Volume, list[Record]]:
    """Bring a volume to the network's frame and apply the bundle's steps in order.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    bundle : Bundle
        Says how.
    prior : array of shape (X, Y, Z), optional
        What an earlier model found on the same grid.

    Returns
    -------
    prepared : Volume
        What patches are cut from.
    trail : list of Record
        What undoes each step, the frame first.
    """
    inputs, window = bundle.inputs, bundle.sliding_window
    if inputs.spacing == "reoriented" and inputs.orientation is not None:
        volume = reoriented_spacing(volume, inputs.orientation)
    framed, frame = to_frame(volume, inputs.orientation, inputs.axes)
    context: dict[str, Any] = {"patch_size": window.patch_size, "stride": window.stride}
    if prior is not None:
        mask = Volume(prior[None], volume.affine, volume.spacing)
        context["prior"] = to_frame(mask, inputs.orientation, inputs.axes)[0]
    trail: list[Record] = [frame]
    for step in bundle.preprocessing:
        framed, record = apply_step(PREPROCESSING, step, framed, **context)
        if record is not None:
            trail.append(record)
    return framed, trail


def fold_scores(
    data: FloatArray,
    bundle: Bundle,
    predictors: Iterable[Predictor],
    settings: Settings,
    fold_count: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    *,
    predict_window: Callable[..., T],
) -> Iterator[T]:
    """Yield each fold's blended logits, as a function such as `predict_sliding_window` has them."""
    window = bundle.sliding_window
    x, y, z = data.shape[1:]
    plan = plan_windows(window, (x, y, z), settings.step)
    background = None
    if settings.skip_empty:
        outputs = bundle.outputs
        background = find_background(data, outputs.activation, outputs.channel_count)
    total = fold_count * plan.count
    done = 0

    def on_patches(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller; nothing was written.")

    for predict in predictors:
        calls_at_once = getattr(predict, "calls_at_once", 1)
        if window.patch_normalization == "instance":
            predict = per_patch(predict, normalize_instance)
        yield predict_window(
            data,
            mirrored(predict, bundle.mirror_axes) if settings.mirror else predict,
            plan.patch_size,
            starts=plan.starts,
            importance=plan.importance,
            padding=plan.padding,
            accumulator=np.float16 if settings.half_precision_sums else np.float32,
            batch_size=max(settings.batch_size, window.batch_size),
            background=background,
            calls_at_once=calls_at_once,
            on_patches=on_patches,
        )
        del predict  # so that it can go before the next one is opened
