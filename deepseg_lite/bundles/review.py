"""Review: what a task's file says about how its results should look, for quality control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepseg_lite.bundles.schemas import frozen


@dataclass(frozen=True)
class Expected:
    """What a structure should be.

    Attributes
    ----------
    optional : bool
        Whether an image may have none of it.
    pieces : int or None
        Pieces that it may be in; None for any number.
    continuous : bool
        Whether it runs from slice to slice without gaps, jumps and sudden changes of its area.
    solid : bool
        Whether it has no holes in a slice.
    mm3 : pair of floats or None
        Smallest and largest volume that is usual, of what an image shows whole.
    mm2 : pair of floats or None
        Smallest and largest mean area across it that is usual, of what runs through an image: its
        volume depends on how much of it is shown.
    """

    optional: bool = False
    pieces: int | None = None
    continuous: bool = False
    solid: bool = False
    mm3: tuple[float, float] | None = None
    mm2: tuple[float, float] | None = None


@dataclass(frozen=True)
class Review:
    """How results of a task are looked at and judged.

    Attributes
    ----------
    kind : str
        Kind of the result, as files of corrections are sorted: ``seg``, ``gmseg``, ``lesion``,
        ``labels`` or ``rootlets``.
    plane : str
        The picture that is shown first: ``axial`` or ``sagittal``.
    ordered : tuple of str
        Beginnings of names of levels: of those that begin alike, values rise from head to foot.
    named : bool
        Whether the names of levels are written beside them.
    structures : mapping of str to Expected
        By the name of the label.
    others : Expected
        For structures that have no entry.
    ranges : str or None
        Whose the usual volumes and areas are.
    """

    kind: str = "seg"
    plane: str = "axial"
    ordered: tuple[str, ...] = ()
    named: bool = False
    structures: Mapping[str, Expected] = field(default_factory=dict)
    others: Expected = Expected()
    ranges: str | None = None


def review_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the ranges in the ``qc`` of a task file that fits its schema."""
    has_ranges = False
    for name, expected in document.get("structures", {}).items():
        for unit in expected.keys() & {"mm2", "mm3"}:
            has_ranges = True
            low, high = expected[unit]
            if low >= high:
                yield f"qc.structures.{name}.{unit}: {low} to {high} is no range"
    if has_ranges and "ranges" not in document:
        yield "qc.ranges: missing; it says whose the ranges are"


def read_review(document: Mapping[str, Any]) -> Review:
    """Return the ``qc`` of a task file, which its schema has checked."""
    facts = dict(frozen(document))
    structures = facts.pop("structures", {})
    return Review(
        **{**facts, "others": Expected(**facts.get("others", {}))},
        structures={name: Expected(**each) for name, each in structures.items()},
    )
