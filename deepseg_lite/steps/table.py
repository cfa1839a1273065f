"""Table of steps: the names that a manifest may use, and all that is known of each.

A new step is one function, one row in a table here, and its keywords in ``manifest.schema.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from deepseg_lite.steps import crop, extents, frame, intensity, maps, pad, prior, resample
from deepseg_lite.steps.crop import drop_constant_slices
from deepseg_lite.steps.intensity import SCHEMES
from deepseg_lite.steps.interpolation import Interpolation
from deepseg_lite.steps.resample import zoom
from deepseg_lite.steps.resize import resize
from deepseg_lite.steps.respace import respace
from deepseg_lite.volume import AnyArray, Volume


class Record(Protocol):
    """Record that undoes a step: arrays (..., X', Y', Z') to (..., X, Y, Z)."""

    def undo(self, array: AnyArray) -> AnyArray:
        """Return the array on the grid before the step."""


@dataclass(frozen=True)
class Step:
    """Row of a table of steps.

    Attributes
    ----------
    function : callable
        Takes what the step works on, and the step's keywords.
    changes : {"values", "grid", "resampling"}
        Part of a volume that it changes. Those of a resampling return a
        `deepseg_lite.steps.resample.Resampled`, other changes of the grid another `Record`.
    needs : tuple of str
        Keywords that a run gives, and no manifest: ``axes``, ``center``, ``prior``,
        ``patch_size``, ``stride``, ``image_spacing``.
    at_most : callable or None
        Makes the largest grid that it can leave of a volume without channels, for steps that look
        at voxels; it takes the step's keywords and the run's.
    unknown : str
        Facts that such a step looks for, in words.
    hardens : bool
        Whether it leaves nothing between 0 and 1 in maps.
    needs_masks : bool
        Whether it works on maps of 0 and 1 alone.
    is_direct : bool
        Whether its result is made without other arrays of such a size, in either direction.
    """

    function: Callable[..., Any]
    changes: Literal["values", "grid", "resampling"] = "grid"
    needs: tuple[str, ...] = ()
    at_most: Callable[..., Volume] | None = None
    unknown: str = ""
    hardens: bool = False
    needs_masks: bool = False
    is_direct: bool = False


def _normalize(volume: Volume, channels: Sequence[Mapping[str, Any]]) -> tuple[Volume, None]:
    data = np.empty(volume.data.shape, np.float32)
    mask = None
    for c, (image, settings) in enumerate(zip(volume.data, channels, strict=True)):
        keywords = {key: value for key, value in settings.items() if key != "scheme"}
        if keywords.pop("nonzero_only", False):
            mask = crop.nonzero_mask(volume.data) if mask is None else mask
            keywords["mask"] = mask
        data[c] = SCHEMES[settings["scheme"]](image, **keywords)
    return Volume(data, volume.affine, volume.spacing), None


def _resample(
    volume: Volume,
    spacing: Sequence[float | None],
    image: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> tuple[Volume, Record]:
    return resample.resample(
        volume, tuple(spacing), Interpolation(**image), Interpolation(**scores)
    )


def _reorient(volume: Volume, orientation: str) -> tuple[Volume, Record]:
    return frame.to_frame(volume, orientation, "xyz")


PREPROCESSING: dict[str, Step] = {
    "crop_to_nonzero": Step(
        crop.crop_to_nonzero, at_most=extents.whole, unknown="which voxels are zero"
    ),
    "normalize": Step(_normalize, "values"),
    "resample": Step(_resample, "resampling"),
    "reorient": Step(_reorient),
    "respace": Step(respace, is_direct=True),
    "resize": Step(resize, needs=("axes",), is_direct=True),
    "pad_to_shape": Step(pad.pad_to_shape),
    "pad_or_crop": Step(pad.pad_or_crop),
    "field_of_view": Step(pad.field_of_view, needs=("center",), is_direct=True),
    "pad_to_multiple": Step(pad.pad_to_multiple),
    "crop_to_foreground": Step(
        crop.crop_to_foreground,
        at_most=extents.foreground,
        unknown="which voxels are foreground",
    ),
    "scale_range": Step(intensity.scale_range, "values"),
    "scale_to_range": Step(intensity.scale_to_range, "values"),
    "multiply": Step(intensity.multiply, "values"),
    "standardize": Step(intensity.standardize, "values"),
    "threshold": Step(intensity.threshold, "values"),
    "zoom": Step(zoom, "resampling"),
    "center_crop": Step(crop.center_crop),
    "crop_to_prior": Step(
        prior.crop_to_prior,
        needs=("prior", "patch_size", "stride"),
        at_most=extents.prior,
        unknown="what the first model finds",
    ),
    "crop_around_prior": Step(
        prior.crop_around_prior,
        needs=("prior",),
        at_most=extents.whole,
        unknown="what the first model finds",
    ),
    "drop_constant_slices": Step(
        drop_constant_slices, at_most=extents.whole, unknown="which slices are empty"
    ),
}
"""Volume to volume and a record; the record is None where only values changed."""

MAP_STEPS: dict[str, Step] = {
    "argmax": Step(maps.argmax, "values", hardens=True),
    "one_hot": Step(maps.one_hot, "values", hardens=True),
    "binarize": Step(maps.binarize, "values", hardens=True),
    "whole_numbers": Step(maps.whole_numbers, "values", hardens=True),
    "limit": Step(maps.limit, "values"),
    "keep_components": Step(maps.keep_components, "values", needs_masks=True),
    "binarize_maximum": Step(maps.binarize_maximum, "values", hardens=True),
    "keep_largest": Step(maps.keep_largest, "values"),
    "fill_holes": Step(maps.fill_holes, "values", hardens=True),
    "remove_small": Step(maps.remove_small, "values", needs=("image_spacing",)),
    "remove_spots": Step(maps.remove_spots, "values", needs_masks=True),
}
"""Maps (L, X, Y, Z) to maps; a label map is one map."""


def apply_step(
    table: Mapping[str, Step], step: Mapping[str, Any], value: Any, **context: Any
) -> Any:
    """Call the function of a manifest's step on ``value`` with the step's keywords.

    ``context`` has the keywords that a run gives; a function gets those that its row names.
    """
    row = table[step["step"]]
    return row.function(value, **keywords_of(step), **{name: context[name] for name in row.needs})


def keywords_of(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a manifest's step."""
    return {key: value for key, value in step.items() if key != "step"}


def looks_around_middle(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether steps on a volume leave what is around its middle, or another point."""
    return any("center" in PREPROCESSING[step["step"]].needs for step in steps)


def decides(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether steps on maps leave nothing between 0 and 1."""
    return any(MAP_STEPS[step["step"]].hardens for step in steps)


def soft_steps(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the steps on maps that leave probabilities what they are."""
    rows = [(step, MAP_STEPS[step["step"]]) for step in steps]
    return [step for step, row in rows if not (row.hardens or row.needs_masks)]
