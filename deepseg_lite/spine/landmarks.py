"""Discs that can be told by their look, from which the others are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseg_lite.errors import ImageError
from deepseg_lite.spine.parts import LabelMap, Parts
from deepseg_lite.spine.tables import LabellingStep, Rules

C2_C3, L5_S1 = 63, 100
_ALWAYS_TRIED = 2
"""How many landmarks are looked for even if one has been found."""


@dataclass(frozen=True, eq=False)
class _Paint:
    """Class and component of all voxels of discs, and how many there are of each pair."""

    classes: LabelMap
    owner: npt.NDArray[np.int32]
    counts: npt.NDArray[np.intp]


def find_landmarks(
    discs: Parts, labels: LabelMap, step: LabellingStep, rules: Rules
) -> dict[int, int]:
    """Return labels of the discs that are landmarks.

    Parameters
    ----------
    discs : Parts
        Components of discs.
    labels : array of shape (X, Y, Z)
        Classes.
    step : LabellingStep
        What the classes mean.
    rules : Rules
        Which landmarks are to be trusted.

    Returns
    -------
    landmarks : dict of int to int
        Label of each component that is a landmark; component 0 stands for voxels of no component.

    Raises
    ------
    ImageError
        If there is no landmark.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    paint = _read_paint(discs, labels, step)
    trusted = [
        (value, label)
        for value, label in step.landmarks
        if not (label == C2_C3 and _is_c2_c3_odd(value, discs, paint, rules))
        if not (label == L5_S1 and _is_l5_s1_odd(value, discs, paint, rules))
    ]
    by_look = sorted(value for value, _ in step.landmarks)
    landmarks: dict[int, int] = {}
    for place, (value, label) in enumerate(trusted):
        if landmarks and place >= _ALWAYS_TRIED:
            break
        if paint.counts[:, value].sum() < rules.minimum_landmark_voxels:
            continue
        disc = int(paint.counts[:, value].argmax())
        if by_look[paint.counts[disc, by_look].argmax()] == value:
            landmarks[disc] = label
    if not landmarks:
        raise ImageError(
            "no disc could be told by its look (C2-C3, C7-T1, T12-L1 or L5-S1); one is needed to "
            "number the others; check that the image shows one of them"
        )
    return landmarks


def _read_paint(discs: Parts, labels: LabelMap, step: LabellingStep) -> _Paint:
    """Return the voxels of all classes of discs, in array order."""
    voxels = np.flatnonzero(np.isin(labels, step.discs))
    classes, owner = labels.ravel()[voxels], discs.ids.ravel()[voxels]
    pairs = np.bincount(owner * 256 + classes, minlength=256 * (discs.ids.max() + 1))
    return _Paint(classes, owner, pairs.reshape(-1, 256))


def _is_c2_c3_odd(value: int, discs: Parts, paint: _Paint, rules: Rules) -> bool:
    """Tell whether the topmost disc has nothing of C2-C3."""
    return rules.vet_c2_c3 and not paint.counts[discs.order[0], value]


def _is_l5_s1_odd(value: int, discs: Parts, paint: _Paint, rules: Rules) -> bool:
    """Tell whether L5-S1 is not where the lowest disc is, as the rules have it."""
    if rules.vet_l5_s1 == "last":
        return not paint.counts[discs.order[-1], value]
    own = paint.owner[(paint.classes == value) & (paint.owner > 0)]
    if rules.vet_l5_s1 == "never" or not len(own):
        return False
    total = paint.counts[:, value].sum()
    below = discs.order[discs.order.index(own[0]) + 1 :]
    return any(10 * paint.counts[number].sum() > total for number in below)
