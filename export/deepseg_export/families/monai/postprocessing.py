"""MONAI's post-transforms as activation, steps before and after the undo, and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.monai.arguments import Arguments, short_name
from deepseg_export.families.monai.config import TARGET
from deepseg_export.families.monai.spatial import Steps
from deepseg_export.families.monai.transforms import flatten, read_type
from deepseg_export.families.problems import Problems, collected

KEY = "pred"
"""Key under which MONAI's evaluator puts the inferer's result."""


@dataclass
class Postprocessing:
    """Steps after the network.

    ``nearest`` is how ``Invertd`` resamples, None where nothing is inverted. ``suffix`` is that of
    the file, None where none is named.
    """

    activation: str = "none"
    before_undo: Steps = field(default_factory=list)
    after_undo: Steps = field(default_factory=list)
    nearest: bool | None = None
    suffix: str | None = None

    @property
    def steps(self) -> Steps:
        """All steps in their order."""
        return [*self.before_undo, *self.after_undo]


def read_postprocessing(
    component: Any, preprocessing: Any, image_key: str, problems: Problems
) -> Postprocessing:
    """Translate the ``postprocessing`` of a configuration.

    Parameters
    ----------
    component, preprocessing : object
        It and what was done to the image, resolved.
    image_key : str
        What ``Invertd`` must take the inverse of.
    problems : list
        Gets an entry for everything that cannot be translated.

    Notes
    -----
    Source: MONAI 1.6.1, ``transforms/post/dictionary.py``.
    """
    found = Postprocessing()
    transforms: list[Any] = []
    with collected(problems, "postprocessing"):
        transforms = flatten(component, "postprocessing") if component else []
    for index, transform in enumerate(transforms):
        name = short_name(transform[TARGET])
        with collected(problems, f"postprocessing {index + 1}, {name}"):
            arguments = Arguments(transform, KEY)
            arguments.ignore("allow_missing_keys", "meta_keys", "meta_key_postfix")
            if name not in _READERS and name not in ("Invertd", "Activationsd"):
                raise UnsupportedError("this transform is not supported")
            if KEY not in arguments.keys:
                raise UnsupportedError(f"its keys {arguments.keys} lack {KEY!r}")
            if name == "Invertd":
                _read_invert(arguments, found, preprocessing, image_key, transform)
            elif name == "Activationsd":
                _read_activation(arguments, found)
            else:
                steps = _READERS[name](arguments, found)
                (found.before_undo if found.nearest is None else found.after_undo).extend(steps)
            arguments.close()
    return found


def _read_invert(
    arguments: Arguments,
    found: Postprocessing,
    preprocessing: Any,
    image_key: str,
    transform: Mapping[str, Any],
) -> None:
    if found.nearest is not None:
        raise UnsupportedError("it comes twice")
    if transform.get("transform") != preprocessing:
        raise UnsupportedError("transform is not @preprocessing")
    original = arguments.take_for_key("orig_keys", KEY)
    if original != image_key:
        raise UnsupportedError(f"orig_keys is {original!r}, and the image is {image_key!r}")
    arguments.ignore("transform", "orig_meta_keys", "to_tensor", "device")
    arguments.only("post_func", None)
    found.nearest = arguments.boolean("nearest_interp", True)


def _read_activation(arguments: Arguments, found: Postprocessing) -> None:
    chosen = [name for name in ("sigmoid", "softmax") if arguments.boolean(name, False)]
    arguments.only("other", None)
    if len(chosen) != 1:
        raise UnsupportedError("one of sigmoid and softmax is needed")
    if found.activation != "none" or found.steps or found.nearest is not None:
        raise UnsupportedError("it must come first, and once")
    found.activation = chosen[0]


def _discrete(arguments: Arguments, found: Postprocessing) -> Steps:
    steps: Steps = []
    if arguments.boolean("argmax", False):
        steps.append({"step": "argmax"})
    count = arguments.take_for_key("to_onehot", None)
    if count is not None:
        steps.append({"step": "one_hot", "count": int(count)})
    threshold = arguments.take_for_key("threshold", None)
    if threshold is not None:
        steps.append({"step": "binarize", "threshold": float(threshold), "inclusive": True})
    arguments.only("rounding", None)
    return steps


def _components(arguments: Arguments, found: Postprocessing) -> Steps:
    labels = arguments.take("applied_labels", None)
    one_hot = arguments.take_for_key("is_onehot", None)
    connectivity = arguments.take("connectivity", None)
    return [
        {
            "step": "keep_components",
            "labels": [labels] if isinstance(labels, int) else labels,
            "one_hot": one_hot,
            "independent": arguments.take("independent", True) is True,
            "connectivity": 3 if connectivity is None else int(connectivity),
            "count": int(arguments.number("num_components", 1)),
        }
    ]


def _save(arguments: Arguments, found: Postprocessing) -> Steps:
    arguments.only("scale", None)
    found.suffix = _slug(str(arguments.take("output_postfix", "trans")))
    # Where it goes and in which format is the user's choice; a result that was inverted is on
    # the image's grid, so resampling it does nothing.
    arguments.ignore("output_dir", "output_ext", "resample", "mode", "padding_mode", "dtype")
    arguments.ignore("output_dtype", "squeeze_end_dims", "data_root_dir", "separate_folder")
    arguments.ignore("print_log", "output_format", "savepath_in_metadict", "folder_layout")
    arguments.ignore("writer", "output_name_formatter")
    return []


def _type(arguments: Arguments, found: Postprocessing) -> Steps:
    return read_type(arguments)


_READERS: dict[str, Callable[[Arguments, Postprocessing], Steps]] = {
    "AsDiscreted": _discrete,
    "KeepLargestConnectedComponentd": _components,
    "EnsureTyped": _type,
    "SaveImaged": _save,
}


def read_outputs(found: Postprocessing, channels: int, names: Sequence[str]) -> dict[str, Any]:
    """Return the manifest's ``outputs``.

    Parameters
    ----------
    found : Postprocessing
        What comes after the network.
    channels : int
        Outputs of the network.
    names : sequence of str
        What each output means.
    """
    suffix = found.suffix or "seg"
    form, kind = "maps", "soft"
    for step in found.steps:
        form = {"argmax": "labels", "one_hot": "maps"}.get(step["step"], form)
        kind = {"one_hot": "mask", "binarize": "mask"}.get(step["step"], kind)
    if form == "labels":
        labels = [{"name": name, "values": [i]} for i, name in enumerate(names) if i]
        files: list[dict[str, Any]] = [{"suffix": suffix, "kind": "labels"}]
    else:
        labels = [{"name": name, "values": [i + 1]} for i, name in enumerate(names)]
        slugs = [_slug(name) for name in names]
        if len(set(slugs)) < len(slugs):
            slugs = [f"{slug}{i}" for i, slug in enumerate(slugs)]
        files = [
            {
                "suffix": suffix if len(names) == 1 else f"{suffix}_{slug}",
                "kind": kind,
                "labels": [name],
            }
            for name, slug in zip(names, slugs, strict=True)
        ]
    return {
        "values": form,
        "channels": channels,
        "activation": found.activation,
        "before_undo": found.before_undo,
        "labels": labels,
        "regions_class_order": None,
        "files": files,
    }


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "map"
