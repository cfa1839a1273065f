"""MONAI's preprocessing transforms as steps of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.monai.arguments import (
    Arguments,
    short_name,
)
from deepseg_export.families.monai.config import TARGET
from deepseg_export.families.monai.intensity import INTENSITY
from deepseg_export.families.monai.spatial import GRID_PADDING, SPATIAL, Steps
from deepseg_export.families.problems import Problems, collected

GEOMETRIC = (
    *("reorient", "respace", "pad_to_shape", "pad_to_multiple", "pad_or_crop"),
    "crop_to_foreground",
)


@dataclass(frozen=True)
class Preprocessing:
    """Steps before the network: the frame, the steps in it, and the image's key."""

    orientation: str | None
    steps: Steps
    image_key: str


def flatten(component: Any, what: str) -> list[Any]:
    """Return the transforms of a ``Compose`` or a list, those inside others in their place."""
    if isinstance(component, Mapping) and short_name(component.get(TARGET)) == "Compose":
        if component.get("lazy", False) is not False:
            raise UnsupportedError("lazy transforms are resampled together; this is not supported")
        return flatten(component.get("transforms", []), what)
    if isinstance(component, list):
        return [one for item in component for one in flatten(item, what)]
    if isinstance(component, Mapping) and TARGET in component:
        return [component]
    raise UnsupportedError(f"{component} is no transform of {what}")


def read_preprocessing(component: Any, problems: Problems) -> Preprocessing:
    """Translate the ``preprocessing`` of a configuration.

    Parameters
    ----------
    component : object
        It, resolved.
    problems : list
        Gets an entry for everything that cannot be translated.

    Returns
    -------
    preprocessing : Preprocessing
        An orientation that comes before anything else changes the grid becomes the frame.

    Notes
    -----
    Source: MONAI 1.6.1, the dictionary transforms; each is checked by
    ``tests/parity/test_monai.py``.
    """
    steps: Steps = []
    key: str | None = None
    transforms: list[Any] = []
    with collected(problems, "preprocessing"):
        transforms = flatten(component, "preprocessing")
    for index, transform in enumerate(transforms):
        name = short_name(transform[TARGET])
        with collected(problems, f"preprocessing {index + 1}, {name}"):
            if key is None:
                key = _image_key(Arguments(transform, ""))
            if name not in TRANSFORMS:
                raise UnsupportedError("this transform is not supported")
            arguments = Arguments(transform, key)
            if key not in arguments.keys:
                raise UnsupportedError(f"its keys {arguments.keys} lack {key!r}")
            arguments.ignore("allow_missing_keys")
            arguments.only("lazy", False)
            steps += TRANSFORMS[name](arguments)
            arguments.close()
    orientation = None
    first = next((step for step in steps if step["step"] in GEOMETRIC), None)
    if first is not None and first["step"] == "reorient":
        orientation = first["orientation"]
        steps.remove(first)
    return Preprocessing(orientation, steps, key or "image")


def undone_by(steps: Steps, *, nearest: bool) -> Steps:
    """Return the steps with the interpolation by which ``Invertd`` takes scores back.

    Source: MONAI 1.6.1, ``Invertd``, ``convert_applied_interp_mode``.
    """
    return [
        step | {"scores": _as_nearest(step["image"]) if nearest else step["image"]}
        if step["step"] == "respace"
        else step
        for step in steps
    ]


def _as_nearest(sampling: Mapping[str, Any]) -> dict[str, Any]:
    padding = GRID_PADDING.get(sampling["padding"])
    if padding is None:
        raise UnsupportedError(f"padding {sampling['padding']} has no inverse with nearest")
    return {"method": "nearest", "order": 0, "padding": padding, "align_corners": False}


def _image_key(arguments: Arguments) -> str:
    keys = arguments.keys
    if "image" in keys or len(keys) != 1:
        return "image"
    return keys[0]


def _load_image(arguments: Arguments) -> Steps:
    reader = arguments.take("reader", None)
    if reader is not None and short_name(reader) != "NibabelReader":
        raise UnsupportedError(f"reader {reader} is not supported; NibabelReader is")
    arguments.dtype("float32")
    arguments.ignore("image_only", "ensure_channel_first", "simple_keys", "meta_key_postfix")
    arguments.ignore("meta_keys", "overwriting", "prune_meta_pattern", "prune_meta_sep")
    arguments.ignore("expanduser")
    return []


def _channel_first(arguments: Arguments) -> Steps:
    arguments.ignore("channel_dim", "strict_check")
    return []


def read_type(arguments: Arguments) -> Steps:
    """Accept ``EnsureTyped``, which changes no value unless it changes the type."""
    arguments.ignore("data_type", "device", "wrap_sequence", "track_meta")
    arguments.dtype("None", "float32")
    return []


TRANSFORMS: dict[str, Callable[[Arguments], Steps]] = {
    "LoadImaged": _load_image,
    "EnsureChannelFirstd": _channel_first,
    "EnsureTyped": read_type,
    **SPATIAL,
    **INTENSITY,
}
