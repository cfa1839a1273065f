"""Numbers of discs, counted from landmarks."""

from __future__ import annotations

from collections.abc import Mapping

from deepseg_lite.spine.parts import Parts
from deepseg_lite.spine.tables import DISCS, USUAL_DISCS


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
