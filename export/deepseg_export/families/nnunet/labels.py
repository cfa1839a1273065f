"""nnU-Net's labels: names and values, regions, the ignore label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError


def read_outputs(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's ``outputs`` for the labels of a ``dataset.json``.

    Raises
    ------
    UnsupportedError
        If the labels do not say which channel is which value.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``LabelManager``.
    """
    # The ignore label only masks the training loss; it has no output channel.
    given = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    values = {name: _values(value) for name, value in given.items()}
    if values.pop("background", None) != [0]:
        raise UnsupportedError("background must be there and have the value 0")
    if any(isinstance(value, list) and len(value) > 1 for value in given.values()):
        return _read_regions(values, dataset.get("regions_class_order"))
    ordered = sorted(values.items(), key=lambda item: item[1])
    found = [value for _, value in ordered]
    if not found or found != [[i + 1] for i in range(len(found))]:
        listed = ", ".join(f"{name}={value[0]}" for name, value in ordered) or "none"
        raise UnsupportedError(f"values must be 1, 2, 3, ... without gaps, not {listed}")
    return {
        "activation": "softmax",
        "labels": [{"name": name, "values": value} for name, value in ordered],
        "regions_class_order": None,
    }


def _read_regions(values: Mapping[str, list[int]], order: Any) -> dict[str, Any]:
    regions = {name: value for name, value in values.items() if set(value) != {0}}
    if not isinstance(order, list) or len(order) != len(regions):
        raise UnsupportedError(
            f"regions_class_order must have one value for each of {', '.join(regions)}, "
            f"not {order!r}"
        )
    painted = [int(value) for value in order]
    if min(painted) < 1:
        raise UnsupportedError(f"regions_class_order {painted} paints background")
    return {
        "activation": "sigmoid",
        "labels": [{"name": name, "values": value} for name, value in regions.items()],
        "regions_class_order": painted,
    }


def _values(value: Any) -> list[int]:
    """Return label values as numbers; converters wrote some of them as strings."""
    return [int(item) for item in value] if isinstance(value, list) else [int(value)]
