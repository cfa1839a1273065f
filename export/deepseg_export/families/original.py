"""Original software of a family: what makes the labels that a bundle must give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_lite.volume import AnyArray

Cases = Sequence[Sequence[Path]]
"""Image files, one per channel, of every case."""


@dataclass(frozen=True)
class Original:
    """The original software as a function.

    Attributes
    ----------
    software : str
        What it is called.
    packages : sequence of str
        Its packages; the first is the software itself.
    segment : callable
        ``segment(model, options, manifest, cases)`` gives for each case a label map (X, Y, Z), or
        maps (X, Y, Z, L), on the grid of its images. Nothing of this project's arithmetic is in it.
    """

    software: str
    packages: Sequence[str]
    segment: Callable[[Any, Any, Mapping[str, Any], Cases], Iterable[AnyArray]]
