"""Verdict: what is doubtful about a result, by rules whose limits are data.

A rule is a function of the measures of a structure that yields findings. Which structures a rule
applies to stands in the task's file; the limits stand here and were set on perturbed masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepseg_lite.bundles.review import Expected, Review
from deepseg_lite.notice import EMPTY, STRUCTURE_EMPTY, Notice
from deepseg_lite.qc.findings import FAIL, WARN, Finding, Verdict
from deepseg_lite.qc.levels import judge_levels
from deepseg_lite.qc.measures import Measures, measure
from deepseg_lite.qc.view import View
from deepseg_lite.volume import AnyArray

WINDOW = 2
"""Slices on either side that a slice is compared with."""
JUMP_MM, JUMP_SHARE = 1.5, 0.25
"""How far a centre line may jump: so many mm, and this share of the distance of two slices."""
AREA_CHANGE, AREA_Z, LEAST_SPREAD = 0.35, 5.0, 0.06
"""Change of a slice's area against its neighbours (share), the same in robust deviations, and
the least deviation that counts."""
HOLE_SHARE = 0.02
TINY_SHARE = 0.001
"""Pieces below this share of a structure's volume are not counted."""
PIECE_SHARE = 0.1
"""Volume of a piece, as a share of the largest, above which too many pieces are a failure."""
LEAST_AGREEMENT = 0.3
"""Share of what any fold or flip finds that all of them must find."""
Agreements = Mapping[str, Mapping[str, float]]


def judge(
    view: View, review: Review, notices: Sequence[Notice], agreements: Agreements | None = None
) -> Verdict:
    """Return the verdict on a result.

    Parameters
    ----------
    view : View
        The result.
    review : Review
        What the task's file says about its structures.
    notices : sequence of Notice
        Warnings of the run.
    agreements : mapping, optional
        How far folds and flips agree on each structure.
    """
    findings = [*_told(notices), *_missing(view, review), *_disagreements(agreements or {})]
    for each in view.structures:
        expected = review.structures.get(each.name, review.others)
        measures = measure(each.part, view.spacing, view.voxel_mm3)
        findings += judge_structure(each.name, measures, expected, review.ranges)
    for beginning in review.ordered:
        there = [each for each in view.structures if each.name.startswith(beginning)]
        expected_ones = {
            name: value
            for name, value in view.missing.items()
            if name.startswith(beginning)
            and not review.structures.get(name, review.others).optional
        }
        findings += judge_levels(there, expected_ones)
    return Verdict(tuple(findings))


def judge_structure(
    name: str, measures: Measures, expected: Expected, ranges: str | None = None
) -> Iterator[Finding]:
    """Yield what is doubtful about one structure; ``ranges`` are those of `Review`."""
    if not len(measures.slices):
        return
    yield from _faces(name, measures)
    if expected.pieces is not None:
        yield from _pieces(name, measures, expected.pieces)
    yield from _volumes(name, measures, expected, ranges)
    if expected.solid:
        yield from _holes(name, measures)
    if expected.continuous:
        yield from _gaps(name, measures)
        yield from _jumps(name, measures)
        yield from _areas(name, measures)


def _told(notices: Sequence[Notice]) -> Iterator[Finding]:
    for notice in notices:
        if notice.code not in (EMPTY, STRUCTURE_EMPTY):
            yield Finding(notice.code, WARN, notice.text, figures=notice.figures, is_own=False)


def _missing(view: View, review: Review) -> Iterator[Finding]:
    """Yield what was not found; an image need not have all levels."""
    expected = {name: review.structures.get(name, review.others) for name in view.missing}
    names = [name for name, each in expected.items() if not each.optional]
    if names and not view.structures:
        yield Finding(EMPTY, FAIL, "the result is empty.", figures={"structures": names})
    elif names := [name for name in names if not name.startswith(review.ordered)]:
        text = f"nothing was found of {', '.join(names[:5])}{' and others' if names[5:] else ''}."
        yield Finding(STRUCTURE_EMPTY, WARN, text, figures={"structures": names})


def _disagreements(agreements: Agreements) -> Iterator[Finding]:
    for kind, shares in agreements.items():
        for name, share in shares.items():
            if share < LEAST_AGREEMENT:
                text = f"{kind} agree on {share:.0%} of what any of them takes for {name}."
                yield Finding("disagreement", WARN, text, name, {kind: share})


