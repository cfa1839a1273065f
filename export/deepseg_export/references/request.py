"""What the user wants of reference cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """Choices of the user.

    Attributes
    ----------
    images : sequence of str
        Image files, as many for each case as the model has channels, in its order; or ``phantom``,
        or ``phantom:SEED``.
    labels : sequence of Path
        Results of the original software, one for each case; empty where it is run now.
    software, date : str or None
        What made ``labels``, and when (year-month-day); None is today.
    versions : mapping of str to str
        Of the packages of that software.
    bounds : mapping of str to int
        For each precision, how many voxels may differ. In fp32, 1 in 10,000, and at most 1 in 100
        of those with a label, by default.
    source, license : str or None
        Where the images come from, and what allows passing them on.
    """

    images: Sequence[str]
    labels: Sequence[Path] = ()
    software: str | None = None
    date: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    bounds: Mapping[str, int] = field(default_factory=dict)
    source: str | None = None
    license: str | None = None
