"""Numbers of vertebrae, from those of the discs between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deepseg_lite.spine.parts import Parts
from deepseg_lite.spine.tables import USUAL_VERTEBRAE, VERTEBRA_BELOW, VERTEBRAE


class Entry(NamedTuple):
    """A disc or a vertebra in the list of both; ``number`` is its component's."""

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