def _faces(name: str, measures: Measures) -> Iterator[Finding]:
    if measures.faces:
        text = f"{name} touches the side of the image ({', '.join(measures.faces)})."
        yield Finding("edge", WARN, text, name, {"faces": measures.faces})


def _pieces(name: str, measures: Measures, most: int) -> Iterator[Finding]:
    sizes = measures.pieces_mm3()
    sizes = sizes[sizes > TINY_SHARE * sizes.sum()]
    if len(sizes) > most:
        others = sizes[most:]
        is_large = others[0] > PIECE_SHARE * sizes[0]
        text = (
            f"{name} is in {len(sizes)} pieces, {most} at most would be right; the others have "
            f"{float(others.sum()):.1f} mm3, the largest {float(others[0]):.1f}."
        )
        figures = {"pieces": len(sizes), "mm3": [round(float(size), 2) for size in sizes[:10]]}
        yield Finding("pieces", FAIL if is_large else WARN, text, name, figures)


def _volumes(
    name: str, measures: Measures, expected: Expected, ranges: str | None
) -> Iterator[Finding]:
    for unit, limits, size, how in (
        ("mm3", expected.mm3, measures.mm3, ""),
        ("mm2", expected.mm2, measures.mean_area_mm2, " on average across it"),
    ):
        if limits is not None and not limits[0] <= size <= limits[1]:
            usual = f"{limits[0]:g} to {limits[1]:g} are usual"
            whose = f" ({ranges})" if ranges else ""
            text = f"{name} has {size:.4g} {unit}{how}; {usual}{whose}."
            figures = {unit: round(size, 2), "usual": list(limits)}
            yield Finding("volume", WARN, text, name, figures)


def _holes(name: str, measures: Measures) -> Iterator[Finding]:
    area = np.maximum(measures.area_mm2, 1e-9)
    bad = np.flatnonzero(measures.holes_mm2() > HOLE_SHARE * area)
    if len(bad):
        text = f"{name} has holes in {_slices(bad)}."
        yield Finding("holes", WARN, text, name, {"slices": len(bad)})


def _gaps(name: str, measures: Measures) -> Iterator[Finding]:
    there = measures.slices
    missing = int(there[-1] - there[0] + 1 - len(there))
    if missing:
        text = f"{name} is interrupted: nothing in {missing} slice{'s'[: missing != 1]} between."
        yield Finding("gap", FAIL, text, name, {"slices": int(missing)})


def _jumps(name: str, measures: Measures) -> Iterator[Finding]:
    there = measures.slices
    if len(there) < 3:
        return
    steps = np.diff(measures.centres_mm[there], axis=0)
    usual = _running_median(steps)
    sizes = np.hypot(*(steps - usual).T)
    limit = JUMP_MM + JUMP_SHARE * measures.spacing[0] * np.diff(there)
    bad = sizes > limit
    if bad.any():
        worst = float(sizes[bad].max())
        level = FAIL if worst > 2 * float(limit[bad].min()) else WARN
        text = f"{name} jumps to the side, by up to {worst:.1f} mm from slice to slice."
        yield Finding("jump", level, text, name, {"mm": round(worst, 2)})


def _areas(name: str, measures: Measures) -> Iterator[Finding]:
    there = measures.slices
    if len(there) < 2 * WINDOW + 3:
        return
    logs = np.log(measures.area_mm2[there])
    change = (logs - _running_median(logs[:, None])[:, 0])[1:-1]  # the ends are cut anyhow
    spread = max(1.4826 * float(np.median(np.abs(change))), LEAST_SPREAD)
    bad = (np.abs(change) > -np.log(1 - AREA_CHANGE)) & (np.abs(change) > AREA_Z * spread)
    if bad.any():
        worst = float(np.abs(change[bad]).max())
        level = FAIL if worst > np.log(2.5) else WARN
        text = (
            f"the area of {name} is unlike that of its neighbours in {_slices(np.flatnonzero(bad))}"
            f", by a factor of up to {np.exp(worst):.1f}."
        )
        figures = {"slices": int(bad.sum()), "factor": round(float(np.exp(worst)), 2)}
        yield Finding("area", level, text, name, figures)


def _running_median(rows: AnyArray) -> AnyArray:
    """Return the median of each row and its neighbours, (count, columns)."""
    padded = np.pad(rows, ((WINDOW, WINDOW), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * WINDOW + 1, axis=0)
    median: AnyArray = np.median(windows, axis=-1)
    return median


def _slices(found: AnyArray) -> str:
    return f"{len(found)} slice{'s'[: len(found) != 1]}"
