"""Rules for levels, such as rootlets and vertebrae, whose values rise from head to foot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import scipy

from deepseg_lite.qc.cutout import Cutout
from deepseg_lite.qc.findings import FAIL, WARN, Finding
from deepseg_lite.qc.view import Structure

SECOND_SHARE = 0.3
"""Volume of a second piece, as a share of the largest, that may be the same level once more."""
NAMED = 3
"""Names that a sentence has at most."""


def judge_levels(levels: Sequence[Structure], missing: Mapping[str, int]) -> Iterator[Finding]:
    """Yield what is doubtful about the levels of one kind.

    Parameters
    ----------
    levels : sequence of Structure
        Those that were found.
    missing : mapping of str to int
        Value of each level that was not found and should be there; beyond the first and the last
        that were found, an image need not show it.
    """
    found = sorted(levels, key=lambda each: each.value)
    heights = [_height(each.part) for each in found]
    wrong = [
        f"{below.name} above {above.name}"
        for (above, upper), (below, lower) in pairwise(zip(found, heights, strict=True))
        if lower < upper
    ]
    if wrong:
        text = f"levels are out of order: {', '.join(wrong[:NAMED])}."
        yield Finding("order", FAIL, text, figures={"pairs": wrong})
    elif doubled := _doubled(found, heights):
        text = f"levels are there twice, a neighbour between: {', '.join(doubled[:NAMED])}."
        yield Finding("level-doubled", FAIL, text, figures={"levels": doubled})
    values = range(found[0].value, found[-1].value) if found else range(0)
    if skipped := [name for name, value in missing.items() if value in values]:
        text = f"levels are missing between others: {', '.join(skipped[:NAMED])}."
        yield Finding("level-missing", WARN, text, figures={"levels": skipped})


def _doubled(found: Sequence[Structure], heights: Sequence[float]) -> list[str]:
    """Return the names of levels of which a large piece lies beyond a neighbour's middle."""
    limits = [-np.inf, *heights, np.inf]
    return [
        each.name
        for each, above, below in zip(found, limits, limits[2:], strict=False)
        if _reaches(each.part, above, below)
        and any(not above <= height <= below for height in _heights_of_large_pieces(each.part))
    ]


def _reaches(part: Cutout, above: float, below: float) -> bool:
    """Return whether a structure has slices beyond two heights."""
    return bool(part.box[0].start < above or part.box[0].stop - 1 > below)


def _heights_of_large_pieces(part: Cutout) -> list[float]:
    pieces, count = scipy.ndimage.label(part.mask, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes >= SECOND_SHARE * sizes.max()) + 1
    return [_height(Cutout(pieces == number, part.box, part.shape)) for number in large]


def _height(part: Cutout) -> float:
    """Return the slice in the middle of a structure."""
    return float(part.box[0].start + np.median(np.flatnonzero(part.mask.any(axis=(1, 2)))))
