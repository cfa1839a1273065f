"""Labels of single vertebrae and discs, from the classes that a network paints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.numbering import find_landmarks, number_discs, number_vertebrae
from deepseg_lite.workflows.spine.parts import (
    Centerline,
    Ids,
    LabelMap,
    Parts,
    add_unsure,
    find_centerline,
    find_parts,
    merge_alike,
)
from deepseg_lite.workflows.spine.tables import NEWEST, LabellingStep, Rules


def label_spine(labels: LabelMap, step: LabellingStep, rules: Rules = NEWEST) -> LabelMap:
    """Give the discs and vertebrae of a spine their labels.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        Classes of one of the two networks, uint8, RAS+ at 1 mm.
    step : LabellingStep
        Meaning of the classes: `tables.STEP1` or `tables.STEP2`.
    rules : Rules
        Rules of a release of TotalSpineSeg.

    Returns
    -------
    labels : array of shape (X, Y, Z)
        uint8; the labels that ``step.names`` names.

    Raises
    ------
    ImageError
        If there is no canal, no disc, no vertebra where they are numbered, or no disc from which
        the others can be counted.

    Notes
    -----
    Source: totalspineseg 20260807, ``iterative_label`` without a localizer; checked by
    ``tests/parity/test_spine_labelling.py``.
    """
    line = find_centerline(np.isin(labels, step.canal))
    _check_found(len(line.points), "spinal canal")
    discs = find_parts(labels, [step.discs], rules.minimum_component_voxels, line)
    _check_found(len(discs.order), "disc")
    disc_labels = number_discs(discs, find_landmarks(discs, labels, step, rules))
    numbered = _painted(discs.ids, disc_labels)
    if step.vertebrae:
        vertebrae = _find_vertebrae(labels, step, rules, line)
        vertebra_labels = number_vertebrae(vertebrae, discs, disc_labels)
        numbered |= _painted(vertebrae.ids, vertebra_labels)
    for value, label in step.overlays:
        numbered[labels == value] = label
    return numbered


def _find_vertebrae(labels: LabelMap, step: LabellingStep, rules: Rules, line: Centerline) -> Parts:
    """Return vertebrae, each with the bone of unsure class around it."""
    classes = [(value,) for value in step.vertebrae]
    vertebrae = find_parts(labels, classes, rules.minimum_component_voxels, line)
    _check_found(len(vertebrae.order), "vertebra")
    vertebrae = merge_alike(vertebrae, labels, line)
    return add_unsure(vertebrae, np.isin(labels, step.unsure_vertebrae), line)


def _check_found(count: int, what: str) -> None:
    """Raise an error if there is none of what the labelling needs."""
    if not count:
        raise ImageError(
            f"no {what} was found; one is needed to label the spine; check that the image shows "
            "the spine"
        )


def _painted(ids: Ids, labels: Mapping[int, int]) -> LabelMap:
    """Return the label of each voxel's component, 0 where that has none."""
    table = np.zeros(ids.max() + 1, np.uint8)
    for number, label in labels.items():
        table[number] = label
    painted: LabelMap = table[ids]
    return painted
