"""Scores to labels or probabilities.

Source: nnunetv2 2.8.1, ``utilities/label_handling/label_handling.py``, ``LabelManager``; checked by
``tests/parity/test_parts.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from deepseg_lite.volume import FloatArray, LabelArray


def label_dtype(max_value: int) -> type[np.unsignedinteger]:
    """Return the integer type of a label map: uint8, or uint16 beyond 255."""
    return np.uint8 if max_value <= 255 else np.uint16


def paint_labels(
    scores: FloatArray, regions_class_order: Sequence[int] | None, dtype: type[np.unsignedinteger]
) -> LabelArray:
    """Return the label map of logits.

    Parameters
    ----------
    scores : array of shape (K, X, Y, Z)
        Blended logits.
    regions_class_order : sequence of K ints or None
        None: the channel with the largest score, the first on ties. Otherwise the value painted
        where each region's probability exceeds 0.5, later regions over earlier ones.
    dtype : type
        Of the result.

    Returns
    -------
    labels : array of shape (X, Y, Z)
    """
    if regions_class_order is None:
        indices: LabelArray = scores.argmax(axis=0).astype(dtype)
        return indices
    labels = np.zeros(scores.shape[1:], dtype)
    for region, value in zip(scores, regions_class_order, strict=True):
        labels[region > 0] = value  # a logit above 0 is a probability above 0.5
    return labels


def label_probabilities(scores: FloatArray, activation: str) -> FloatArray:
    """Return the probability of each label or region, background left out.

    Parameters
    ----------
    scores : array of shape (K, X, Y, Z)
        Blended logits.
    activation : str
        ``"softmax"`` (channel 0 is background) or ``"sigmoid"``.

    Returns
    -------
    probabilities : array of shape (L, X, Y, Z)
        float32, 0 to 1, in the order of the bundle's labels.
    """
    logits = scores.astype(np.float32, copy=False)
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    exponentials = np.exp(logits - logits.max(axis=0))
    result: FloatArray = exponentials[1:] / exponentials.sum(axis=0)
    return result


def chosen_probabilities(scores: FloatArray, activation: str, chosen: Sequence[int]) -> FloatArray:
    """Return `label_probabilities` of some labels alone, by their index, in that order."""
    if activation == "sigmoid":
        return label_probabilities(scores[list(chosen)], activation)
    return label_probabilities(scores, activation)[list(chosen)]


def winning_probabilities(scores: FloatArray, activation: str) -> FloatArray:
    """Return the probability of each label where it wins, and 0 elsewhere.

    Parameters
    ----------
    scores : array of shape (K, X, Y, Z)
        Blended logits of one fold.
    activation : str
        ``"softmax"``: the label with the largest score wins. ``"sigmoid"``: every region above 0.5.

    Returns
    -------
    probabilities : array of shape (L, X, Y, Z)
        float32, in the order of the bundle's labels.

    Notes
    -----
    Source: the Spinal Cord Toolbox, ``-soft-ms-lesion``, which takes p(lesion) where it exceeds
    p(background).
    """
    probabilities = label_probabilities(scores, activation)
    if activation == "sigmoid":
        return np.where(scores > 0, probabilities, np.float32(0))
    winner = scores.argmax(axis=0)
    labels = np.arange(1, len(scores)).reshape(-1, 1, 1, 1)
    return np.where(winner == labels, probabilities, np.float32(0))


def majority(maps: Sequence[LabelArray]) -> LabelArray:
    """Return the value that more than half of the label maps give, 0 where there is none.

    Parameters
    ----------
    maps : sequence of arrays of shape (X, Y, Z)
        One label map per fold.

    Notes
    -----
    Source: the Spinal Cord Toolbox on MS lesions, which averages the masks of all folds and keeps
    what is strictly above 0.5.
    """
    stack = np.stack(maps)
    voted: LabelArray = np.zeros_like(stack[0])
    for value in np.unique(stack[stack > 0]):
        voted[2 * np.count_nonzero(stack == value, axis=0) > len(stack)] = value
    return voted


def average(arrays: Iterable[FloatArray]) -> FloatArray:
    """Return the mean of arrays that need not exist at the same time; the first is overwritten."""
    sums: FloatArray | None = None
    count = 0
    for array in arrays:
        sums = array if sums is None else np.add(sums, array, out=sums)
        count += 1
    assert sums is not None
    return sums if count == 1 else np.divide(sums, sums.dtype.type(count), out=sums)
