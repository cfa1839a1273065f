"""Discs that can be told by their look, from which the others are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.parts import LabelMap, Parts
from deepseg_lite.workflows.spine.tables import (
    DISCS,
    USUAL_DISCS,
    USUAL_VERTEBRAE,
    VERTEBRA_BELOW,
    VERTEBRAE,
    LabellingStep,
    Rules,
)

C2_C3, L5_S1 = 63, 100
_ALWAYS_TRIED = 2
"""Number of landmarks that are looked for even if one has been found."""


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
        Meaning of the classes.
    rules : Rules
        Rules for landmarks that are not to be trusted.

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


class Entry(NamedTuple):
    """Disc or vertebra in the list of both; ``number`` is its component's."""

    is_disc: bool
    number: int


def number_vertebrae(
    vertebrae: Parts, discs: Parts, disc_labels: Mapping[int, int]
) -> dict[int, int]:
    """Return the label of each vertebra, by the discs above and below it.

    Parameters
    ----------
    vertebrae, discs : Parts
        Components of both.
    disc_labels : mapping of int to int
        Labels of the discs.

    Returns
    -------
    labels : dict of int to int
        Label of each vertebra that could be numbered.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    column = untangle(column_of(vertebrae, discs))
    labels: dict[int, int] = {}
    current = None
    for place, entry in enumerate(column):
        if entry.is_disc and entry.number in disc_labels:
            below = VERTEBRA_BELOW[disc_labels[entry.number]]
            if current is None:
                labels.update(_upwards(column[:place], below))
            current = below
        elif not entry.is_disc and current is not None:
            is_second = place == len(column) - 1 and not column[place - 1].is_disc
            if is_second and current != VERTEBRAE[-1]:
                current = VERTEBRAE[VERTEBRAE.index(current) + 1]
            labels[entry.number] = current
    return labels


def column_of(vertebrae: Parts, discs: Parts) -> list[Entry]:
    """Return discs and vertebrae in one list, from the top.

    Where heights are equal the higher number goes first, then the vertebra.
    """
    keyed = [
        ((height, number, not is_disc), Entry(is_disc, number))
        for is_disc, parts in ((True, discs), (False, vertebrae))
        for number, height in zip(parts.order, parts.heights, strict=True)
    ]
    return [entry for _, entry in sorted(keyed, reverse=True)]


def untangle(column: list[Entry]) -> list[Entry]:
    """Swap neighbours where two discs, and then two vertebrae, follow each other."""
    column = list(column)
    for place in range(len(column) - 1):
        if not _reads(column, place, "dd"):
            continue
        if _reads(column, place + 2, "vv"):
            _swap(column, place + 1)
        elif _reads(column, place - 2, "vv"):
            _swap(column, place - 1)
    if _reads(column, 0, "dvv"):
        _swap(column, 0)
    if _reads(column, len(column) - 3, "vvd"):
        _swap(column, len(column) - 2)
    return column


def _reads(column: list[Entry], place: int, kinds: str) -> bool:
    """Tell whether the list goes on from a place as spelled: d for a disc, v for a vertebra."""
    found = column[place : place + len(kinds)] if place >= 0 else []
    return "".join("d" if entry.is_disc else "v" for entry in found) == kinds


def _swap(column: list[Entry], place: int) -> None:
    """Swap an entry with the next."""
    column[place : place + 2] = column[place + 1], column[place]


def _upwards(above: list[Entry], below: int) -> dict[int, int]:
    """Return labels of the vertebrae above the first numbered disc, by that of the one below."""
    usual = USUAL_VERTEBRAE[: USUAL_VERTEBRAE.index(below)]
    vertebrae = [entry.number for entry in reversed(above) if not entry.is_disc]
    return dict(zip(vertebrae, reversed(usual), strict=False))


def number_discs(discs: Parts, landmarks: Mapping[int, int]) -> dict[int, int]:
    """Return the label of each disc, counted from the landmarks.

    Counting goes down from each landmark to the next; upwards it goes from the topmost alone.

    Parameters
    ----------
    discs : Parts
        Components of discs.
    landmarks : mapping of int to int
        Labels of some of them.

    Returns
    -------
    labels : dict of int to int
        Label of each component that could be numbered.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label``; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    labels: dict[int, int] = {}
    for rank, disc in enumerate(discs.order):
        if disc not in landmarks:
            continue
        if not labels:
            above = rank - USUAL_DISCS.index(landmarks[disc])
            labels.update(
                zip(discs.order[max(above, 0) :], USUAL_DISCS[max(-above, 0) :], strict=False)
            )
        start = DISCS.index(landmarks[disc])
        labels.update(zip(discs.order[rank:], DISCS[start:], strict=False))
    return labels
