"""ivadomed's transformations and patches, as steps of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.reading.limits import check_patch

# Where an axis order of ivadomed, (height, width, depth), is in an image that is oriented RAS.
_HEIGHT_WIDTH_DEPTH = {"axial": "xyz", "sagittal": "zyx", "coronal": "zxy"}
# ivadomed drops at inference what it cannot undo.
_NOT_UNDONE = (
    *("AdditiveGaussianNoise", "Clahe", "DilateGT", "ElasticTransform", "HistogramClipping"),
    *("RandomBiasField", "RandomBlur", "RandomGamma"),
)
_RANDOM = ("RandomAffine", "RandomReverse", "RandomShiftIntensity")
_PATCH_MULTIPLE = 16


def is_3d(settings: Mapping[str, Any]) -> bool:
    """Tell whether the network sees volumes rather than slices."""
    applied = settings.get("Modified3DUNet", {}).get("applied", False)
    return bool(applied) or not settings["default_model"]["is_2d"]


def read_axes(settings: Mapping[str, Any]) -> str:
    """Return the order of RAS axes that the network sees; a 2-D network's slices come first."""
    name = settings["loader_parameters"]["slice_axis"]
    if name not in _HEIGHT_WIDTH_DEPTH:
        raise UnsupportedError(f"slice_axis is {name!r}, none of {', '.join(_HEIGHT_WIDTH_DEPTH)}")
    axes = _HEIGHT_WIDTH_DEPTH[name]
    return axes if is_3d(settings) else axes[2] + axes[:2]


def read_transformations(settings: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the transformations that run at inference and change the result, in their order.

    ``notes`` is told what is left out.
    """
    chosen = {}
    for name, given in settings["transformation"].items():
        if "testing" not in given.get("dataset_type", ("testing",)) or name in _NOT_UNDONE:
            continue
        if name in _RANDOM:
            notes.append(
                f"{name}: ivadomed moves the image at random at inference, too, and so gives "
                "another result each time; it is left out"
            )
            continue
        if name not in ("Resample", "CenterCrop", "NormalizeInstance"):
            raise UnsupportedError(f"the transformation {name}")
        needed = {"im"} if name == "NormalizeInstance" else {"im", "gt"}
        applied = given.get("applied_to", ("im", "gt", "roi"))
        if not needed <= set(applied):
            raise UnsupportedError(f"{name} applied to {', '.join(applied)} alone")
        chosen[name] = given
    return chosen


def read_steps(
    settings: Mapping[str, Any], transformations: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the steps before the network, in the network's frame."""
    volume = is_3d(settings)
    steps: list[dict[str, Any]] = []
    for name, given in transformations.items():
        if name == "Resample":
            spacing = [float(given["hspace"]), float(given["wspace"])]
            spacing = [*spacing, float(given.get("dspace", 1))]
            if min(spacing) <= 0:
                raise UnsupportedError(f"Resample to {spacing} mm")
            steps.append({"step": "zoom", "spacing": _frame(spacing, volume)})
        elif name == "CenterCrop":
            size = _sizes(given["size"], 3 if volume else 2, "CenterCrop")
            steps.append({"step": "center_crop", "size": _frame(size, volume)})
    box = settings["object_detection_params"]
    if box["object_detection_path"] is not None:
        if not volume:
            raise UnsupportedError("a 2-D network that is cropped to another model's result")
        factor = [float(value) for value in box["safety_factor"]]
        if len(factor) != 3 or min(factor) <= 0:
            raise UnsupportedError(f"safety_factor {factor}")
        crop = {"step": "crop_to_prior", "safety_factor": factor}
        after = [index + 1 for index, step in enumerate(steps) if step["step"] == "zoom"]
        steps.insert(after[0] if after else 0, crop)
    if not volume and settings["loader_parameters"]["slice_filter_params"]["filter_empty_input"]:
        steps.insert(0, {"step": "drop_constant_slices"})
    return steps


def read_window(
    settings: Mapping[str, Any],
    transformations: Mapping[str, Any],
    steps: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the patches: the whole slice or volume, or what the JSON says."""
    ends_in_crop = bool(steps) and steps[-1]["step"] == "center_crop"
    shape: list[int | None] = steps[-1]["size"] if ends_in_crop else [None, None, None]
    placement = "stride"
    if is_3d(settings):
        model = settings.get("Modified3DUNet", {})
        if "length_3D" not in model or "stride_3D" not in model:
            raise UnsupportedError("a 3-D network without length_3D and stride_3D")
        patch = _sizes(model["length_3D"], 3, "length_3D")
        stride = _sizes(model["stride_3D"], 3, "stride_3D")
        if any(size % _PATCH_MULTIPLE for size in patch):
            raise UnsupportedError(f"length_3D {patch} is no multiple of {_PATCH_MULTIPLE}")
        for size, length, step in zip(shape, patch, stride, strict=True):
            if size is not None and (size < length or (size - length) % step):
                raise UnsupportedError(f"patches of {patch} by {stride} do not fit {shape}")
        frame: list[int | None] = list(patch)
        moves: list[int | None] = list(stride)
    elif settings["default_model"].get("length_2D"):
        placement = "clamped_stride"
        frame = [1, *_sizes(settings["default_model"]["length_2D"], 2, "length_2D")]
        moves = [1, *_sizes(settings["default_model"]["stride_2D"], 2, "stride_2D")]
    else:
        frame = moves = [1, *shape[1:]]
    return {
        "patch_size": frame,
        "placement": placement,
        "stride": moves,
        "importance_map": "constant",
        "patch_normalization": "instance" if "NormalizeInstance" in transformations else None,
    }


def _frame(values: list[Any], volume: bool) -> list[Any]:
    """Put (height, width, depth) into the network's frame; 2-D networks leave the depth alone."""
    return list(values) if volume else [None, *values[:2]]


def _sizes(values: Any, count: int, what: str) -> list[int]:
    if len(values) != count or any(type(value) is not int or value < 1 for value in values):
        raise UnsupportedError(f"{what} {values}: {count} whole numbers above 0 are needed")
    check_patch(values)
    return list(values)
