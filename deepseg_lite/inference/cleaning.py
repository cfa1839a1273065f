"""Cleaning on request: what the user may do to a result before it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseg_lite.errors import OptionError
from deepseg_lite.inference.settings import Settings
from deepseg_lite.steps.table import soft_steps
from deepseg_lite.volume import Spacing

_SIZE = re.compile(r"(\d+)(vox|mm3)?")


@dataclass(frozen=True)
class Cleaning:
    """Cleaning that the user wants, in this order; None leaves it to the model.

    Label maps and their masks are cleaned file by file. Where a model's result is maps, the model
    has steps of its own, which these replace or join (see `joined_steps`).

    Attributes
    ----------
    threshold : float or None
        Probabilities above it become 1 and the rest 0; 0 leaves them as they are.
    keep_largest, fill_holes : bool or None
        See `deepseg_lite.steps.components`. False leaves a model's own step out.
    remove_small : tuple of int
        Smallest object that stays: one number for all files, or one for each; empty for none.
    unit : {"vox", "mm3"}
        Of ``remove_small``.

    Notes
    -----
    Source: the Spinal Cord Toolbox, options ``-thr``, ``-largest``, ``-fill-holes`` and
    ``-remove-small``, and their order.
    """

    threshold: float | None = None
    keep_largest: bool | None = None
    fill_holes: bool | None = None
    remove_small: tuple[int, ...] = ()
    unit: str = "vox"

    @classmethod
    def of(cls, settings: Settings) -> Cleaning:
        """Return the cleaning that settings ask for."""
        sizes, unit = parse_sizes(settings["remove_small"])
        return cls(
            settings["threshold"], settings["keep_largest"], settings["fill_holes"], sizes, unit
        )

    def minimum_voxels(self, index: int, spacing: Spacing) -> int:
        """Return the smallest object that stays in the file of that index; voxel sizes in mm."""
        size = self.remove_small[index if len(self.remove_small) > 1 else 0]
        return round(size / float(np.prod(spacing))) if self.unit == "mm3" else size


def parse_sizes(texts: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Return sizes such as ``5mm3`` or ``10`` (voxels) as numbers, and the unit of them all.

    Raises
    ------
    OptionError
        If one is no whole number with vox, mm3 or nothing behind it, or the units differ.
    """
    sizes, units = [], []
    for text in texts:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise OptionError(
                f"{text!r} is not the size of an object; give whole voxels or mm3, as 10vox, 10 or "
                "5mm3."
            )
        sizes.append(int(match[1]))
        units.append(match[2])
    unit = (units[-1] if units else None) or "vox"
    if any(other not in (None, unit) for other in units):
        raise OptionError(f"{' '.join(texts)} mixes units; give all sizes in vox or all in mm3.")
    return tuple(sizes), unit


def joined_steps(steps: Sequence[Mapping[str, Any]], cleaning: Cleaning) -> list[Mapping[str, Any]]:
    """Return a model's steps on maps with the user's: in their place, or behind them.

    Parameters
    ----------
    steps : sequence of mapping
        The ``postprocessing`` of a manifest.
    cleaning : Cleaning
        What the user wants.

    Notes
    -----
    Source: ivadomed 2.9.10, ``inference.py``, how ``options`` change the JSON's postprocessing; but
    a threshold of 0 leaves the maps soft, as the Spinal Cord Toolbox says it does.
    """
    wanted: dict[str, Mapping[str, Any] | None] = {}
    if cleaning.threshold is not None:
        level = {"step": "binarize", "threshold": cleaning.threshold}
        wanted["binarize"] = level if cleaning.threshold else None
    for name in ("keep_largest", "fill_holes"):
        asked = getattr(cleaning, name)
        if asked is not None:
            wanted[name] = {"step": name} if asked else None
    if cleaning.remove_small:
        sizes = list(cleaning.remove_small)
        wanted["remove_small"] = {"step": "remove_small", "minimum": sizes, "unit": cleaning.unit}
    own = {step["step"] for step in steps}
    joined = [
        {**step, **(wanted[step["step"]] or {})} if step["step"] in wanted else step
        for step in steps
        if wanted.get(step["step"], step) is not None
    ]
    added = [step for name, step in wanted.items() if step and name not in own]
    return joined + [
        {**step, "inclusive": True} if step["step"] == "binarize" else step for step in added
    ]


def thresholded_steps(
    steps: Sequence[Mapping[str, Any]], threshold: float
) -> Sequence[Mapping[str, Any]]:
    """Return steps with the user's threshold in place of the model's; without it for 0."""
    if not threshold:
        return soft_steps(steps)
    return [
        {**step, "threshold": threshold} if step["step"] == "binarize" else step for step in steps
    ]
