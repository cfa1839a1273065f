"""nnU-Net's preprocessing: normalization schemes and resampling functions as manifest steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError

# What nnU-Net itself writes, for plans from before resampling was part of them.
_DEFAULT_KWARGS = {
    "data": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "probabilities": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}
_SEPARATE_AXIS = {None: "auto", True: "always", False: "never"}
_ANISOTROPY_THRESHOLD = 3
_PERFORMANCE_ONLY = {"num_threads", "device", "memefficient_seg_resampling"}


def read_normalization(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], channel_count: int
) -> dict[str, Any]:
    """Return the ``normalize`` step, one scheme per channel.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``normalization/default_normalization_schemes.py``.
    """
    schemes, masks = configuration["normalization_schemes"], configuration["use_mask_for_norm"]
    if not len(schemes) == len(masks) == channel_count:
        raise UnsupportedError(
            f"{len(schemes)} schemes and {len(masks)} mask flags for {channel_count} channels"
        )
    # The older name is from the first releases of nnU-Net v2.
    properties = plans.get("foreground_intensity_properties_per_channel") or plans.get(
        "foreground_intensity_properties_by_modality", {}
    )
    return {
        "step": "normalize",
        "channels": [
            _normalization(scheme, bool(mask), properties.get(str(channel)))
            for channel, (scheme, mask) in enumerate(zip(schemes, masks, strict=True))
        ],
    }


def _normalization(
    scheme: str, nonzero_only: bool, properties: Mapping[str, Any] | None
) -> dict[str, Any]:
    if scheme == "ZScoreNormalization":
        return {"scheme": "zscore", "nonzero_only": nonzero_only}
    if scheme == "CTNormalization":
        if properties is None:
            raise UnsupportedError("CTNormalization without intensity properties of the channel")
        names = {
            "lower": "percentile_00_5",
            "upper": "percentile_99_5",
            "mean": "mean",
            "std": "std",
        }
        numbers = {ours: float(properties[theirs]) for ours, theirs in names.items()}
        if not all(map(math.isfinite, numbers.values())):
            raise UnsupportedError("CTNormalization with intensity properties that are not finite")
        return {"scheme": "clip_zscore", **numbers}
    if scheme == "RescaleTo01Normalization":
        return {"scheme": "rescale"}
    if scheme == "RGBTo01Normalization":
        return {"scheme": "divide", "by": 255}
    if scheme == "NoNormalization":
        return {"scheme": "none"}
    raise UnsupportedError(f"{scheme!r} is unknown")


def read_resampling(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ``resample`` step, or None for models that never resample.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``DefaultPreprocessor.run_case_npy`` (2-D configurations keep the
    spacing between slices) and ``preprocessing/resampling``.
    """
    image = _interpolation(configuration, "data")
    scores = _interpolation(configuration, "probabilities")
    if image is None and scores is None:
        return None
    if image is None or scores is None:
        raise UnsupportedError("no_resampling_hack for one of image and probabilities only")
    spacing = [float(size) for size in configuration["spacing"]]
    if len(spacing) not in (2, 3):
        raise UnsupportedError(f"spacing {spacing} has neither 2 nor 3 axes")
    leading: list[float | None] = [None] * (3 - len(spacing))
    return {
        "step": "resample",
        "spacing": [*leading, *spacing],
        "image": image,
        "scores": scores,
    }


def _interpolation(configuration: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return the interpolation a resampling function does; None when it does nothing."""
    key = f"resampling_fn_{kind}"
    name = configuration.get(key, "resample_data_or_seg_to_shape")
    default = {} if key in configuration else _DEFAULT_KWARGS[kind]
    kwargs = dict(configuration.get(f"{key}_kwargs", default))
    if name == "no_resampling_hack":
        return None
    if name == "resample_data_or_seg_to_shape":
        # The function's own default is False; the plans usually say None.
        separate_axis = kwargs.pop("force_separate_z", False)
        order, separate_order = kwargs.pop("order", 3), kwargs.pop("order_z", 0)
    elif name == "resample_torch_fornnunet":
        separate_axis = kwargs.pop("force_separate_z", None)
        order, separate_order = _torch_orders(kwargs)
        kwargs = {name: kwargs[name] for name in kwargs if name not in _PERFORMANCE_ONLY}
    else:
        raise UnsupportedError(f"{key} {name!r} is unknown")
    expected = {
        "is_seg": False,
        "separate_z_anisotropy_threshold": _ANISOTROPY_THRESHOLD,
    }
    strange = [f"{k}={v!r}" for k, v in kwargs.items() if k not in expected or v != expected[k]]
    if strange or separate_axis not in (None, True, False):
        strange += [f"force_separate_z={separate_axis!r}"] * (separate_axis not in (None, 0, 1))
        raise UnsupportedError(f"{key} {name} with {', '.join(strange)}")
    return {
        "order": int(order),
        "separate_axis": _SEPARATE_AXIS[separate_axis],
        "separate_order": int(separate_order),
    }


def _torch_orders(kwargs: dict[str, Any]) -> tuple[int, int]:
    """Take torch's names of interpolation out of ``kwargs``; return them as spline orders."""
    mode = kwargs.pop("mode", "linear")
    separate_mode = kwargs.pop("aniso_axis_mode", "nearest-exact")
    orders = {"linear": 1, "nearest-exact": 0}
    if mode != "linear" or separate_mode not in orders:
        raise UnsupportedError(
            f"resample_torch_fornnunet with mode={mode!r}, aniso_axis_mode={separate_mode!r}"
        )
    return orders[mode], orders[separate_mode]
