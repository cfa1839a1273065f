"""Networks of MONAI, built from a configuration by MONAI's own parser."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import MissingPackageError, UnsupportedError
from deepseg_export.families.monai.arguments import Arguments
from deepseg_export.families.monai.config import TARGET
from deepseg_export.reading.limits import check_numbers, check_patch
from deepseg_export.reading.weights import no_larger_than

NETWORKS = (
    "AttentionUnet",
    "BasicUNet",
    "BasicUnet",
    "DynUNet",
    "DynUnet",
    "HighResNet",
    "SegResNet",
    "SegResNetDS",
    "SwinUNETR",
    "UNETR",
    "UNet",
    "Unet",
    "VNet",
)
"""Classes of ``monai.networks.nets`` that give one map per class on the grid of their input."""

_PREFIXES = ("", "monai.networks.nets.")
_MAX_WINDOW = 16


def check_network(component: Any) -> Mapping[str, Any]:
    """Return a network's arguments as plain values, with its full class name.

    Parameters
    ----------
    component : object
        The resolved ``network_def`` of a configuration.

    Raises
    ------
    UnsupportedError
        If it is another class, is not 3-D, or has an argument that is Python.
    """
    if not isinstance(component, Mapping) or TARGET not in component:
        raise UnsupportedError(f"{component} is not a configured network")
    target = str(component[TARGET])
    name = target.rpartition(".")[2]
    module = target[: len(target) - len(name)]
    is_monai = module in _PREFIXES or module.startswith("monai.networks.nets.")
    if name not in NETWORKS or not is_monai:
        raise UnsupportedError(f"{target} is not one of {', '.join(NETWORKS)}")
    arguments = Arguments(component)
    plain = {key: arguments.take(key) for key in component if key != TARGET}
    strange = _reserved(plain)
    if strange is not None:
        raise UnsupportedError(f"{strange!r} inside a network's arguments is not supported")
    check_numbers(plain)
    image, windows = (plain.get(argument, 1) for argument in ("img_size", "window_size"))
    check_patch(_three(image))
    if max(_three(windows)) > _MAX_WINDOW:
        raise UnsupportedError(f"window_size is {windows}; {_MAX_WINDOW} is the most")
    # VNet and UNETR are 3-D unless they are told otherwise.
    if plain.get("spatial_dims", 3) != 3:
        raise UnsupportedError(f"the network has {plain['spatial_dims']} dimensions, 3 are needed")
    return {TARGET: f"monai.networks.nets.{name}", **plain}


def _three(value: Any) -> list[int]:
    values = value if isinstance(value, (list, tuple)) else [value] * 3
    if not values or not all(type(item) is int for item in values):
        raise UnsupportedError(f"{value!r} is no size")
    return list(values)


def _reserved(value: Any) -> str | None:
    """Return what MONAI's parser would act upon inside plain values, or None."""
    if isinstance(value, str):
        return value if value.startswith(("$", "@", "%")) else None
    if isinstance(value, Mapping):
        reserved = next((str(key) for key in value if str(key).startswith("_")), None)
        return reserved or next((r for item in value.values() if (r := _reserved(item))), None)
    if isinstance(value, (list, tuple)):
        return next((r for item in value if (r := _reserved(item))), None)
    return None


def build_network(definition: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    """Build a network that `check_network` returned, for weights that it must not exceed.

    Raises
    ------
    MissingPackageError
        If MONAI, or what the network needs of it, is not installed.
    UnsupportedError
        If MONAI refuses the arguments.
    """
    try:
        from monai.bundle import ConfigParser
    except ImportError as error:
        raise MissingPackageError(
            f"Exporting MONAI models needs monai, which cannot be imported ({error}): "
            "pip install monai einops"
        ) from error
    name = str(definition[TARGET]).rpartition(".")[2]
    try:
        with warnings.catch_warnings(), no_larger_than(weights):
            warnings.simplefilter("ignore")
            parser = ConfigParser({"network": dict(definition)}, globals=False)
            return parser.get_parsed_content("network")
    except Exception as error:  # MONAI wraps whatever its networks raise
        reason = " ".join(str(error.__cause__ or error).split())
        raise UnsupportedError(f"MONAI cannot build {name}: {reason[:200]}.") from error


def output_channels(network: Any, input_shape: tuple[int, ...]) -> int:
    """Return how many maps a network gives, which must be on the grid of its input.

    Raises
    ------
    UnsupportedError
        If it fails on an input of that shape, or gives something else.
    """
    import torch

    name = type(network).__name__
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = network(torch.zeros(1, *input_shape))
    except Exception as error:  # any of torch's
        reason = " ".join(str(error).split())
        raise UnsupportedError(f"{name} fails on {input_shape}: {reason[:300]}.") from error
    if not isinstance(output, torch.Tensor) or tuple(output.shape[2:]) != input_shape[1:]:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UnsupportedError(
            f"{name} gives {shape} for an input of {input_shape}; one tensor of maps on the "
            "same grid is needed."
        )
    return int(output.shape[1])
