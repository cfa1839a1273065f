"""MONAI's inferers as the manifest's ``sliding_window``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.monai.arguments import Arguments, as_sizes, as_three
from deepseg_export.families.monai.config import TARGET
from deepseg_export.families.monai.spatial import PAD_MODES
from deepseg_export.reading.limits import check_patch

# How fast and where it runs, not what it computes.
_NO_MATTER = (
    *("sw_batch_size", "sw_device", "device", "progress"),
    *("cache_roi_weight_map", "cpu_thresh", "buffer_steps", "buffer_dim"),
)


def read_inferer(component: Any) -> dict[str, Any]:
    """Return the manifest's ``sliding_window``.

    Parameters
    ----------
    component : object
        The resolved ``inferer`` of a configuration.

    Raises
    ------
    UnsupportedError
        If it is none of the supported ones, or has an argument that is not.

    Notes
    -----
    Source: MONAI 1.6.1, ``inferers/inferer.py``.
    """
    if not isinstance(component, Mapping) or TARGET not in component:
        raise UnsupportedError(f"{component} is not a configured inferer")
    arguments = Arguments(component)
    if arguments.name == "SimpleInferer":
        arguments.close()
        return _window([None] * 3, [0.0] * 3, "constant", [0.125] * 3, "constant", 0.0)
    if arguments.name != "SlidingWindowInferer":
        raise UnsupportedError(
            f"{arguments.name} is not supported; SlidingWindowInferer and SimpleInferer are"
        )
    arguments.ignore(*_NO_MATTER)
    arguments.only("with_coord", False)
    arguments.only("roi_weight_map", None)
    patch_size = as_sizes("roi_size", arguments.take("roi_size"))
    check_patch(patch_size)
    overlap = as_three("overlap", arguments.take("overlap", 0.25))
    if not all(item is not None and 0 <= item < 1 for item in overlap):
        raise UnsupportedError(f"overlap is {overlap}; numbers from 0 to below 1 are needed")
    mode = arguments.take("mode", "constant")
    if mode not in ("constant", "gaussian"):
        raise UnsupportedError(f"mode is {mode!r}; constant and gaussian are supported")
    sigma = as_three("sigma_scale", arguments.take("sigma_scale", 0.125))
    if not all(item is not None and item > 0 for item in sigma):
        raise UnsupportedError(f"sigma_scale is {sigma}; positive numbers are needed")
    padding = arguments.take("padding_mode", "constant")
    if padding not in PAD_MODES:
        raise UnsupportedError(f"padding_mode {padding!r} is not supported")
    value = arguments.number("cval", 0.0)
    arguments.close()
    return _window(patch_size, overlap, mode, sigma, PAD_MODES[padding], value)


def _window(
    patch_size: list[int | None],
    overlap: list[float | None],
    mode: str,
    sigma: list[float | None],
    padding: str,
    value: float,
) -> dict[str, Any]:
    return {
        "patch_size": patch_size,
        "overlap": overlap,
        "placement": "interval",
        "importance_map": mode,
        "sigma_scale": sigma,
        "padding": {"mode": padding, "value": value},
    }
