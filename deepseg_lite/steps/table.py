"""The names a manifest may use, and the functions behind them.

Adding a step is one function, one line in a table here, and its keywords in
``manifest.schema.json``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from deepseg_lite.steps import crop, frame, intensity, maps, pad, resample
from deepseg_lite.steps.crop import drop_constant_slices
from deepseg_lite.steps.intensity import SCHEMES
from deepseg_lite.steps.interpolation import Interpolation
from deepseg_lite.steps.resample import zoom
from deepseg_lite.steps.respace import respace
from deepseg_lite.volume import AnyArray, Volume


class Record(Protocol):
    """What undoes a step: arrays (..., X', Y', Z') to (..., X, Y, Z)."""

    def undo(self, array: AnyArray) -> AnyArray:
        """Return the array on the grid before the step."""


def _crop_to_nonzero(volume: Volume) -> tuple[Volume, Record]:
    return crop.crop_to_nonzero(volume)


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


PREPROCESSING: dict[str, Callable[..., tuple[Volume, Record | None]]] = {
    "crop_to_nonzero": _crop_to_nonzero,
    "normalize": _normalize,
    "resample": _resample,
    "reorient": _reorient,
    "respace": respace,
    "pad_to_shape": pad.pad_to_shape,
    "pad_or_crop": pad.pad_or_crop,
    "pad_to_multiple": pad.pad_to_multiple,
    "crop_to_foreground": crop.crop_to_foreground,
    "scale_range": intensity.scale_range,
    "scale_to_range": intensity.scale_to_range,
    "multiply": intensity.multiply,
    "standardize": intensity.standardize,
    "threshold": intensity.threshold,
    "zoom": zoom,
    "center_crop": crop.center_crop,
    "crop_to_prior": crop.crop_to_prior,
    "drop_constant_slices": drop_constant_slices,
}
"""Volume to volume; a record where the grid changed, None where only values did."""

VALUE_STEPS = frozenset(
    {"normalize", "scale_range", "scale_to_range", "multiply", "standardize", "threshold"}
)
"""Those that leave the grid as it is."""

RESAMPLING = frozenset({"resample", "zoom"})
"""Those whose record is a `deepseg_lite.steps.resample.Resampled`."""

MAP_STEPS: dict[str, Callable[..., AnyArray]] = {
    "argmax": maps.argmax,
    "one_hot": maps.one_hot,
    "binarize": maps.binarize,
    "limit": maps.limit,
    "keep_components": maps.keep_components,
    "binarize_maximum": maps.binarize_maximum,
    "keep_largest": maps.keep_largest,
    "fill_holes": maps.fill_holes,
    "remove_small": maps.remove_small,
}
"""Maps (L, X, Y, Z) to maps; a label map is one map."""

CONTEXT = frozenset({"prior", "patch_size", "stride", "image_spacing"})
"""Keywords that a run gives to the steps that want them, and no manifest."""


def apply_step(
    table: Mapping[str, Callable[..., Any]], step: Mapping[str, Any], value: Any, **context: Any
) -> Any:
    """Call the function a manifest step names on ``value`` with the step's keywords.

    ``context`` has what a run knows by the names in `CONTEXT`; a function gets what it takes.
    """
    function = table[step["step"]]
    keywords = {key: setting for key, setting in step.items() if key != "step"}
    wanted = CONTEXT & set(inspect.signature(function).parameters)
    return function(value, **keywords, **{name: context[name] for name in wanted})
