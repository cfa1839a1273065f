"""nnU-Net's plans: configurations and their inheritance, channels, frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError

_OPPOSITE = str.maketrans("LRAPIS", "RLPASI")
ORIENTATION_KEY = "image_orientation"
_MAX_CHAIN = 32


def resolve_configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration of the plans with everything it inherits.

    Raises
    ------
    UnsupportedError
        If it is not there, or inherits from itself.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``PlansManager._internal_resolve_configuration_inheritance``.
    """
    configurations = plans["configurations"]
    chain: list[str] = []
    parent: str | None = name
    while parent is not None:
        if parent in chain:
            raise UnsupportedError(f"{' -> '.join([*chain, parent])} inherit in a circle")
        if len(chain) == _MAX_CHAIN:
            raise UnsupportedError(f"{name!r} inherits over more than {_MAX_CHAIN} levels")
        if parent not in configurations:
            raise UnsupportedError(
                f"{parent!r} is not in the plans, which have {', '.join(configurations)}"
            )
        chain.append(parent)
        parent = configurations[parent].get("inherits_from")
    merged: dict[str, Any] = {}
    for link in reversed(chain):
        merged |= configurations[link]
    if not merged:
        raise UnsupportedError(f"{name!r} is empty")
    return merged


def unsupported_parts(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], name: str
) -> list[str]:
    """Return what the plans ask for beyond the network and its preprocessing, one line each."""
    found = []
    if configuration.get("previous_stage") or name == "3d_cascade_fullres":
        found.append("configuration: the 3-D cascade needs the output of another model")
    for kind, value, known in (
        ("preprocessor", configuration.get("preprocessor_name"), "DefaultPreprocessor"),
        ("label manager", plans.get("label_manager"), "LabelManager"),
    ):
        if value not in (None, known):
            found.append(f"{kind}: {value!r} is not {known}")
    return found


def read_channel_names(dataset: Mapping[str, Any]) -> list[str]:
    """Return the names of the input channels, in the order of their numbers."""
    channels = dataset["channel_names" if "channel_names" in dataset else "modality"]
    numbers = sorted(channels, key=int)
    if [int(number) for number in numbers] != list(range(len(numbers))) or not numbers:
        raise UnsupportedError(f"channels must be numbered 0, 1, ..., not {', '.join(numbers)}")
    return [str(channels[number]) for number in numbers]


def read_orientation(dataset: Mapping[str, Any], plans: Mapping[str, Any]) -> str:
    """Return the axis codes the model was trained in, in nibabel's convention.

    Notes
    -----
    Source: the Spinal Cord Toolbox, whose letters name where an axis starts (nibabel's name where
    it points), and whose default depends on the data set's name.
    """
    letters = dataset.get(ORIENTATION_KEY)
    if letters is None:
        named = str(plans.get("dataset_name", ""))
        letters = "AIL" if "RegionBasedLesionSeg" in named else "LPI"
    codes = str(letters).upper().translate(_OPPOSITE)
    if not is_orientation(codes):
        raise UnsupportedError(f"{ORIENTATION_KEY} {letters!r} is not three axis letters")
    return codes


def is_orientation(codes: str) -> bool:
    """Tell whether three letters name one direction of each body axis."""
    return len(codes) == 3 and all(len(set(axis) & set(codes)) == 1 for axis in ("LR", "AP", "IS"))


def read_axes(plans: Mapping[str, Any]) -> str:
    """Return the order in which the network sees the oriented array's axes.

    nnU-Net reads images as (z, y, x) and applies ``transpose_forward`` to that.
    """
    order = [int(axis) for axis in plans["transpose_forward"]]
    if sorted(order) != [0, 1, 2]:
        raise UnsupportedError(f"transpose_forward {order} is no order of three axes")
    return "".join("zyx"[axis] for axis in order)
