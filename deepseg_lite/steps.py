"""The names a manifest may use, and the functions behind them.

Adding a step is one function, one line in a table here, and its keywords in
``manifest.schema.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deepseg_lite import components, geometry
from deepseg_lite.geometry import Cropped, Resampled
from deepseg_lite.intensity import SCHEMES
from deepseg_lite.interpolation import Interpolation
from deepseg_lite.volume import LabelArray, Volume

Record = Cropped | Resampled


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


PREPROCESSING: dict[str, Callable[..., tuple[Volume, Record | None]]] = {
    "crop_to_nonzero": _crop_to_nonzero,
    "normalize": _normalize,
    "resample": _resample,
}
"""Volume to volume; a record where the grid changed, None where only values did."""

POSTPROCESSING: dict[str, Callable[..., LabelArray]] = {
    "keep_largest": components.keep_largest,
}
"""Label map to label map, on the input's grid."""


def apply_step(table: Mapping[str, Callable[..., Any]], step: Mapping[str, Any], value: Any) -> Any:
    """Call the function a manifest step names on ``value`` with the step's keywords."""
    keywords = {key: setting for key, setting in step.items() if key != "step"}
    return table[step["step"]](value, **keywords)
