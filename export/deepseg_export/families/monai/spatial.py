"""MONAI's transforms that move voxels, as steps of a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.monai.arguments import Arguments, as_sizes, as_three

Steps = list[dict[str, Any]]

PAD_MODES = {
    "constant": "constant",
    "edge": "edge",
    "replicate": "edge",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "wrap": "wrap",
    "circular": "wrap",
}
GRID_PADDING = {"zeros": "zeros", "border": "border", "reflection": "reflection"}
GRID_PADDING |= {"constant": "zeros", "grid-constant": "zeros", "nearest": "border"}
GRID_PADDING |= {"reflect": "reflection", "grid-mirror": "reflection"}
SPLINE_PADDING = {"zeros": "constant", "border": "nearest", "reflection": "reflect"}
SPLINE_PADDING |= {
    mode: mode
    for mode in ("reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror")
}
_ABOVE = re.compile(r"\$\s*lambda\s+(\w+)\s*:\s*(\w+)\s*>\s*(-?\d+(?:\.\d*)?)\s*")
_IS_POSITIVE = re.compile(r"\$\s*(?:[\w.]+\.)?is_positive\s*")


def _orientation(arguments: Arguments) -> Steps:
    labels = arguments.take("labels", None)
    if labels is not None and [list(pair) for pair in labels] != [
        ["L", "R"],
        ["P", "A"],
        ["I", "S"],
    ]:
        raise UnsupportedError(f"labels {labels} are not supported")
    canonical = arguments.boolean("as_closest_canonical", False)
    codes = arguments.take("axcodes", None)
    if canonical:
        codes = "RAS"
    if not isinstance(codes, (str, list)) or not re.fullmatch(
        r"(?=.*[LR])(?=.*[AP])(?=.*[IS])[LRAPIS]{3}", "".join(map(str, codes))
    ):
        raise UnsupportedError(f"axcodes {codes!r} are not three axis codes such as RAS")
    return [{"step": "reorient", "orientation": "".join(codes)}]


def _spacing(arguments: Arguments) -> Steps:
    pixdim = arguments.take("pixdim")
    values = list(pixdim) if isinstance(pixdim, (list, tuple)) else [pixdim]
    values = (values + values[-1:] * 3)[:3]
    spacing = [
        size if size is not None and size > 0 else None for size in as_three("pixdim", values)
    ]
    mode = arguments.take_for_key("mode", "bilinear")
    padding = arguments.take_for_key("padding_mode", "border")
    align = arguments.boolean("align_corners", False)
    arguments.dtype("float64")
    for name in ("scale_extent", "recompute_affine"):
        arguments.only(name, False)
    for name in ("min_pixdim", "max_pixdim"):
        arguments.only(name, None)
    arguments.ignore("ensure_same_shape")
    image = read_sampling(mode, padding, align_corners=align)
    diagonal = arguments.take("diagonal", False) is True
    return [{"step": "respace", "spacing": spacing, "diagonal": diagonal, "image": image}]


def read_sampling(mode: Any, padding: Any, *, align_corners: bool) -> dict[str, Any]:
    """Return the manifest's sampling for a mode and padding of MONAI's resampling."""
    known: Mapping[str, str] = GRID_PADDING
    if mode in ("bilinear", "nearest"):
        method, order = ("linear", 1) if mode == "bilinear" else ("nearest", 0)
    elif not isinstance(mode, bool) and str(mode) in tuple("012345"):
        method, order, known = "spline", int(mode), SPLINE_PADDING
    else:
        raise UnsupportedError(f"mode {mode!r} is not bilinear, nearest or an order from 0 to 5")
    if padding not in known:
        raise UnsupportedError(f"padding_mode {padding!r} is not supported with mode {mode!r}")
    return {
        "method": method,
        "order": order,
        "padding": known[padding],
        "align_corners": align_corners,
    }


def _padding(arguments: Arguments) -> dict[str, Any]:
    mode = arguments.take_for_key("mode", "constant")
    if mode not in PAD_MODES:
        raise UnsupportedError(f"mode {mode!r} is not supported")
    values = [arguments.number(name, 0.0) for name in ("value", "constant_values")]
    return {"mode": PAD_MODES[mode], "value": values[0] or values[1]}


def _method(arguments: Arguments) -> bool:
    method = arguments.take("method", "symmetric")
    if method not in ("symmetric", "end"):
        raise UnsupportedError(f"method {method!r} is not symmetric or end")
    return bool(method == "end")


def _shaped(name: str) -> Callable[[Arguments], Steps]:
    def read(arguments: Arguments) -> Steps:
        shape = as_sizes("spatial_size", arguments.take("spatial_size"))
        return [{"step": name, "shape": shape, "at_end": _method(arguments), **_padding(arguments)}]

    return read


def _divisible(arguments: Arguments) -> Steps:
    of = [size or 1 for size in as_sizes("k", arguments.take("k"))]
    at_end = _method(arguments)
    return [{"step": "pad_to_multiple", "of": of, "at_end": at_end, **_padding(arguments)}]


def _foreground(arguments: Arguments) -> Steps:
    source = arguments.take("source_key")
    if source not in arguments.keys:
        raise UnsupportedError(f"source_key {source!r} is not the image")
    above = 0.0
    text = arguments.expression("select_fn")
    if text is not None and not _IS_POSITIVE.fullmatch(text):
        found = _ABOVE.fullmatch(text)
        if not found or found.group(1) != found.group(2):
            raise UnsupportedError(
                f"select_fn is {text!r}; only a comparison such as '$lambda x: x > 0' is supported"
            )
        above = float(found.group(3))
    channels = arguments.take("channel_indices", None)
    margin = [int(size or 0) for size in as_three("margin", arguments.take("margin", 0))]
    multiple = [size or 1 for size in as_sizes("k_divisible", arguments.take("k_divisible", 1))]
    inside = arguments.take("allow_smaller", False) is True
    arguments.ignore("start_coord_key", "end_coord_key")
    return [
        {
            "step": "crop_to_foreground",
            "channels": [channels] if isinstance(channels, int) else channels,
            "above": above,
            "margin": margin,
            "inside": inside,
            "multiple": multiple,
            **_padding(arguments),
        }
    ]


SPATIAL: dict[str, Callable[[Arguments], Steps]] = {
    "Orientationd": _orientation,
    "Spacingd": _spacing,
    "CropForegroundd": _foreground,
    "SpatialPadd": _shaped("pad_to_shape"),
    "ResizeWithPadOrCropd": _shaped("pad_or_crop"),
    "DivisiblePadd": _divisible,
}
