"""ivadomed's classes and postprocessing, as outputs and steps of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError

# ivadomed sets what is not above this to 0 before any other step.
NOISE_FLOOR = 0.01
_BINARY_STEPS = ("binarize", "binarize_maximum", "fill_holes")


def read_channel_names(settings: Mapping[str, Any]) -> list[str]:
    """Return a name for each image; one for all contrasts unless they are channels."""
    loader = settings["loader_parameters"]
    contrasts = loader["contrast_params"]
    names = contrasts.get("training_validation") or contrasts.get("train_validation") or []
    if loader["multichannel"]:
        if not names:
            raise UnsupportedError("several channels without names in contrast_params")
        return [str(name) for name in names]
    return [str(names[0])] if len(names) == 1 else ["image"]


def read_suffixes(settings: Mapping[str, Any]) -> list[str]:
    """Return what each class is called in file names, without the underscore in front."""
    suffixes = settings["loader_parameters"]["target_suffix"]
    if not suffixes or any(not isinstance(name, str) or not name.strip("_") for name in suffixes):
        raise UnsupportedError(f"target_suffix {suffixes}: one name for each class is needed")
    return [name.lstrip("_") for name in suffixes]


def read_postprocessing(settings: Mapping[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    """Return the steps after the network in the JSON's order; ``notes`` is told what is ignored."""
    classes = len(settings["loader_parameters"]["target_suffix"])
    steps = [_floor(NOISE_FLOOR)]
    for name, given in settings["postprocessing"].items():
        if name in ("remove_noise", "binarize_prediction"):
            threshold = float(given["thr"])
            if threshold >= 0:  # ivadomed skips the step otherwise
                cut = {"step": "binarize", "threshold": threshold, "inclusive": True}
                steps.append(cut if name == "binarize_prediction" else _floor(threshold))
        elif name == "binarize_maxpooling":
            steps.append({"step": "binarize_maximum"})
        elif name in ("keep_largest", "fill_holes"):
            steps.append({"step": name})
        elif name == "remove_small":
            steps.append({"step": name, **_sizes(given, classes)})
        elif name == "uncertainty":
            notes.append("uncertainty: it needs many runs with dropout; it is left out")
        else:
            raise UnsupportedError(f"the postprocessing step {name}")
    return steps


def _floor(threshold: float) -> dict[str, Any]:
    return {"step": "limit", "floor": threshold, "ceiling": None}


def _sizes(given: Mapping[str, Any], classes: int) -> dict[str, Any]:
    sizes, unit = given["thr"], given["unit"]
    sizes = [sizes] * classes if type(sizes) is int else sizes
    if (
        unit not in ("vox", "mm3")
        or len(sizes) != classes
        or any(type(s) is not int for s in sizes)
    ):
        raise UnsupportedError(
            f"remove_small {dict(given)}: vox or mm3 is needed, and one whole number for all "
            f"{classes} classes or for each"
        )
    return {"minimum": sizes, "unit": unit}


def read_outputs(suffixes: list[str], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the outputs: a map for each class, binary where a step makes it so."""
    is_binary = any(step["step"] in _BINARY_STEPS for step in steps)
    kind = "mask" if is_binary else "soft"
    return {
        "values": "maps",
        "channels": len(suffixes),
        "activation": "none",
        "before_undo": [],
        "labels": [{"name": name, "values": [i + 1]} for i, name in enumerate(suffixes)],
        "regions_class_order": None,
        "files": [{"suffix": name, "kind": kind, "labels": [name]} for name in suffixes],
    }
