"""Sliding-window inference: patches in, blended scores out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from deepseg_lite.errors import BundleError
from deepseg_lite.inference.agreement import Compare
from deepseg_lite.inference.background import Background
from deepseg_lite.inference.overlap import called_ahead
from deepseg_lite.inference.patches import PatchSize, Starts
from deepseg_lite.steps.pad import pad_to_patch
from deepseg_lite.volume import FloatArray, Slices

Predictor = Callable[[FloatArray], FloatArray]
"""Patches (N, C, *P) to logits (N, K, *P), float32; P has three axes."""


def mirrored(predict: Predictor, axes: Sequence[int], compare: Compare = iter) -> Predictor:
    """Wrap a predictor: average its logits over all flips of the given spatial axes.

    ``compare`` sees the logits of each flip on their way.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``nnUNetPredictor._internal_maybe_mirror_and_predict``.
    """
    flips = [
        tuple(axis + 2 for axis in chosen)
        for count in range(1, len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]

    def passes(patches: FloatArray) -> Iterator[FloatArray]:
        yield predict(patches)
        for flip in flips:
            yield np.flip(predict(np.ascontiguousarray(np.flip(patches, flip))), flip)

    def predict_mirrored(patches: FloatArray) -> FloatArray:
        each = compare(passes(patches))
        logits = next(each)
        for flipped in each:
            logits = logits + flipped
        logits /= np.float32(len(flips) + 1)
        return logits

    return predict_mirrored if flips else predict


def per_patch(predict: Predictor, prepare: Callable[[FloatArray], FloatArray]) -> Predictor:
    """Wrap a predictor: something is done to each patch (C, *P) before it sees them."""
    return lambda patches: predict(np.stack([prepare(patch) for patch in patches]))


def predict_sliding_window(
    data: FloatArray, predict: Predictor, patch_size: PatchSize, **options: Any
) -> FloatArray:
    """Return blended scores (K, X, Y, Z) of a volume; parameters are those of `predict_rows`."""
    (scores,) = predict_rows(data, predict, patch_size, **options, at_once=True)
    return scores


def predict_rows(
    data: FloatArray,
    predict: Predictor,
    patch_size: PatchSize,
    *,
    starts: Starts,
    importance: FloatArray,
    padding: tuple[str, float] = ("constant", 0.0),
    accumulator: DTypeLike = np.float32,
    batch_size: int = 1,
    background: Background | None = None,
    calls_at_once: int = 1,
    on_patches: Callable[[int], None] = lambda count: None,
    at_once: bool = False,
) -> Iterator[FloatArray]:
    """Predict a volume patch by patch, blend the logits, and yield rows that are complete.

    Parameters
    ----------
    data : array of shape (C, X, Y, Z)
        Normalised intensities. Where smaller than a patch it is padded, centred.
    predict : callable
        Patches (N, C, *P) to logits (N, K, *P).
    patch_size : tuple of 3 ints
        P, in voxels.
    starts : sequence of 3 lists of int
        First voxels of patches along each axis of the padded volume; they must cover it.
    importance : array of shape (P)
        Blending weights, all positive.
    padding : tuple of str and float
        Mode and value, see `deepseg_lite.steps.box.pad`.
    accumulator : dtype
        Type of the running sums; float16 rounds as nnU-Net does.
    batch_size : int
        Patches per call of ``predict``.
    background : Background, optional
        Patches that are nothing else are left out, and so does not count in the blending what the
        network would have said of them. By default every patch is predicted.
    calls_at_once : int
        Calls of ``predict`` that may be on their way, each from a thread of its own. The sums are
        made in the order of the patches all the same.
    on_patches : callable
        Told the number of patches done after each call, and before the first that of those left
        out; what it raises ends the run.
    at_once : bool
        Yield all rows together, in the end.

    Yields
    ------
    scores : array of shape (K, x, Y, Z)
        Consecutive rows of the first axis, of the accumulator's type; overwritten when there are
        more and they are asked for.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``nnUNetPredictor.predict_sliding_window_return_logits`` and
    ``acvl_utils`` ``pad_nd_image``; checked by ``tests/parity/test_sliding_window.py``.
    """
    shape = data.shape[1:]
    data, inside = pad_to_patch(data, patch_size, *padding)
    every = list(_patch_boxes(starts, patch_size))
    boxes, height = every, shape[0] if at_once else min(shape[0], patch_size[0])
    sums: FloatArray | None = None
    if background is not None:
        sums = np.zeros((len(background.scores), height, *shape[1:]), accumulator)
        boxes = [box for box in every if not background.fills(_cut(data, box))]
        if len(boxes) < len(every):
            on_patches(len(every) - len(boxes))

    def predict_batch(batch: Sequence[Slices]) -> FloatArray:
        try:
            return predict(np.stack([_cut(data, box) for box in batch]))
        except BundleError as error:
            corner = tuple(part.start for part in batch[0])
            raise BundleError(f"patch {every.index(batch[0]) + 1} at {corner}: {error}") from error

    first = 0
    for last in [shape[0]] if at_once else [*starts[0][1:], shape[0]]:
        open_rows = _rows(inside, first, first + height)
        complete = _rows(inside, first, last)
        # What begins later reaches only later rows.
        due = [box for box in boxes if first <= box[0].start < last or at_once]
        batches = list(_batches(due, batch_size))
        results = called_ahead(predict_batch, batches, calls_at_once)
        for batch in batches:
            logits = next(results)  # zip would hold it beside the next one
            if sums is None:
                sums = np.zeros((logits.shape[1], height, *shape[1:]), accumulator)
            for box, patch in zip(batch, logits, strict=True):
                _blend(sums, patch, importance, *_overlap(box, open_rows))
            del logits, patch  # so that they are gone when the network runs again
            on_patches(len(batch))
        assert sums is not None
        scores = sums[:, : last - first]
        # Not before the network's own memory is free.
        weights = _weights(boxes, importance.astype(accumulator), complete)
        if background is not None:
            left_out = weights == 0
            weights[left_out] = 1
            scores[:, left_out] = background.scores[:, None]
        scores /= weights
        del weights
        yield scores
        if last == shape[0]:
            return
        left = height - (last - first)
        sums[:, :left] = sums[:, height - left :]
        sums[:, left:] = 0
        first = last


def _patch_boxes(starts: Starts, patch_size: PatchSize) -> Iterator[Slices]:
    for corner in itertools.product(*starts):
        yield tuple(slice(a, a + n) for a, n in zip(corner, patch_size, strict=True))


def _batches(boxes: Sequence[Slices], batch_size: int) -> Iterator[Sequence[Slices]]:
    for first in range(0, len(boxes), batch_size):
        yield boxes[first : first + batch_size]


def _rows(inside: Slices, first: int, last: int) -> Slices:
    """Return a box of the padded volume: some rows of the volume."""
    offset = inside[0].start
    return (slice(offset + first, min(offset + last, inside[0].stop)), *inside[1:])


def _weights(boxes: Sequence[Slices], importance: FloatArray, rows: Slices) -> FloatArray:
    """Return the sum of the weights of all boxes in some rows of a volume."""
    weights = np.zeros([part.stop - part.start for part in rows], importance.dtype)
    for box in boxes:
        if box[0].start < rows[0].stop and box[0].stop > rows[0].start:
            target, part = _overlap(box, rows)
            weights[target] += importance[part]
    return weights


def _cut(data: FloatArray, box: Slices) -> FloatArray:
    return data[(slice(None), *box)]


def _overlap(box: Slices, inside: Slices) -> tuple[Slices, Slices]:
    """Return where a box of the padded volume is in the volume, and which part of the box."""
    ends = [(max(a.start, i.start), min(a.stop, i.stop)) for a, i in zip(box, inside, strict=True)]
    target = tuple(slice(a - i.start, b - i.start) for (a, b), i in zip(ends, inside, strict=True))
    part = tuple(slice(a - p.start, b - p.start) for (a, b), p in zip(ends, box, strict=True))
    return target, part


def _blend(
    sums: FloatArray, patch: FloatArray, importance: FloatArray, target: Slices, part: Slices
) -> None:
    """Add part of a patch (K, *P), weighted; channel by channel, so that little memory is taken."""
    weights = importance[part]
    for channel_sums, channel in zip(sums, patch, strict=True):
        channel_sums[target] += channel[part] * weights
