"""MONAI's transforms that change values, as steps of a manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.monai.arguments import Arguments, as_number

Steps = list[dict[str, Any]]


def _scale_range(arguments: Arguments) -> Steps:
    source = [arguments.number("a_min"), arguments.number("a_max")]
    ends = [arguments.take(name, None) for name in ("b_min", "b_max")]
    target = [
        None if end is None else as_number(name, end)
        for name, end in zip(("b_min", "b_max"), ends, strict=True)
    ]
    clip = arguments.take("clip", False) is True
    arguments.dtype("float32")
    if source[0] == source[1]:
        raise UnsupportedError("a_min equals a_max")
    return [
        {
            "step": "scale_range",
            "source": source,
            "target": target,
            "clip": clip and target != [None, None],
        }
    ]


def _scale(arguments: Arguments) -> Steps:
    ends = [arguments.take("minv", 0.0), arguments.take("maxv", 1.0)]
    factor = arguments.take("factor", None)
    per_channel = arguments.boolean("channel_wise", False)
    arguments.dtype("float32")
    if ends == [None, None]:
        return (
            [] if factor is None else [{"step": "multiply", "by": 1 + as_number("factor", factor)}]
        )
    target = [as_number(name, end) for name, end in zip(("minv", "maxv"), ends, strict=True)]
    return [{"step": "scale_to_range", "target": target, "per_channel": per_channel}]


def _normalize(arguments: Arguments) -> Steps:
    per_channel = arguments.boolean("channel_wise", False)
    step: dict[str, Any] = {"step": "standardize"}
    for field, name in (("mean", "subtrahend"), ("std", "divisor")):
        value = arguments.take(name, None)
        values = value if isinstance(value, (list, tuple)) else [value]
        if value is not None and isinstance(value, (list, tuple)) != per_channel:
            raise UnsupportedError(f"{name} must be one number, or with channel_wise one each")
        step[field] = None if value is None else [as_number(name, item) for item in values]
    step["nonzero"] = arguments.boolean("nonzero", False)
    arguments.dtype("float32")
    return [step | {"per_channel": per_channel}]


def _threshold(arguments: Arguments) -> Steps:
    return [
        {
            "step": "threshold",
            "at": arguments.number("threshold"),
            "keep_above": arguments.take("above", True) is True,
            "value": arguments.number("cval", 0.0),
        }
    ]


INTENSITY: dict[str, Callable[[Arguments], Steps]] = {
    "ScaleIntensityRanged": _scale_range,
    "ScaleIntensityd": _scale,
    "NormalizeIntensityd": _normalize,
    "ThresholdIntensityd": _threshold,
}
