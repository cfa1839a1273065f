"""The names a manifest may use, and the functions behind them.

Adding a step is one function, one line in a table here, and its keywords in
``manifest.schema.json``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from deepseg_lite import class_maps, cropping, geometry, padding, scaling, score_maps
from deepseg_lite.intensity import SCHEMES
from deepseg_lite.interpolation import Interpolation
from deepseg_lite.slices import drop_constant_slices
from deepseg_lite.spacing import respace
from deepseg_lite.volume import AnyArray, Volume
from deepseg_lite.zooming import zoom


class Record(Protocol):
    """What undoes a step: arrays (..., X', Y', Z') to (..., X, Y, Z)."""

    def undo(self, array: AnyArray) -> AnyArray:
        """Return the array on the grid before the step."""


def _crop_to_nonzero(volume: Volume) -> tuple[Volume, Record]:
    return geometry.crop_to_nonzero(volume)


def _normalize(volume: Volume, channels: Sequence[Mapping[str, Any]]) -> tuple[Volume, None]:
    data = np.empty(volume.data.shape, np.float32)
    mask = None
    for c, (image, settings) in enumerate(zip(volume.data, channels, strict=True)):
        keywords = {key: value for key, value in settings.items() if key != "scheme"}
        if keywords.pop("nonzero_only", False):
            mask = geometry.nonzero_mask(volume.data) if mask is None else mask
            keywords["mask"] = mask
        data[c] = SCHEMES[settings["scheme"]](image, **keywords)
    return Volume(data, volume.affine, volume.spacing), None


def _resample(
    volume: Volume,
    spacing: Sequence[float | None],
    image: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> tuple[Volume, Record]:
    return geometry.resample(
        volume, tuple(spacing), Interpolation(**image), Interpolation(**scores)
    )


def _reorient(volume: Volume, orientation: str) -> tuple[Volume, Record]:
    return geometry.to_frame(volume, orientation, "xyz")


PREPROCESSING: dict[str, Callable[..., tuple[Volume, Record | None]]] = {
    "crop_to_nonzero": _crop_to_nonzero,
    "normalize": _normalize,
    "resample": _resample,
    "reorient": _reorient,
    "respace": respace,
    "pad_to_shape": padding.pad_to_shape,
    "pad_or_crop": padding.pad_or_crop,
    "pad_to_multiple": padding.pad_to_multiple,
    "crop_to_foreground": padding.crop_to_foreground,
    "scale_range": scaling.scale_range,
    "scale_to_range": scaling.scale_to_range,
    "multiply": scaling.multiply,
    "standardize": scaling.standardize,
    "threshold": scaling.threshold,
    "zoom": zoom,
    "center_crop": cropping.center_crop,
    "crop_to_prior": cropping.crop_to_prior,
    "drop_constant_slices": drop_constant_slices,
}
"""Volume to volume; a record where the grid changed, None where only values did."""

VALUE_STEPS = frozenset(
    {"normalize", "scale_range", "scale_to_range", "multiply", "standardize", "threshold"}
)
"""Those that leave the grid as it is."""

RESAMPLING = frozenset({"resample", "zoom"})
"""Those whose record is a `deepseg_lite.geometry.Resampled`."""

MAP_STEPS: dict[str, Callable[..., AnyArray]] = {
    "argmax": score_maps.argmax,
    "one_hot": score_maps.one_hot,
    "binarize": score_maps.binarize,
    "limit": score_maps.limit,
    "keep_components": score_maps.keep_components,
    "binarize_maximum": class_maps.binarize_maximum,
    "keep_largest": class_maps.keep_largest,
    "fill_holes": class_maps.fill_holes,
    "remove_small": class_maps.remove_small,
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
